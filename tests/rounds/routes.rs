//! Files of routes follow what stands, also while steps are in progress.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use instanced::daemon::attended::Attended;
use instanced::daemon::clock::Clock;
use instanced::daemon::converge::Converger;
use instanced::daemon::probes::Verdicts;
use instanced::daemon::round::{Ask, View};
use instanced::daemon::routes::Routes;
use instanced::daemon::steps::InFlight;
use instanced::decisions::report::Outcome;
use instanced::doors::edge::RouteFiles;
use instanced::doors::engine::fleet::Fleet;
use instanced::doors::store::Store;
use instanced::words::config::ProviderConfig;
use instanced::words::observed::{Health, Phase};
use tokio_util::sync::CancellationToken;

use crate::support::fake_containers::FakeContainers;
use crate::{IMAGE, Lab, START_FIRST, outcome};

const OLD: &str = "instanced-default-alice-g1";

type Daemon = Converger<Attended<Fleet<FakeContainers>>, Arc<Store>>;

/// A daemon whose routes are files, and what it has in progress.
struct Filed {
    lab: Lab,
    engine: Attended<Fleet<FakeContainers>>,
    daemon: Daemon,
    routes: Routes,
    in_flight: InFlight,
}

impl Filed {
    /// Alice runs, and a file leads to her.
    async fn new(alice: &str) -> Self {
        let mut lab = Lab::new(&[("alice", alice)]);
        let dir = lab.dir.path().join("routes");
        std::fs::create_dir(&dir).expect("a directory");
        lab.site.config.traefik.provider = ProviderConfig::File(dir);
        lab.engine.check_image(IMAGE, Health::Healthy);
        let in_flight = InFlight::default();
        let store = Store::open(&lab.site.state, Duration::from_secs(5)).expect("the store");
        let fleet = Fleet::new(
            lab.engine.clone(),
            lab.site.config.manager.clone(),
            lab.site.config.network.clone(),
        );
        let engine = Attended::new(fleet.with_edge(lab.site.edge()), Verdicts::default());
        let daemon = Converger::new(
            lab.site.config.reconcile.clone(),
            engine.clone(),
            Arc::new(store),
            Clock::system(),
            || 0.5,
        );
        let daemon = daemon
            .with_patience(Duration::from_millis(10))
            .in_background(
                |work| Box::pin(async { tokio::spawn(work).await.expect("no step panics") }),
                in_flight.clone(),
                Box::new(|_, _| {}),
            );
        let routes = Routes::new(&lab.site, Arc::default(), in_flight.clone());
        let mut filed = Self {
            routes: routes.expect("files"),
            lab,
            engine,
            daemon,
            in_flight,
        };
        let view = filed.look().await;
        let shutdown = CancellationToken::new();
        let report = filed.daemon.perform(&view, true, &shutdown).await;
        assert_eq!(*outcome(&report, "alice"), Outcome::Done);
        // As if it had answered there.
        let name = "alice".parse().expect("a name");
        let spec = view.desired.spec(&name).expect("a manifest");
        let address = filed.address(OLD).expect("it runs");
        let draft = filed.files().draft(spec, 1, address);
        filed.files().write(&name, &draft).expect("written");
        filed
    }

    fn files(&self) -> RouteFiles {
        self.lab.site.edge().files().expect("files").clone()
    }

    fn address(&self, name: &str) -> Option<IpAddr> {
        let all = self.lab.engine.all();
        let found = all.iter().find(|found| found.name == name)?;
        found.addresses.values().next().copied()
    }

    async fn look(&mut self) -> View {
        let desired = self.lab.desired().expect("manifests of our own");
        let view = self.daemon.look(desired, Ask::default(), true).await;
        view.expect("a look")
    }

    /// A round in which alice's step does not end. Whether it leads somewhere after it, and while it lasted.
    async fn round(&mut self) -> (bool, bool) {
        let view = self.look().await;
        let (files, name) = (self.files(), "alice".parse().expect("a name"));
        let leads = move || files.read(&name).expect("a file of ours").is_some();
        let (mut led, shutdown) = (true, CancellationToken::new());
        let perform = async {
            let report = self.daemon.perform(&view, true, &shutdown).await;
            for _ in 0..20 {
                tokio::time::sleep(Duration::from_millis(100)).await;
                led = led && leads();
            }
            report
        };
        let report = self.routes.beside(&self.engine, &view, perform).await;
        let running = matches!(outcome(&report, "alice"), Outcome::Running { .. });
        assert!(running, "{report:#?}");
        (leads(), led)
    }

    fn is_acting(&self) -> bool {
        self.in_flight.is_acting(&"alice".parse().expect("a name"))
    }
}

#[tokio::test]
async fn while_an_image_is_pulled_no_route_leads_to_where_the_old_generation_was() {
    let mut filed = Filed::new("{}").await;
    filed.lab.engine.stall("pull", "acme/tool:2");
    filed.lab.write("alice", "image: acme/tool:2");
    assert_eq!(filed.round().await, (true, true), "the old one serves");
    assert!(!filed.is_acting());
    filed.lab.engine.kill(OLD);
    // Any step that ends lets the files follow within the round.
    filed.lab.write("bob", "{}");
    assert_eq!(filed.round().await, (false, false));
    assert!(!filed.is_acting());
}

#[tokio::test]
async fn after_a_round_in_which_nothing_else_happened_it_is_gone_as_well() {
    let mut filed = Filed::new("{}").await;
    filed.lab.engine.stall("pull", "acme/tool:2");
    filed.lab.write("alice", "image: acme/tool:2");
    filed.lab.engine.kill(OLD);
    // The kill is answered by a replacement, which waits for its image.
    let (leads, _) = filed.round().await;
    assert!(!leads);
}

#[tokio::test]
async fn a_step_that_changes_its_instance_has_its_route_in_its_own_hands() {
    let mut filed = Filed::new(START_FIRST).await;
    filed.lab.engine.check_image(IMAGE, Health::Starting);
    filed
        .lab
        .write("alice", "replace: start-first\nscreen: { width: 1600 }");
    assert_eq!(filed.round().await, (true, true));
    assert!(filed.is_acting());
    filed.lab.engine.kill(OLD);
    filed.lab.write("bob", "{}");
    assert_eq!(filed.round().await, (true, true));
    let all = filed.lab.engine.all();
    let starting = |name: &str| {
        all.iter()
            .any(|c| c.name == name && c.phase == Phase::Running)
    };
    assert!(starting("instanced-default-alice-g2"));
}
