//! Whole rounds on the fake engine: source in, containers out. The fake is kept honest by the contract
//! suite, which runs on it and on the real engine.

#[path = "rounds/beside.rs"]
mod beside;
#[path = "rounds/crashes.rs"]
mod crashes;
#[path = "rounds/hands.rs"]
mod hands;
#[path = "rounds/incumbents.rs"]
mod incumbents;
#[path = "rounds/logs.rs"]
mod logs;
#[path = "rounds/mounts.rs"]
mod mounts;
#[path = "rounds/orders.rs"]
mod orders;
#[path = "rounds/rollouts.rs"]
mod rollouts;
#[path = "rounds/routes.rs"]
mod routes;
#[path = "rounds/screens.rs"]
mod screens;
#[path = "rounds/snapshots.rs"]
mod snapshots;
mod support;
#[path = "rounds/swaps.rs"]
mod swaps;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use instanced::daemon::clock::Clock;
use instanced::daemon::converge::Converger;
use instanced::daemon::round::{self, Ask, View};
use instanced::daemon::site::Site;
use instanced::decisions::report::{Outcome, Report};
use instanced::doors::engine::fleet::Fleet;
use instanced::doors::store::Store;
use instanced::words::config::Config;
use instanced::words::desired::Desired;
use instanced::words::observed::Phase;
use support::fake_containers::{FakeContainers, Fault};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

const IMAGE: &str = "localhost/instanced/browser:1";
const START_FIRST: &str = "replace: start-first";

/// A directory of manifests, a store and a fake engine.
struct Lab {
    dir: TempDir,
    engine: FakeContainers,
    site: Site,
}

impl Lab {
    fn new(manifests: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut config = Config::default();
        config.source.dir = dir.path().join("instances.d");
        std::fs::create_dir(&config.source.dir).expect("the source");
        let state = dir.path().join("state");
        let site = Site {
            config,
            config_path: None,
            state,
            warnings: Vec::new(),
        };
        let engine = FakeContainers::new(&[IMAGE], "mcp_instances");
        let lab = Self { dir, engine, site };
        for (name, text) in manifests {
            lab.write(name, text);
        }
        lab
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir
            .path()
            .join("instances.d")
            .join(format!("{name}.yaml"))
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("a manifest");
    }

    fn delete(&self, name: &str) {
        std::fs::remove_file(self.path(name)).expect("a manifest");
    }

    fn write_fleet(&self, text: &str) {
        std::fs::write(self.dir.path().join("fleet.yaml"), text).expect("fleet.yaml");
    }

    async fn round(&self) -> Report {
        self.round_for(Ask::default()).await
    }

    /// As `instanced reconcile` runs one: everything is opened anew.
    async fn round_for(&self, ask: Ask) -> Report {
        let desired = match self.desired() {
            Ok(desired) => desired,
            Err(report) => return *report,
        };
        let mut converger = self.converger();
        match converger.look(desired, ask, false).await {
            Ok(view) => {
                let shutdown = CancellationToken::new();
                converger.perform(&view, false, &shutdown).await
            }
            Err(report) => *report,
        }
    }

    /// As `instanced reconcile --dry-run`.
    async fn look(&self, ask: Ask) -> Result<View, Box<Report>> {
        self.converger().look(self.desired()?, ask, false).await
    }

    fn desired(&self) -> Result<Desired, Box<Report>> {
        round::read_source(&self.site).and_then(|s| round::desired(&s, &self.site))
    }

    fn converger(&self) -> Converger<Fleet<FakeContainers>, Arc<Store>> {
        let store = Store::open(&self.site.state, Duration::from_secs(5)).expect("the store");
        self.converger_with(&Arc::new(store))
    }

    fn converger_with(&self, store: &Arc<Store>) -> Converger<Fleet<FakeContainers>, Arc<Store>> {
        let author = store.author().expect("the store");
        let fleet = Fleet::new(
            self.engine.clone(),
            self.site.config.manager.clone(),
            self.site.config.network.clone(),
        );
        Converger::new(
            self.site.config.reconcile.clone(),
            fleet.with_author(author),
            Arc::clone(store),
            Clock::system(),
            || 0.5,
        )
    }

    /// The same source and engine with a state directory of its own.
    fn as_another_host(&self) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let site = Site {
            state: dir.path().join("state"),
            ..self.site.clone()
        };
        let engine = self.engine.clone();
        Self { dir, engine, site }
    }

    /// Names of all containers that run.
    fn running(&self) -> Vec<String> {
        let all = self.engine.all().into_iter();
        let mut names: Vec<_> = all
            .filter(|c| c.phase == Phase::Running)
            .map(|c| c.name)
            .collect();
        names.sort();
        names
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.engine.all().into_iter().map(|c| c.name).collect();
        names.sort();
        names
    }
}

fn outcome<'r>(report: &'r Report, name: &str) -> &'r Outcome {
    let step = report
        .steps
        .iter()
        .find(|s| s.step.instance.as_str() == name);
    &step
        .unwrap_or_else(|| panic!("no step for {name} in {report:#?}"))
        .outcome
}

