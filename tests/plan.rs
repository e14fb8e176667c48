//! The gallery of plans: each file in `tests/plan/` is a fleet as it shall be, the containers as they are,
//! and the plan that follows, as a person sees it. Reads as documentation; `INSTANCED_UPDATE=1` writes what
//! the plans are now, for a look at the difference.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use instanced::decisions::check;
use instanced::decisions::plan::{History, Plan, plan};
use instanced::face::plan::PlanView;
use instanced::words::act::{Act, Cause, Deed};
use instanced::words::config::Config;
use instanced::words::desired::{Content, Desired, Snapshot, SourceFile};
use instanced::words::manifest::Restart;
use instanced::words::name::InstanceName;
use instanced::words::observed::{
    Applied, Drift, Foreign, Generation, Health, Limits, Observed, Phase,
};
use instanced::words::overrides::{Frozen, Order, Overrides, Stopped};
use instanced::words::quantity::{Bytes, Cpus};
use instanced::words::resolve::resolve;
use instanced::words::snapshot::{FORMAT, FleetSnapshot, Remembered};
use instanced::words::spec::Spec;
use serde::Deserialize;
use serde_json::Value;

/// The moment of every plan in the gallery.
const NOW: i64 = 1_800_000_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    #[serde(rename = "about")]
    _about: String,
    #[serde(default)]
    fleet: Option<Value>,
    /// A manifest, or a text as it stands in the file.
    #[serde(default)]
    desired: BTreeMap<String, Value>,
    #[serde(default)]
    observed: BTreeMap<String, Vec<Stands>>,
    /// Image references to ids, as the engine has them now.
    #[serde(default)]
    images: BTreeMap<String, String>,
    /// Foreign containers that hold a name of ours.
    #[serde(default)]
    foreign: BTreeMap<String, Foreign>,
    #[serde(default)]
    protected: BTreeSet<InstanceName>,
    /// Seconds ago at which a manifest vanished.
    #[serde(default)]
    absent: BTreeMap<InstanceName, u64>,
    /// Removed, so many seconds ago.
    #[serde(default)]
    removed: BTreeMap<InstanceName, i64>,
    /// Not well, for so many seconds.
    #[serde(default)]
    unwell: BTreeMap<InstanceName, u64>,
    /// Failed lately, and wait for their next try.
    #[serde(default)]
    waiting: BTreeSet<InstanceName>,
    /// An earlier step goes on beside this round.
    #[serde(default)]
    in_progress: BTreeSet<InstanceName>,
    /// The engine does not answer for these; why.
    #[serde(default)]
    unobserved: BTreeMap<InstanceName, String>,
    #[serde(default)]
    acts: BTreeMap<InstanceName, Vec<Performed>>,
    #[serde(default)]
    overrides: BTreeMap<InstanceName, Said>,
    #[serde(default)]
    orders: BTreeMap<InstanceName, Order>,
    #[serde(default)]
    confirm: Option<String>,
    #[serde(default)]
    secrets_unreadable: BTreeMap<InstanceName, String>,
    plan: String,
}

/// Something that was done.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Performed {
    /// Seconds ago.
    ago: i64,
    deed: Deed,
    cause: Cause,
    #[serde(default = "one")]
    generation: u64,
    /// For another spec than is desired now.
    #[serde(default)]
    other_spec: bool,
    /// Whether the instance served when it was begun.
    #[serde(default)]
    served: Option<bool>,
    #[serde(default = "yes")]
    done: Option<bool>,
}

fn one() -> u64 {
    1
}

#[allow(clippy::unnecessary_wraps)] // What serde wants of a default.
fn yes() -> Option<bool> {
    Some(true)
}

/// What an operator said; seconds ago.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    #[serde(default)]
    stopped: Option<i64>,
    /// The manifest has changed since it was stopped.
    #[serde(default)]
    other_manifest: bool,
    #[serde(default)]
    suspended: Option<i64>,
    #[serde(default)]
    resumed: Option<i64>,
    /// Frozen, with these fields.
    #[serde(default)]
    frozen: Option<Vec<String>>,
}

impl Said {
    fn overrides(&self, name: &InstanceName, desired: &Desired) -> Overrides {
        let origins = desired.origins.get(name);
        let manifest = match origins {
            Some(origins) if !self.other_manifest => origins.manifest.clone(),
            _ => "another".to_owned(),
        };
        let spec = desired.spec(name).map(Spec::digest);
        Overrides {
            stopped: self.stopped.map(|seconds| Stopped {
                since: ago(seconds),
                manifest,
            }),
            suspended: self.suspended.map(ago),
            resumed: self.resumed.map(ago),
            frozen: self.frozen.clone().map(|fields| Frozen {
                since: ago(60),
                spec: spec.unwrap_or_default(),
                fields,
            }),
        }
    }
}

