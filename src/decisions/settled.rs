//! Whether the instances are up after a round, for somebody who waits for that.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::plan::Reason;
use super::remedy::SETTLED;
use super::report::{Outcome, Report, StepReport};
use super::status::{InstancePhase, InstanceStatus};
use crate::words::name::InstanceName;
use crate::words::observed::Health;

/// What a round did, and which instances are not healthy after it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Reconciled {
    /// What the round did; of several, what all of them did.
    #[serde(flatten)]
    pub report: Report,
    /// The instances that are not healthy, or not yet.
    pub unhealthy: Vec<Unhealthy>,
    /// How many instances were looked at.
    pub looked_at: usize,
}

/// An instance that is not healthy, or not yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unhealthy {
    /// Its name.
    pub instance: InstanceName,
    /// Whether it starts, so that waiting may help.
    pub starting: bool,
    /// Why, in a sentence.
    pub reason: String,
    /// The last line that it wrote, without secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_line: Option<String>,
}

/// What to expect of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outlook {
    /// It is up, or is not meant to be.
    Settled,
    /// It starts.
    Starting,
    /// It is not healthy: waiting does not help.
    Unhealthy,
}

/// What to expect of an instance by its status. One without a health check is up once it has run for a while.
pub fn outlook(status: &InstanceStatus, now: jiff::Timestamp) -> Outlook {
    match status.phase {
        InstancePhase::Running if status.health == Some(Health::Healthy) => Outlook::Settled,
        InstancePhase::Running if has_run(status, now) => Outlook::Settled,
        InstancePhase::Unhealthy => Outlook::Unhealthy,
        // It ran and has ended.
        InstancePhase::Pending if status.started.is_some() && !status.reason.is_empty() => {
            Outlook::Unhealthy
        }
        InstancePhase::Running
        | InstancePhase::Starting
        | InstancePhase::Pulling
        | InstancePhase::Pending
        | InstancePhase::Unknown => Outlook::Starting,
        // A report names what failed or is held.
        InstancePhase::Stopped
        | InstancePhase::Held
        | InstancePhase::Failed
        | InstancePhase::Orphaned => Outlook::Settled,
    }
}

fn has_run(status: &InstanceStatus, now: jiff::Timestamp) -> bool {
    status.started.is_none_or(|started| {
        Duration::try_from(now.duration_since(started)).is_ok_and(|ran| ran >= SETTLED)
    })
}

/// The instances of these names, or all, that are not healthy or not yet, without their last lines.
pub fn unhealthy(
    all: &[InstanceStatus],
    names: &[InstanceName],
    now: jiff::Timestamp,
) -> Vec<Unhealthy> {
    let told = |status: &InstanceStatus| {
        let starting = match outlook(status, now) {
            Outlook::Settled => return None,
            Outlook::Starting => true,
            Outlook::Unhealthy => false,
        };
        let reason = match (starting, status.reason.as_str()) {
            (true, "") => "it starts".to_owned(),
            (_, reason) => reason.to_owned(),
        };
        Some(Unhealthy {
            instance: status.name.clone(),
            starting,
            reason,
            last_line: None,
        })
    };
    let wanted = |one: &&InstanceStatus| names.is_empty() || names.contains(&one.name);
    all.iter().filter(wanted).filter_map(told).collect()
}

/// Whether a report leaves instances that wait for others to become healthy.
pub fn waits_for_others(report: &Report) -> bool {
    let waits = |told: &StepReport| matches!(told.step.reason, Reason::RolloutWaits { .. });
    report.steps.iter().any(waits)
}

