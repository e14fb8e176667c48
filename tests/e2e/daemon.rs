//! The daemon as a process: started, asked to stop, killed.

use std::fs::OpenOptions;
use std::net::TcpStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::lab::{BINARY, Lab};
use super::said::{eventually, run};

/// `instanced serve`, as a child that does not outlive the test.
pub struct Daemon(Child);

impl Daemon {
    /// Starts it, and waits until it answers.
    pub fn start(lab: &Lab) -> Self {
        let mut daemon = Self::launch(lab);
        eventually("the daemon answers", Duration::from_secs(10), || {
            if let Some(status) = daemon.0.try_wait().expect("a child of ours") {
                panic!("the daemon ended while starting: {status}");
            }
            TcpStream::connect(lab.auth).map_err(|error| format!("{}: {error}", lab.auth))?;
            let said = lab.instanced(&["status"]);
            if said.code == Some(0) || said.code == Some(3) {
                Ok(())
            } else {
                Err(said.to_string())
            }
        });
        daemon
    }

    /// Starts it and waits for nothing.
    pub fn launch(lab: &Lab) -> Self {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(lab.path("daemon.log"));
        let log = log.expect("daemon.log");
        // Without this, a test that is killed would leave its daemon behind.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", BINARY, "--config"])
            .arg(lab.path("instanced.yaml"))
            .arg("serve");
        command.current_dir(lab.path("")).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a file")).stderr(log);
        Self(command.spawn().expect("setpriv is part of util-linux"))
    }

    /// `kill -9`: nothing is put in order.
    pub fn kill(mut self) {
        self.0.kill().expect("a child of ours");
        self.0.wait().expect("a child of ours");
    }

    /// Sends SIGTERM, and tells how it ended and how long that took.
    pub fn terminate(mut self) -> (ExitStatus, Duration) {
        let began = Instant::now();
        run("kill", |command| {
            command.args(["-TERM", &self.0.id().to_string()]);
        })
        .expect_code(0);
        (self.exited(Duration::from_secs(30)), began.elapsed())
    }

    /// Waits until it ends by itself.
    pub fn exited(&mut self, within: Duration) -> ExitStatus {
        eventually("the daemon ends", within, || {
            self.0
                .try_wait()
                .expect("a child of ours")
                .ok_or_else(|| "it still runs".to_owned())
        })
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.0.try_wait().expect("a child of ours").is_none()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