#[tokio::test]
async fn a_second_round_makes_no_changing_call() {
    let lab = Lab::new(&[("alice", "{}"), ("bob", "screen: { width: 1600 }")]);
    lab.round().await;
    assert_eq!(
        lab.running(),
        ["instanced-default-alice-g1", "instanced-default-bob-g1"]
    );
    lab.engine.clear_journal();
    let report = lab.round().await;
    assert_eq!((report.steps.len(), report.unchanged), (0, 2));
    assert_eq!(lab.engine.journal(), Vec::<String>::new());
}

#[tokio::test]
async fn a_second_network_of_its_name_is_told_before_anything_is_made() {
    let lab = Lab::new(&[("alice", "{}")]);
    lab.round().await;
    assert_eq!(lab.round().await.notes, Vec::<String>::new());
    lab.engine.add_open_network("mcp_instances");
    lab.write("bob", "{}");
    let view = lab.look(Ask::default()).await.expect("a plan");
    let ground = view.observed.ground.expect("what is noted is not believed");
    assert!(ground.contains("2 networks"), "{ground}");
    let report = lab.round().await;
    assert!(matches!(outcome(&report, "bob"), Outcome::Failed(_)));
    assert_eq!(lab.running(), ["instanced-default-alice-g1"]);
}

#[tokio::test]
async fn secrets_are_there_before_the_start_and_for_the_user_alone() {
    let lab = Lab::new(&[("alice", "security: { user: '1234:99' }")]);
    lab.round().await;
    let journal = lab.engine.journal();
    let at = |start: &str| {
        journal
            .iter()
            .position(|line| line.starts_with(start))
            .expect(start)
    };
    assert!(at("put_files") < at("start"), "{journal:#?}");
    let facts = lab
        .engine
        .file_facts("instanced-default-alice-g1", "/run/secrets/vnc_password");
    assert_eq!(facts.as_deref(), Some("0400 1234 99"));
}

#[tokio::test]
async fn one_failure_stops_no_other_instance() {
    let lab = Lab::new(&[("alice", "image: nowhere/x:1"), ("bob", "{}")]);
    let report = lab.round().await;
    assert!(matches!(outcome(&report, "alice"), Outcome::Failed(_)));
    assert_eq!(*outcome(&report, "bob"), Outcome::Done);
    assert_eq!(lab.running(), ["instanced-default-bob-g1"]);
}

#[tokio::test]
async fn an_image_that_cannot_be_had_leaves_the_old_generation_running() {
    let lab = Lab::new(&[("alice", "{}")]);
    lab.round().await;
    lab.write("alice", "image: nowhere/x:1");
    let report = lab.round().await;
    assert!(matches!(outcome(&report, "alice"), Outcome::Failed(_)));
    assert_eq!(lab.running(), ["instanced-default-alice-g1"]);
}

#[tokio::test]
async fn a_broken_manifest_changes_nothing() {
    let lab = Lab::new(&[("alice", "{}"), ("bob", "{}")]);
    lab.round().await;
    lab.write("alice", "screen: { width");
    lab.engine.clear_journal();
    let report = lab.round().await;
    assert_eq!(*outcome(&report, "alice"), Outcome::Held);
    assert_eq!(lab.engine.journal(), Vec::<String>::new());
}

#[tokio::test]
async fn a_source_that_is_gone_or_emptied_removes_nothing() {
    let lab = Lab::new(&[("alice", "{}"), ("bob", "{}")]);
    lab.round().await;
    lab.engine.clear_journal();
    lab.delete("alice");
    lab.delete("bob");
    assert!(lab.round().await.has_held());
    std::fs::remove_dir(lab.dir.path().join("instances.d")).expect("the source");
    assert!(lab.round().await.aborted.is_some());
    std::fs::create_dir(lab.dir.path().join("instances.d")).expect("the source");
    std::fs::write(lab.dir.path().join("fleet.yaml"), "defaults: [").expect("the fleet");
    assert!(lab.round().await.aborted.is_some());
    assert_eq!(lab.engine.journal(), Vec::<String>::new());
}

#[tokio::test]
async fn two_of_a_fleet_of_five_go_within_ten_minutes() {
    let names = ["a", "b", "c", "d", "e"];
    let manifests: Vec<_> = names.iter().map(|name| (*name, "{}")).collect();
    let lab = Lab::new(&manifests);
    lab.round().await;
    for (gone, left) in [("a", 4), ("b", 3)] {
        lab.delete(gone);
        lab.round().await;
        assert_eq!(lab.running().len(), left, "{gone}");
    }
}

#[tokio::test]
async fn removals_are_counted_across_runs() {
    let names = ["a", "b", "c", "d"];
    let manifests: Vec<_> = names.iter().map(|name| (*name, "{}")).collect();
    let mut lab = Lab::new(&manifests);
    lab.site.config.reconcile.prune.min = 1;
    lab.round().await;
    lab.delete("a");
    lab.round().await;
    assert_eq!(lab.running().len(), 3, "a single one goes");
    lab.delete("b");
    let report = lab.round().await;
    assert_eq!(
        lab.running().len(),
        3,
        "the second within ten minutes is more than a fifth"
    );
    let reason = serde_json::to_value(&report.steps[0].step.reason).expect("a reason");
    let id = reason["id"].as_str().expect("an id to confirm").to_owned();
    lab.round_for(Ask {
        confirm_prune: Some("000000000000".to_owned()),
        ..Ask::default()
    })
    .await;
    assert_eq!(lab.running().len(), 3, "another id confirms nothing");
    lab.round_for(Ask {
        confirm_prune: Some(id),
        ..Ask::default()
    })
    .await;
    assert_eq!(lab.running().len(), 2);
}

