//! Whatever a manifest says, what the engine is asked to mount, run as and expose lies inside the policy. The rules
//! here are written a second time, in another way than the program's.

use std::cell::Cell;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};

use super::body;
use crate::doors::engine::draft::draft;
use crate::words::config::{Config, IdRange, Verdict};
use crate::words::desired::{Snapshot, SourceFile};
use crate::words::manifest::Auth;
use crate::words::resolve::resolve;
use crate::words::spec::Spec;

const CASES: u32 = 1_500;

fn text<const N: usize>(all: [&'static str; N]) -> impl Strategy<Value = String> {
    select(all.to_vec()).prop_map(str::to_owned)
}

fn host_path() -> impl Strategy<Value = String> {
    let part = text([
        "srv",
        "share",
        "a",
        ".",
        "..",
        "",
        "run",
        "docker.sock",
        "var",
        "lib",
        "docker",
        "proc",
        "etc",
        "x\ny",
    ]);
    let random = vec(part, 0..7).prop_map(|parts| format!("/{}", parts.join("/")));
    let near = text([
        "/srv/share/b",
        "/srv/x",
        "/etc",
        "/srv/share",
        "/srv/share/",
        "/srv/share/.",
        "/srv/share/a",
        "/srv/share/a/../b",
        "/srv/./x",
        "srv/x",
        "/srv/share/..",
        "/srv/share/a/../../../etc",
        "//srv//share//a",
        "/srv/docker.sock",
    ]);
    prop_oneof![random, near]
}

fn user() -> impl Strategy<Value = String> {
    text([
        "0",
        "00",
        "+0",
        "0:0",
        "1000",
        "1000:0",
        "0:1000",
        "1000:1000",
        "1500:1500",
        "root",
        "1000:root",
        "01000",
        "4294967295",
        "-1",
        "",
        ":",
        "1000:",
        " 1000",
        "65534:65534",
    ])
}

fn endpoint() -> impl Strategy<Value = Value> {
    let port = select(vec![8080_u16, 6080, 22]);
    let path = text(["/mcp", "/vnc.html", "/"]);
    let auth = text(["none", "bearer", "ticket"]);
    (port, path, auth)
        .prop_map(|(port, path, auth)| json!({ "port": port, "path": path, "auth": auth }))
}

fn manifest() -> impl Strategy<Value = Value> {
    let template = text(["mcp-http", "playwright-browser"]);
    let image = prop::option::of(text(["acme/x:1", "localhost/instanced/browser:1"]));
    let volume = (host_path(), any::<bool>(), 0..9_u8).prop_map(|(host, read_only, number)| {
        json!({ "host": host, "target": format!("/m{number}"), "read_only": read_only })
    });
    let volumes = prop_oneof![2 => vec(volume, 1..3), 1 => Just(Vec::new())];
    let caps = vec!["NET_ADMIN", "cap_sys_admin", "SYS_PTRACE", "ALL"];
    let cap_add = prop_oneof![2 => Just(Vec::new()), 1 => subsequence(caps, 0..3)];
    let user = prop_oneof![
        2 => Just(None),
        2 => text(["0:0", "0", "0:1000", "1500", "1000:1000"]).prop_map(Some),
        1 => user().prop_map(Some),
    ];
    let endpoints = vec((text(["mcp", "vnc", "x"]), endpoint()), 0..3);
    let label = text([
        "team",
        "traefik.enable",
        "Traefik.http.routers.x.rule",
        "TRAEFIK.ENABLE",
        "instanced.instance",
        "Instanced.Manager",
    ]);
    let labels = prop_oneof![3 => Just(Vec::new()), 1 => vec(label, 0..2)];
    (template, image, volumes, cap_add, user, endpoints, labels).prop_map(
        |(template, image, volumes, cap_add, user, endpoints, labels)| {
            let mut manifest = json!({
                "template": template,
                "volumes": volumes,
                "security": { "cap_add": cap_add },
                "endpoints": endpoints.into_iter().collect::<serde_json::Map<_, _>>(),
                "labels": labels.into_iter().map(|key| (key, json!("x"))).collect::<serde_json::Map<_, _>>(),
            });
            if let Some(user) = user {
                manifest["security"]["user"] = json!(user);
            }
            if template == "mcp-http" || image.is_some() {
                manifest["image"] = json!(image.unwrap_or_else(|| "acme/x:1".to_owned()));
            }
            manifest
        },
    )
}

fn config() -> impl Strategy<Value = Config> {
    let paths = subsequence(vec!["/srv/*", "/srv/share", "/srv/share/*", "*"], 0..5);
    let caps = subsequence(vec!["NET_ADMIN", "SYS_ADMIN", "SYS_PTRACE"], 0..3);
    let all = (1, 4_294_967_294);
    let range = select(vec![
        all,
        all,
        all,
        (0, 0),
        (0, 999),
        (1000, 1000),
        (1000, 1999),
    ]);
    let ids = || vec(range.clone(), 1..4);
    let verdict = select(vec![Verdict::Allow, Verdict::Warn, Verdict::Deny]);
    (paths, caps, ids(), ids(), verdict).prop_map(|(paths, caps, uids, gids, verdict)| {
        let owned = |all: Vec<&str>| all.into_iter().map(str::to_owned).collect();
        let ranges = |all: Vec<(u32, u32)>| {
            let all = all.into_iter();
            all.map(|(first, last)| IdRange { first, last }).collect()
        };
        let mut config = Config::default();
        config.policy.host_paths.allow = owned(paths);
        config.policy.cap_add.allow = owned(caps);
        config.policy.users.uids = ranges(uids);
        config.policy.users.gids = ranges(gids);
        config.policy.auth_none = verdict;
        config
    })
}

fn specs(manifest: &Value, config: &Config) -> Vec<Spec> {
    let file = SourceFile::of_text("i/a.yaml", manifest.to_string());
    let snapshot = Snapshot {
        revision: "r".to_owned(),
        manifests: vec![file],
        ..Snapshot::default()
    };
    let desired = resolve(&snapshot, config).expect("there is no fleet.yaml");
    desired
        .specs
        .into_values()
        .map(|spec| (*spec).clone())
        .collect()
}

/// Whether policy allows a path, by rules of this file.
fn may_mount(path: &str, globs: &[String]) -> bool {
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let is_plain =
        path.starts_with('/') && parts.iter().all(|part| !["", ".", ".."].contains(part));
    let is_named = globs.iter().any(|glob| match glob.strip_suffix('*') {
        Some(begin) => path.len() > begin.len() && path.starts_with(begin),
        None => path == glob,
    });
    let leads_to_engine = match parts.as_slice() {
        ["proc" | "dev" | "sys", ..]
        | ["var" | "run"]
        | ["run", "docker", ..]
        | ["var", "lib" | "run"]
        | ["var", "lib" | "run", "docker", ..] => true,
        parts => parts
            .iter()
            .any(|part| Path::new(part).extension().is_some_and(|end| end == "sock")),
    };
    is_plain && is_named && !leads_to_engine && !path.contains('\n')
}

fn has(ranges: &[IdRange], id: &str) -> bool {
    let id: u64 = id.parse().expect("a number");
    let mut ranges = ranges.iter();
    ranges.any(|range| (u64::from(range.first)..=u64::from(range.last)).contains(&id))
}

/// What is outside of the policy in what the engine is asked for.
fn outside(spec: &Spec, config: &Config) -> Vec<String> {
    let policy = &config.policy;
    let asked = body(
        &draft(&config.manager, spec, 1, true),
        "net-id",
        "json-file",
    );
    let host = asked.host_config.clone().unwrap_or_default();
    let mut found = Vec::new();
    let mut must = |holds: bool, what: String| {
        if !holds {
            found.push(what);
        }
    };
    for mount in host.mounts.iter().flatten() {
        let source = mount.source.clone().unwrap_or_default();
        let is_ours = source.starts_with("instanced-default-a-");
        must(
            is_ours || may_mount(&source, &policy.host_paths.allow),
            format!("mounts {source}"),
        );
    }
    must(host.binds.is_none(), "binds".to_owned());
    let user = asked.user.unwrap_or_default();
    let (uid, gid) = user.split_once(':').expect("both");
    must(
        has(&policy.users.uids, uid) && has(&policy.users.gids, gid),
        format!("runs as {user}"),
    );
    for cap in host.cap_add.iter().flatten() {
        must(policy.cap_add.allow.contains(cap), format!("adds {cap}"));
    }
    must(
        host.cap_drop == Some(vec!["ALL".to_owned()]),
        "drops less than all".to_owned(),
    );
    must(
        host.security_opt == Some(vec!["no-new-privileges:true".to_owned()]),
        format!("{:?}", host.security_opt),
    );
    must(host.privileged == Some(false), "privileged".to_owned());
    must(
        host.publish_all_ports == Some(false),
        "publishes all ports".to_owned(),
    );
    must(
        host.port_bindings.is_none() && asked.exposed_ports.is_none(),
        "publishes".to_owned(),
    );
    must(
        host.network_mode.as_deref() == Some("net-id"),
        format!("{:?}", host.network_mode),
    );
    must(
        asked.networking_config.is_none(),
        "joins networks".to_owned(),
    );
    must(
        host.devices.is_none()
            && host.pid_mode.is_none()
            && host.userns_mode.is_none()
            && host.volumes_from.is_none(),
        "shares what is the host's".to_owned(),
    );
    for key in spec.labels.keys() {
        let lower = key.to_lowercase();
        must(
            !lower.starts_with("traefik.") && !lower.starts_with("instanced."),
            format!("labels {key}"),
        );
    }
    for (name, endpoint) in &spec.endpoints {
        let is_own_screen = spec.template.starts_with("playwright-browser")
            && spec.image == "localhost/instanced/browser:1"
            && (name.as_str(), endpoint.port, endpoint.path.as_str()) == ("vnc", 6080, "/vnc.html")
            // Other variables and mounts can put another program in its place.
            && spec.env.keys().all(|key| is_harmless(key))
            && spec.volumes.iter().all(|volume| is_data(&volume.target))
            && spec.security.tmpfs.keys().all(|path| path.starts_with("/tmp") || is_data(path));
        let is_guarded = endpoint.auth != Auth::None || is_own_screen;
        must(
            policy.auth_none != Verdict::Deny || is_guarded,
            format!("opens {name}"),
        );
    }
    found
}

/// Whether a variable changes no program of the browser's image.
fn is_harmless(key: &str) -> bool {
    let known = [
        "TZ",
        "LANG",
        "MCP_IDLE_TIMEOUT_SECS",
        "PLAYWRIGHT_MCP_PING_TIMEOUT_MS",
    ];
    known.contains(&key) || key.to_lowercase().ends_with("_proxy")
}

/// Whether no program of the browser's image is read from here.
fn is_data(path: &str) -> bool {
    let data = [
        "/home/mcp/profile",
        "/home/mcp/downloads",
        "/data",
        "/mnt",
        "/srv",
    ];
    data.iter().any(|dir| {
        path.strip_prefix(dir)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

#[test]
fn what_the_engine_is_asked_for_lies_inside_the_policy() {
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let settings = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(CASES)
    };
    let mut runner = TestRunner::new_with_rng(settings, rng);
    let (mounted, root, opened, held) = (Cell::new(0), Cell::new(0), Cell::new(0), Cell::new(0));
    let count = |cell: &Cell<u32>, is_so: bool| cell.set(cell.get() + u32::from(is_so));
    let result = runner.run(&(manifest(), config()), |(manifest, config)| {
        let specs = specs(&manifest, &config);
        count(&held, specs.is_empty());
        for spec in specs {
            count(&mounted, !spec.volumes.is_empty());
            count(&root, spec.security.uid == 0);
            count(
                &opened,
                spec.endpoints.values().any(|it| it.auth == Auth::None),
            );
            let outside = outside(&spec, &config);
            prop_assert!(outside.is_empty(), "{outside:?}");
        }
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    // The cases try what they are for.
    let seen = [mounted.get(), root.get(), opened.get(), held.get()];
    assert!(seen.iter().all(|times| *times > 20), "{seen:?}");
}

/// Each is a fault that the program could have: the rules above must see it.
#[test]
fn the_rules_see_what_is_outside_of_the_policy() {
    use crate::words::spec::{Volume, VolumeSource};
    type Fault = fn(&mut Spec);
    let mut config = Config::default();
    config.policy.host_paths.allow = vec!["/srv/share/*".to_owned()];
    config.policy.auth_none = Verdict::Deny;
    let manifest = json!({ "template": "mcp-http", "image": "acme/x:1" });
    let spec = specs(&manifest, &config).pop().expect("a spec");
    assert_eq!(outside(&spec, &config), [] as [String; 0]);
    let mount = |path: &str| Volume {
        source: VolumeSource::Host(path.to_owned()),
        target: "/x".to_owned(),
        read_only: true,
    };
    for path in [
        "/srv/share/.",
        "/srv/share/a/..",
        "/srv/share",
        "/srv/share/docker.sock",
        "/etc",
    ] {
        let mut spec = spec.clone();
        spec.volumes.push(mount(path));
        assert_eq!(outside(&spec, &config), [format!("mounts {path}")]);
    }
    let faults: [Fault; 5] = [
        |spec| spec.security.uid = 0,
        |spec| spec.security.gid = 0,
        |spec| spec.security.cap_add.push("NET_ADMIN".to_owned()),
        |spec| {
            drop(
                spec.labels
                    .insert("traefik.enable".to_owned(), "true".to_owned()),
            );
        },
        |spec| {
            spec.endpoints
                .values_mut()
                .for_each(|it| it.auth = Auth::None);
        },
    ];
    for fault in faults {
        let mut spec = spec.clone();
        fault(&mut spec);
        assert_eq!(outside(&spec, &config).len(), 1);
    }
}
