//! `instanced doctor` on hosts where things are wrong. There is no engine here; what it says of one is judged beside the
//! verdicts, and seen in `contract.rs`.

#![allow(clippy::unwrap_used)] // Clippy knows test functions, not the helpers beside them.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::Value;

#[allow(dead_code)] // A part of it is used here.
#[path = "edge/lab.rs"]
mod lab;
#[path = "support/process.rs"]
mod process;

use lab::{Daemon, Lab};

/// What it found.
struct Checkup {
    code: Option<i32>,
    checks: Vec<Value>,
}

impl Checkup {
    fn of(lab: &Lab) -> Self {
        let said = lab.run(&["--format", "json", "doctor"]);
        let all: Value =
            serde_json::from_slice(&said.stdout).unwrap_or_else(|_| panic!("{said:?}"));
        let checks = all["checks"].as_array().unwrap().clone();
        let problems = checks.iter().filter(|check| check["grade"] == "problem");
        assert_eq!(all["problems"], problems.count());
        Self {
            code: said.status.code(),
            checks,
        }
    }

    /// Asserts that something was found about something, with these words.
    #[track_caller]
    fn says(&self, check: &str, grade: &str, words: &str) {
        let found = self.checks.iter().any(|it| {
            let found = it["found"].as_str().unwrap();
            it["check"] == check && it["grade"] == grade && found.contains(words)
        });
        assert!(
            found,
            "{check}: {grade}: {words} is not in {:#?}",
            self.checks
        );
    }
}

fn text(said: &Output) -> String {
    String::from_utf8(said.stdout.clone()).unwrap()
}

