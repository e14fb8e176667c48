//! Plans from a snapshot: the same as straight from engine and store, and without either.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use instanced::daemon::memory::Memory;
use instanced::daemon::notebook::Acts;
use instanced::daemon::round::{self, Ask, Known};
use instanced::daemon::snapshots;
use instanced::decisions::plan::{Action, Plan, Reason};
use instanced::decisions::report::Outcome;
use instanced::decisions::saved::SavedPlan;
use instanced::doors::engine::fleet::Fleet;
use instanced::words::observed::{Health, Limits};
use instanced::words::overrides::Order;
use instanced::words::snapshot::FleetSnapshot;
use proptest::prelude::*;

use super::support::fake_containers::FakeContainers;
use super::{Arc, Duration, IMAGE, Lab, Store, outcome};
use anything::lab;

#[path = "snapshots/anything.rs"]
mod anything;

impl Lab {
    fn observer(&self) -> Fleet<FakeContainers> {
        let config = &self.site.config;
        Fleet::new(
            self.engine.clone(),
            config.manager.clone(),
            config.network.clone(),
        )
    }

    fn recall(&self, now: jiff::Timestamp) -> (Memory, Acts) {
        let store = Store::open(&self.site.state, Duration::from_secs(5)).expect("the store");
        let memory = Memory::read(&store, now).expect("the store");
        (memory, store.acts().expect("the store"))
    }

    /// As `instanced snapshot`, by way of the file's text.
    async fn snapshot(&self) -> FleetSnapshot {
        let now = jiff::Timestamp::now();
        let (memory, acts) = self.recall(now);
        let taken = snapshots::record(&self.observer(), &self.site, &memory, acts, now).await;
        let taken = taken.expect("a snapshot");
        let text = serde_json::to_string_pretty(&taken).expect("a snapshot");
        let read: FleetSnapshot = serde_json::from_str(&text).expect("a snapshot");
        assert_eq!(read, taken, "JSON loses nothing");
        read
    }

    /// As `instanced reconcile --dry-run` on the host, at this moment.
    async fn plan_straight(&self, now: jiff::Timestamp) -> Plan {
        let (memory, acts) = self.recall(now);
        let known = Known {
            policy: &self.site.config.reconcile,
            memory: &memory,
            acts: &Arc::new(acts),
            keep: None::<&Arc<Store>>,
            now,
        };
        let desired = self.desired().expect("a source");
        let view = round::look(&self.observer(), desired, &known, &Ask::default()).await;
        view.expect("a look").plan
    }

    fn plan_from(&self, snapshot: &FleetSnapshot) -> SavedPlan {
        let (saved, report) = snapshots::dry_run(&self.site, snapshot, &[]);
        saved.unwrap_or_else(|| panic!("{report:?}"))
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path
    }

    /// The command, where an engine and a daemon would be seen if it looked for them.
    fn dry_run(&self, observed: &Path, more: &[&str]) -> (Option<i32>, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_instanced"))
            .current_dir(self.dir.path())
            .env_remove("INSTANCED_CONFIG")
            .env("NO_COLOR", "1")
            .env(
                "DOCKER_HOST",
                format!("unix://{}", self.dir.path().join("engine.sock").display()),
            )
            .args(["--instances", "instances.d", "--state", "elsewhere"])
            .args(["reconcile", "--dry-run", "--observed"])
            .arg(observed)
            .args(more)
            .output()
            .expect("the binary runs");
        let said = [output.stdout, output.stderr].map(|b| String::from_utf8_lossy(&b).into_owned());
        (output.status.code(), said.concat())
    }
}

