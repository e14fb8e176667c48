use std::net::{IpAddr, Ipv4Addr};

use super::super::containers::{DraftMount, MountSource};
use super::super::settings::HealthCheck;
use super::*;
use crate::words::manifest::Restart;
use crate::words::observed::{Limits, Phase};
use crate::words::quantity::Span;

fn texts(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = pairs.iter().map(|(key, value)| (*key, *value));
    owned
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn the_draft() -> Draft {
    Draft {
        name: "instanced-default-a-g1".to_owned(),
        image: "tiny:1".to_owned(),
        entrypoint: None,
        command: None,
        env: texts(&[("A", "1"), ("LANG", "C")]),
        labels: texts(&[
            ("team", "qa"),
            (label::DRAFT_VERSION, "1"),
            ("instanced.spec", "{}"),
        ]),
        hostname: "a".to_owned(),
        user: "1000:1000".to_owned(),
        memory: 0,
        nano_cpus: 0,
        pids: 0,
        shm: 1 << 20,
        restart: Restart::No,
        cap_add: Vec::new(),
        read_only: true,
        tmpfs: BTreeMap::from([("/tmp".to_owned(), 1 << 20)]),
        mounts: vec![DraftMount {
            source: MountSource::Volume("v".to_owned()),
            target: "/data/".to_owned(),
            read_only: false,
        }],
        network: "mcp".to_owned(),
        stop_grace_secs: 10,
    }
}

fn the_image() -> ImageConfig {
    ImageConfig {
        entrypoint: vec!["/tiny".to_owned()],
        command: vec!["serve".to_owned()],
        env: texts(&[("LANG", "image"), ("OWN", "1")]),
        labels: texts(&[("team", "image"), ("maintainer", "x")]),
        working_dir: "/srv".to_owned(),
        volumes: BTreeSet::from(["/data".to_owned(), "/cache/".to_owned(), "/tmp".to_owned()]),
        health_check: Some(HealthCheck {
            test: vec!["CMD".to_owned(), "/ping".to_owned()],
            interval: Span::secs(30),
            timeout: Span::secs(30),
            start_period: Span::secs(0),
            retries: 3,
        }),
        stop_signal: "SIGINT".to_owned(),
    }
}

/// What an engine makes of both.
fn the_container() -> Container {
    let image = the_image();
    let anonymous = Mounted {
        source: MountedSource::Anonymous,
        read_only: false,
    };
    let volume = Mounted {
        source: MountedSource::Volume("v".to_owned()),
        read_only: false,
    };
    let tmpfs = Tmpfs {
        size: 1 << 20,
        hardened: true,
    };
    Container {
        id: "12abcdef".to_owned(),
        name: "instanced-default-a-g1".to_owned(),
        labels: texts(&[
            ("team", "qa"),
            ("maintainer", "x"),
            (label::DRAFT_VERSION, "1"),
            (label::AUTHOR, "somebody"),
        ]),
        phase: Phase::Running,
        health: None,
        image_id: "sha256:1".to_owned(),
        addresses: BTreeMap::from([("mcp".to_owned(), IpAddr::V4(Ipv4Addr::LOCALHOST))]),
        started: None,
        limits: Limits {
            memory: None,
            memory_swap: None,
            cpus: None,
            pids: None,
            restart: Restart::No,
        },
        restarts: 0,
        settings: Settings {
            entrypoint: image.entrypoint,
            command: image.command,
            env: texts(&[("A", "1"), ("LANG", "C"), ("OWN", "1")]),
            hostname: "a".to_owned(),
            user: "1000:1000".to_owned(),
            working_dir: image.working_dir,
            shm: 1 << 20,
            capabilities: BTreeSet::new(),
            read_only: true,
            tmpfs: BTreeMap::from([("/tmp".to_owned(), tmpfs)]),
            mounts: BTreeMap::from([
                ("/cache".to_owned(), anonymous),
                ("/data".to_owned(), volume),
            ]),
            networks: BTreeMap::from([("mcp".to_owned(), Some("9ab".to_owned()))]),
            health_check: image.health_check,
            stop_grace_secs: Some(10),
            stop_signal: image.stop_signal,
            beside: Vec::new(),
        },
    }
}

fn ids() -> BTreeSet<String> {
    BTreeSet::from(["9ab".to_owned()])
}

/// Fields that drift after an edit.
fn fields(edit: impl FnOnce(&mut Container)) -> Vec<String> {
    let mut found = the_container();
    edit(&mut found);
    let told = drift(&the_draft(), Some(&the_image()), &ids(), &found);
    told.into_iter().map(|drift| drift.field).collect()
}

const NONE: [&str; 0] = [];

#[test]
fn what_draft_and_image_say_is_no_drift() {
    assert_eq!(fields(|_| {}), NONE);
}

#[test]
fn what_engines_add_to_an_environment_is_no_drift() {
    assert_eq!(
        fields(|found| {
            found.settings.env.extend(texts(&[
                ("container", "podman"),
                ("HOSTNAME", "12abcdef"),
                ("HOME", "/home/mcp"),
                ("TERM", "xterm"),
                ("PATH", "/usr/local/sbin:/usr/sbin:/bin"),
                ("HTTPS_PROXY", "http://proxy:3128"),
            ]));
        }),
        NONE
    );
    // None of these is what an engine adds.
    for (key, value) in [
        ("HOSTNAME", "other"),
        ("TERM", "vt100"),
        ("PATH", "/evil"),
        ("container", "x"),
        ("https_proxy", "http://proxy"),
    ] {
        let found = fields(|found| {
            found.settings.env.insert(key.to_owned(), value.to_owned());
        });
        let podman = key == "container";
        assert!(
            found.contains(&format!("env.{key}")) || podman && found.len() == 1,
            "{key}"
        );
    }
}

#[test]
fn a_value_that_the_draft_sets_is_compared_whatever_engines_add() {
    let mut draft = the_draft();
    draft.env.insert("TERM".to_owned(), "vt100".to_owned());
    let mut found = the_container();
    found
        .settings
        .env
        .insert("TERM".to_owned(), "xterm".to_owned());
    let told = drift(&draft, Some(&the_image()), &ids(), &found);
    assert_eq!(told.len(), 1);
    assert_eq!(
        (
            told[0].field.as_str(),
            told[0].recorded.clone(),
            told[0].found.clone()
        ),
        ("env.TERM", Some("vt100".into()), Some("xterm".into()))
    );
}

#[test]
fn a_network_is_known_by_name_or_id() {
    let on = |name: &str, id: Option<&str>| {
        fields(|found| {
            found.settings.networks = BTreeMap::from([(name.to_owned(), id.map(str::to_owned))]);
        })
    };
    assert_eq!(on("mcp", Some("9ab")), NONE);
    assert_eq!(on("mcp", None), NONE, "it never ran");
    assert_eq!(on("mcp", Some("mcp")), NONE, "Podman's id is the name");
    assert_eq!(on("9ab", Some("9ab")), NONE, "known by its id");
    assert_eq!(on("mcp", Some("another")), ["networks.mcp"]);
    assert_eq!(on("bridge", Some("x")), ["networks.bridge", "networks.mcp"]);
    assert_eq!(on("host", Some("x")), ["networks.host", "networks.mcp"]);
}

#[test]
fn an_entry_point_of_its_own_takes_the_images_command_away() {
    let mut draft = the_draft();
    draft.entrypoint = Some(vec!["/other".to_owned()]);
    let mut found = the_container();
    found.settings.entrypoint = vec!["/other".to_owned()];
    found.settings.command.clear();
    assert_eq!(drift(&draft, Some(&the_image()), &ids(), &found), []);
    draft.command = Some(vec!["x".to_owned()]);
    let told = drift(&draft, Some(&the_image()), &ids(), &found);
    assert_eq!(told[0].field, "command");
    assert_eq!(told[0].found, None);
}

#[test]
fn an_entry_point_of_one_empty_word_is_none() {
    let mut draft = the_draft();
    draft.entrypoint = Some(vec![String::new()]);
    draft.command = Some(vec!["/other".to_owned()]);
    let mut found = the_container();
    found.settings.entrypoint.clear();
    found.settings.command = vec!["/other".to_owned()];
    assert_eq!(drift(&draft, Some(&the_image()), &ids(), &found), []);
    found.settings.entrypoint = vec!["/tiny".to_owned()];
    let told = drift(&draft, Some(&the_image()), &ids(), &found);
    assert_eq!(told[0].field, "entrypoint", "the image's is back");
}

#[test]
fn without_the_image_what_it_decides_is_left_out() {
    let mut found = the_container();
    found.settings.working_dir = "/x".to_owned();
    found.settings.command = vec!["x".to_owned()];
    found.settings.env.insert("MORE".to_owned(), "1".to_owned());
    found.labels.insert("more".to_owned(), "1".to_owned());
    assert_eq!(drift(&the_draft(), None, &ids(), &found), []);
    found.settings.env.insert("A".to_owned(), "2".to_owned());
    assert_eq!(drift(&the_draft(), None, &ids(), &found)[0].field, "env.A");
}

#[test]
fn a_volume_below_a_memory_file_system_may_be_there_or_not() {
    let edit = |found: &mut Container| {
        let anonymous = found.settings.mounts["/cache"].clone();
        found.settings.mounts.insert("/tmp".to_owned(), anonymous);
    };
    assert_eq!(fields(edit), NONE);
    assert_eq!(
        fields(|found| {
            found.settings.mounts.remove("/cache");
        }),
        ["volumes./cache"]
    );
}

#[test]
fn a_form_that_is_not_ours_is_compared_with_care() {
    let routed = |version: Option<&str>| {
        fields(|found| {
            found.labels.remove(label::DRAFT_VERSION);
            if let Some(version) = version {
                let key = label::DRAFT_VERSION.to_owned();
                found.labels.insert(key, version.to_owned());
            }
            found
                .labels
                .insert("traefik.enable".to_owned(), "x".to_owned());
            found.settings.hostname = "x".to_owned();
        })
    };
    assert_eq!(routed(Some("2")), ["hostname", "labels.traefik.enable"]);
    assert_eq!(
        routed(Some("1")),
        ["hostname"],
        "requests were not read whole then"
    );
    assert_eq!(
        routed(None),
        ["hostname"],
        "before forms were written, routes were others"
    );
    assert_eq!(routed(Some("99")), NONE, "a newer version's business");
}

#[test]
fn what_the_adapter_found_beside_is_told() {
    let told = fields(|found| {
        found.settings.beside.push(Drift {
            field: "privileged".to_owned(),
            recorded: Some(false.into()),
            found: Some(true.into()),
        });
    });
    assert_eq!(told, ["privileged"]);
}
