//! What a host gives little of: watches, file descriptors.

use std::fs;
use std::io::Write as _;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::lab::{Daemon, Lab, PATIENCE, ask, connect, question, until_known};

/// The daemon behind these words of a shell's.
fn start(lab: &Lab, wrapped: &[&str]) -> Daemon {
    let serve = lab.command(&["-v", "serve"]);
    let mut command = Command::new(wrapped[0]);
    command.args(&wrapped[1..]);
    command.arg(serve.get_program()).args(serve.get_args());
    command.current_dir(lab.dir.path()).env("NO_COLOR", "1");
    Daemon::start_by(&mut command)
}

#[test]
fn without_a_watch_it_starts_polls_the_source_and_says_so() {
    let lab = Lab::new();
    lab.write("instances.d/alice.yaml", "{}\n");
    // A user namespace has limits of its own.
    let without = "echo 0 > /proc/sys/user/max_inotify_instances && exec \"$0\" \"$@\"";
    let namespace = ["unshare", "--user", "--map-root-user", "sh", "-c", without];
    let daemon = start(&lab, &namespace);
    let token = "a-token-of-mine";
    assert_ne!(ask(daemon.address, token, "").unwrap().0, 204);
    let granted = format!(
        "tokens: [{{ label: mine, hash: \"blake3:{}\" }}]\n",
        blake3::hash(token.as_bytes()).to_hex()
    );
    lab.write("instances.d/alice.yaml", &granted);
    until_known(daemon.address, token);
    lab.write("instances.d/alice.yaml", "{}\n");
    let since = Instant::now();
    while ask(daemon.address, token, "").unwrap().0 == 204 {
        assert!(since.elapsed() < PATIENCE);
        thread::sleep(Duration::from_millis(50));
    }
    daemon.terminate();
    let (_, log) = daemon.ended();
    assert!(log.contains("the source is polled every 2 s"), "{log}");
    assert!(log.contains("max_user_instances"), "{log}");
}

#[test]
fn the_soft_limit_of_files_is_raised_to_the_hard_one() {
    let lab = Lab::new();
    let daemon = start(&lab, &["prlimit", "--nofile=256:4096"]);
    let limits = fs::read_to_string(format!("/proc/{}/limits", daemon.id())).unwrap();
    let files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let files: Vec<_> = files.unwrap().split_whitespace().collect();
    assert_eq!(files[3..5], ["4096", "4096"]);
}

#[test]
fn out_of_file_descriptors_it_answers_on_and_logs_it_once() {
    let lab = Lab::new();
    let daemon = start(&lab, &["prlimit", "--nofile=96:96"]);
    let token = lab.token("laptop");
    until_known(daemon.address, &token);
    let idle: Vec<_> = (0..300).map(|_| connect(daemon.address).unwrap()).collect();
    for _ in 0..20 {
        let mut stream = connect(daemon.address).unwrap();
        stream
            .write_all(question(&token, "Connection: close\r\n").as_bytes())
            .unwrap();
        let mut answer = String::new();
        // The listener may close at once what it has answered; the answer is there.
        let read = std::io::Read::read_to_string(&mut stream, &mut answer);
        assert!(answer.starts_with("HTTP/1.1 204"), "{answer}: {read:?}");
    }
    drop(idle);
    daemon.terminate();
    let (success, log) = daemon.ended();
    assert!(success, "{log}");
    assert_eq!(
        log.matches("failed to accept a connection").count(),
        1,
        "{log}"
    );
}

#[test]
fn a_grant_that_was_revoked_while_no_daemon_ran_opens_nothing_from_the_start() {
    let lab = Lab::new();
    let hash = |token: &str| blake3::hash(token.as_bytes()).to_hex().to_string();
    let grant = |token: &str| {
        format!(
            "tokens: [{{ label: x, hash: \"blake3:{}\" }}]\n",
            hash(token)
        )
    };
    lab.write("instances.d/alice.yaml", &grant("mine"));
    let first = Daemon::start(&lab, &[]);
    until_known(first.address, "mine");
    drop(first); // kill -9
    // Taken away by a manifest that cannot be used otherwise.
    lab.write("instances.d/alice.yaml", "tokens: []\nmemroy: 1G\n");
    let second = Daemon::start(&lab, &[]);
    for _ in 0..30 {
        // It is known, so it is no guess.
        assert_eq!(ask(second.address, "mine", "").unwrap().0, 401);
    }
}
