//! The engine as a person beside the daemon sees it: through the `docker` program.

use std::process::Command;

use serde_json::Value;

use super::said::{Said, run};

/// The image of a browser instance.
pub const BROWSER: &str = "localhost/instanced/browser:1";
/// The image of an instance that costs next to nothing.
pub const TINY: &str = "instanced/tiny:1";
/// The same with a health check. A tag of its own: the contract suite moves those of its images.
pub const TINY_CHECKED: &str = "instanced/tiny-e2e:1";

/// A container, as far as the tests look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    pub id: String,
    pub name: String,
    pub started_at: String,
    pub running: bool,
    pub address: String,
}

/// Runs `docker`.
pub fn docker(arguments: &[&str]) -> Said {
    run("docker", |command| {
        command.args(arguments);
    })
}

/// Runs `docker`, which must succeed, and returns what it printed.
#[track_caller]
pub fn must(arguments: &[&str]) -> String {
    docker(arguments).expect_code(0).stdout.trim().to_owned()
}

/// The path of the engine's socket.
pub fn socket() -> String {
    let host =
        std::env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned());
    let path = host.strip_prefix("unix://");
    path.unwrap_or_else(|| {
        panic!("these tests need an engine on a unix socket, not DOCKER_HOST={host}")
    })
    .to_owned()
}

/// All containers with this label, in whatever state.
pub fn labelled(label: &str) -> Vec<Container> {
    let ids = must(&[
        "ps",
        "--all",
        "--quiet",
        "--no-trunc",
        "--filter",
        &format!("label={label}"),
    ]);
    ids.lines().filter_map(inspect).collect()
}

/// A container by name or id; `None` when it is not there.
pub fn inspect(container: &str) -> Option<Container> {
    let said = docker(&["container", "inspect", container]);
    if said.code != Some(0) {
        return None;
    }
    let facts = &said.json()[0];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let addresses = facts["NetworkSettings"]["Networks"].as_object();
    let address = addresses
        .and_then(|all| all.values().next())
        .map(|network| text(&network["IPAddress"]));
    Some(Container {
        id: text(&facts["Id"]),
        name: text(&facts["Name"]).trim_start_matches('/').to_owned(),
        started_at: text(&facts["State"]["StartedAt"]),
        running: facts["State"]["Running"].as_bool().unwrap_or_default(),
        address: address.unwrap_or_default(),
    })
}

/// Starts a container that no manifest knows, with these labels.
pub fn add_foreign(name: &str, labels: &[&str]) -> Container {
    let mut arguments = vec!["run", "--detach", "--name", name];
    for label in labels {
        arguments.extend(["--label", label]);
    }
    arguments.push(TINY);
    must(&arguments);
    inspect(name).expect("it was just started")
}

/// Removes what carries this manager, and the containers of these names. Best effort: for the end of a test.
pub fn clear(manager: &str, foreign: &[String]) {
    let label = format!("label=instanced.manager={manager}");
    let ids = docker(&["ps", "--all", "--quiet", "--filter", &label]).stdout;
    let containers: Vec<&str> = ids
        .lines()
        .chain(foreign.iter().map(String::as_str))
        .collect();
    if !containers.is_empty() {
        docker(&[&["rm", "--force", "--volumes"], containers.as_slice()].concat());
    }
    // By name: those that manifests name carry no label.
    let name = format!("name=instanced-{manager}-");
    let volumes = docker(&["volume", "ls", "--quiet", "--filter", &name]).stdout;
    let volumes: Vec<&str> = volumes.lines().collect();
    if !volumes.is_empty() {
        docker(&[&["volume", "rm"], volumes.as_slice()].concat());
    }
}

/// Fails with the way out where an engine or an image is missing.
pub fn require() {
    let answers = Command::new("docker")
        .args(["version", "--format", "{{.Server.Version}}"])
        .output();
    let answers = answers.is_ok_and(|output| output.status.success());
    assert!(
        answers,
        "no container engine answers: run scripts/engine.sh ensure (make test does it)"
    );
    let browser = docker(&["image", "inspect", BROWSER]).code;
    assert_eq!(
        browser,
        Some(0),
        "the engine has no {BROWSER}: run image/build.sh (make test does it)"
    );
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tiny/build.sh");
    run(script, |command| {
        command.arg(TINY);
    })
    .expect_code(0);
    run(script, |command| {
        let check = "HEALTHCHECK --interval=1s --timeout=5s --retries=2 CMD [\"/tiny\", \"ping\"]";
        command.args([TINY_CHECKED, check]);
    })
    .expect_code(0);
}
