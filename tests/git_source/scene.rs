//! A checkout whose manifests are below its top, and the commands that read it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use instanced::doors::source::dir;
use instanced::doors::source::git::checkout::CheckoutReader;
use instanced::words::desired::Snapshot;

use super::lab::Lab;

pub const BINARY: &str = env!("CARGO_BIN_EXE_instanced");

/// What a program of ours answered.
pub struct Answer {
    pub code: Option<i32>,
    pub stdout: String,
    pub all: String,
}

/// A checkout in `work` whose manifests are below its top, and a program that writes the canary.
pub struct Scene {
    pub lab: Lab,
    pub head: String,
}

impl Scene {
    pub fn new() -> Self {
        let lab = Lab::new();
        lab.write("infra/instances.d/alice.yaml", "{}\n");
        let head = lab.commit("the beginning");
        let script = format!(
            "#!/bin/sh\ntouch '{}'\nexit 1\n",
            lab.path("canary").display()
        );
        fs::write(lab.path("evil.sh"), script).expect("a file");
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(lab.path("evil.sh"), mode).expect("a mode");
        let config = "\
source: { dir: work/infra/instances.d }
engine: { docker: { host: unix:///nonexistent/docker.sock } }
listen: { auth: 127.0.0.1:0, admin: 127.0.0.1:0 }
state: state
";
        fs::write(lab.path("instanced.yaml"), config).expect("a file");
        Self { lab, head }
    }

    pub fn evil(&self) -> String {
        self.lab.path("evil.sh").display().to_string()
    }

    #[track_caller]
    pub fn assert_nothing_ran(&self, what: &str) {
        assert!(!self.lab.path("canary").exists(), "{what} ran a program");
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command
            .args(["--config", "instanced.yaml"])
            .args(arguments)
            .current_dir(self.lab.path(""))
            .env_remove("INSTANCED_CONFIG")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Answer {
        answer(&mut self.command(arguments))
    }

    /// Runs a daemon until its log has a line with these words. Returns that line, and what `status` says then.
    pub fn serve(&self, words: &str, environment: &[(&str, &Path)]) -> (String, Answer) {
        let mut command = self.command(&["serve"]);
        command
            .envs(environment.iter().copied())
            .env_remove("SUDO_UID");
        let mut child = command.stderr(Stdio::piped()).spawn().expect("our program");
        let log = BufReader::new(child.stderr.take().expect("a pipe was asked for"));
        // Open until the end, for what else the daemon writes.
        let mut lines = log.lines().map_while(Result::ok);
        let mut other = Vec::new();
        let found = lines.find(|line| {
            other.push(line.clone());
            line.contains(words)
        });
        let status = self.run(&["status"]);
        let _ = child.kill();
        let _ = child.wait();
        let found = found
            .unwrap_or_else(|| panic!("the daemon ended without `{words}`: {}", other.join("\n")));
        (found, status)
    }

    /// The snapshot of the source with its commit.
    pub fn read(&self) -> Snapshot {
        read(&self.lab.path("work/infra/instances.d"))
    }

    /// Why the commit is not read.
    #[track_caller]
    pub fn issue(&self) -> String {
        let snapshot = self.read();
        assert_eq!(snapshot.commit, None);
        assert_eq!(snapshot.manifests.len(), 1, "the files are all the same");
        snapshot.commit_issue.expect("it is not read").to_string()
    }
}

pub fn answer(command: &mut Command) -> Answer {
    let output = command.output().expect("the program runs");
    let [stdout, stderr] =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    Answer {
        code: output.status.code(),
        all: format!("{stdout}{stderr}"),
        stdout,
    }
}

pub fn read(dir: &Path) -> Snapshot {
    let snapshot = dir::read(dir, "instances.d", &std::collections::BTreeSet::new());
    CheckoutReader::default().read(dir, snapshot.expect("a directory"))
}
