//! Every mistake gets one clear message: what, where, and the way out.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use super::daemon::Daemon;
use super::lab::{Lab, tiny};
use super::said::check;

/// A fleet of one manifest, and what `validate` must say of it.
fn is_refused(mistake: &str, files: &[(&str, &str)], words: &[&str]) {
    check("mistakes", mistake, || {
        let lab = Lab::open("mistakes");
        for (name, text) in files {
            lab.save(name, text);
        }
        lab.instanced(&["validate"])
            .expect_code(1)
            .expect_words(words);
    });
}

#[test]
fn validate_says_yes_or_no() {
    check("mistakes", "validate ends with 0 where all is well", || {
        let lab = Lab::open("valid");
        lab.save("alice", "screen: { width: 800, height: 600 }\n");
        lab.save("bob", "{}\n");
        lab.instanced(&["validate"]).expect_code(0);
    });
    is_refused(
        "an unknown key, with the nearest known one",
        &[("alice", "owner: me\nresorces: {}\n")],
        &["alice.yaml:2:1", "resorces", "`resources`"],
    );
    is_refused(
        "a name that is no DNS label",
        &[("Alice_1", "{}\n")],
        &["Alice_1", "DNS label"],
    );
    is_refused(
        "a host name that two endpoints would share",
        &[
            (
                "b",
                "endpoints: { mcp-a: { port: 9000, path: /, auth: bearer } }\n",
            ),
            ("a-b", "{}\n"),
        ],
        &["mcp-a-b", "a-b"],
    );
    is_refused(
        "a value of the wrong kind",
        &[("alice", "screen: { width: wide }\n")],
        &["alice.yaml:1:", "width"],
    );
    is_refused(
        "all problems of all files at once",
        &[
            ("alice", "resorces: {}\n"),
            ("bob", "stat: running\n"),
            ("carol", "a: [\n"),
        ],
        &["alice.yaml:1:1", "bob.yaml:1:1", "carol.yaml:"],
    );
}

#[test]
fn a_mistake_in_the_config_is_told_with_its_place() {
    check("mistakes", "an unknown key of instanced.yaml", || {
        let lab = Lab::open("config");
        lab.configure("reconcil: { resync: 1s }\n");
        lab.instanced(&["validate"]).expect_code(1).expect_words(&[
            "instanced.yaml:",
            "reconcil",
            "`reconcile`",
        ]);
    });
}

#[test]
fn an_unreachable_engine_is_told_with_what_was_tried() {
    check("mistakes", "an unreachable engine", || {
        let lab = Lab::open("nowhere");
        lab.save("alice", "{}\n");
        lab.configure("engine: { docker: { host: \"unix:///nowhere/docker.sock\" } }\n");
        let words = [
            "container engine",
            "/nowhere/docker.sock",
            "engine.docker.host",
        ];
        lab.instanced(&["reconcile"])
            .expect_code(1)
            .expect_words(&words);
        lab.instanced(&["reconcile", "--dry-run"])
            .expect_code(1)
            .expect_words(&words);
    });
}

#[test]
fn a_port_in_use_is_told_with_its_key() {
    check("mistakes", "a port in use", || {
        let lab = Lab::open("port");
        let _taken = TcpListener::bind(lab.auth).expect("a free port");
        let status = Daemon::launch(&lab).exited(Duration::from_secs(10));
        assert_eq!(status.code(), Some(1), "{}", lab.log());
        let log = lab.log();
        for word in [&*lab.auth.to_string(), "in use", "listen.auth"] {
            assert!(log.contains(word), "it does not say `{word}`:\n{log}");
        }
    });
}

#[test]
fn what_one_instance_lacks_stops_no_other() {
    check(
        "mistakes",
        "an unreadable secret and an absent image are told; a third instance comes up",
        || {
            let lab = Lab::open("lacks");
            std::fs::create_dir(lab.path("secrets")).expect("a new directory");
            let absent = lab.path("secrets").join("absent").display().to_string();
            lab.save(
                "secretive",
                &tiny(&format!("secrets: {{ key: {{ from_file: {absent} }} }}")),
            );
            lab.save(
                "imageless",
                "template: mcp-http\nimage: instanced/does-not-exist:1\n",
            );
            lab.save("fine", &tiny(""));
            let said = lab.instanced(&["reconcile"]);
            assert!(said.code == Some(1) || said.code == Some(3), "{said}");
            said.expect_words(&[
                "secretive",
                &absent,
                "no such file",
                "imageless",
                "instanced/does-not-exist:1",
            ]);
            lab.container("fine").expect("it runs");
            assert_eq!(lab.containers("secretive"), []);
            assert_eq!(lab.containers("imageless"), []);
        },
    );
}

#[test]
fn a_secret_that_becomes_unreadable_holds_its_instance() {
    check(
        "mistakes",
        "an instance whose secret went away runs on",
        || {
            let lab = Lab::open("secret");
            std::fs::create_dir(lab.path("secrets")).expect("a new directory");
            let secret = lab.path("secrets").join("key");
            std::fs::write(&secret, "s3cret").expect("a secret");
            std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600))
                .expect("our own file");
            let with_secret = format!("secrets: {{ key: {{ from_file: {} }} }}", secret.display());
            lab.save("one", &tiny(&with_secret));
            lab.instanced(&["reconcile"]).expect_code(0);
            let before = lab.container("one").expect("it runs");
            std::fs::remove_file(&secret).expect("it was there");
            let said = lab.instanced(&["reconcile"]);
            assert_ne!(said.code, Some(0), "{said}");
            said.expect_words(&["one", &secret.display().to_string()]);
            assert_eq!(lab.container("one"), Ok(before));
        },
    );
}

#[test]
fn a_secret_is_nowhere_but_in_its_file() {
    check(
        "mistakes",
        "a secret shows neither in inspect, nor in logs, nor in a plan",
        || {
            const VALUE: &str = "v3ry-s3cret-value";
            let lab = Lab::open("hidden");
            std::fs::create_dir(lab.path("secrets")).expect("a new directory");
            let secret = lab.path("secrets").join("key");
            std::fs::write(&secret, VALUE).expect("a secret");
            lab.save(
                "one",
                &tiny(&format!(
                    "secrets: {{ key: {{ from_file: {} }} }}",
                    secret.display()
                )),
            );
            let told = [
                lab.instanced(&["reconcile", "--dry-run"])
                    .expect_code(0)
                    .all(),
                lab.instanced(&["-v", "reconcile"]).expect_code(0).all(),
                lab.instanced(&["--format", "json", "status"]).all(),
            ];
            let container = lab.container("one").expect("it runs");
            let inspected = super::engine::must(&["inspect", &container.id]);
            for text in told.iter().chain([&inspected]) {
                assert!(!text.contains(VALUE), "the secret stands in:\n{text}");
            }
            let read =
                super::engine::must(&["exec", &container.id, "/tiny", "cat", "/run/secrets/key"]);
            assert_eq!(read, VALUE);
            let facts =
                super::engine::must(&["exec", &container.id, "/tiny", "stat", "/run/secrets/key"]);
            assert!(facts.starts_with("0400"), "{facts}");
        },
    );
}
