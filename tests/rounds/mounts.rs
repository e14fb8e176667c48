//! Directories of the host: what the engine does not finish for one instance keeps no other from being made.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use instanced::daemon::clock::Clock;
use instanced::daemon::converge::Converger;
use instanced::daemon::round::Ask;
use instanced::daemon::steps::InFlight;
use instanced::decisions::report::{Outcome, Report};
use instanced::doors::engine::fleet::Fleet;
use instanced::doors::host::mounts::HostMounts;
use instanced::doors::store::Store;
use instanced::words::config::IdRange;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::support::fake_containers::FakeContainers;
use crate::{Lab, outcome};

/// An engine's socket on this host, directories beside it, and a daemon that checks mounts.
struct Mounting {
    lab: Lab,
    host: TempDir,
    daemon: Converger<Fleet<FakeContainers>, Arc<Store>>,
    _socket: UnixListener,
}

impl Mounting {
    fn new() -> Self {
        // Not below /tmp, where everybody can replace what is in it.
        let host = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let open = |path: &Path| {
            let mode = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(path, mode).expect("a mode");
        };
        open(host.path());
        for name in ["a", "a/within", "b"] {
            let path = host.path().join(name);
            std::fs::create_dir(&path).expect("a directory");
            open(&path);
        }
        let mut lab = Lab::new(&[]);
        let policy = &mut lab.site.config.policy;
        policy.host_paths.allow = vec![format!("{}/**", host.path().display())];
        // Whoever runs the tests owns the directories, and is no instance.
        let other = |id: u32| IdRange {
            first: id + 1,
            last: id + 70_000,
        };
        policy.users.uids = vec![other(rustix::process::geteuid().as_raw())];
        policy.users.gids = vec![other(rustix::process::getegid().as_raw())];
        let path = lab.dir.path().join("engine.sock");
        let socket = UnixListener::bind(&path).expect("a socket");
        let engine = format!("unix://{}", path.display());
        let mounts = HostMounts::new(&lab.site.config, &lab.site.state, &engine);
        let fleet = Fleet::new(
            lab.engine.clone(),
            lab.site.config.manager.clone(),
            lab.site.config.network.clone(),
        );
        let store = Store::open(&lab.site.state, Duration::from_secs(5)).expect("the store");
        let daemon = Converger::new(
            lab.site.config.reconcile.clone(),
            fleet.with_mounts(mounts),
            Arc::new(store),
            Clock::system(),
            || 0.5,
        );
        let daemon = daemon.with_patience(Duration::from_secs(2)).in_background(
            |work| Box::pin(async { tokio::spawn(work).await.expect("no step panics") }),
            InFlight::default(),
            Box::new(|_, _| {}),
        );
        Self {
            lab,
            host,
            daemon,
            _socket: socket,
        }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.host.path().join(path)
    }

    fn write(&self, name: &str, path: &str, more: &str) {
        let path = self.at(path);
        let mount = format!("{{ host: {}, target: /data }}", path.display());
        let text = format!("security: {{ user: '60000:60000' }}\nvolumes: [{mount}]\n{more}");
        self.lab.write(name, &text);
    }

    async fn round(&mut self) -> Report {
        let desired = self.lab.desired().expect("manifests of our own");
        let view = self.daemon.look(desired, Ask::default(), true).await;
        let (view, shutdown) = (view.expect("a look"), CancellationToken::new());
        self.daemon.perform(&view, true, &shutdown).await
    }
}

#[tokio::test]
async fn a_creation_that_hangs_stops_no_other_instance_with_a_mount() {
    let mut mounting = Mounting::new();
    mounting.write("bob", "b", "");
    let report = mounting.round().await;
    assert_eq!(*outcome(&report, "bob"), Outcome::Done, "{report:#?}");
    mounting.lab.engine.stall("create", "-alice-");
    mounting.write("alice", "a", "");
    mounting.write("bob", "b", "screen: { width: 1600 }");
    let report = mounting.round().await;
    let alice = outcome(&report, "alice");
    assert!(matches!(alice, Outcome::Running { .. }), "{report:#?}");
    assert_eq!(*outcome(&report, "bob"), Outcome::Done, "{report:#?}");
    assert_eq!(mounting.lab.running(), ["instanced-default-bob-g2"]);
}

#[tokio::test]
async fn what_is_being_made_is_seen_by_whoever_is_made_later() {
    let mut mounting = Mounting::new();
    mounting.lab.engine.stall("create", "-alice-");
    mounting.write("alice", "a", "");
    let report = mounting.round().await;
    let alice = outcome(&report, "alice");
    assert!(matches!(alice, Outcome::Running { .. }), "{report:#?}");
    mounting.write("bob", "a/within", "");
    let report = mounting.round().await;
    let Outcome::Failed(failure) = outcome(&report, "bob") else {
        panic!("{report:#?}");
    };
    assert!(
        failure.message.contains("to which alice writes"),
        "{failure:?}"
    );
}

#[tokio::test]
async fn a_mount_that_went_bad_stops_no_old_generation() {
    let mut mounting = Mounting::new();
    mounting.write("bob", "b", "");
    mounting.round().await;
    let inner = mounting.at("b");
    // The engine takes its time, and meanwhile the path becomes another one.
    mounting.lab.engine.meanwhile("-bob-", move || {
        std::fs::remove_dir(&inner).expect("empty");
        std::os::unix::fs::symlink("/etc", &inner).expect("a link");
    });
    mounting.write("bob", "b", "screen: { width: 1600 }");
    let report = mounting.round().await;
    let Outcome::Failed(failure) = outcome(&report, "bob") else {
        panic!("{report:#?}");
    };
    assert!(failure.message.contains("symbolic link"), "{failure:?}");
    assert_eq!(mounting.lab.running(), ["instanced-default-bob-g1"]);
}
