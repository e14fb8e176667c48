//! What failed in earlier rounds of this process, and when each of it is tried again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::journal::Concluded;
use crate::decisions::pace::Backoff;
use crate::decisions::report::{Failure, FailureKind, Outcome, StepReport};
use crate::words::desired::Desired;
use crate::words::name::InstanceName;

/// Instances that wait for their next try: until when, and for what failure.
pub(super) type Waiting = BTreeMap<InstanceName, (jiff::Timestamp, Failure)>;

/// What failed, by instance.
#[derive(Debug, Default)]
pub(super) struct Failures(BTreeMap<InstanceName, Failing>);

/// What failed for an instance, and when it is tried again.
#[derive(Debug, Clone)]
struct Failing {
    count: u32,
    due: Instant,
    until: jiff::Timestamp,
    last: Failure,
    /// The digest of what was desired: something else is tried at once.
    spec: Option<String>,
}

impl Failures {
    /// Who has to wait still.
    pub(super) fn waiting(&self, desired: &Desired) -> Waiting {
        let now = Instant::now();
        let waits = self
            .0
            .iter()
            .filter(|(name, failing)| failing.due > now && failing.spec == digest(desired, name));
        waits
            .map(|(name, failing)| (name.clone(), (failing.until, failing.last.clone())))
            .collect()
    }

    /// Takes note of a round of these instances alone; of all when `only` is empty.
    pub(super) fn note(
        &mut self,
        steps: &[StepReport],
        only: &[InstanceName],
        desired: &Desired,
        now: jiff::Timestamp,
        jitter: impl Fn() -> f64,
    ) {
        let still: BTreeSet<&InstanceName> = steps
            .iter()
            .filter(|step| {
                matches!(
                    step.outcome,
                    Outcome::Failed(_) | Outcome::Waiting { .. } | Outcome::Running { .. }
                )
            })
            .map(|step| &step.step.instance)
            .collect();
        let asked = |name: &InstanceName| only.is_empty() || only.contains(name);
        self.0
            .retain(|name, _| still.contains(name) || !asked(name));
        for step in steps {
            self.note_failure(step, digest(desired, &step.step.instance), now, &jitter);
        }
    }

    /// Takes note of a step that ended beside the rounds.
    pub(super) fn note_late(
        &mut self,
        concluded: &Concluded,
        now: jiff::Timestamp,
        jitter: impl Fn() -> f64,
    ) {
        let Concluded {
            report,
            planned_for,
            ..
        } = concluded;
        if matches!(report.outcome, Outcome::Failed(_)) {
            self.note_failure(report, planned_for.digest.clone(), now, jitter);
        } else {
            self.0.remove(&report.step.instance);
        }
    }

    fn note_failure(
        &mut self,
        step: &StepReport,
        spec: Option<String>,
        now: jiff::Timestamp,
        jitter: impl Fn() -> f64,
    ) {
        let (name, Outcome::Failed(failure)) = (&step.step.instance, &step.outcome) else {
            return;
        };
        let before = self.0.get(name).filter(|failing| failing.spec == spec);
        let count = before.map_or(0, |failing| failing.count) + 1;
        let backoff = match step.failure {
            Some(FailureKind::RateLimited) => Backoff::RATE_LIMITED,
            _ => Backoff::USUAL,
        };
        let pause = backoff.next(count, jitter());
        let failing = Failing {
            count,
            due: Instant::now() + pause,
            until: now + pause,
            last: failure.clone(),
            spec,
        };
        self.0.insert(name.clone(), failing);
    }

    /// How long until the first of them is tried again. Those whose next try goes on are not `waited_for`.
    pub(super) fn next(&self, waited_for: impl Fn(&InstanceName) -> bool) -> Option<Duration> {
        let now = Instant::now();
        let failing = self.0.iter().filter(|(name, _)| waited_for(name));
        let due = failing.map(|(_, failing)| failing.due);
        due.map(|due| due.saturating_duration_since(now)).min()
    }
}

/// What is desired but for the values of secrets, which a look knows only later.
pub(super) fn digest(desired: &Desired, name: &InstanceName) -> Option<String> {
    let mut spec = desired.spec(name)?.clone();
    for secret in spec.secrets.values_mut() {
        secret.print = None;
    }
    Some(spec.digest())
}