/// A daemon that has read the source, and has had its first look for an engine.
fn started(lab: &Lab) -> Daemon {
    let mut daemon = Daemon::start(lab, &[]);
    daemon.wait_for("round aborted");
    daemon
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A port of loopback that nobody has.
fn free_port() -> u16 {
    let bound = TcpListener::bind("127.0.0.1:0").unwrap();
    bound.local_addr().unwrap().port()
}

#[test]
fn without_an_engine_everything_else_is_looked_at_and_nothing_is_made() {
    let lab = Lab::new();
    let before = fs::read_dir(lab.dir.path()).unwrap().count();
    let found = Checkup::of(&lab);
    assert_eq!(found.code, Some(1));
    found.says(
        "engine",
        "problem",
        "/nonexistent/docker.sock: no such file",
    );
    found.says("network", "note", "the engine cannot be reached");
    found.says("configuration", "ok", "instanced.yaml");
    found.says("source", "ok", "1 instance of instances.d");
    found.says("daemon", "warning", "none runs");
    found.says(
        "instances",
        "warning",
        "their state is not known: connect to the",
    );
    found.says("store", "ok", "none yet");
    found.says("auth", "note", "no daemon runs");
    found.says("traefik", "note", "traefik.api is not set");
    assert_eq!(fs::read_dir(lab.dir.path()).unwrap().count(), before);
    let names: std::collections::BTreeSet<_> = found
        .checks
        .iter()
        .map(|it| it["check"].as_str().unwrap())
        .collect();
    assert_eq!(names.len(), 15, "{names:?}");

    let said = lab.run(&["doctor"]);
    let drawn = text(&said);
    assert!(
        drawn.starts_with("ok       configuration  instanced.yaml\n"),
        "{drawn}"
    );
    assert!(drawn.ends_with("1 problem, 2 warnings.\n"), "{drawn}");
}

#[test]
fn a_configuration_that_cannot_be_used_is_told_and_the_rest_is_looked_at() {
    let lab = Lab::new();
    lab.write("instanced.yaml", "domain: [\n");
    let found = Checkup::of(&lab);
    assert_eq!(found.code, Some(1));
    found.says("configuration", "problem", "instanced.yaml:");
    found.says("source", "ok", "1 instance of instances.d");
    lab.write("instanced.yaml", "nonsense: 1\n");
    Checkup::of(&lab).says("configuration", "problem", "1 error: instanced.yaml:1:1");
    fs::remove_file(lab.path("instanced.yaml")).unwrap();
    Checkup::of(&lab).says("configuration", "problem", "no such file");
}

#[test]
fn a_daemon_that_runs_is_asked_and_its_listener_as_traefik_asks_it() {
    let lab = Lab::new();
    // A port that was free a moment ago; the listener's own number is not known before it has one.
    let port = free_port();
    let config = |more: &str| {
        lab.write(
            "instanced.yaml",
            &format!(
                "engine: {{ docker: {{ host: unix:///nonexistent/docker.sock }} }}\n\
                 listen: {{ auth: 127.0.0.1:{port}, admin: 127.0.0.1:0 }}\nstate: state\n{more}"
            ),
        );
    };
    config("");
    let _daemon = started(&lab);
    let found = Checkup::of(&lab);
    found.says(
        "auth",
        "ok",
        &format!("http://127.0.0.1:{port}/auth/mcp-bearer-check asks this host"),
    );
    found.says("store", "ok", "the daemon has it open");
    found.says("permissions", "ok", "state 0700");
    found.says(
        "ports",
        "ok",
        &format!("127.0.0.1:{port} taken by the daemon"),
    );
    // Without an engine no round came to an end.
    found.says("daemon", "problem", "no round completes since");

    config("trusted_proxies: [10.0.0.0/8]\n");
    let found = Checkup::of(&lab);
    found.says("daemon", "warning", "another configuration");
    // The daemon that runs trusts this host all the same.
    found.says("auth", "ok", "asks this host");
}

#[test]
fn a_listener_that_trusts_nobody_here_refuses() {
    let lab = Lab::new();
    let port = free_port();
    lab.write(
        "instanced.yaml",
        &format!(
            "engine: {{ docker: {{ host: unix:///nonexistent/docker.sock }} }}\n\
             listen: {{ auth: 127.0.0.1:{port}, admin: 127.0.0.1:0 }}\nstate: state\n\
             trusted_proxies: [10.0.0.0/8]\n"
        ),
    );
    let _daemon = started(&lab);
    Checkup::of(&lab).says("auth", "problem", "no trusted proxy");
}

#[test]
fn tls_is_judged_by_the_file_that_traefik_reads() {
    let lab = Lab::new();
    let port = free_port();
    lab.write(
        "instanced.yaml",
        &format!(
            "engine: {{ docker: {{ host: unix:///nonexistent/docker.sock }} }}\n\
             listen: {{ auth: 127.0.0.1:{port}, admin: 127.0.0.1:0 }}\nstate: state\n\
             traefik: {{ auth_ca: ca.pem }}\n"
        ),
    );
    let _daemon = started(&lab);
    Checkup::of(&lab).says("auth", "ok", &format!("https://127.0.0.1:{port}/"));
    fs::write(lab.path("ca.pem"), "another's\n").unwrap();
    Checkup::of(&lab).says("auth", "problem", "certificate");
}

#[test]
fn ports_of_others_and_rights_of_others_are_told() {
    let lab = Lab::new();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = other.local_addr().unwrap();
    let (open, gone) = (lab.path("open"), lab.path("gone"));
    lab.write("open", "secret");
    chmod(&open, 0o644);
    lab.write(
        "instanced.yaml",
        &format!(
            "engine: {{ docker: {{ host: unix:///nonexistent/docker.sock }} }}\n\
             listen: {{ auth: {at}, admin: 127.0.0.1:0 }}\nstate: state\n\
             policy: {{ secrets: {{ allow: [\"{}/*\"] }} }}\n",
            lab.dir.path().display()
        ),
    );
    lab.write(
        "instances.d/alice.yaml",
        &format!(
            "secrets:\n  a: {{ from_file: {} }}\n  b: {{ from_file: {} }}\n",
            open.display(),
            gone.display()
        ),
    );
    fs::create_dir(lab.path("state")).unwrap();
    chmod(&lab.path("state"), 0o770);
    let found = Checkup::of(&lab);
    found.says("ports", "problem", &format!("{at} (listen.auth) is taken"));
    found.says("permissions", "problem", "mode 0770");
    found.says("permissions", "warning", "everybody can read the secret");
    found.says("permissions", "problem", "gone is not there");
    assert_eq!(
        fs::metadata(lab.path("state")).unwrap().mode() & 0o777,
        0o770
    );
}

#[test]
fn a_source_that_cannot_be_read_and_one_that_does_not_answer() {
    let lab = Lab::new();
    lab.write("instances.d/bob.yaml", "nonsense: 1\n");
    Checkup::of(&lab).says("source", "warning", "cannot be used: bob");
    lab.configure("source: { dir: nowhere }\n");
    Checkup::of(&lab).says("source", "problem", "nowhere");
    lab.configure("source: { git: { url: /nonexistent/repository, branch: main } }\n");
    let found = Checkup::of(&lab);
    found.says("source", "problem", "cannot fetch /nonexistent/repository");
    assert!(!lab.path("state").exists());
}

#[test]
fn what_is_silent_keeps_nobody_waiting() {
    let lab = Lab::new();
    let engine = lab.path("engine.sock");
    let config = format!(
        "engine: {{ docker: {{ host: \"unix://{}\" }} }}\nstate: state\n\
         listen: {{ auth: 127.0.0.1:0, admin: 127.0.0.1:0 }}\n",
        engine.display()
    );
    lab.write("instanced.yaml", &config);
    let _engine = UnixListener::bind(engine).unwrap();
    fs::create_dir(lab.path("state")).unwrap();
    chmod(&lab.path("state"), 0o700);
    // It takes connections, and says nothing.
    let _socket = UnixListener::bind(lab.path("state/control.sock")).unwrap();
    let began = Instant::now();
    let found = Checkup::of(&lab);
    found.says("daemon", "problem", "within 4 s");
    found.says("engine", "problem", "no answer within 4 s");
    found.says("disk", "ok", "state");
    assert!(
        began.elapsed() < Duration::from_secs(30),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn a_store_is_opened_where_no_daemon_has_it() {
    let lab = Lab::new();
    let token = lab.token("laptop");
    let found = Checkup::of(&lab);
    found.says("store", "ok", "1 token");
    fs::write(lab.path("state/store/db"), "damaged").unwrap();
    Checkup::of(&lab).says("store", "problem", "");
    assert!(token.starts_with("mcp_"));
}
