//! The daemon as a process: it answers from its store alone, goes on while all else is away, and hands its place to
//! the next without refusing anybody. There is no engine; what is desired is known all the same.

#![allow(clippy::unwrap_used)] // Clippy knows test functions, not the helpers beside them.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_instanced");
/// Long enough for a busy machine; nothing is timed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A configuration and a manifest in a directory of their own.
struct Lab {
    dir: TempDir,
}

impl Lab {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        fs::create_dir(dir.path().join("instances.d")).unwrap();
        let lab = Self { dir };
        lab.write("instances.d/alice.yaml", "{}\n");
        lab.configure("");
        lab
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn configure(&self, more: &str) {
        let config = "\
engine: { docker: { host: unix:///nonexistent/docker.sock } }
listen: { auth: 127.0.0.1:0, admin: 127.0.0.1:0 }
state: state
";
        self.write("instanced.yaml", &format!("{config}{more}"));
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command
            .args(["--config", "instanced.yaml"])
            .args(arguments)
            .current_dir(self.dir.path())
            .env_remove("INSTANCED_CONFIG")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn token(&self, label: &str) -> String {
        let said = self.run(&["-q", "token", "issue", "alice", "--label", label]);
        assert!(said.status.success(), "{said:?}");
        String::from_utf8(said.stdout).unwrap().trim().to_owned()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let said = self.run(&[&["--format", "json"], arguments].concat());
        assert!(said.status.success(), "{said:?}");
        serde_json::from_slice(&said.stdout).unwrap()
    }

    /// What the control socket answers to a GET.
    fn control(&self, path: &str) -> String {
        let mut stream = UnixStream::connect(self.path("state/control.sock")).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

/// `instanced serve`, which does not outlive the test.
struct Daemon {
    child: Child,
    log: BufReader<ChildStderr>,
    address: SocketAddr,
}

impl Daemon {
    /// Up to the moment when it says that it is ready.
    fn start(lab: &Lab, arguments: &[&str]) -> Self {
        let mut child = lab
            .command(&[&["serve"], arguments].concat())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut daemon = Self {
            child,
            log,
            address: ([127, 0, 0, 1], 0).into(),
        };
        let line = daemon.wait_for("ready: ");
        let (_, rest) = line.split_once("ForwardAuth on ").unwrap();
        daemon.address = rest.split(',').next().unwrap().parse().unwrap();
        daemon
    }

    /// Reads the log up to a line that has this in it.
    fn wait_for(&mut self, words: &str) -> String {
        let mut seen = String::new();
        loop {
            let mut line = String::new();
            let read = self.log.read_line(&mut line).unwrap();
            assert!(read > 0, "the daemon ended: {seen}");
            if line.contains(words) {
                return line;
            }
            seen += &line;
        }
    }

    fn terminate(&self) {
        let id = i32::try_from(self.child.id()).unwrap();
        let id = rustix::process::Pid::from_raw(id).unwrap();
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    }

    /// Waits until it has ended on its own, with its log up to then.
    fn ended(mut self) -> (bool, String) {
        let mut log = String::new();
        self.log.read_to_string(&mut log).unwrap();
        (self.child.wait().unwrap().success(), log)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A question as Traefik asks it.
fn question(token: &str, more: &str) -> String {
    format!(
        "GET /auth/mcp-bearer-check/mcp-alice HTTP/1.1\r\nHost: 127.0.0.1\r\n\
         X-Forwarded-Host: mcp-alice.mcp.localhost\r\nX-Forwarded-Uri: /mcp\r\n\
         Authorization: Bearer {token}\r\n{more}\r\n"
    )
}

fn connect(at: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(at)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// One question on a connection of its own: the status and the head of the answer.
fn ask(at: SocketAddr, token: &str, more: &str) -> io::Result<(u16, String)> {
    let mut stream = connect(at)?;
    let more = format!("Connection: close\r\n{more}");
    stream.write_all(question(token, &more).as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("no answer: {answer:?}")))?;
    Ok((status, answer))
}

/// Waits until the instance is known: its manifest was written just now, and must have settled. Always by another
/// client, or these would be too many guesses.
fn until_known(at: SocketAddr, token: &str) {
    let since = Instant::now();
    for turn in 1_u32.. {
        let address = std::net::Ipv4Addr::from_bits(turn);
        let status = ask(at, token, &format!("X-Forwarded-For: {address}\r\n"))
            .unwrap()
            .0;
        if status == 204 {
            return;
        }
        assert!(matches!(status, 401 | 503), "{status}");
        assert!(since.elapsed() < PATIENCE);
        thread::sleep(Duration::from_millis(20));
    }
}

/// Clients that never stop asking, each with a connection of its own for every question.
struct Load {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    clients: Vec<thread::JoinHandle<Vec<String>>>,
}

impl Load {
    fn on(at: SocketAddr, token: &str, clients: usize) -> Self {
        let (stop, asked) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let client = |_| {
            let (stop, asked, token) = (Arc::clone(&stop), Arc::clone(&asked), token.to_owned());
            thread::spawn(move || {
                let mut failures = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    match ask(at, &token, "") {
                        Ok((204, _)) => {}
                        other => failures.push(format!("{other:?}")),
                    }
                    asked.fetch_add(1, Ordering::Relaxed);
                }
                failures
            })
        };
        let clients = (0..clients).map(client).collect();
        Self {
            stop,
            asked,
            clients,
        }
    }

    /// Waits until so many more were asked.
    fn goes_on(&self, questions: usize) {
        let (since, goal) = (
            Instant::now(),
            self.asked.load(Ordering::Relaxed) + questions,
        );
        while self.asked.load(Ordering::Relaxed) < goal {
            assert!(since.elapsed() < PATIENCE, "nobody is answered any more");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// How many were asked, and whatever was not a 204.
    fn end(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let failures = self.clients.into_iter();
        let failures = failures.flat_map(|client| client.join().unwrap()).collect();
        (self.asked.load(Ordering::Relaxed), failures)
    }
}

#[test]
fn it_answers_from_its_store_before_it_has_read_a_source_or_seen_an_engine() {
    let lab = Lab::new();
    let first = Daemon::start(&lab, &[]);
    let token = lab.token("laptop");
    until_known(first.address, &token);
    drop(first); // kill -9
    // Whatever the source says now, it cannot be read.
    lab.write("instances.d/alice.yaml", "{ this is: [no YAML\n");
    lab.write("fleet.yaml", "- nor this\n");
    let second = Daemon::start(&lab, &[]);
    assert_eq!(ask(second.address, &token, "").unwrap().0, 204);
    assert_eq!(ask(second.address, "wrong", "").unwrap().0, 401);
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
    let line = r#"instanced_auth_requests_total{instance="alice",reason="limited"} 2"#;
    assert!(
        metrics.lines().any(|l| l == line),
        "no {line} in\n{metrics}"
    );
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
