//! The daemon as a process: what its configuration says, and what becomes of it over a restart. There is no engine.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::lab::{PATIENCE, SECRET};
use super::process::Process;
use super::receiver::Receiver;

/// A directory with a configuration, on which a daemon can be run.
struct Site(TempDir);

impl Site {
    fn new(url: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let site = Self(dir);
        fs::create_dir(site.0.path().join("instances.d")).expect("a directory");
        site.write("instances.d/alice.yaml", "{}\n");
        site.write("notify.secret", SECRET);
        let config = format!(
            "\
engine: {{ docker: {{ host: unix:///nonexistent/docker.sock }} }}
listen: {{ auth: 127.0.0.1:0, admin: 127.0.0.1:0 }}
state: state
notify:
  after: 1s
  webhooks:
    - {{ url: \"{url}\", secret_file: notify.secret }}
"
        );
        site.write("instanced.yaml", &config);
        site
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.path().join(name), text).expect("a file");
    }

    /// Waits until the daemon's figures have this line.
    fn until(&self, line: &str) {
        let since = Instant::now();
        loop {
            let socket = self.0.path().join("state/control.sock");
            let mut stream = UnixStream::connect(socket).expect("it serves");
            let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
            stream.write_all(request).expect("it serves");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("it answers");
            if answer.lines().any(|known| known == line) {
                return;
            }
            assert!(since.elapsed() < PATIENCE, "{answer}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn start(&self) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_instanced"));
        command
            .args(["--config", "instanced.yaml", "serve"])
            .current_dir(self.0.path())
            .env_remove("INSTANCED_CONFIG")
            .stdin(Stdio::null());
        let mut process = Process::start(&mut command);
        process.wait_for("ready: ");
        process
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_tells_once_over_its_lives_and_once_when_it_is_over() {
    let receiver = Receiver::start().await;
    let site = Site::new(&receiver.url("/"));
    site.write("fleet.yaml", "templates: [broken\n");
    let process = site.start();
    let letter = receiver.next().await;
    assert_eq!(letter.said(), "began source.failing");
    let reason = &letter.body()["data"]["reason"];
    assert!(
        reason
            .as_str()
            .is_some_and(|why| why.contains("fleet.yaml")),
        "{reason}"
    );
    site.until("instanced_notice_deliveries_total{result=\"delivered\"} 1");
    process.terminate();
    assert!(process.ended().0);

    let process = site.start();
    assert!(receiver.nothing_for(Duration::from_secs(3)).await);
    site.write("fleet.yaml", "defaults: {}\n");
    assert_eq!(receiver.next().await.said(), "over source.failing");
    let letter = receiver.next().await;
    assert_eq!(letter.said(), "began engine.away");
    assert!(super::verified(&letter, SECRET));
    process.terminate();
    let (done, log) = process.ended();
    assert!(done && !log.contains("whsec_"), "{log}");
}
