//! Orphans: which go, which are held, and why.

use std::collections::BTreeSet;

use super::beside::Beside;
use super::{ABSENCE, Action, History, Reason, Retired, Step, held};
use crate::decisions::guard::{self, PruneVerdict};
use crate::words::config::Prune;
use crate::words::desired::Desired;
use crate::words::name::InstanceName;
use crate::words::observed::{Generation, Observed, Phase};

/// The verdict on every orphan.
pub(super) struct Removals<'a> {
    verdict: PruneVerdict,
    /// Sorted.
    going: Vec<InstanceName>,
    source_is_empty: bool,
    history: &'a History,
}

impl<'a> Removals<'a> {
    pub(super) fn decide(
        desired: &Desired,
        observed: &Observed,
        history: &'a History,
        prune: &Prune,
    ) -> Self {
        let mut specs = Beside::new(&desired.specs);
        let names = observed.instances.keys();
        let orphans = names
            .filter(|name| specs.get(name).is_none() && !desired.unreadable.contains_key(*name));
        let going: Vec<_> = orphans
            .filter(|name| !history.protected.contains(*name))
            .filter(|name| !just_vanished(name, history))
            .filter(|name| !is_suspended(name, history))
            .cloned()
            .collect();
        let window = i64::try_from(guard::WINDOW.0).unwrap_or(i64::MAX);
        let lately =
            |at: &jiff::Timestamp| history.now.as_millisecond() - at.as_millisecond() < window;
        // One that is back is no loss, and one whose removal failed is counted as an orphan already.
        let gone: BTreeSet<_> = history
            .removals
            .iter()
            .filter(|(name, at)| lately(at) && !observed.has(name))
            .map(|(name, _)| name)
            .collect();
        let source_is_empty = desired.is_empty();
        let verdict = guard::prune(
            &guard::Ask {
                orphans: &going,
                fleet: observed.instances.len(),
                removed_lately: gone.len(),
                source_is_empty,
                revision: &desired.revision,
                confirmed: history.confirm_prune.as_deref(),
            },
            prune,
        );
        Self {
            verdict,
            going,
            source_is_empty,
            history,
        }
    }

    pub(super) fn step(&self, name: &InstanceName, generations: &[Generation]) -> Step {
        if self.history.protected.contains(name) {
            return held(name, Reason::Protected);
        }
        if self.going.binary_search(name).is_err() {
            return held(name, Reason::JustVanished);
        }
        match &self.verdict {
            PruneVerdict::Disabled => held(name, Reason::PruneDisabled),
            PruneVerdict::Blocked {
                id,
                removals,
                fleet,
            } => held(
                name,
                Reason::PruneBlocked {
                    id: id.clone(),
                    removals: *removals,
                    fleet: *fleet,
                    emptied: self.source_is_empty,
                },
            ),
            PruneVerdict::Go => Step {
                instance: name.clone(),
                action: Action::Remove {
                    targets: generations.iter().map(Retired::from).collect(),
                },
                reason: Reason::Orphaned,
                changes: Vec::new(),
                ends_sessions: generations.iter().any(|g| g.phase == Phase::Running),
            },
        }
    }
}

fn just_vanished(name: &InstanceName, history: &History) -> bool {
    let absent = history.absent_for.get(name);
    absent.is_some_and(|absent| *absent < ABSENCE)
}

/// It is held for that, so it must not weigh in what others are asked about.
fn is_suspended(name: &InstanceName, history: &History) -> bool {
    let overrides = history.overrides.get(name);
    overrides.is_some_and(|overrides| overrides.suspended.is_some())
}
