//! What is to be done: desired and observed in, a plan out. The plan is a value: it is printed by a dry
//! run, checked by [`super::check`], performed by the daemon and told by its API.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::change::Change;
use crate::words::act::Act;
use crate::words::commit::Commit;
use crate::words::config::Reconcile;
use crate::words::desired::Desired;
use crate::words::diagnostic::Diagnostic;
use crate::words::name::InstanceName;
use crate::words::observed::{Generation, Observed, Phase};
use crate::words::overrides::{Order, Overrides};
use crate::words::spec::Spec;

mod beside;
mod case;
mod removals;
mod rollout;

use beside::Beside;
use case::Case;
use removals::Removals;

/// How long an absence must last in a watched source before it counts.
pub const ABSENCE: Duration = Duration::from_secs(5);

/// Everything to be done to make observed what is desired.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// The revision that is desired.
    pub revision: String,
    /// The commit of that revision, where the source is in a git repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<Commit>,
    /// At most one a instance, sorted by name.
    pub steps: Vec<Step>,
    /// Instances that are as they shall be.
    pub unchanged: usize,
}

/// One instance's action with its reason.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// Whose.
    pub instance: InstanceName,
    /// What is done.
    pub action: Action,
    /// Why.
    pub reason: Reason,
    /// The fields that differ, where they are the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    /// Whether clients of this instance lose their sessions.
    pub ends_sessions: bool,
}

/// What is done to an instance. Any engine can perform these, each in its own calls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Action {
    /// A first generation comes up.
    Create {
        /// Its number.
        generation: u64,
        /// What it is made from.
        #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
        spec: Arc<Spec>,
        /// Unfinished creations that go first.
        discard: Vec<Retired>,
    },
    /// A generation that stands comes up again, with the limits that it shall have.
    Start {
        /// Which.
        target: Retired,
        /// What it was made from.
        #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
        spec: Arc<Spec>,
    },
    /// A generation goes down and stays down, engine restarts included.
    Stop {
        /// Which.
        target: Retired,
    },
    /// What can change while it runs is changed: sessions and uptime go on.
    Update {
        /// Which.
        target: Retired,
        /// What it shall be.
        #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
        spec: Arc<Spec>,
    },
    /// It goes down and comes up again, the same container.
    Restart {
        /// Which.
        target: Retired,
    },
    /// A new generation takes over.
    Replace {
        /// The old ones.
        retire: Vec<Retired>,
        /// The new one's number.
        generation: u64,
        /// What it is made from.
        #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
        spec: Arc<Spec>,
    },
    /// Generations go for good.
    Remove {
        /// Which.
        targets: Vec<Retired>,
    },
    /// Nothing, on purpose.
    Held,
}

/// A generation that a step names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Retired {
    /// The engine's id of it.
    pub id: String,
    /// Its name on the engine.
    pub name: String,
    /// Its number.
    pub number: u64,
}

impl From<&Generation> for Retired {
    fn from(generation: &Generation) -> Self {
        let Generation {
            id, name, number, ..
        } = generation;
        Self {
            id: id.clone(),
            name: name.clone(),
            number: *number,
        }
    }
}

/// Why a step is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Reason {
    /// No generation is there.
    Missing,
    /// It was there, and somebody took it away.
    Vanished,
    /// Its manifest says something else than it was made from.
    Changed,
    /// Somebody changed it by hand.
    Drifted,
    /// A limit differs, and the engine could not change it in place.
    NotUpdatable,
    /// The image's reference leads to another image now.
    ImageMoved {
        /// The image that it runs.
        from: String,
        /// The image that the reference names.
        to: String,
    },
    /// What it was made from cannot be read.
    Illegible {
        /// Why.
        why: String,
    },
    /// It should run and does not.
    NotRunning {
        /// What it does instead.
        phase: Phase,
    },
    /// It runs and should not, or the engine would revive it.
    NotStopped,
    /// It has not been well for long, and this was tried so often already.
    Unhealthy {
        /// Remedies so far.
        tried: usize,
    },
    /// What was tried did not last: the next try waits.
    BackingOff {
        /// Tries so far.
        tried: usize,
        /// When the next one is due.
        until: jiff::Timestamp,
        /// What is wrong with it.
        why: String,
    },
    /// A newer generation has taken over.
    Superseded,
    /// A newer generation is not healthy yet, and the old one serves.
    TakingOver,
    /// A newer generation never became healthy, and the old one serves.
    NeverHealthy,
    /// No manifest names it.
    Orphaned,
    /// An operator asks for it.
    Asked,
    /// An operator stopped it.
    StoppedByOperator {
        /// Since when.
        since: jiff::Timestamp,
    },
    /// An operator suspended it.
    Suspended {
        /// Since when.
        since: jiff::Timestamp,
    },
    /// It was replaced over and over for the same spec.
    Frozen {
        /// The fields that would not stay as they were made.
        fields: Vec<String>,
    },
    /// Others are replaced first.
    RolloutWaits {
        /// Who is without service for this rollout, or will be for a moment by this plan.
        unavailable: Vec<InstanceName>,
        /// How many may be.
        most: usize,
    },
    /// New generations of others fail, so this one is left as it is.
    RolloutHalted {
        /// Whose.
        failing: Vec<InstanceName>,
        /// What differs here and would not stay there, where that is how they fail.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        fields: Vec<String>,
    },
    /// Its manifest cannot be used.
    Unreadable {
        /// What is wrong with it.
        diagnostics: Vec<Diagnostic>,
    },
    /// Something of its that the daemon must read cannot be read.
    SecretUnreadable {
        /// Why.
        why: String,
    },
    /// A foreign thing holds a name it needs.
    NameTaken {
        /// The name.
        name: String,
        /// What holds it.
        holder: String,
    },
    /// A newer version of ours made it.
    MadeByNewer {
        /// That version's form of spec.
        version: u32,
    },
    /// No manifest names it, and it is protected.
    Protected,
    /// No manifest names it, and pruning is off.
    PruneDisabled,
    /// No manifest names it, and too many would go at once.
    PruneBlocked {
        /// What a person confirms: names exactly these removals at this revision.
        id: String,
        /// How many would be gone, those of the last ten minutes included.
        removals: usize,
        /// Of how many, those of the last ten minutes included.
        fleet: usize,
        /// Whether the source names no instance at all.
        emptied: bool,
    },
    /// No manifest names it, and for too short a time to be believed.
    JustVanished,
    /// An earlier step of it is still in progress.
    InProgress {
        /// When that began.
        since: jiff::Timestamp,
    },
    /// The engine does not say what it is doing.
    Unobserved {
        /// Why.
        why: String,
    },
}