fn acts(case: &Case, desired: &Desired) -> BTreeMap<InstanceName, Vec<Act>> {
    let act = |name: &InstanceName, done: &Performed| {
        let spec = desired.spec(name).filter(|_| !done.other_spec);
        Act {
            at: ago(done.ago),
            deed: done.deed,
            cause: done.cause,
            generation: done.generation,
            spec: spec.map_or("another".to_owned(), Spec::digest),
            fields: Vec::new(),
            revision: "dir:0123456789ab".to_owned(),
            served: done.served,
            done: done.done,
        }
    };
    let of = |(name, all): (&InstanceName, &Vec<Performed>)| {
        let acts = all.iter().map(|done| act(name, done)).collect();
        (name.clone(), acts)
    };
    case.acts.iter().map(of).collect()
}

fn ago(seconds: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_second(NOW - seconds).expect("a moment")
}

fn seconds(of: &BTreeMap<InstanceName, u64>) -> BTreeMap<InstanceName, Duration> {
    of.iter()
        .map(|(name, seconds)| (name.clone(), Duration::from_secs(*seconds)))
        .collect()
}

/// One generation, described by the manifest that it was created from.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stands {
    generation: u64,
    /// What somebody has renamed it to.
    #[serde(default)]
    name: Option<String>,
    #[serde(default = "running")]
    phase: Phase,
    #[serde(default)]
    from: Option<Value>,
    #[serde(default)]
    newer: Option<u32>,
    #[serde(default)]
    illegible: Option<String>,
    #[serde(default)]
    image: Option<String>,
    #[serde(default)]
    revives: Option<bool>,
    #[serde(default = "healthy")]
    health: Option<Health>,
    /// Started so many seconds ago.
    #[serde(default)]
    started: Option<i64>,
    #[serde(default)]
    restarts: u32,
    /// What somebody changed by hand.
    #[serde(default)]
    drift: Vec<Drift>,
    /// Limits as the engine says, where they are not what the record made them.
    #[serde(default)]
    memory: Option<Bytes>,
    #[serde(default)]
    cpus: Option<Cpus>,
}

#[allow(clippy::unnecessary_wraps)] // What serde wants of a default.
fn healthy() -> Option<Health> {
    Some(Health::Healthy)
}

fn running() -> Phase {
    Phase::Running
}

fn desired(fleet: Option<&Value>, manifests: &BTreeMap<String, Value>) -> Desired {
    let file = |path: String, stem: &str, value: &Value| SourceFile {
        path,
        stem: stem.to_owned(),
        content: Content::Text(match value {
            Value::String(text) => text.clone(),
            value => value.to_string(),
        }),
    };
    let snapshot = Snapshot {
        revision: "dir:0123456789ab".to_owned(),
        commit: None,
        commit_issue: None,
        fleet: fleet.map(|value| file("fleet.yaml".to_owned(), "fleet", value)),
        manifests: manifests
            .iter()
            .map(|(name, value)| file(format!("instances.d/{name}.yaml"), name, value))
            .collect(),
    };
    resolve(&snapshot, &Config::default()).expect("fleet.yaml of a case is sound")
}

fn observed(case: &Case) -> Observed {
    let mut observed = Observed {
        images: case.images.clone(),
        foreign: case.foreign.clone(),
        unobserved: case.unobserved.clone(),
        ..Observed::default()
    };
    for (name, generations) in &case.observed {
        let stands = |stands: &Stands| {
            let number = stands.generation;
            let applied = match (&stands.from, stands.newer, &stands.illegible) {
                (_, Some(version), _) => Applied::Newer(version),
                (_, _, Some(why)) => Applied::Unreadable(why.clone()),
                (from, _, _) => {
                    let manifest = from.clone().unwrap_or_else(|| serde_json::json!({}));
                    let manifests = BTreeMap::from([(name.clone(), manifest)]);
                    let mut made = desired(case.fleet.as_ref(), &manifests);
                    Applied::Spec(made.specs.remove(name.as_str()).expect("a sound `from`"))
                }
            };
            Generation {
                id: format!("{name}-{number}"),
                name: (stands.name.clone())
                    .unwrap_or_else(|| format!("instanced-default-{name}-g{number}")),
                number,
                phase: stands.phase,
                health: stands.health,
                image_id: stands
                    .image
                    .clone()
                    .unwrap_or_else(|| "sha256:old".to_owned()),
                address: None,
                started: stands.started.map(ago),
                limits: limits(stands, &applied),
                applied,
                drift: stands.drift.clone(),
                author: None,
                restarts: stands.restarts,
            }
        };
        let name = name.parse().expect("an instance's name");
        observed
            .instances
            .insert(name, generations.iter().map(stands).collect());
    }
    observed
}