/// One report of two rounds: what the first did, and all of the second.
#[must_use]
pub fn continued(before: Report, mut next: Report) -> Report {
    let again: BTreeMap<_, _> = next
        .steps
        .iter()
        .map(|told| (told.step.instance.clone(), told.outcome.clone()))
        .collect();
    let done = before.steps.into_iter().filter(|told| {
        // What is done again counts once.
        told.outcome == Outcome::Done && again.get(&told.step.instance) != Some(&Outcome::Done)
    });
    let done: Vec<StepReport> = done.collect();
    // An instance of an earlier step is among the unchanged ones of the later round.
    let unchanged = done
        .iter()
        .filter(|told| !again.contains_key(&told.step.instance));
    next.unchanged = next.unchanged.saturating_sub(unchanged.count());
    next.steps.extend(done);
    next.steps
        .sort_by(|a, b| a.step.instance.cmp(&b.step.instance));
    for note in before.notes {
        if !next.notes.contains(&note) {
            next.notes.push(note);
        }
    }
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(name: &str, phase: &str, more: &serde_json::Value) -> InstanceStatus {
        let mut value = serde_json::json!({
            "name": name, "phase": phase, "reason": "", "endpoints": [], "health": null,
            "generation": 1, "image": null, "owner": null, "started": "2026-01-01T00:00:00Z",
        });
        let fields = value.as_object_mut().unwrap();
        fields.extend(more.as_object().unwrap().clone());
        serde_json::from_value(value).unwrap()
    }

    fn after(seconds: i64) -> jiff::Timestamp {
        let started: jiff::Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        started + jiff::SignedDuration::from_secs(seconds)
    }

    #[test]
    fn one_is_up_when_its_check_says_so_or_it_has_run_for_a_while() {
        let none = serde_json::json!({});
        let healthy = serde_json::json!({ "health": "healthy" });
        let ended = serde_json::json!({ "reason": "it is not running: exited (1)" });
        let never = serde_json::json!({ "started": null });
        for (phase, more, seconds, expected) in [
            ("running", &healthy, 0, Outlook::Settled),
            ("running", &none, 1, Outlook::Starting),
            ("running", &none, 5, Outlook::Settled),
            // The engine's clock is ahead.
            ("running", &none, -9, Outlook::Starting),
            ("starting", &none, 99, Outlook::Starting),
            ("unhealthy", &none, 0, Outlook::Unhealthy),
            ("pending", &ended, 1, Outlook::Unhealthy),
            ("pending", &never, 1, Outlook::Starting),
            ("unknown", &none, 1, Outlook::Starting),
            ("stopped", &none, 1, Outlook::Settled),
            ("held", &none, 1, Outlook::Settled),
            ("failed", &none, 1, Outlook::Settled),
            ("orphaned", &none, 1, Outlook::Settled),
        ] {
            let one = status("a", phase, more);
            assert_eq!(outlook(&one, after(seconds)), expected, "{phase} {seconds}");
        }
    }

    #[test]
    fn only_those_asked_for_count() {
        let ill = serde_json::json!({ "reason": "its health check fails" });
        let all = [
            status("a", "unhealthy", &ill),
            status("b", "starting", &serde_json::json!({})),
            status("c", "running", &serde_json::json!({})),
        ];
        let told = |names: &[&str]| {
            let names: Vec<InstanceName> = names.iter().map(|name| name.parse().unwrap()).collect();
            let told = unhealthy(&all, &names, after(9));
            let told = told
                .into_iter()
                .map(|one| (one.instance.to_string(), one.starting, one.reason));
            told.collect::<Vec<_>>()
        };
        let a = ("a".to_owned(), false, "its health check fails".to_owned());
        let b = ("b".to_owned(), true, "it starts".to_owned());
        assert_eq!(told(&[]), [a.clone(), b]);
        assert_eq!(told(&["a", "c"]), [a]);
    }

    #[test]
    fn what_earlier_rounds_did_counts_once() {
        use crate::decisions::plan::{Action, Step};
        let told = |name: &str, outcome: Outcome| StepReport {
            step: Step {
                instance: name.parse().unwrap(),
                action: Action::Held,
                reason: Reason::Orphaned,
                changes: Vec::new(),
                ends_sessions: false,
            },
            outcome,
            millis: 1,
            failure: None,
        };
        let before = Report {
            steps: vec![told("a", Outcome::Done), told("b", Outcome::Held)],
            unchanged: 3,
            ..Report::default()
        };
        let next = Report {
            steps: vec![told("b", Outcome::Done)],
            unchanged: 4,
            ..Report::default()
        };
        let both = continued(before, next);
        let names: Vec<_> = both
            .steps
            .iter()
            .map(|told| told.step.instance.as_str())
            .collect();
        assert_eq!((names, both.unchanged), (vec!["a", "b"], 3));
    }
}
