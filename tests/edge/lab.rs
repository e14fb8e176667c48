//! A configuration and a manifest in a directory of their own, and the daemon as a process on it.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::process::Process;

const BINARY: &str = env!("CARGO_BIN_EXE_instanced");
/// Long enough for a busy machine; nothing is timed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A configuration and a manifest in a directory of their own.
pub struct Lab {
    pub dir: TempDir,
}

impl Lab {
    pub fn new() -> Self {
        let dir = TempDir::new().unwrap();
        fs::create_dir(dir.path().join("instances.d")).unwrap();
        let lab = Self { dir };
        lab.write("instances.d/alice.yaml", "{}\n");
        lab.configure("");
        lab
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    pub fn configure(&self, more: &str) {
        let config = "\
engine: { docker: { host: unix:///nonexistent/docker.sock } }
listen: { auth: 127.0.0.1:0, admin: 127.0.0.1:0 }
state: state
";
        self.write("instanced.yaml", &format!("{config}{more}"));
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
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

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    pub fn token(&self, label: &str) -> String {
        let said = self.run(&["-q", "token", "issue", "alice", "--label", label]);
        assert!(said.status.success(), "{said:?}");
        String::from_utf8(said.stdout).unwrap().trim().to_owned()
    }

    pub fn json(&self, arguments: &[&str]) -> Value {
        let said = self.run(&[&["--format", "json"], arguments].concat());
        assert!(said.status.success(), "{said:?}");
        serde_json::from_slice(&said.stdout).unwrap()
    }

    /// What the control socket answers to a GET.
    pub fn control(&self, path: &str) -> String {
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

/// `instanced serve`.
pub struct Daemon {
    process: Process,
    pub address: SocketAddr,
}

impl Daemon {
    /// Up to the moment when it says that it is ready.
    pub fn start(lab: &Lab, arguments: &[&str]) -> Self {
        Self::start_by(&mut lab.command(&[&["serve"], arguments].concat()))
    }

    /// The same, however it is started.
    pub fn start_by(command: &mut Command) -> Self {
        let mut process = Process::start(command);
        let line = process.wait_for("ready: ");
        let (_, rest) = line.split_once("ForwardAuth on ").unwrap();
        let address = rest.split(',').next().unwrap().parse().unwrap();
        Self { process, address }
    }

    /// Reads the log up to a line that has this in it.
    pub fn wait_for(&mut self, words: &str) -> String {
        self.process.wait_for(words)
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    pub fn terminate(&self) {
        self.process.terminate();
    }

    /// Waits until it has ended on its own, with its log up to then.
    pub fn ended(self) -> (bool, String) {
        self.process.ended()
    }
}

/// A question as Traefik asks it.
pub fn question(token: &str, more: &str) -> String {
    format!(
        "GET /auth/mcp-bearer-check/mcp-alice HTTP/1.1\r\nHost: 127.0.0.1\r\n\
         X-Forwarded-Host: mcp-alice.mcp.localhost\r\nX-Forwarded-Uri: /mcp\r\n\
         Authorization: Bearer {token}\r\n{more}\r\n"
    )
}

pub fn connect(at: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(at)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// One question on a connection of its own: the status and the head of the answer.
pub fn ask(at: SocketAddr, token: &str, more: &str) -> io::Result<(u16, String)> {
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
pub fn until_known(at: SocketAddr, token: &str) {
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
pub struct Load {
    pub stop: Arc<AtomicBool>,
    pub asked: Arc<AtomicUsize>,
    pub clients: Vec<thread::JoinHandle<Vec<String>>>,
}

impl Load {
    pub fn on(at: SocketAddr, token: &str, clients: usize) -> Self {
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
    pub fn goes_on(&self, questions: usize) {
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
    pub fn end(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let failures = self.clients.into_iter();
        let failures = failures.flat_map(|client| client.join().unwrap()).collect();
        (self.asked.load(Ordering::Relaxed), failures)
    }
}
