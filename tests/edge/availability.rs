//! It answers from its store alone, goes on while all else is away, and hands its place to the next without refusing
//! anybody.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use super::lab::{Daemon, Lab, Load, PATIENCE, ask, connect, question, until_known};

#[test]
fn it_answers_from_its_store_before_it_has_read_a_source_or_seen_an_engine() {
    let lab = Lab::new();
    let first = Daemon::start(&lab, &[]);
    let token = lab.token("laptop");
    until_known(first.address, &token);
    // A round ends when the store has what it knows. There is no engine, so it fails after that.
    lab.run(&["reconcile"]);
    drop(first); // kill -9
    // Whatever the source says now, it cannot be read.
    lab.write("instances.d/alice.yaml", "{ this is: [no YAML\n");
    lab.write("fleet.yaml", "- nor this\n");
    let second = Daemon::start(&lab, &[]);
    assert_eq!(ask(second.address, &token, "").unwrap().0, 204);
    assert_eq!(ask(second.address, "wrong", "").unwrap().0, 401);
}

#[test]
fn a_fleet_that_was_just_saved_is_waited_for_and_no_error() {
    let lab = Lab::new();
    lab.write("fleet.yaml", "defaults: {}\n");
    let mut daemon = Daemon::start(&lab, &[]);
    // The first round has read it, and goes no further for want of an engine.
    let line = daemon.wait_for("round aborted");
    assert!(!line.contains("fleet.yaml"), "{line}");
}

#[test]
fn a_next_daemon_takes_over_under_load_and_no_client_is_refused() {
    let lab = Lab::new();
    let mut daemon = Daemon::start(&lab, &[]);
    let address = daemon.address;
    let token = lab.token("laptop");
    until_known(address, &token);
    let load = Load::on(address, &token, 4);
    for generation in 0..3 {
        load.goes_on(200);
        let next = Daemon::start(&lab, &["--take-over"]);
        assert_eq!(next.address, address, "the same socket");
        let (success, log) = daemon.ended();
        assert!(
            success && log.contains("another daemon serves now"),
            "{log}"
        );
        daemon = next;
        load.goes_on(200);
        // The store is the next one's: it issues, and what it issues opens.
        let label = format!("after-{generation}");
        let fresh = lab.token(&label);
        assert_eq!(ask(address, &fresh, "").unwrap().0, 204);
    }
    // What one of them revokes, no other lets in.
    let listed = lab.json(&["token", "list"]);
    let laptop = listed.as_array().unwrap();
    let laptop = laptop.iter().find(|token| token["label"] == "laptop");
    let id = laptop.unwrap()["id"].as_str().unwrap().to_owned();
    let (asked, failures) = load.end();
    assert!(
        failures.is_empty(),
        "{} of {asked}: {:?}",
        failures.len(),
        failures.first()
    );
    assert!(lab.run(&["token", "revoke", &id]).status.success());
    assert_eq!(ask(address, &token, "").unwrap().0, 401);
}

#[test]
fn whoever_asks_to_take_over_and_goes_away_leaves_the_daemon_as_it_was() {
    let lab = Lab::new();
    let mut daemon = Daemon::start(&lab, &[]);
    let token = lab.token("laptop");
    until_known(daemon.address, &token);
    let load = Load::on(daemon.address, &token, 2);
    load.goes_on(50);
    // One that only knocks.
    drop(UnixStream::connect(lab.path("state/handover.sock")).unwrap());
    load.goes_on(50);
    // One that waits until the store is free, and ends then.
    let mut other = loop {
        // The first may have been taken at its word; then there is no socket for a moment.
        match UnixStream::connect(lab.path("state/handover.sock")) {
            Ok(other) => break other,
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
    };
    other.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut said = [0; 2];
    other.read_exact(&mut said).unwrap();
    assert_eq!(
        said,
        [1, b'c'],
        "the version that is spoken, and that the store is closed"
    );
    load.goes_on(50);
    drop(other);
    daemon.wait_for("did not: going on");
    daemon.wait_for("watching ");
    load.goes_on(50);
    let fresh = lab.token("later");
    assert_eq!(ask(daemon.address, &fresh, "").unwrap().0, 204);
    let (_, failures) = load.end();
    let early = |failure: &String| !failure.contains("204");
    assert!(failures.iter().filter(|f| early(f)).count() == failures.len());
    assert!(
        failures.len() <= 2,
        "before the first round alone: {failures:?}"
    );
}

#[test]
fn nothing_to_take_over_is_no_hindrance() {
    let lab = Lab::new();
    let daemon = Daemon::start(&lab, &["--take-over"]);
    daemon.terminate();
    let (success, log) = daemon.ended();
    assert!(success, "{log}");
}

#[test]
fn at_the_end_what_was_asked_is_answered_and_idle_connections_close() {
    let lab = Lab::new();
    let daemon = Daemon::start(&lab, &[]);
    let token = lab.token("laptop");
    let mut idle = connect(daemon.address).unwrap();
    idle.write_all(question(&token, "").as_bytes()).unwrap();
    let mut half = connect(daemon.address).unwrap();
    let asked = question(&token, "");
    let (first, rest) = asked.split_at(asked.len() - 10);
    half.write_all(first.as_bytes()).unwrap();
    thread::sleep(Duration::from_millis(200));
    daemon.terminate();
    // One in the middle of its request is still answered.
    thread::sleep(Duration::from_millis(200));
    half.write_all(rest.as_bytes()).unwrap();
    let mut answer = String::new();
    half.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 "), "{answer:?}");
    let mut answer = String::new();
    idle.read_to_string(&mut answer).unwrap();
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer:?}");
    let (success, log) = daemon.ended();
    assert!(success, "{log}");
}

