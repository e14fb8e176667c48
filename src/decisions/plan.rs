//! What is to be done: desired and observed in, a plan out. The plan is a value: it is printed by a dry
//! run, checked by [`super::check`], performed by the daemon and told by its API.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::change::{self, Change};
use crate::words::config::Prune;
use crate::words::desired::Desired;
use crate::words::diagnostic::Diagnostic;
use crate::words::manifest::{Pull, Restart, State};
use crate::words::name::InstanceName;
use crate::words::observed::{Applied, Foreign, Generation, Observed, Phase};
use crate::words::quantity::Span;
use crate::words::spec::Spec;

mod removals;

use removals::Removals;

/// How long an absence must last in a watched source before it counts.
pub const ABSENCE: Span = Span::secs(5);

/// Everything to be done to make observed what is desired.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The revision that is desired.
    pub revision: String,
    /// At most one a instance, sorted by name.
    pub steps: Vec<Step>,
    /// Instances that are as they shall be.
    pub unchanged: usize,
}

/// One instance's action with its reason.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Action {
    /// A first generation comes up.
    Create {
        /// Its number.
        generation: u64,
        /// What it is made from.
        spec: Box<Spec>,
        /// Unfinished creations that go first.
        discard: Vec<Retired>,
    },
    /// A generation that stands comes up again.
    Start {
        /// Which.
        target: Retired,
        /// What it was made from.
        spec: Box<Spec>,
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
        spec: Box<Spec>,
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
        spec: Box<Spec>,
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Reason {
    /// No generation is there.
    Missing,
    /// Its manifest says something else than it was made from.
    Changed,
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
    /// A newer generation has taken over.
    Superseded,
    /// No manifest names it.
    Orphaned,
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
}

/// What planning knows beside desired and observed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    /// The moment of planning.
    pub now: jiff::Timestamp,
    /// Removals of the last ten minutes, by whom it may concern.
    pub removals: Vec<(InstanceName, jiff::Timestamp)>,
    /// Since when a manifest has been absent; only a watched source knows. Absent here: long enough.
    pub absent_since: BTreeMap<InstanceName, jiff::Timestamp>,
    /// Orphans whose last manifest said `protect: true`.
    pub protected: BTreeSet<InstanceName>,
    /// Instances whose secrets cannot be read now; why.
    pub secrets_unreadable: BTreeMap<InstanceName, String>,
    /// The id of a blocked prune that a person has confirmed.
    pub confirm_prune: Option<String>,
}

