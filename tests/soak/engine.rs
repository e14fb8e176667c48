//! A container engine as a person beside the daemon sees it: through the `docker` program.

use std::path::Path;

use serde_json::Value;

use super::said::{Said, run};

/// The image of an instance that costs next to nothing.
pub const TINY: &str = "instanced/tiny:1";

/// Which engine.
#[derive(Debug, Clone, Default)]
pub struct Engine {
    /// Its address; without one, the engine that everybody shares.
    pub host: Option<String>,
    /// The words before a program that shall stand in the engine's network.
    pub inside: Vec<String>,
}

/// A container, as far as the soak looks.
#[derive(Debug, Clone)]
pub struct Container {
    pub id: String,
    pub name: String,
    pub instance: String,
    pub generation: u64,
    pub running: bool,
    pub started_at: String,
    /// All that `docker inspect` says.
    pub facts: Value,
}

impl Container {
    /// The value of a variable of its environment.
    pub fn env(&self, name: &str) -> Option<String> {
        let all = self.facts["Config"]["Env"].as_array()?;
        let mut values = all.iter().filter_map(Value::as_str);
        values.find_map(|pair| {
            pair.strip_prefix(name)?
                .strip_prefix('=')
                .map(str::to_owned)
        })
    }

    /// A field of its host configuration, as a whole number; 0 where there is none.
    pub fn limit(&self, field: &str) -> i64 {
        self.facts["HostConfig"][field].as_i64().unwrap_or_default()
    }

    /// Thousandths of a processor, in either of the engine's two ways to say it.
    pub fn cpu_millis(&self) -> i64 {
        match (
            self.limit("NanoCpus"),
            self.limit("CpuQuota"),
            self.limit("CpuPeriod"),
        ) {
            (0, quota, period) => quota * 1_000 / period.max(1),
            (nanos, _, _) => nanos / 1_000_000,
        }
    }

    /// Its restart policy.
    pub fn restart(&self) -> &str {
        self.facts["HostConfig"]["RestartPolicy"]["Name"]
            .as_str()
            .unwrap_or_default()
    }

    /// The names of the volumes that it mounts.
    pub fn volumes(&self) -> Vec<String> {
        let mounts = self.facts["Mounts"].as_array();
        let names = mounts
            .into_iter()
            .flatten()
            .filter_map(|m| m["Name"].as_str());
        names.map(str::to_owned).collect()
    }

    /// In a line, for a failure.
    pub fn told(&self) -> String {
        let id = &self.id[..12];
        let state = self.facts["State"]["Status"].as_str().unwrap_or("?");
        format!("{} ({id}, {state}, started {})", self.name, self.started_at)
    }
}

impl Engine {
    /// Runs `docker`.
    pub fn docker(&self, arguments: &[&str]) -> Said {
        run("docker", |command| {
            if let Some(host) = &self.host {
                command.args(["--host", host]);
            }
            command.args(arguments);
        })
    }

    /// Runs `docker`, which must succeed, and returns what it printed.
    #[track_caller]
    pub fn must(&self, arguments: &[&str]) -> String {
        self.docker(arguments)
            .expect_code(0)
            .stdout
            .trim()
            .to_owned()
    }

    /// The ids that a listing prints.
    #[track_caller]
    pub fn list(&self, arguments: &[&str]) -> Vec<String> {
        self.must(arguments).lines().map(str::to_owned).collect()
    }

    /// All containers of a manager, in whatever state.
    pub fn containers(&self, manager: &str) -> Result<Vec<Container>, String> {
        let label = format!("label=instanced.manager={manager}");
        let listed = self.docker(&["ps", "-aq", "--no-trunc", "--filter", &label]);
        if listed.code != Some(0) {
            return Err(listed.to_string());
        }
        let ids: Vec<&str> = listed.stdout.lines().collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        // One that was removed since is missing from the answer, and the program says so by its status.
        let said = self.docker(&[&["container", "inspect"], ids.as_slice()].concat());
        let facts: Vec<Value> =
            serde_json::from_str(&said.stdout).map_err(|error| format!("{error}: {said}"))?;
        Ok(facts.into_iter().map(container).collect())
    }

    /// The volumes of a manager.
    #[track_caller]
    pub fn volumes(&self, manager: &str) -> Vec<String> {
        let label = format!("label=instanced.manager={manager}");
        self.list(&["volume", "ls", "--quiet", "--filter", &label])
    }

    /// Removes what carries this manager, and what else is named. Best effort: for the end of a test.
    pub fn clear(&self, manager: &str, containers: &[String], volumes: &[String]) {
        let label = format!("label=instanced.manager={manager}");
        let lines = |said: Said| said.stdout.lines().map(str::to_owned).collect::<Vec<_>>();
        let mut gone = lines(self.docker(&["ps", "-aq", "--filter", &label]));
        gone.extend_from_slice(containers);
        let gone: Vec<&str> = gone.iter().map(String::as_str).collect();
        if !gone.is_empty() {
            self.docker(&[&["rm", "--force", "--volumes"], gone.as_slice()].concat());
        }
        let mut gone = lines(self.docker(&["volume", "ls", "--quiet", "--filter", &label]));
        gone.extend_from_slice(volumes);
        let gone: Vec<&str> = gone.iter().map(String::as_str).collect();
        if !gone.is_empty() {
            self.docker(&[&["volume", "rm"], gone.as_slice()].concat());
        }
    }

    /// Brings the tiny image from the engine that everybody shares into this one.
    pub fn copy_image(&self, through: &Path) {
        let file = through.display().to_string();
        Self::default().must(&["save", "--output", &file, TINY]);
        self.must(&["load", "--input", &file]);
    }

    /// Builds the tiny image, where the engine has it not.
    pub fn need_image() {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tiny/build.sh");
        run(script, |command| {
            command.arg(TINY);
        })
        .expect_code(0);
    }
}

fn container(facts: Value) -> Container {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let label = |name: &str| text(&facts["Config"]["Labels"][name]);
    Container {
        id: text(&facts["Id"]),
        name: text(&facts["Name"]).trim_start_matches('/').to_owned(),
        instance: label("instanced.instance"),
        generation: label("instanced.generation").parse().unwrap_or_default(),
        running: facts["State"]["Running"].as_bool().unwrap_or_default(),
        started_at: text(&facts["State"]["StartedAt"]),
        facts,
    }
}
