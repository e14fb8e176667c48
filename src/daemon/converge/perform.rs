//! The steps of a round: begun, waited for while they are quick, and concluded when they end.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Converger, LateStep, View};
use crate::daemon::chain::failure;
use crate::daemon::failures::digest;
use crate::daemon::journal::Concluded;
use crate::daemon::memory::Memory;
use crate::daemon::notebook::Notebook;
use crate::daemon::round;
use crate::daemon::steps::{Job, Running, StepResult};
use crate::decisions::event::{PlannedFor, action_name};
use crate::decisions::plan::{Action, Reason, Step};
use crate::decisions::report::{FailureKind, Outcome, Report, StepReport};
use crate::doors::engine::{Engine, EngineError, ErrorClass, Secrets};
use crate::words::desired::Desired;
use crate::words::name::InstanceName;

impl<E: Engine + 'static, N: Notebook> Converger<E, N> {
    /// What a crash left harms nothing but tidiness, so it delays no round, and the next one tries again.
    pub(super) async fn tidy(&self, leftovers: &[String]) {
        match within(self.steps.patience(), self.engine.tidy(leftovers)).await {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                tracing::warn!(%error, "failed to remove leftover secrets; retrying next round");
            }
            None => tracing::warn!("removing leftover secrets takes long; retrying next round"),
        }
    }

    /// Makes what new generations stand on, where one is to be made.
    pub(super) async fn prepare(&self, view: &View) -> Result<(), EngineError> {
        if !view.plan.steps.iter().any(round::needs_ground) {
            return Ok(());
        }
        match within(self.steps.patience(), self.engine.prepare()).await {
            Some(prepared) => prepared,
            None => Err(EngineError::new(
                "prepare the network",
                ErrorClass::Stalled,
                "the engine does not answer in time",
            )
            .with_help("nothing is created meanwhile; other steps continue")),
        }
    }

    /// A removal is noted before it happens: after a crash in between it still counts. Says why it may not happen.
    pub(super) async fn note_removal(&self, step: &Step) -> Option<(Outcome, Option<FailureKind>)> {
        if step.reason != Reason::Orphaned {
            return None;
        }
        let noted = self
            .notebook
            .note_removal(step.instance.clone(), self.clock.now());
        let error = noted.await.err()?;
        Some((Outcome::Failed(failure(&error)), Some(FailureKind::Failed)))
    }

    /// The report of a step that was never begun. A failure is told to whoever observes: nobody else logs it.
    pub(super) fn not_tried(
        &self,
        step: &Step,
        view: &View,
        outcome: Outcome,
        failure: Option<FailureKind>,
    ) -> StepReport {
        let report = StepReport {
            step: step.clone(),
            outcome,
            millis: 0,
            failure,
        };
        if matches!(report.outcome, Outcome::Failed(_)) {
            (self.observer)(&report, &planned_for(step, view));
        }
        report
    }

    pub(super) fn begin(&mut self, step: &Step, view: &View, shutdown: &CancellationToken) {
        let secrets = view.sealed.values.get(&step.instance);
        let job = Job {
            step: step.clone(),
            secrets: secrets.cloned().unwrap_or_else(Secrets::new),
            planned_for: planned_for(step, view),
            since: self.clock.now(),
            slots: Arc::clone(&self.slots),
            shutdown: shutdown.clone(),
        };
        self.steps.begin(&self.engine, job);
    }

    /// Until each of these steps has ended or is slow. Concludes those that ended.
    pub(super) async fn wait_for(
        &mut self,
        begun: BTreeSet<InstanceName>,
        view: &View,
    ) -> Vec<StepReport> {
        let mut waited_for = begun.clone();
        let mut concluded = Vec::new();
        while let Some((running, result)) = self.steps.next_of(&mut waited_for).await {
            if begun.contains(&running.step.instance) {
                concluded.push(self.report(running, result));
            } else {
                // One of an earlier round.
                self.unconcluded.push_back((running, result));
            }
        }
        concluded.sort_by(|a, b| a.report.step.instance.cmp(&b.report.step.instance));
        self.journal.conclude(&concluded, &self.notebook).await;
        self.conclude_ended().await;
        let mut reports: Vec<StepReport> = concluded
            .into_iter()
            .filter(|concluded| !concluded.withdrawn)
            .map(|concluded| concluded.report)
            .collect();
        let in_progress = self.steps.since();
        let slow = view.plan.steps.iter().filter(|step| {
            begun.contains(&step.instance) && in_progress.contains_key(&step.instance)
        });
        reports.extend(slow.map(|step| {
            let since = in_progress[&step.instance];
            StepReport {
                step: step.clone(),
                outcome: Outcome::Running { since },
                millis: 0,
                failure: None,
            }
        }));
        reports
    }

    /// What came of a step, told to whoever observes.
    pub(super) fn report(&self, running: Running, result: StepResult) -> Concluded {
        let millis = u64::try_from(running.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.steps
            .keep_output(&running.step, &result, self.clock.now());
        let (mut unclear, mut withdrawn) = (false, false);
        let (outcome, failure) = match result {
            StepResult::Done => (Outcome::Done, None),
            StepResult::Failed(error) => {
                unclear = may_pass(&running.step, error.class);
                failed(&error)
            }
            StepResult::Withdrawn => {
                withdrawn = true;
                let (instance, action) =
                    (&running.step.instance, action_name(&running.step.action));
                tracing::info!(%instance, action, "step withdrawn before it changed anything");
                (Outcome::Held, None)
            }
        };
        let report = StepReport {
            step: running.step,
            outcome,
            millis,
            failure,
        };
        if !withdrawn {
            (self.observer)(&report, &running.planned_for);
        }
        Concluded {
            report,
            planned_for: running.planned_for,
            unclear,
            withdrawn,
        }
    }

    /// Returns what came of the next step that ends beside the rounds. Pending while there is none. Nothing is lost when
    /// this is dropped while it waits.
    pub async fn ended(&mut self) -> LateStep {
        loop {
            if let Some(ended) = self.take_ended() {
                return ended;
            }
            if self.unconcluded.is_empty() {
                let ended = self.steps.next().await;
                self.unconcluded.push_back(ended);
            }
            self.conclude_ended().await;
        }
    }

    /// Returns what came of a step that ended beside the rounds, where that is known by now.
    pub fn take_ended(&mut self) -> Option<LateStep> {
        self.late.pop_front()
    }

    /// Notes what came of steps that ended beside the rounds. No new step of theirs begins before that. Whoever waits
    /// for this may be dropped at any of its awaits: what is known in memory is known before the first one, and what is
    /// written is given to the notebook as a whole.
    pub(super) async fn conclude_ended(&mut self) {
        while let Some((running, result)) = self.unconcluded.pop_front() {
            let since = running.since;
            let concluded = self.report(running, result);
            let now = self.clock.now();
            self.failures.note_late(&concluded, now, &self.jitter);
            self.late.push_back(LateStep {
                instance: concluded.report.step.instance.clone(),
                since,
                report: (!concluded.withdrawn).then(|| concluded.report.clone()),
            });
            self.journal.conclude(&[concluded], &self.notebook).await;
            self.note_engine().await;
        }
    }

    /// Ends what goes on, for a process that ends: pulls are given up, and steps that change something may end.
    pub async fn finish(&mut self, report: &mut Report) {
        let _all_of_them = self.steps.withdraw(|_, _| false);
        while self.has_steps() {
            let ended = self.ended().await;
            match &ended.report {
                Some(step) => report.conclude(step, ended.since),
                None => report.give_up(&ended.instance, ended.since),
            }
        }
    }

    /// Whether a step goes on beside the rounds.
    pub fn has_steps(&self) -> bool {
        !self.steps.is_empty() || !self.unconcluded.is_empty() || !self.late.is_empty()
    }

    /// Gives up steps that do not act yet and that nobody wants any more, so that this round can plan something else
    /// for their instances. Says whether there were any.
    pub(super) async fn withdraw(&mut self, desired: &Desired, memory: &Memory) -> bool {
        let mut withdrawn = self.steps.withdraw(|name, planned_for| {
            let manifest = desired.origins.get(name).map(|origins| &origins.manifest);
            let set_aside = memory.overrides.get(name).is_some_and(|said| {
                let stopped = said.stopped.as_ref();
                said.suspended.is_some()
                    || stopped.is_some_and(|stopped| Some(&stopped.manifest) == manifest)
            });
            !set_aside && digest(desired, name) == planned_for.digest
        });
        let any = !withdrawn.is_empty();
        self.steps.forget_slow();
        while let Some(ended) = self.steps.next_of(&mut withdrawn).await {
            self.unconcluded.push_back(ended);
        }
        self.conclude_ended().await;
        any
    }
}

/// What a step of this view is planned for.
fn planned_for(step: &Step, view: &View) -> PlannedFor {
    PlannedFor {
        revision: view.plan.revision.clone(),
        commit: view.plan.commit.clone(),
        digest: digest(&view.desired, &step.instance),
    }
}

/// An update that failed for a moment says nothing of what the engine can: no container is replaced for it.
pub(super) fn may_pass(step: &Step, class: ErrorClass) -> bool {
    let passing =
        class.is_unclear() || matches!(class, ErrorClass::Retry | ErrorClass::RateLimited);
    matches!(step.action, Action::Update { .. }) && passing
}

pub(super) fn failed(error: &EngineError) -> (Outcome, Option<FailureKind>) {
    let kind = error.class.kind();
    (Outcome::Failed(error.clone().into()), Some(kind))
}

/// What comes of it in time; `None` when that has passed.
pub(super) async fn within<T>(limit: Option<Duration>, work: impl Future<Output = T>) -> Option<T> {
    match limit {
        None => Some(work.await),
        Some(limit) => tokio::time::timeout(limit, work).await.ok(),
    }
}
