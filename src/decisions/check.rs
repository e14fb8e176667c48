//! What holds for every plan, whoever made it. The daemon performs no plan that breaks one of these.

use std::collections::BTreeSet;

use super::plan::{Action, Plan, Reason, Retired};
use crate::words::desired::Desired;
use crate::words::observed::Observed;

/// Every rule that `plan` breaks, in words; empty for a sound plan.
pub fn violations(plan: &Plan, desired: &Desired, observed: &Observed) -> Vec<String> {
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
        if removed_whole && step.reason == Reason::Orphaned && desired.names(name) {
            broken("is removed as an orphan though a manifest names it");
        }
    }
    found
}
