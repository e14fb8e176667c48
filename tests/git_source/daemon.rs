//! The daemon as a process: who may have the repository asked at once, and what is told of it. There is no engine, so
//! nothing is made; what is desired is known all the same.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;

use super::lab::Lab;

const SECRET: &str = "a secret of sixteen bytes or more";
const BINARY: &str = env!("CARGO_BIN_EXE_instanced");
/// Long enough for a busy machine; nothing is timed.
const PATIENCE: Duration = Duration::from_secs(60);

/// `instanced serve`, which does not outlive the test.
struct Daemon<'l> {
    lab: &'l Lab,
    child: Child,
    log: BufReader<ChildStderr>,
}

impl<'l> Daemon<'l> {
    fn start(lab: &'l Lab) -> Self {
        fs::write(lab.path("secret"), format!("{SECRET}\n")).expect("a file");
        let config = "\
source:
  git:
    url: upstream.git
    branch: main
    interval: 1h
    webhook: { secret_file: secret }
engine: { docker: { host: unix:///nonexistent/docker.sock } }
listen: { auth: 127.0.0.1:0, admin: 127.0.0.1:0 }
state: state
";
        fs::write(lab.path("instanced.yaml"), config).expect("a file");
        let mut child = Self::command(lab, &["serve"])
            .stderr(Stdio::piped())
            .spawn()
            .expect("our own program");
        let log = BufReader::new(child.stderr.take().expect("a pipe was asked for"));
        Self { lab, child, log }
    }

    fn command(lab: &Lab, arguments: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command
            .args(["--config", "instanced.yaml"])
            .args(arguments)
            .current_dir(lab.path(""))
            .env_remove("INSTANCED_CONFIG")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        command
    }

    /// Reads the log up to a line that has all of these in it.
    fn wait_for(&mut self, words: &[&str]) -> String {
        let mut seen = String::new();
        loop {
            let mut line = String::new();
            let read = self.log.read_line(&mut line).expect("the log");
            assert!(read > 0, "the daemon ended: {seen}");
            if words.iter().all(|word| line.contains(word)) {
                return line;
            }
            seen += &line;
        }
    }

    /// Null while nothing was fetched yet.
    fn status(&self) -> Value {
        let arguments = ["--format", "json", "status"];
        let output = Self::command(self.lab, &arguments).output();
        let output = output.expect("our own program");
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    /// Waits until the fleet is kept as a commit.
    fn until_at(&self, id: &str) -> Value {
        let since = Instant::now();
        loop {
            let status = self.status();
            if status["source"]["commit"]["id"] == id {
                return status;
            }
            assert!(since.elapsed() < PATIENCE, "{status:#}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn hang_up(&self) {
        let id = i32::try_from(self.child.id()).expect("a process id");
        let id = rustix::process::Pid::from_raw(id).expect("a process id");
        rustix::process::kill_process(id, rustix::process::Signal::HUP).expect("a child of ours");
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a request, and returns the answer's status and body.
fn ask(at: &str, first: &str, headers: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(at).expect("the webhook");
    let length = body.len();
    let request = format!(
        "{first} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    (status.expect("a status"), answer)
}

fn signature(body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("a key");
    mac.update(body.as_bytes());
    let digits = mac.finalize().into_bytes();
    digits.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[test]
fn a_webhook_that_knows_the_secret_has_the_repository_asked_at_once() {
    let lab = Lab::new();
    lab.write("instances.d/alice.yaml", "{}\n");
    let first = lab.commit("one");
    let mut daemon = Daemon::start(&lab);
    let line = daemon.wait_for(&["listening for webhooks"]);
    let line: Value = serde_json::from_str(&line).expect("a line of JSON");
    let at = line["at"].as_str().expect("an address").to_owned();
    let status = daemon.until_at(&first);
    assert_eq!(status["instances"][0]["name"], "alice", "{status:#}");

    // Whoever does not know the secret, has nothing done and learns nothing.
    let post = "POST /v1/sync";
    let second = {
        lab.write("instances.d/bob.yaml", "{}\n");
        lab.commit("two")
    };
    let wrong = [
        String::new(),
        format!(
            "X-Hub-Signature-256: sha256={}\r\n",
            signature("another body")
        ),
        format!("X-Hub-Signature-256: sha1={}\r\n", signature("{}")),
        "X-Hub-Signature-256: sha256=\r\n".to_owned(),
        "X-Gitlab-Token: guess\r\n".to_owned(),
        "Authorization: Bearer guess\r\n".to_owned(),
        format!("Authorization: Basic {SECRET}\r\n"),
    ];
    for headers in wrong {
        let (status, answer) = ask(&at, post, &headers, "{}");
        assert_eq!(status, 401, "{headers}: {answer}");
        assert!(
            answer.contains("application/problem+json") && !answer.contains(SECRET),
            "{answer}"
        );
    }
    // The webhook's secret opens nothing else of the control API.
    let secret = format!("Authorization: Bearer {SECRET}\r\n");
    for call in ["GET /v1/sync", "POST /v1/tokens", "GET /v1/instances"] {
        assert_eq!(ask(&at, call, "", "{}").0, 401, "{call}");
        assert_eq!(ask(&at, call, &secret, "{}").0, 401, "{call}");
    }
    assert_eq!(
        daemon.status()["source"]["commit"]["id"],
        first,
        "nobody had it asked"
    );

    let sign = |body: &str| format!("X-Hub-Signature-256: sha256={}\r\n", signature(body));
    let body = r#"{"ref":"refs/heads/main"}"#;
    assert_eq!(ask(&at, post, &sign(body), body).0, 202);
    daemon.until_at(&second);

    for headers in [
        format!("X-Gitlab-Token: {SECRET}\r\n"),
        format!("Authorization: Bearer {SECRET}\r\n"),
        format!("X-Hub-Signature: sha256={}\r\n", signature("{}")),
    ] {
        let id = lab.commit("another");
        assert_eq!(ask(&at, post, &headers, "{}").0, 202, "{headers}");
        daemon.until_at(&id);
    }
}

#[test]
fn a_hangup_and_a_word_on_the_socket_have_it_asked_too() {
    let lab = Lab::new();
    lab.write("instances.d/alice.yaml", "{}\n");
    let first = lab.commit("one");
    let mut daemon = Daemon::start(&lab);
    daemon.wait_for(&["fetched", &first[..12], "Ada Lovelace"]);
    daemon.until_at(&first);

    let second = lab.commit("two");
    daemon.hang_up();
    daemon.until_at(&second);

    let third = lab.commit("three");
    let socket = lab.path("state/control.sock");
    let said = Command::new("curl")
        .args(["--silent", "--show-error", "--unix-socket"])
        .arg(&socket)
        .args(["--request", "POST", "http://localhost/v1/sync"])
        .output()
        .expect("curl is there");
    let said: Value = serde_json::from_slice(&said.stdout).expect("JSON");
    let newest = if said["newest"].is_null() {
        &said["commit"]
    } else {
        &said["newest"]
    };
    assert_eq!(
        newest["id"], third,
        "it is fetched when it answers: {said:#}"
    );
    daemon.until_at(&third);

    // Nothing could be made without an engine, and that is why the fleet is behind.
    let told = Daemon::command(&lab, &["status"])
        .output()
        .expect("our own program");
    let told = String::from_utf8(told.stdout).expect("text");
    let expected = format!(
        "commit {} by Ada Lovelace <ada@example.com>: three",
        &third[..12]
    );
    assert!(
        told.contains("source  instances.d in ") && told.contains(&expected),
        "{told}"
    );
    assert!(
        told.contains("! not at this commit yet: connect to the container engine: "),
        "{told}"
    );
}

#[test]
fn a_webhooks_secret_that_will_not_do_keeps_the_daemon_from_starting() {
    let lab = Lab::new();
    drop(Daemon::start(&lab));
    fs::write(lab.path("secret"), "short").unwrap();
    let output = Daemon::command(&lab, &["serve"])
        .output()
        .expect("our own program");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(
        said.contains("is shorter than 16 bytes") && said.contains("openssl rand -hex 32"),
        "{said}"
    );
}

#[test]
fn what_was_never_fetched_is_told_where_it_is_needed() {
    let lab = Lab::new();
    drop(Daemon::start(&lab));
    let output = Daemon::command(&lab, &["validate"])
        .output()
        .expect("our own program");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(said.contains("nothing was fetched from "), "{said}");
    // A directory on the command line stands in for the repository.
    lab.write("instances.d/alice.yaml", "{}\n");
    let there = lab.path("work/instances.d").display().to_string();
    let output = Daemon::command(&lab, &["--instances", &there, "validate"]).output();
    assert!(output.expect("our own program").status.success());
}
