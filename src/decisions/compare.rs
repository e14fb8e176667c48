//! Two revisions compared: what a change of the files would do to each instance, whatever runs now.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;

use super::change::{self, Change};
use super::guard::{self, PruneVerdict};
use crate::words::config::Prune;
use crate::words::desired::Desired;
use crate::words::manifest::State;
use crate::words::name::InstanceName;
use crate::words::spec::Spec;

/// What a change does to an instance that is as the base says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// A first generation comes up, or none yet where its manifest says `stopped`.
    Added,
    /// A new generation takes over.
    Replaced,
    /// Its container changes while it runs.
    InPlace,
    /// It starts.
    Started,
    /// It stops, and stays.
    Stopped,
    /// No container is touched: what changes is the daemon's, or a route.
    Nothing,
    /// It goes for good.
    Removed,
    /// It was protected: it stays until it is no more.
    Kept,
    /// Its manifest cannot be used any more: it stays as it is.
    Held,
}

/// One instance that the two revisions say different things of.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// Which.
    pub instance: InstanceName,
    /// What that does.
    pub effect: Effect,
    /// The fields that differ.
    pub changes: Vec<Change>,
    /// Whether clients of this instance lose their sessions.
    pub ends_sessions: bool,
    /// What a new one is made from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec: Option<Arc<Spec>>,
}

/// What a change of the files would do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The revision that is compared with.
    pub base: String,
    /// The revision that is looked at.
    pub head: String,
    /// By name.
    pub differences: Vec<Difference>,
    /// Instances that both say the same of.
    pub unchanged: usize,
    /// Whether the removals wait for a person's word.
    pub prune_blocked: bool,
}

/// Compares what two revisions desire.
pub fn compare(base: &Desired, head: &Desired, prune: &Prune) -> Comparison {
    let names: BTreeSet<&InstanceName> = base.specs.keys().chain(head.specs.keys()).collect();
    let mut unchanged = 0;
    let mut differences = Vec::new();
    for name in names {
        match difference(name, base, head) {
            Some(difference) => differences.push(difference),
            None => unchanged += 1,
        }
    }
    let gone = |difference: &&Difference| difference.effect == Effect::Removed;
    let orphans: Vec<_> = differences
        .iter()
        .filter(gone)
        .map(|d| d.instance.clone())
        .collect();
    let verdict = guard::prune(
        &guard::Ask {
            orphans: &orphans,
            fleet: base.specs.len(),
            removed_lately: 0,
            source_is_empty: head.is_empty(),
            revision: &head.revision,
            confirmed: None,
        },
        prune,
    );
    Comparison {
        base: base.revision.clone(),
        head: head.revision.clone(),
        differences,
        unchanged,
        prune_blocked: matches!(verdict, PruneVerdict::Blocked { .. }),
    }
}

fn difference(name: &InstanceName, base: &Desired, head: &Desired) -> Option<Difference> {
    let found = |effect, changes, ends_sessions| Difference {
        instance: name.clone(),
        effect,
        changes,
        ends_sessions,
        spec: None,
    };
    match (base.specs.get(name), head.specs.get(name)) {
        (None, None) => None,
        (Some(_), None) if head.names(name) => Some(found(Effect::Held, Vec::new(), false)),
        (Some(old), None) if old.protect => Some(found(Effect::Kept, Vec::new(), false)),
        (Some(old), None) => Some(found(Effect::Removed, Vec::new(), runs(old))),
        // What the base says of it cannot be used: it is there, and nobody knows how.
        (None, Some(new)) => Some(Difference {
            spec: Some(Arc::clone(new)),
            ..found(Effect::Added, Vec::new(), false)
        }),
        (Some(old), Some(new)) => {
            let origins = head.origins.get(name).cloned().unwrap_or_default();
            let changes = change::all(old, new, &origins);
            if changes.is_empty() {
                return None;
            }
            let replaces = !change::replacing(old, new, &origins).is_empty();
            let (effect, ends_sessions) = match (runs(old), runs(new)) {
                (true, false) => (Effect::Stopped, true),
                (true, true) if replaces => (Effect::Replaced, true),
                (true, true) if change::is_in_place(&changes) => (Effect::InPlace, false),
                (false, true) if replaces => (Effect::Replaced, false),
                (false, true) => (Effect::Started, false),
                // What stands still is made anew when it shall run again.
                (true, true) | (false, false) => (Effect::Nothing, false),
            };
            Some(found(effect, changes, ends_sessions))
        }
    }
}

fn runs(spec: &Spec) -> bool {
    spec.state == State::Running
}