#[tokio::test]
async fn protection_outlives_the_manifest_that_said_it() {
    let lab = Lab::new(&[("alice", "{}"), ("bob", "{}")]);
    lab.round().await;
    // Said later, so that no label of the container has it.
    lab.write("bob", "protect: true");
    lab.round().await;
    lab.delete("bob");
    let report = lab.round().await;
    assert_eq!(*outcome(&report, "bob"), Outcome::Held);
    assert_eq!(lab.running().len(), 2);
}

#[tokio::test]
async fn protection_outlives_the_state_directory_where_the_container_records_it() {
    let lab = Lab::new(&[("alice", "{}"), ("bob", "protect: true")]);
    lab.round().await;
    lab.delete("bob");
    std::fs::remove_dir_all(&lab.site.state).expect("the state directory");
    assert_eq!(*outcome(&lab.round().await, "bob"), Outcome::Held);
    // Said otherwise later: that counts, whatever the container records.
    lab.write("bob", "{}");
    lab.round().await;
    lab.delete("bob");
    assert_eq!(*outcome(&lab.round().await, "bob"), Outcome::Done);
}

#[tokio::test]
async fn a_foreign_container_that_holds_a_name_blocks_that_instance_alone() {
    let lab = Lab::new(&[("alice", "{}"), ("bob", "{}")]);
    lab.engine.add_foreign("instanced-default-alice-g1");
    let report = lab.round().await;
    assert_eq!(*outcome(&report, "alice"), Outcome::Held);
    assert_eq!(*outcome(&report, "bob"), Outcome::Done);
    assert!(
        lab.names()
            .contains(&"instanced-default-alice-g1".to_owned())
    );
}

#[tokio::test]
async fn a_network_that_isolates_nobody_is_refused_with_the_remedy() {
    let lab = Lab::new(&[("alice", "{}")]);
    lab.engine.remove_network("mcp_instances");
    lab.engine.add_open_network("mcp_instances");
    let report = lab.round().await;
    let Outcome::Failed(failure) = outcome(&report, "alice") else {
        panic!("{report:#?}")
    };
    assert!(
        failure.message.contains("can reach each other"),
        "{failure:?}"
    );
    assert!(
        failure
            .help
            .as_deref()
            .is_some_and(|help| help.contains("network.name"))
    );
    assert_eq!(lab.running(), Vec::<String>::new());
    assert!(
        report
            .notes
            .iter()
            .any(|note| note.contains("can reach each other"))
    );
}

#[tokio::test]
async fn a_network_that_is_replaced_by_an_open_one_is_told_in_every_round() {
    let lab = Lab::new(&[("alice", "{}")]);
    lab.round().await;
    lab.engine.remove_network("mcp_instances");
    lab.engine.add_open_network("mcp_instances");
    lab.engine.clear_journal();
    let report = lab.round().await;
    assert_eq!(report.notes.len(), 1, "{report:#?}");
    // It stands on a network that is gone, and must not be moved to one that does not isolate.
    assert!(matches!(outcome(&report, "alice"), Outcome::Failed(_)));
    assert_eq!(lab.engine.journal(), Vec::<String>::new());
}

#[tokio::test]
async fn a_lost_state_directory_recreates_nothing_and_finds_the_password_again() {
    let lab = Lab::new(&[("alice", "{}")]);
    lab.round().await;
    let password = |lab: &Lab| {
        let store = Store::open(&lab.site.state, Duration::from_secs(5)).expect("the store");
        let (name, secret) = ("alice".parse().unwrap(), "vnc_password".parse().unwrap());
        store
            .secret(&name, &secret)
            .expect("the store")
            .expect("a password")
    };
    let before = password(&lab);
    std::fs::remove_dir_all(&lab.site.state).expect("the state directory");
    lab.engine.clear_journal();
    let report = lab.round().await;
    assert_eq!(report.steps, []);
    assert_eq!(lab.engine.journal(), Vec::<String>::new());
    assert!(password(&lab) == before, "the password is another one now");
}

#[tokio::test]
async fn stopped_means_stopped_also_for_the_engine() {
    let lab = Lab::new(&[("alice", "{}")]);
    lab.round().await;
    lab.write("alice", "state: stopped");
    lab.round().await;
    assert_eq!(lab.running(), Vec::<String>::new());
    lab.engine.clear_journal();
    lab.round().await;
    assert_eq!(lab.engine.journal(), Vec::<String>::new());
    lab.write("alice", "{}");
    lab.round().await;
    assert_eq!(
        lab.running(),
        ["instanced-default-alice-g1"],
        "the same container again"
    );
}