#[tokio::test]
async fn a_plan_that_was_made_from_a_snapshot_is_performed_while_nothing_has_moved() {
    let lab = lab();
    lab.round().await;
    let snapshot = lab.snapshot().await;
    lab.write("a", "screen: { width: 1600 }");
    let saved = lab.plan_from(&snapshot);
    assert_eq!(saved.plan.steps.len(), 1);
    let report = lab.perform(&saved).await;
    assert_eq!(*outcome(&report, "a"), Outcome::Done, "{report:?}");

    lab.write("a", "screen: { width: 1920 }");
    let stale = lab.plan_from(&snapshot);
    let report = lab.perform(&stale).await;
    let refused = report.aborted.expect("the fleet has moved").message;
    assert!(
        refused.contains("have changed since the plan was made"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_snapshot_holds_no_secret_and_tells_a_changed_one() {
    let lab = lab();
    lab.round().await;
    let password = lab
        .engine
        .file_facts("instanced-default-a-g1", "/run/secrets/vnc_password");
    assert!(password.is_some(), "a has a secret");
    lab.file("secret", "another-value");
    let snapshot = lab.snapshot().await;
    let text = serde_json::to_string(&snapshot).expect("a snapshot");
    assert!(!text.contains("another-value"), "{text}");
    let kept = {
        let store = Store::open(&lab.site.state, Duration::from_secs(5)).expect("the store");
        let kept = store.secret(
            &"a".parse().expect("a name"),
            &"vnc_password".parse().expect("a name"),
        );
        kept.expect("the store").expect("a password")
    };
    assert!(
        !text.contains(std::str::from_utf8(kept.expose()).expect("letters")),
        "{text}"
    );
    let changed = lab.plan_from(&snapshot).plan;
    assert!(
        matches!(changed.steps[0].action, Action::Replace { .. }),
        "{changed:?}"
    );
    assert_eq!(changed.steps[0].instance.as_str(), "d");

    // A state directory of its own has a key of its own: what cannot be compared counts as unchanged.
    let elsewhere = lab.as_another_host();
    let mut other = elsewhere.site.clone();
    other.config = lab.site.config.clone();
    let taken = elsewhere.snapshot_of(&other).await;
    let (saved, report) = snapshots::dry_run(&lab.site, &taken, &[]);
    assert_eq!(saved.expect("a plan").plan.steps, []);
    assert!(
        report
            .notes
            .iter()
            .any(|note| note.starts_with("secrets of d are not compared")),
        "{:?}",
        report.notes
    );
}

impl Lab {
    async fn snapshot_of(&self, site: &instanced::daemon::site::Site) -> FleetSnapshot {
        let now = jiff::Timestamp::now();
        let (memory, acts) = self.recall(now);
        snapshots::record(&self.observer(), site, &memory, acts, now)
            .await
            .expect("a snapshot")
    }
}

#[tokio::test]
async fn planning_from_a_snapshot_asks_nobody() {
    let mut lab = Lab::new(&[("a", "{}"), ("b", "{}")]);
    lab.round().await;
    lab.order("b", Order::Suspend).await;
    // What the command line means by no configuration at all.
    lab.site.config.source = instanced::words::config::Config::default().source;
    lab.site.config.source.dir = lab.dir.path().join("instances.d");
    let snapshot = serde_json::to_string(&lab.snapshot().await).expect("a snapshot");
    let observed = lab.file("observed.json", &snapshot);
    lab.write("a", "screen: { width: 1600 }");
    lab.write("b", "screen: { width: 1600 }");

    // An engine and a daemon would be called here; the state directory is none that anybody could open.
    let engine = UnixListener::bind(lab.dir.path().join("engine.sock")).expect("a socket");
    engine.set_nonblocking(true).expect("a socket");
    let state = lab.dir.path().join("elsewhere");
    std::fs::write(&state, "no directory").expect("a file");
    let (code, said) = lab.dry_run(&observed, &["--detailed-exitcode"]);
    assert_eq!(code, Some(2), "{said}");
    for words in [
        "note: as of 2",
        " ago: from the snapshot",
        "-screen.width: 1280",
        "suspended",
    ] {
        assert!(said.contains(words), "no `{words}`: {said}");
    }
    let called = engine.accept().expect_err("nobody called");
    assert_eq!(called.kind(), std::io::ErrorKind::WouldBlock);

    // The same with a state directory that would tell of a daemon.
    std::fs::remove_file(&state).expect("a file");
    std::fs::create_dir(&state).expect("a directory");
    let daemon = UnixListener::bind(state.join("control.sock")).expect("a socket");
    daemon.set_nonblocking(true).expect("a socket");
    std::fs::set_permissions(&state, std::os::unix::fs::PermissionsExt::from_mode(0o000))
        .expect("ours");
    let (code, said) = lab.dry_run(&observed, &["--format", "json", "a"]);
    assert_eq!(code, Some(0), "{said}");
    let told: serde_json::Value = serde_json::from_str(&said).expect("JSON alone");
    assert_eq!(
        told["plan"]["steps"].as_array().map(Vec::len),
        Some(1),
        "{told}"
    );
    let called = daemon.accept().expect_err("nobody called");
    assert_eq!(called.kind(), std::io::ErrorKind::WouldBlock);
    std::fs::set_permissions(&state, std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .expect("ours");
    let left = std::fs::read_dir(&state).expect("ours").count();
    assert_eq!(left, 1, "nothing was made in the state directory");
}

#[tokio::test]
async fn what_is_no_snapshot_of_ours_is_refused_with_the_way_out() {
    let lab = Lab::new(&[("a", "{}")]);
    lab.round().await;
    let sound = serde_json::to_value(lab.snapshot().await).expect("a snapshot");
    let with = |key: &str, value: serde_json::Value| {
        let mut other = sound.clone();
        other[key] = value;
        other.to_string()
    };
    let plan = r#"{ "format": 1, "made": "2026-01-01T00:00:00Z", "plan": {} }"#;
    let huge = format!("{{{}}}", " ".repeat(64 << 20));
    for (text, words) in [
        (
            with("format", 2.into()),
            [
                "it is of format 2, written by instanced 0.1.0",
                "the same version of instanced",
            ],
        ),
        (
            with("manager", "other".into()),
            [
                "of the fleet of manager `other`, and the configuration's is `default`",
                "--config",
            ],
        ),
        (
            with("observed", 5.into()),
            [
                "it is damaged: invalid type",
                "instanced snapshot --out FILE",
            ],
        ),
        (
            "{ \"format\": 1,\n".to_owned(),
            [
                "it is no JSON: EOF while parsing a value at line 2",
                "take it again",
            ],
        ),
        (String::new(), ["it is no JSON", "take it again"]),
        (
            "[]".to_owned(),
            ["it is no snapshot of a fleet", "take it again"],
        ),
        (
            plan.to_owned(),
            ["it is no snapshot of a fleet", "take it again"],
        ),
        (huge, ["longer than 67108864 bytes", "take it again"]),
    ] {
        let path = lab.file("observed.json", &text);
        let (code, said) = lab.dry_run(&path, &[]);
        assert_eq!(code, Some(1), "{said}");
        for word in words {
            assert!(said.contains(word), "no `{word}`: {said}");
        }
    }
    let (code, said) = lab.dry_run(Path::new("nowhere.json"), &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("there is no such file"), "{said}");
}

#[tokio::test]
async fn another_version_or_configuration_is_pointed_out() {
    let lab = Lab::new(&[("a", "{}")]);
    lab.round().await;
    let mut snapshot = lab.snapshot().await;
    let notes = |snapshot: &FleetSnapshot| snapshots::dry_run(&lab.site, snapshot, &[]).1.notes;
    assert_eq!(notes(&snapshot), Vec::<String>::new());
    snapshot.rules = "another".to_owned();
    assert!(notes(&snapshot)[0].starts_with("the configuration is not the one"));
    snapshot.version = "0.0.1".to_owned();
    assert!(notes(&snapshot)[0].starts_with("instanced 0.0.1 took the snapshot"));
}

#[tokio::test]
async fn a_source_that_the_host_cannot_use_is_mended_by_what_is_under_review() {
    let lab = Lab::new(&[("a", "{}")]);
    lab.round().await;
    lab.write_fleet("defaults: [");
    let snapshot = lab.snapshot().await;
    assert!(
        snapshot.notes[0].contains("fleet.yaml cannot be used"),
        "{:?}",
        snapshot.notes
    );
    lab.write_fleet("defaults: {}");
    assert_eq!(lab.plan_from(&snapshot).plan.steps, []);
}

#[tokio::test]
async fn removals_of_the_last_minutes_count_in_a_plan_from_a_snapshot() {
    let mut lab = Lab::new(&[("a", "{}"), ("b", "{}"), ("c", "{}"), ("d", "{}")]);
    lab.site.config.reconcile.prune.min = 1;
    lab.round().await;
    lab.delete("a");
    lab.round().await;
    let snapshot = lab.snapshot().await;
    lab.delete("b");
    let plan = lab.plan_from(&snapshot).plan;
    assert!(
        matches!(
            plan.steps[0].reason,
            Reason::PruneBlocked { removals: 2, .. }
        ),
        "{plan:?}"
    );
    assert_eq!(plan, lab.plan_straight(snapshot.taken).await);
}

#[tokio::test]
async fn going_back_to_an_image_that_has_moved_meanwhile_is_a_replacement() {
    let lab = Lab::new(&[("a", "{}")]);
    lab.round().await;
    lab.order("a", Order::Suspend).await;
    lab.write("a", "image: acme/x:1");
    lab.order("a", Order::Suspend).await;
    lab.engine.tag_image(IMAGE, "sha256:another");
    let mut snapshot = lab.snapshot().await;
    snapshot.remembered.overrides.clear();
    lab.write("a", "{}");
    let plan = lab.plan_from(&snapshot).plan;
    assert!(
        matches!(plan.steps[0].reason, Reason::ImageMoved { .. }),
        "{plan:?}"
    );
}

#[tokio::test]
async fn one_that_its_last_manifest_did_not_protect_is_removed() {
    let lab = Lab::new(&[("a", "protect: true"), ("b", "{}")]);
    lab.round().await;
    lab.write("a", "{}");
    lab.round().await;
    let snapshot = lab.snapshot().await;
    lab.delete("a");
    let plan = lab.plan_from(&snapshot).plan;
    assert!(
        matches!(plan.steps[0].action, Action::Remove { .. }),
        "{plan:?}"
    );
}

/// A daemon that knows two answers.
fn daemon(socket: &Path, fingerprint: String, snapshot: String) {
    let listener = UnixListener::bind(socket).expect("a socket");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut seen = [0; 4096];
            let length = stream.read(&mut seen).unwrap_or_default();
            let body = match &seen[..length] {
                asked if asked.starts_with(b"GET /health ") => {
                    serde_json::json!({ "fingerprint": fingerprint }).to_string()
                }
                asked if asked.starts_with(b"GET /v1/snapshot ") => snapshot.clone(),
                _ => continue,
            };
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            stream
                .write_all((head + &body).as_bytes())
                .expect("an answer");
        }
    });
}

#[tokio::test]
async fn a_running_daemon_takes_the_snapshot_unless_it_is_another_fleets() {
    let lab = Lab::new(&[("a", "{}")]);
    lab.round().await;
    let snapshot = lab.snapshot().await;
    let text = serde_json::to_string(&snapshot).expect("a snapshot");
    let take = |state: &str, more: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_instanced"))
            .current_dir(lab.dir.path())
            .env_remove("INSTANCED_CONFIG")
            .args(["--instances", "instances.d", "--state", state, "snapshot"])
            .args(more)
            .output()
            .expect("the binary runs");
        let [stdout, stderr] =
            [output.stdout, output.stderr].map(|b| String::from_utf8_lossy(&b).into_owned());
        (output.status.code(), stdout, stderr)
    };
    let read = |text: &str| serde_json::from_str::<FleetSnapshot>(text).expect("a snapshot");
    for (state, fingerprint) in [("same", lab.site.fingerprint()), ("other", "0".repeat(16))] {
        let state = lab.dir.path().join(state);
        std::fs::create_dir(&state).expect("a directory");
        daemon(&state.join("control.sock"), fingerprint, text.clone());
    }
    let (code, stdout, stderr) = take("same", &[]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert_eq!(read(&stdout), snapshot);

    // The file is replaced, and a link to it stays one.
    let kept = lab.file("kept.json", "an older one");
    std::os::unix::fs::symlink("kept.json", lab.dir.path().join("link.json")).expect("a link");
    let before = std::fs::read_dir(lab.dir.path()).expect("ours").count();
    let (code, stdout, stderr) = take("same", &["--out", "link.json"]);
    assert_eq!((code, stdout.as_str()), (Some(0), ""), "{stderr}");
    assert!(
        stderr.contains("recorded 1 instance; plan from it with"),
        "{stderr}"
    );
    assert_eq!(
        read(&std::fs::read_to_string(kept).expect("it is there")),
        snapshot
    );
    assert_eq!(
        std::fs::read_dir(lab.dir.path()).expect("ours").count(),
        before
    );

    let (code, stdout, stderr) = take("other", &[]);
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(
        stderr.contains("another configuration or source"),
        "{stderr}"
    );
    let (code, _, stderr) = take("same", &["--out", "nowhere/x.json"]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("cannot write nowhere/x.json"), "{stderr}");
}
