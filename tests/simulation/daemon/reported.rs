//! What a report says, for the witness and for a person.

use std::collections::BTreeSet;

use instanced::decisions::plan::Reason;
use instanced::decisions::report::{Outcome, Report};

use super::super::paper::{NAMES, Slot, slot_of};

pub fn blocked(report: &Report) -> Option<(String, BTreeSet<Slot>)> {
    let mut slots = BTreeSet::new();
    let mut named = None;
    for step in &report.steps {
        if let Reason::PruneBlocked { id, .. } = &step.step.reason {
            slots.insert(slot_of(step.step.instance.as_str())?);
            named = Some(id.clone());
        }
    }
    Some((named?, slots))
}

pub fn told(report: &Report) -> String {
    let aborted = report.aborted.as_ref();
    let aborted = aborted.map_or(String::new(), |failure| {
        format!(" aborted: {}", failure.message)
    });
    let mut lines = vec![format!("  report:{aborted}")];
    for step in &report.steps {
        let action = instanced::decisions::event::action_name(&step.step.action);
        let outcome = match &step.outcome {
            Outcome::Done => "done".to_owned(),
            Outcome::Held => "held".to_owned(),
            Outcome::Failed(failure) => format!("failed: {}", failure.message),
            Outcome::Running { since } => format!("in progress since {since}"),
            Outcome::Waiting { until, .. } => format!("waits until {until}"),
        };
        let (name, reason) = (&step.step.instance, &step.step.reason);
        lines.push(format!("      {name} {action} ({reason}) {outcome}"));
    }
    lines.push(format!(
        "      {} unchanged of {}",
        report.unchanged,
        NAMES.len()
    ));
    lines.join("\n")
}
