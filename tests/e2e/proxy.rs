//! A proxy between daemon and engine (`tests/limits/engine_proxy.py`): it writes down each call, and can go away.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::clients::python;
use super::engine;
use super::lab::{Lab, REPOSITORY};

/// The proxy, and where it stands.
pub struct Proxy {
    child: Child,
    socket: PathBuf,
    log: PathBuf,
    rules: Vec<String>,
}

impl Proxy {
    /// Starts it, and lets the lab's daemon use it.
    pub fn start(lab: &Lab, more: &str) -> Self {
        Self::filtering(lab, &[], more)
    }

    /// One that lets through what these rules allow (`GET=/regex`), and answers 403 to all else.
    pub fn filtering(lab: &Lab, rules: &[String], more: &str) -> Self {
        let (socket, log) = (lab.path("engine.sock"), lab.path("calls.log"));
        lab.configure(&format!(
            "engine: {{ docker: {{ host: \"unix://{}\" }} }}\n{more}",
            socket.display()
        ));
        let child = launch(&socket, &log, rules);
        Self {
            child,
            socket,
            log,
            rules: rules.to_vec(),
        }
    }

    /// The engine is away.
    pub fn stop(&mut self) {
        self.child.kill().expect("a child of ours");
        self.child.wait().expect("a child of ours");
    }

    /// The engine is back.
    pub fn resume(&mut self) {
        self.child = launch(&self.socket, &self.log, &self.rules);
    }

    /// How many calls there have been.
    pub fn count(&self) -> usize {
        self.calls().len()
    }

    /// What was asked that could change something, since there had been so many calls.
    pub fn changes_since(&self, count: usize) -> Vec<String> {
        let calls = self.calls().into_iter().skip(count);
        calls
            .filter(|call| !call.starts_with("GET ") && !call.starts_with("HEAD "))
            .collect()
    }

    /// Method and path of each call, with `refused` behind what was not let through.
    pub fn calls(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        text.lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(_, call)| call.to_owned())
            .collect()
    }
}

fn launch(socket: &PathBuf, log: &PathBuf, rules: &[String]) -> Child {
    let mut command = Command::new("setpriv");
    command.args([
        "--pdeathsig",
        "KILL",
        &python(),
        &format!("{REPOSITORY}/tests/limits/engine_proxy.py"),
    ]);
    command
        .args(["--engine", &engine::socket()])
        .arg("--listen")
        .arg(socket)
        .arg("--log")
        .arg(log);
    for rule in rules {
        command.args(["--allow", rule]);
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the proxy starts");
    let mut ready = String::new();
    let stdout = child.stdout.take().expect("a pipe");
    BufReader::new(stdout)
        .read_line(&mut ready)
        .expect("a line of the proxy's");
    assert_eq!(ready.trim(), "ready", "the proxy did not start");
    child
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
