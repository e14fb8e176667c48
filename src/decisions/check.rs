//! What holds for every plan, whoever made it. The daemon performs no plan that breaks one of these.

use std::collections::BTreeSet;

use super::plan::{Action, History, Plan, Reason, Retired};
use crate::words::desired::Desired;
use crate::words::observed::{Observed, Phase};

/// Every rule that `plan` breaks, in words; empty for a sound plan.
///
/// It knows nothing of how a plan is made: what it asks, it asks of the result.
pub fn violations(
    plan: &Plan,
    desired: &Desired,
    observed: &Observed,
    history: &History,
) -> Vec<String> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for step in &plan.steps {
        let name = &step.instance;
        let mut broken = |rule: &str| found.push(format!("{name}: {rule}"));
        if !seen.insert(name) {
            broken("has more than one step");
        }
        if desired.unreadable.contains_key(name) && step.action != Action::Held {
            broken("is touched though its manifest cannot be used");
        }
        let said = history.overrides.get(name);
        if said.is_some_and(|said| said.suspended.is_some()) && step.action != Action::Held {
            broken("is touched though an operator suspended it");
        }
        let ours = observed.instances.get(name).map_or(&[][..], Vec::as_slice);
        let (touched, made): (Vec<&Retired>, Option<u64>) = match &step.action {
            Action::Create {
                generation,
                discard,
                ..
            } => (discard.iter().collect(), Some(*generation)),
            Action::Replace {
                retire, generation, ..
            } => (retire.iter().collect(), Some(*generation)),
            Action::Start { target, .. }
            | Action::Update { target, .. }
            | Action::Restart { target }
            | Action::Stop { target } => (vec![target], None),
            Action::Remove { targets } => (targets.iter().collect(), None),
            Action::Held => (Vec::new(), None),
        };
        if touched
            .iter()
            .any(|retired| !ours.iter().any(|g| g.id == retired.id))
        {
            broken("touches a container that was not observed as its own");
        }
        if made.is_some_and(|number| ours.iter().any(|g| g.number >= number)) {
            broken("makes a generation whose number is not above all others");
        }
        if made.is_some() && !desired.specs.contains_key(name) {
            broken("is made though nothing desires it");
        }
        let removed_whole =
            matches!(&step.action, Action::Remove { targets } if targets.len() == ours.len());
        if removed_whole && step.reason == Reason::Orphaned {
            if desired.names(name) {
                broken("is removed as an orphan though a manifest names it");
            }
            if history.protected.contains(name) {
                broken("is removed though it is protected");
            }
            if desired.is_empty() && history.confirm_prune.is_none() {
                broken("is removed because the source is empty, which nobody confirmed");
            }
        }
        // Whatever runs must not run beside its successor, except where that is the point of the swap.
        if let Action::Start { target, .. } = &step.action
            && ours
                .iter()
                .any(|g| g.id != target.id && g.phase == Phase::Running)
        {
            broken("is started beside a generation that runs");
        }
    }
    found
}
