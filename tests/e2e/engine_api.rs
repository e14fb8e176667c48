//! What the daemon asks of the engine over a full life, behind a proxy that lets through what `examples/docker/compose.yaml`
//! allows and nothing else; and that docs/engine-api.md names exactly that.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use super::daemon::Daemon;
use super::engine::{TINY_CHECKED, docker, must};
use super::lab::{Lab, REPOSITORY, network, tiny};
use super::proxy::Proxy;
use super::said::{check, eventually};

const SOON: Duration = Duration::from_secs(60);

/// The rules of the proxy as the compose file gives them, `GET=/regex` each.
pub fn rules() -> Vec<String> {
    let text = fs::read_to_string(format!("{REPOSITORY}/examples/docker/compose.yaml"));
    let compose: serde_json::Value =
        serde_yaml::from_str(&text.expect("an example")).expect("YAML");
    let arguments = compose["services"]["engine"]["command"].as_array();
    let arguments = arguments.expect("the proxy's arguments").iter();
    arguments
        .filter_map(|argument| argument.as_str()?.strip_prefix("-allow"))
        .map(str::to_owned)
        .collect()
}

/// The calls that the page lists: `GET /containers/{id}/json`.
fn documented() -> BTreeSet<String> {
    let page = fs::read_to_string(format!("{REPOSITORY}/docs/engine-api.md")).expect("the page");
    page.lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .filter(|(call, _)| call.contains(" /"))
        .map(|(call, _)| call.to_owned())
        .collect()
}

/// A call as the page would list it: without its query, and with a name for what differs each time.
fn shape(call: &str) -> String {
    let (method, path) = call.split_once(' ').expect("method and path");
    let (path, refused) = match path.strip_suffix(" refused") {
        Some(path) => (path, " refused"),
        None => (path, ""),
    };
    let path = path.split('?').next().unwrap_or_default();
    let parts: Vec<&str> = path.split('/').collect();
    let named = |at: usize, part: &&str| match (parts[1], at, *part) {
        ("containers", 2, part) if !["json", "create"].contains(&part) => "{id}".to_owned(),
        ("networks" | "volumes", 2, part) if part != "create" => "{name}".to_owned(),
        _ => (*part).to_owned(),
    };
    let path = if parts[1] == "images" && path.ends_with("/json") && parts.len() > 3 {
        "/images/{name}/json".to_owned()
    } else {
        let parts: Vec<String> = parts.iter().enumerate().map(|(n, p)| named(n, p)).collect();
        parts.join("/")
    };
    format!("{method} {path}{refused}")
}

/// A network of this test's own: the making of it is part of a life.
struct Network(String);

impl Drop for Network {
    fn drop(&mut self) {
        docker(&["network", "rm", &self.0]);
    }
}

fn configure(lab: &Lab, network_name: &str) {
    let path = lab.path("instanced.yaml");
    let text = fs::read_to_string(&path).expect("it was just written");
    let shared = format!("name: {}", network());
    assert!(text.contains(&shared), "{text}");
    fs::write(
        path,
        text.replace(&shared, &format!("name: {network_name}")),
    )
    .expect("a file");
}

fn phase(lab: &Lab, name: &str, wanted: &str) {
    eventually(&format!("{name} is {wanted}"), SOON, || {
        match lab.status(name)? {
            (phase, _) if phase == wanted => Ok(()),
            (phase, reason) => Err(format!("{phase}: {reason}")),
        }
    });
}

