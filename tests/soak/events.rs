//! What the engine tells of a manager's containers while a scenario lasts: what no look afterwards would show.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use super::engine::Engine;

/// Listens until it is dropped.
pub struct Events {
    child: Child,
    seen: Arc<Mutex<Seen>>,
}

/// What was heard.
#[derive(Default)]
struct Seen {
    /// Which containers of an instance run.
    running: BTreeMap<String, BTreeSet<String>>,
    /// By instance: how many containers were created, and which.
    created: BTreeMap<String, Vec<String>>,
    wrong: Vec<String>,
}

impl Events {
    /// Begins to listen.
    pub fn listen(engine: &Engine, manager: &str) -> Self {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "docker"]);
        if let Some(host) = &engine.host {
            command.args(["--host", host]);
        }
        let label = format!("label=instanced.manager={manager}");
        command.args(["events", "--format", "{{json .}}", "--filter", &label]);
        command.args(["--filter", "type=container"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("setpriv is part of util-linux");
        let lines = BufReader::new(child.stdout.take().expect("it is piped"));
        let seen = Arc::new(Mutex::new(Seen::default()));
        let told = Arc::clone(&seen);
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                if let Ok(event) = serde_json::from_str(&line) {
                    lock(&told).hear(&event);
                }
            }
        });
        Self { child, seen }
    }

    /// What was wrong since it began: two generations of an instance that ran at once.
    pub fn wrong(&self) -> Vec<String> {
        lock(&self.seen).wrong.clone()
    }

    /// How many containers were created for an instance.
    pub fn created(&self, instance: &str) -> usize {
        lock(&self.seen).created.get(instance).map_or(0, Vec::len)
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Seen {
    fn hear(&mut self, event: &Value) {
        let attributes = &event["Actor"]["Attributes"];
        let (Some(action), Some(name), Some(instance)) = (
            event["Action"].as_str(),
            attributes["name"].as_str(),
            attributes["instanced.instance"].as_str(),
        ) else {
            return;
        };
        let running = self.running.entry(instance.to_owned()).or_default();
        match action {
            "create" => {
                let created = self.created.entry(instance.to_owned()).or_default();
                created.push(name.to_owned());
            }
            "start" => {
                running.insert(name.to_owned());
                if running.len() > 1 {
                    self.wrong.push(format!(
                        "of {instance}, which is replaced stop-first, {running:?} ran at once"
                    ));
                }
            }
            "die" | "destroy" => {
                running.remove(name);
            }
            _ => {}
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