/// What planning knows beside desired and observed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    /// The moment of planning.
    pub now: jiff::Timestamp,
    /// What was done lately, oldest first.
    pub acts: Arc<BTreeMap<InstanceName, Vec<Act>>>,
    /// What operators said, and what was frozen.
    pub overrides: BTreeMap<InstanceName, Overrides>,
    /// Restarts and recreations that an operator asks for in this round.
    pub orders: BTreeMap<InstanceName, Order>,
    /// For how long an instance has not been well.
    pub unwell_for: BTreeMap<InstanceName, Duration>,
    /// Instances whose step failed lately, and waits for its next try.
    pub waiting: BTreeSet<InstanceName>,
    /// Instances whose earlier step goes on beside this round, and since when.
    pub in_progress: BTreeMap<InstanceName, jiff::Timestamp>,
    /// Removals of the last ten minutes, by whom it may concern.
    pub removals: Vec<(InstanceName, jiff::Timestamp)>,
    /// For how long a manifest has been absent; only a watched source knows. Absent here: long enough.
    pub absent_for: BTreeMap<InstanceName, Duration>,
    /// Orphans whose last manifest said `protect: true`.
    pub protected: BTreeSet<InstanceName>,
    /// Instances whose secrets cannot be read now; why.
    pub secrets_unreadable: BTreeMap<InstanceName, String>,
    /// The id of a blocked prune that a person has confirmed.
    pub confirm_prune: Option<String>,
}

/// Plans every instance that is desired, held or observed. Pure: the same in is the same out.
pub fn plan(desired: &Desired, observed: &Observed, history: &History, policy: &Reconcile) -> Plan {
    let specs = desired.specs.keys().chain(desired.unreadable.keys());
    let mut names: Vec<&InstanceName> = specs.chain(observed.instances.keys()).collect();
    names.extend(observed.unobserved.keys());
    names.extend(history.in_progress.keys());
    names.sort();
    names.dedup();
    let removals = Removals::decide(desired, observed, history, &policy.prune);
    let mut plan = Plan {
        revision: desired.revision.clone(),
        commit: desired.commit.clone(),
        ..Plan::default()
    };
    let mut specs = Beside::new(&desired.specs);
    let mut standing = Beside::new(&observed.instances);
    let mut origins = Beside::new(&desired.origins);
    let mut acts = Beside::new(&history.acts);
    for name in names {
        let spec = specs.get(name);
        let generations = standing.get(name).map_or(&[][..], Vec::as_slice);
        let suspended = history.overrides.get(name).and_then(|o| o.suspended);
        let step = if let Some(since) = history.in_progress.get(name) {
            Some(held(name, Reason::InProgress { since: *since }))
        } else if let Some(since) = suspended {
            Some(held(name, Reason::Suspended { since }))
        } else if let Some(diagnostics) = desired.unreadable.get(name) {
            let diagnostics = diagnostics.clone();
            Some(held(name, Reason::Unreadable { diagnostics }))
        } else if let Some(why) = observed.unobserved.get(name) {
            let why = why.clone();
            Some(held(name, Reason::Unobserved { why }))
        } else if let Some(spec) = spec {
            let acts = acts.get(name).map_or(&[][..], Vec::as_slice);
            Case::new(
                spec,
                origins.get(name),
                generations,
                acts,
                observed,
                history,
            )
            .step()
        } else {
            Some(removals.step(name, generations))
        };
        match step {
            Some(step) => plan.steps.push(step),
            None => plan.unchanged += 1,
        }
    }
    rollout::brake(&mut plan, desired, observed, history, &policy.replace);
    plan
}

fn held(instance: &InstanceName, reason: Reason) -> Step {
    Step {
        instance: instance.clone(),
        action: Action::Held,
        reason,
        changes: Vec::new(),
        ends_sessions: false,
    }
}
