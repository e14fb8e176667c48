//! A real browser, and a person before it (`tests/clients/browse.py`): each step is told, and answered.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::clients::python;
use super::lab::REPOSITORY;

/// Where Debian's package puts it.
const CHROMIUM: &str = "/usr/bin/chromium";

/// Chromium, with as many empty profiles as there are names for them.
pub struct Browser {
    child: Child,
    /// Until the end: the browser ends with it.
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
}

/// What noVNC shows.
#[derive(Debug, PartialEq, Eq)]
pub struct Screen {
    pub state: String,
    pub size: (u64, u64),
    pub colours: u64,
    pub view_only: bool,
}

impl Browser {
    /// Starts it.
    pub fn start() -> Self {
        assert!(
            Path::new(CHROMIUM).exists(),
            "no {CHROMIUM}: apt-get install chromium (make test does it)"
        );
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", &python()])
            .arg(format!("{REPOSITORY}/tests/clients/browse.py"))
            .args(["--browser", CHROMIUM])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("setpriv is part of util-linux");
        let to = child.stdin.take();
        let from = BufReader::new(child.stdout.take().expect("it is piped"));
        Self { child, to, from }
    }

    /// One step of a profile's.
    #[track_caller]
    pub fn step(&mut self, profile: &str, what: &str, mut more: Value) -> Value {
        more["do"] = json!(what);
        more["as"] = json!(profile);
        let to = self.to.as_mut().expect("it is piped");
        writeln!(to, "{more}").expect("the browser reads");
        let mut line = String::new();
        self.from.read_line(&mut line).expect("the browser tells");
        let told: Value =
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("{more}: {error}: {line}"));
        assert_eq!(told["error"], Value::Null, "{more}");
        told
    }

    /// Opens a URL, as from the address bar.
    #[track_caller]
    pub fn open(&mut self, profile: &str, url: &str) -> Value {
        self.step(profile, "open", json!({ "url": url }))
    }

    /// What noVNC shows on the page that is open.
    #[track_caller]
    pub fn screen(&mut self, profile: &str) -> Screen {
        let told = self.step(profile, "screen", json!({}));
        let number = |field: &str| told[field].as_u64().unwrap_or_default();
        Screen {
            state: told["state"].as_str().unwrap_or_default().to_owned(),
            size: (number("width"), number("height")),
            colours: number("colours"),
            view_only: told["view_only"] == true,
        }
    }

    /// Moves the pointer to a place of the screen, in parts of its size, clicks there and types a letter.
    #[track_caller]
    pub fn input(&mut self, profile: &str, x: f64, y: f64) {
        self.step(profile, "input", json!({ "x": x, "y": y }));
    }

    /// The cookies of a profile.
    #[track_caller]
    pub fn cookies(&mut self, profile: &str) -> Vec<Value> {
        let told = self.step(profile, "cookies", json!({}));
        told["cookies"].as_array().expect("a list").clone()
    }

    /// Whether a WebSocket opens that a page asks for.
    #[track_caller]
    pub fn socket(&mut self, profile: &str, from: &str, to: &str) -> bool {
        let told = self.step(profile, "socket", json!({ "from": from, "to": to }));
        told["opened"] == true
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Killed at once, it would leave Chromium to itself for a while.
        drop(self.to.take());
        for _ in 0..50 {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
