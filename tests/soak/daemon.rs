//! The daemon as a process: started, killed, frozen.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::SocketAddrV4;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use super::engine::Engine;

/// The program.
pub const BINARY: &str = env!("CARGO_BIN_EXE_instanced");

/// `instanced serve`, as a child that does not outlive the test.
pub struct Daemon(Child);

impl Daemon {
    /// Starts it in a lab's directory, and waits for nothing.
    pub fn launch(directory: &Path, log: &Path, engine: &Engine, auth: SocketAddrV4) -> Self {
        let mut log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .expect("the daemon's log");
        let _ = writeln!(log, "--- started, listening on {auth}");
        let mut words = engine.inside.clone();
        words.extend(["setpriv", "--pdeathsig", "KILL", BINARY].map(str::to_owned));
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg("--config");
        command.arg(directory.join("instanced.yaml")).arg("serve");
        command.current_dir(directory).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a file")).stderr(log);
        Self(command.spawn().expect("setpriv is part of util-linux"))
    }

    /// `kill -9`: nothing is put in order.
    pub fn kill(mut self) {
        self.0.kill().expect("a child of ours");
        self.0.wait().expect("a child of ours");
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().expect("a child of ours")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