/// As its record made it, but that one that was stopped is not revived.
fn limits(stands: &Stands, applied: &Applied) -> Limits {
    let limits = match applied {
        Applied::Spec(spec) => Limits::of(spec),
        Applied::Newer(_) | Applied::Unreadable(_) => Limits {
            memory: None,
            memory_swap: None,
            cpus: None,
            pids: None,
            restart: Restart::Always,
        },
    };
    let limits = Limits {
        memory: stands.memory.or(limits.memory),
        memory_swap: stands.memory.or(limits.memory_swap),
        cpus: stands.cpus.or(limits.cpus),
        ..limits
    };
    let revives = stands.revives.unwrap_or(stands.phase == Phase::Running);
    if revives { limits } else { limits.at_rest() }
}

fn drawn(case: &Case) -> String {
    let now = jiff::Timestamp::from_second(NOW).expect("a moment");
    let desired = desired(case.fleet.as_ref(), &case.desired);
    let observed = observed(case);
    let history = History {
        now,
        removals: case
            .removed
            .iter()
            .map(|(name, s)| (name.clone(), ago(*s)))
            .collect(),
        absent_for: seconds(&case.absent),
        unwell_for: seconds(&case.unwell),
        waiting: case.waiting.clone(),
        in_progress: case
            .in_progress
            .iter()
            .map(|name| (name.clone(), ago(5)))
            .collect(),
        acts: Arc::new(acts(case, &desired)),
        overrides: case
            .overrides
            .iter()
            .map(|(name, said)| (name.clone(), said.overrides(name, &desired)))
            .collect(),
        orders: case.orders.clone(),
        protected: case.protected.clone(),
        secrets_unreadable: case.secrets_unreadable.clone(),
        confirm_prune: case.confirm.clone(),
    };
    let plan = plan(&desired, &observed, &history, &Config::default().reconcile);
    assert_eq!(
        check::violations(&plan, &desired, &observed, &history),
        Vec::<String>::new()
    );
    assert_eq!(
        plan,
        plan_from_snapshot(&desired, observed, history),
        "from a snapshot it is another"
    );
    let manifest_of = |name: &InstanceName| format!("instances.d/{name}.yaml");
    let view = PlanView {
        manifest_of: &manifest_of,
        whole: false,
    };
    let text = view.draw(&plan).plain();
    let lines: Vec<_> = text.trim().lines().map(str::trim_end).collect();
    lines.join("\n") + "\n"
}

/// The same by way of a snapshot's JSON, which carries all that lasts.
fn plan_from_snapshot(desired: &Desired, observed: Observed, history: History) -> Plan {
    let snapshot = FleetSnapshot {
        format: FORMAT,
        version: String::new(),
        taken: history.now,
        manager: Config::default().manager,
        rules: String::new(),
        notes: Vec::new(),
        observed,
        remembered: Remembered {
            overrides: history.overrides.clone(),
            acts: (*history.acts).clone(),
            removals: history.removals.clone(),
            protected: history.protected.clone(),
            ..Remembered::default()
        },
        secrets: BTreeMap::new(),
        secrets_unreadable: BTreeMap::new(),
    };
    let text = serde_json::to_string(&snapshot).expect("a snapshot");
    let read: FleetSnapshot = serde_json::from_str(&text).expect("a snapshot");
    let history = History {
        now: read.taken,
        overrides: read.remembered.overrides.clone(),
        acts: Arc::new(read.remembered.acts.clone()),
        removals: read.remembered.removals.clone(),
        protected: read.remembered.protected.clone(),
        ..history
    };
    let observed = read.observed_for(desired);
    plan(desired, &observed, &history, &Config::default().reconcile)
}

#[test]
fn every_case_of_the_gallery_plans_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plan");
    let mut paths: Vec<_> = fs::read_dir(&folder)
        .expect("the gallery")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .collect();
    paths.sort();
    assert!(paths.len() >= 20, "the gallery has {} cases", paths.len());
    let mut wrong = Vec::new();
    for case_path in paths {
        let text = fs::read_to_string(&case_path).expect("a case");
        // By way of JSON, as documents of ours are read: `{ exited: 1 }` is a phase, no tag needed.
        let case: Value = serde_yaml::from_str(&text).expect("YAML");
        let case: Case =
            serde_json::from_value(case).unwrap_or_else(|e| panic!("{}: {e}", case_path.display()));
        let plan = drawn(&case);
        if plan == case.plan {
            continue;
        }
        if std::env::var_os("INSTANCED_UPDATE").is_some() {
            let (above, _) = text.split_once("\nplan: |").expect("`plan: |` comes last");
            let indented: String = plan
                .lines()
                .map(|line| {
                    if line.is_empty() {
                        "\n".to_owned()
                    } else {
                        format!("  {line}\n")
                    }
                })
                .collect();
            fs::write(&case_path, format!("{above}\nplan: |\n{indented}"))
                .expect("writing the case");
        }
        wrong.push(format!(
            "{}:\n{plan}\ninstead of\n{}",
            case_path.display(),
            case.plan
        ));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
