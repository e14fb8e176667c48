//! A fleet of one manager in a lab: manifests in, steps performed, what is observed out.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use instanced::decisions::plan::{Action, Reason, Step};
use instanced::doors::engine::containers::{Draft, ReadContainers};
use instanced::doors::engine::fleet::Fleet;
use instanced::doors::engine::{Engine as _, Observe as _, Secrets, draft};
use instanced::doors::host::mounts::HostMounts;
use instanced::words::config::{Config, Isolation, Network};
use instanced::words::desired::{Snapshot, SourceFile};
use instanced::words::observed::{Drift, Generation, Observed};
use instanced::words::resolve::resolve;
use instanced::words::secret::SecretValue;
use instanced::words::spec::Spec;

use crate::lab::Lab;

/// A manifest with something of everything.
pub const RICH: &str = r#"
template: mcp-http
owner: alice@example.com
command: [serve, "--with space", "ünï"]
env: { LANG: C.UTF-8, EMPTY: "", EQUALS: "a=b", QUOTED: "it's \"so\"" }
screen: { width: 800, height: 600, depth: 16 }
resources: { memory: 96MiB, cpus: 0.25, pids: 40, shm: 8MiB }
endpoints: { web: { port: 6080, auth: none } }
vnc: {}
restart: on-failure
volumes: [ { name: profile, target: /home/mcp/profile }, { name: data, target: /data/, read_only: true } ]
security: { user: "1234:99", read_only: true, cap_add: [net_bind_service, CAP_CHOWN], tmpfs: { /tmp: 4MiB, /run/x: 1MiB } }
labels: { team: qa, empty: "" }
"#;

/// A manifest that says next to nothing.
pub const PLAIN: &str = "template: mcp-http";

/// How long nothing must happen before everything was told.
const QUIET: Duration = Duration::from_millis(500);

/// A fleet over an engine.
pub fn fleet_over<C: ReadContainers>(lab: &impl Lab, engine: C) -> Fleet<C> {
    let mut config = Config::default();
    config.policy.host_paths.allow = vec!["*".to_owned()];
    let mounts = HostMounts::new(
        &config,
        Path::new("/nonexistent/state"),
        "unix:///run/docker.sock",
    );
    Fleet::new(engine, lab.manager(), network(lab)).with_mounts(mounts)
}

/// A fleet over the lab's engine.
pub fn fleet<L: Lab>(lab: &L) -> Fleet<L::Engine> {
    fleet_over(lab, lab.engine().clone())
}

fn network(lab: &impl Lab) -> Network {
    Network {
        name: lab.network().to_owned(),
        isolation: Isolation::Strict,
    }
}

/// What a manifest comes to. Its image is the lab's tiny one, unless it names another.
pub fn spec(lab: &impl Lab, name: &str, manifest: &str) -> Spec {
    let mut config = Config {
        network: network(lab),
        ..Config::default()
    };
    config.policy.cap_add.allow = vec!["*".to_owned()];
    config.policy.host_paths.allow = vec!["*".to_owned()];
    let image = format!("defaults: {{ image: \"{}\" }}", lab.image());
    let snapshot = Snapshot {
        revision: "r".to_owned(),
        fleet: Some(SourceFile::of_text("fleet.yaml", image)),
        manifests: vec![SourceFile::of_text(&format!("i/{name}.yaml"), manifest)],
        ..Snapshot::default()
    };
    let mut desired = resolve(&snapshot, &config).expect("a fleet");
    let spec = desired.specs.remove(name);
    let spec = spec.unwrap_or_else(|| panic!("{manifest}: {:?}", desired.diagnostics));
    Arc::unwrap_or_clone(spec)
}

/// A value for each of a spec's secrets.
pub fn secrets(spec: &Spec) -> Secrets {
    let names = spec.secrets.keys().cloned();
    names
        .map(|name| (name, SecretValue::new(b"hunter2".to_vec())))
        .collect()
}

/// A step with an action.
pub fn step(spec: &Spec, action: Action) -> Step {
    Step {
        instance: spec.name.clone(),
        action,
        reason: Reason::Missing,
        changes: Vec::new(),
        ends_sessions: false,
    }
}

/// Creates and starts the first generation of a spec.
pub async fn create<L: Lab>(fleet: &Fleet<L::Engine>, spec: &Spec) {
    let action = Action::Create {
        generation: 1,
        spec: Arc::new(spec.clone()),
        discard: Vec::new(),
    };
    let step = step(spec, action);
    fleet.fetch(&step).await.expect("its image is there");
    let created = fleet.perform(&step, &secrets(spec)).await;
    created.expect("created");
}

/// The draft of a spec's first generation.
pub fn first_draft(lab: &impl Lab, spec: &Spec) -> Draft {
    draft::draft(&lab.manager(), spec, 1, !spec.secrets.is_empty())
}

/// Everything of the lab's fleet.
pub async fn observe<C: ReadContainers>(fleet: &Fleet<C>) -> Observed {
    let observed = fleet.observe(&BTreeSet::new()).await;
    observed.expect("observed")
}

/// The only generation of the only instance.
pub async fn only<C: ReadContainers>(fleet: &Fleet<C>) -> Generation {
    let mut observed = observe(fleet).await;
    let (_, mut all) = observed.instances.pop_first().expect("an instance");
    assert_eq!((observed.instances.len(), all.len()), (0, 1));
    all.remove(0)
}

/// The only generation as somebody sees it who looks for the first time.
pub async fn look_anew<L: Lab>(lab: &L) -> Generation {
    only(&fleet(lab)).await
}

/// Fields that drifted, each with what it is.
pub fn told(drift: &[Drift]) -> Vec<String> {
    let line = |drift: &Drift| match &drift.found {
        Some(found) => format!("{} {found}", drift.field),
        None => format!("{} is gone", drift.field),
    };
    drift.iter().map(line).collect()
}

/// Hears what happened until now.
pub async fn hear<L: Lab>(fleet: &Fleet<L::Engine>, cursor: &mut Option<String>) {
    while tokio::time::timeout(QUIET, fleet.changed(cursor))
        .await
        .is_ok_and(|heard| heard.is_ok())
    {}
}