/// Plans every instance that is desired, held or observed. Pure: the same in is the same out.
pub fn plan(desired: &Desired, observed: &Observed, history: &History, prune: &Prune) -> Plan {
    let names: BTreeSet<&InstanceName> = desired
        .specs
        .keys()
        .chain(desired.unreadable.keys())
        .chain(observed.instances.keys())
        .collect();
    let removals = Removals::decide(desired, observed, history, prune);
    let mut plan = Plan {
        revision: desired.revision.clone(),
        ..Plan::default()
    };
    for name in names {
        let generations = observed.instances.get(name).map_or(&[][..], Vec::as_slice);
        let step = if let Some(diagnostics) = desired.unreadable.get(name) {
            Some(held(
                name,
                Reason::Unreadable {
                    diagnostics: diagnostics.clone(),
                },
            ))
        } else if let Some(spec) = desired.specs.get(name) {
            step_for(spec, generations, observed, history)
                .or_else(|| unreadable_secret(spec, generations, history))
        } else {
            Some(removals.step(name, generations))
        };
        match step {
            Some(step) => plan.steps.push(step),
            None => plan.unchanged += 1,
        }
    }
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

fn step(spec: &Spec, action: Action, reason: Reason) -> Step {
    let ends_sessions = matches!(
        action,
        Action::Replace { .. } | Action::Stop { .. } | Action::Restart { .. }
    );
    Step {
        instance: spec.name.clone(),
        action,
        reason,
        changes: Vec::new(),
        ends_sessions,
    }
}

/// One that stands as it should, but whose secret cannot be read any more, runs on; somebody should know.
fn unreadable_secret(spec: &Spec, generations: &[Generation], history: &History) -> Option<Step> {
    let why = history.secrets_unreadable.get(&spec.name)?;
    (!generations.is_empty())
        .then(|| held(&spec.name, Reason::SecretUnreadable { why: why.clone() }))
}

/// What a desired instance needs; `None` when nothing.
fn step_for(
    spec: &Spec,
    generations: &[Generation],
    observed: &Observed,
    history: &History,
) -> Option<Step> {
    // One that was never started may lack its secrets: it counts for nothing but clean-up.
    let (unfinished, standing): (Vec<_>, Vec<_>) =
        generations.iter().partition(|g| g.phase == Phase::Created);
    let next = generations.iter().map(|g| g.number).max().unwrap_or(0) + 1;
    let stopped = spec.state == State::Stopped;
    let Some((newest, older)) = standing.split_last() else {
        return step_without_standing(spec, &unfinished, next, observed, history);
    };
    let current = match &newest.applied {
        Applied::Newer(version) => {
            return Some(held(&spec.name, Reason::MadeByNewer { version: *version }));
        }
        Applied::Unreadable(why) => Err(Reason::Illegible { why: why.clone() }),
        Applied::Spec(applied) => Ok(applied),
    };
    if stopped {
        // A change waits until it runs again: whoever stopped it wants it left alone.
        return step_to_stop(spec, newest, older, &unfinished);
    }
    let (reason, changes) = match current {
        Err(reason) => (Some(reason), Vec::new()),
        Ok(applied) => {
            let changes = change::replacing(applied, spec);
            let moved = image_moved(spec, newest, observed);
            (
                if changes.is_empty() {
                    moved
                } else {
                    Some(Reason::Changed)
                },
                changes,
            )
        }
    };
    if let Some(reason) = reason {
        let retire = generations.iter().map(Retired::from).collect();
        let action = Action::Replace {
            retire,
            generation: next,
            spec: Box::new(spec.clone()),
        };
        let ends_sessions = newest.phase == Phase::Running;
        let step = Step {
            changes,
            ends_sessions,
            ..step(spec, action, reason)
        };
        return Some(unless_blocked(step, next, observed, history));
    }
    let leftovers: Vec<_> = older
        .iter()
        .chain(&unfinished)
        .copied()
        .map(Retired::from)
        .collect();
    match newest.phase {
        Phase::Running | Phase::Restarting if leftovers.is_empty() => None,
        Phase::Running | Phase::Restarting => Some(step(
            spec,
            Action::Remove { targets: leftovers },
            Reason::Superseded,
        )),
        Phase::Dead => {
            let retire = generations.iter().map(Retired::from).collect();
            let action = Action::Replace {
                retire,
                generation: next,
                spec: Box::new(spec.clone()),
            };
            let reason = Reason::NotRunning {
                phase: newest.phase,
            };
            Some(unless_blocked(
                step(spec, action, reason),
                next,
                observed,
                history,
            ))
        }
        phase => {
            let target = Retired::from(*newest);
            let action = Action::Start {
                target,
                spec: Box::new(spec.clone()),
            };
            // An older one that still runs would share its volumes: the swap is finished first.
            if older.iter().any(|g| g.phase == Phase::Running) {
                let targets = leftovers;
                return Some(step(spec, Action::Remove { targets }, Reason::Superseded));
            }
            Some(step(spec, action, Reason::NotRunning { phase }))
        }
    }
}

fn step_without_standing(
    spec: &Spec,
    unfinished: &[&Generation],
    next: u64,
    observed: &Observed,
    history: &History,
) -> Option<Step> {
    let discard: Vec<_> = unfinished.iter().copied().map(Retired::from).collect();
    if spec.state == State::Stopped {
        let reason = Reason::Superseded;
        return (!discard.is_empty())
            .then(|| step(spec, Action::Remove { targets: discard }, reason));
    }
    let action = Action::Create {
        generation: next,
        spec: Box::new(spec.clone()),
        discard,
    };
    Some(unless_blocked(
        step(spec, action, Reason::Missing),
        next,
        observed,
        history,
    ))
}

fn step_to_stop(
    spec: &Spec,
    newest: &Generation,
    older: &[&Generation],
    unfinished: &[&Generation],
) -> Option<Step> {
    if matches!(
        newest.phase,
        Phase::Running | Phase::Restarting | Phase::Paused
    ) || newest.limits.restart != Restart::No
    {
        let target = Retired::from(newest);
        return Some(Step {
            ends_sessions: newest.phase == Phase::Running,
            ..step(spec, Action::Stop { target }, Reason::NotStopped)
        });
    }
    let targets: Vec<_> = older
        .iter()
        .chain(unfinished)
        .copied()
        .map(Retired::from)
        .collect();
    (!targets.is_empty()).then(|| step(spec, Action::Remove { targets }, Reason::Superseded))
}

/// The image that the reference names now, where it is another one. `never` and `missing` ask no registry,
/// but an image that was built or pulled by hand under the same tag is the one that is meant.
fn image_moved(spec: &Spec, newest: &Generation, observed: &Observed) -> Option<Reason> {
    let to = observed.images.get(&spec.image)?;
    (spec.pull != Pull::Never && *to != newest.image_id).then(|| Reason::ImageMoved {
        from: newest.image_id.clone(),
        to: to.clone(),
    })
}

/// A step that needs a new generation, unless something that it needs cannot be had.
fn unless_blocked(step: Step, next: u64, observed: &Observed, history: &History) -> Step {
    if let Some(why) = history.secrets_unreadable.get(&step.instance) {
        return held(
            &step.instance,
            Reason::SecretUnreadable { why: why.clone() },
        );
    }
    match observed.foreign.get(&format!("{}-g{next}", step.instance)) {
        Some(Foreign { name, what }) => {
            let (name, holder) = (name.clone(), what.clone());
            held(&step.instance, Reason::NameTaken { name, holder })
        }
        None => step,
    }
}