/// Creates, updates, replaces by both ways, stops, starts, restarts, removes; reads logs and figures; is told of what
/// others do.
fn live(lab: &Lab) {
    fs::create_dir(lab.path("secrets")).expect("a new directory");
    fs::write(lab.path("secrets/key"), "s3cret").expect("a secret");
    let secret = lab.path("secrets/key").display().to_string();
    let rich = |memory: &str, env: &str| {
        tiny(&format!(
            "secrets: {{ api_key: {{ from_file: {secret} }} }}\n\
             volumes: [ {{ name: data, target: /data }} ]\n\
             env: {{ ROUND: \"{env}\" }}\n"
        ))
        .replace("32MiB", memory)
    };
    lab.save("rich", &rich("32MiB", "1"));
    // One with a password that is generated, as the browser's template has it.
    lab.save(
        "screen",
        "image: instanced/tiny:1\nentrypoint: [/tiny]\nresources: { memory: 32MiB, shm: 1MiB }\n",
    );
    lab.instanced(&["reconcile", "--dry-run"]).expect_code(0);
    let daemon = Daemon::start(lab);
    phase(lab, "rich", "running");
    phase(lab, "screen", "running");
    lab.save("rich", &rich("48MiB", "1"));
    eventually("its memory is changed in place", SOON, || {
        let said = lab.instanced(&["history", "rich"]).all();
        if said.contains("update") {
            Ok(())
        } else {
            Err(said)
        }
    });
    lab.save("rich", &rich("48MiB", "2"));
    eventually("it is replaced", SOON, || {
        let container = lab.container("rich")?;
        if container.name.ends_with("-g2") {
            Ok(())
        } else {
            Err(container.name)
        }
    });
    // A swap that starts first, of an image with a check, which is asked for at its registry; and none is there.
    let swap = |round: u32| {
        let text = format!(
            "replace: start-first\nenv: {{ ROUND: \"{round}\" }}\nhealth: {{ interval: 1s, timeout: 1s }}\n"
        );
        tiny(&text).replace("instanced/tiny:1", TINY_CHECKED)
    };
    lab.save("swap", &swap(1));
    phase(lab, "swap", "running");
    lab.save("swap", &swap(2));
    eventually("it is swapped", SOON, || {
        let container = lab.container("swap")?;
        if container.name.ends_with("-g2") {
            Ok(())
        } else {
            Err(container.name)
        }
    });
    lab.save("absent", "template: mcp-http\nimage: 127.0.0.1:9/none:1\n");
    eventually("a pull is tried", SOON, || {
        let said = lab.instanced(&["status", "absent"]).all();
        if said.contains("127.0.0.1:9") && lab.log().contains("pull image") {
            Ok(())
        } else {
            Err(said)
        }
    });
    lab.delete("absent");
    for (order, wanted) in [
        ("restart", "running"),
        ("stop", "stopped"),
        ("start", "running"),
        ("recreate", "running"),
    ] {
        lab.instanced(&[order, "rich"]).expect_code(0);
        phase(lab, "rich", wanted);
    }
    lab.instanced(&["logs", "rich", "--tail", "1"])
        .expect_code(0);
    lab.instanced(&["status", "rich"]).expect_code(0);
    lab.instanced(&["top", "--once"]).expect_code(0);
    lab.instanced(&["connect", "rich"]).expect_code(0);
    lab.instanced(&["snapshot"]).expect_code(0);
    // There is no Traefik here, which it says, and exits with 1.
    lab.instanced(&["doctor"]).expect_words(&["engine"]);
    // Somebody's hand: seen by an event, and set right.
    let id = lab.container("rich").expect("it runs").id;
    must(&["update", "--cpus", "0.25", &id]);
    must(&["kill", &lab.container("swap").expect("it runs").id]);
    phase(lab, "swap", "running");
    lab.delete("swap");
    eventually("what has no manifest goes", SOON, || {
        match lab.containers("swap").len() {
            0 => Ok(()),
            n => Err(format!("{n} containers")),
        }
    });
    lab.instanced(&["reconcile"]);
    daemon.terminate();
    // A new daemon that has lost its state reads passwords and records back.
    fs::remove_dir_all(lab.path("state")).expect("its state");
    lab.instanced(&["reconcile"]).expect_code(0);
}

#[test]
fn the_proxy_of_the_example_lets_through_what_a_life_needs_and_the_page_lists() {
    // It goes after the lab, which has containers on it.
    let mut own = Network(String::new());
    let lab = Lab::open("engine-api");
    own.0 = format!("{}-net", lab.manager);
    let rules = rules();
    let proxy = Proxy::filtering(
        &lab,
        &rules,
        "reconcile: { resync: 5s, prune: { max: 100% } }\n",
    );
    configure(&lab, &own.0);
    live(&lab);
    let seen: BTreeSet<String> = proxy.calls().iter().map(|call| shape(call)).collect();
    check("engine API", "nothing was refused", || {
        let refused: Vec<_> = seen
            .iter()
            .filter(|call| call.ends_with("refused"))
            .collect();
        assert_eq!(refused, Vec::<&String>::new());
    });
    check(
        "engine API",
        "docs/engine-api.md lists these calls and no other",
        || {
            assert_eq!(seen, documented());
        },
    );
}