#[test]
fn a_store_that_cannot_be_read_lets_nobody_in_and_says_so() {
    let lab = Lab::new();
    let daemon = Daemon::start(&lab, &[]);
    let token = lab.token("laptop");
    assert!(lab.control("/metrics").contains("instanced_auth_ready 1"));
    daemon.terminate();
    assert!(daemon.ended().0);
    // The disk has lost a change: a token that was revoked might be back.
    let seal = fs::read_to_string(lab.path("state/seal")).unwrap();
    let seal = seal.replace(|digit: char| digit.is_ascii_digit(), "7");
    lab.write("state/seal", &seal);

    let daemon = Daemon::start(&lab, &[]);
    let (status, answer) = ask(daemon.address, &token, "").unwrap();
    assert_eq!(status, 503, "{answer}");
    assert!(
        answer.to_ascii_lowercase().contains("retry-after: 1"),
        "{answer}"
    );
    let health = lab.control("/health");
    assert!(
        health.contains(r#""auth":false"#) && health.contains("tokens cannot be read"),
        "{health}"
    );
    assert!(lab.control("/metrics").contains("instanced_auth_ready 0"));
}

#[test]
fn guesses_of_one_client_are_limited_and_nobody_else_s() {
    let lab = Lab::new();
    let daemon = Daemon::start(&lab, &[]);
    let token = lab.token("laptop");
    until_known(daemon.address, &token);
    // The first address is the client's own writing; the last one is what Traefik saw.
    let from = |n: usize, address: &str| format!("X-Forwarded-For: 198.51.100.{n}, {address}\r\n");
    let guess = |n, address: &str| ask(daemon.address, "wrong", &from(n, address)).unwrap();
    let attacker = "203.0.113.66";
    for n in 0..20 {
        assert_eq!(guess(n, attacker).0, 401, "{n}");
    }
    let (status, answer) = guess(21, attacker);
    assert_eq!(status, 429, "{answer}");
    let wait = answer.lines().find_map(|line| {
        line.to_ascii_lowercase()
            .strip_prefix("retry-after: ")
            .map(str::to_owned)
    });
    let wait: u32 = wait.unwrap().parse().unwrap();
    assert!((1..=7).contains(&wait), "{answer}");
    assert!(answer.contains("Too Many Requests"));
    // Whoever has a token passes, also from there; others may still guess.
    assert_eq!(
        ask(daemon.address, &token, &from(1, attacker)).unwrap().0,
        204
    );
    assert_eq!(guess(1, "203.0.113.67").0, 401);
    // A whole line of IPv6 is one client.
    for n in 0..20 {
        assert_eq!(guess(1, &format!("2001:db8:1:2::{n:x}")).0, 401);
    }
    assert_eq!(guess(1, "2001:db8:1:2:ffff::1").0, 429);
    assert_eq!(guess(1, "2001:db8:1:3::1").0, 401);
    let metrics = lab.control("/metrics");
    let line = "instanced_auth_requests_total{name=\"alice\",reason=\"limited\"} 2";
    assert!(metrics.lines().any(|l| l == line), "{metrics}");
}

#[test]
fn a_token_s_last_use_is_told_and_survives_a_restart() {
    let lab = Lab::new();
    let daemon = Daemon::start(&lab, &[]);
    let token = lab.token("laptop");
    assert!(lab.json(&["token", "list"])[0]["last_used"].is_null());
    until_known(daemon.address, &token);
    let used = lab.json(&["token", "list"])[0]["last_used"].clone();
    assert!(used.is_string(), "{used}");
    daemon.terminate();
    assert!(daemon.ended().0);
    assert!(lab.json(&["token", "list"])[0]["last_used"].is_string());
}
