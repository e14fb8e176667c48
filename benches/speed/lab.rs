//! A fleet of the tiny image, and rounds over it as the daemon runs them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use instanced::daemon::clock::Clock;
use instanced::daemon::converge::Converger;
use instanced::daemon::round::{self, Ask};
use instanced::daemon::site::Site;
use instanced::decisions::report::Report;
use instanced::doors::engine::Engine as _;
use instanced::doors::engine::docker::Docker;
use instanced::doors::engine::fleet::Fleet;
use instanced::doors::store::Store;
use instanced::words::config::Config;
use tokio_util::sync::CancellationToken;

use crate::bare::Bare;

/// Which engine, image, manager and directory.
pub struct Lab {
    /// The engine's socket.
    socket: String,
    image: String,
    manager: String,
    dir: PathBuf,
    site: Site,
    /// How many instances are desired.
    instances: usize,
}

/// How long a round took.
#[derive(Debug, Clone, Copy)]
pub struct Took {
    /// From when it is known what is desired until the report.
    pub round: Duration,
    /// Before that: the files, read and resolved.
    pub files: Duration,
}

/// What goes on between the rounds of one process.
pub struct Process {
    /// The fleet, to listen on.
    pub fleet: Fleet<Docker>,
    converger: Converger<Fleet<Docker>, Arc<Store>>,
}

impl Lab {
    /// A fleet of no instances yet.
    pub fn new(socket: &str, image: &str, manager: &str, network: &str, dir: &str) -> Self {
        let dir = PathBuf::from(dir);
        let mut config = Config {
            manager: manager.parse().expect("a manager's name"),
            ..Config::default()
        };
        network.clone_into(&mut config.network.name);
        config.engine.docker.host = Some(format!("unix://{socket}"));
        config.policy.max_instances = 1000;
        config.source.dir = dir.join("instances.d");
        std::fs::create_dir_all(&config.source.dir).expect("the caller's directory");
        let site = Site {
            config,
            config_path: None,
            state: dir.join("state"),
            warnings: Vec::new(),
        };
        Self {
            socket: socket.to_owned(),
            image: image.to_owned(),
            manager: manager.to_owned(),
            dir,
            site,
            instances: 0,
        }
    }

    /// A bare client of the same engine, which sees the same containers.
    pub fn bare(&self) -> Bare {
        Bare::connect(&self.socket, &self.manager)
    }

    /// Desires so many instances.
    pub fn grow_to(&mut self, instances: usize) {
        for number in self.instances..instances {
            let path = self
                .site
                .config
                .source
                .dir
                .join(format!("i{number:04}.yaml"));
            std::fs::write(path, manifest(&self.image)).expect("a manifest");
        }
        self.instances = instances;
    }

    /// The store of a state directory, a new one for each name.
    pub fn store(&self, name: &str) -> Arc<Store> {
        let path = self.dir.join(name);
        Arc::new(Store::open(&path, Duration::ZERO).expect("a store of our own"))
    }

    /// As at the start of a process: nothing is known, nobody listens.
    pub fn process(&self, store: &Arc<Store>) -> Process {
        let config = &self.site.config;
        let docker = Docker::connect(config.engine.docker.host.as_deref());
        let fleet = Fleet::new(
            docker.expect("the engine's socket"),
            config.manager.clone(),
            config.network.clone(),
        )
        .with_author(store.author().expect("a store of our own"));
        let converger = Converger::new(
            config.reconcile.clone(),
            fleet.clone(),
            Arc::clone(store),
            Clock::system(),
            || 0.5,
        );
        Process { fleet, converger }
    }

    /// A round: observe, plan, perform. What it took, and what reading the files had taken before it.
    pub async fn round(&self, process: &mut Process) -> (Report, Took) {
        let began = Instant::now();
        let snapshot = round::read_source(&self.site).expect("manifests of our own");
        let desired = round::desired(&snapshot, &self.site).expect("manifests of our own");
        let files = began.elapsed();
        let began = Instant::now();
        let looked = Box::pin(process.converger.look(desired, Ask::default(), true)).await;
        let view = looked.unwrap_or_else(|report| panic!("no look: {report:?}"));
        let shutdown = CancellationToken::new();
        let report = Box::pin(process.converger.perform(&view, true, &shutdown)).await;
        let round = began.elapsed();
        (report, Took { round, files })
    }

    /// A round that must find everything as it shall be.
    pub async fn idle_round(&self, process: &mut Process) -> Took {
        let (report, took) = self.round(process).await;
        assert!(
            report.steps.is_empty() && report.unchanged == self.instances,
            "there was something to do: {report:?}"
        );
        took
    }

    /// Rounds until everything runs.
    pub async fn settle(&self, process: &mut Process) {
        for _ in 0..10 {
            let (report, _) = self.round(process).await;
            if report.steps.is_empty() && report.unchanged == self.instances {
                return;
            }
        }
        panic!("the fleet of {} does not settle", self.instances);
    }
}

impl Process {
    /// Hears the engine's events from now on, as the daemon does.
    pub fn listen(&self) -> tokio::task::JoinHandle<()> {
        let fleet = self.fleet.clone();
        tokio::spawn(async move {
            let mut cursor = None;
            while fleet.changed(&mut cursor).await.is_ok() {}
        })
    }
}

fn manifest(image: &str) -> String {
    format!(
        "template: mcp-http\nimage: {image}\nentrypoint: [/tiny]\nowner: bench\n\
         resources: {{ memory: 32MiB, cpus: 0.5, pids: 64 }}\n"
    )
}
