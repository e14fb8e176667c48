//! One look at the fleet: observe, plan. What fails is part of its report.
//!
//! It is all that a dry run can reach; [`super::converge`] acts on what it returns.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::chain::{chain, failure};
use super::memory::Memory;
use super::notebook::{Acts, Notebook};
use super::seal::{Sealed, seal};
use super::site::Site;
use crate::decisions::check;
use crate::decisions::event::{PlannedFor, action_name, generation};
use crate::decisions::plan::{Action, History, Plan, Step, plan};
use crate::decisions::report::{Failure, FailureKind, Missing, Outcome, Report, StepReport};
use crate::decisions::saved::SavedPlan;
use crate::doors::engine::{EngineError, Observe};
use crate::doors::source::git::checkout::CheckoutReader;
use crate::doors::source::{self, SourceError};
use crate::words::commit::Commit;
use crate::words::config::Reconcile;
use crate::words::desired::{Desired, Snapshot};
use crate::words::diagnostic::Diagnostic;
use crate::words::name::InstanceName;
use crate::words::observed::Observed;
use crate::words::overrides::Order;
use crate::words::resolve::resolve;

/// What a round is asked for beside its site.
#[derive(Debug, Clone, Default)]
pub struct Ask {
    /// These instances alone; all when empty.
    pub names: Vec<InstanceName>,
    /// The id of a blocked prune that a person has confirmed.
    pub confirm_prune: Option<String>,
    /// Restarts and recreations that an operator asks for.
    pub orders: BTreeMap<InstanceName, Order>,
    /// The plan that shall be performed, and no other.
    pub expect: Option<SavedPlan>,
    /// For how long manifests have been absent, where the source is watched.
    pub absent_for: BTreeMap<InstanceName, Duration>,
    /// For how long instances have not been well, where somebody looks on.
    pub unwell_for: BTreeMap<InstanceName, Duration>,
    /// Instances whose step waits, since it failed lately.
    pub waiting: BTreeSet<InstanceName>,
    /// Instances whose earlier step goes on beside this round, and since when.
    pub in_progress: BTreeMap<InstanceName, jiff::Timestamp>,
}

/// What a look found, and what is to be done about it.
#[derive(Debug)]
pub struct View {
    /// What shall be.
    pub desired: Desired,
    /// What is.
    pub observed: Observed,
    /// What is to be done.
    pub plan: Plan,
    /// The secrets of those who need them.
    pub sealed: Sealed,
    /// The instances that it is about; all of them when empty.
    pub only: Vec<InstanceName>,
    /// For how long instances have not been well.
    pub unwell_for: BTreeMap<InstanceName, Duration>,
}

/// What planning needs beside what is desired and observed.
pub struct Known<'a, N> {
    /// How far a round may go.
    pub policy: &'a Reconcile,
    /// What the store says.
    pub memory: &'a Memory,
    /// What was done lately.
    pub acts: &'a Arc<Acts>,
    /// Where generated secrets are kept; a look without one writes nothing anywhere.
    pub keep: Option<&'a N>,
    /// The moment.
    pub now: jiff::Timestamp,
}

/// Reads the source and resolves it.
///
/// # Errors
/// A report that says why nothing can be said of any instance.
pub fn desired(snapshot: &Snapshot, site: &Site) -> Result<Desired, Box<Report>> {
    let desired = resolve(snapshot, &site.config);
    let desired = desired.map_err(|diagnostics| unusable(snapshot, diagnostics))?;
    Ok(Desired {
        commit_issue: snapshot.commit_issue.clone(),
        ..desired
    })
}

/// A source whose `fleet.yaml` cannot be used, as a report.
pub fn unusable(snapshot: &Snapshot, diagnostics: Vec<Diagnostic>) -> Box<Report> {
    let is_of_fleet = |found: &Diagnostic| {
        let fleet = snapshot.fleet.as_ref();
        fleet.is_some_and(|fleet| found.place.path == fleet.path)
    };
    let message = if diagnostics.iter().any(is_of_fleet) {
        "fleet.yaml cannot be used, so nothing can be said of any instance"
    } else {
        "the source has too many manifests, so none is read"
    };
    let help = "nothing was changed; mend the file, and see `instanced validate`";
    let aborted = Some(Failure {
        message: message.to_owned(),
        help: Some(help.to_owned()),
    });
    let revision = snapshot.revision.clone();
    Box::new(Report {
        revision,
        commit: snapshot.commit.clone(),
        commit_issue: snapshot.commit_issue.clone(),
        diagnostics,
        aborted,
        aborted_by: Some(Missing::Source),
        ..Report::default()
    })
}

/// Reads the files of the source as they are now.
///
/// # Errors
/// A report that says why the round was aborted.
///
/// A repository is read as it was fetched last.
pub fn read_source(site: &Site) -> Result<Snapshot, Box<Report>> {
    if let Some(mirror) = site.mirror() {
        let head = mirror
            .read()
            .map_err(|error| source_failed(&error.into()))?;
        return Ok(head.snapshot);
    }
    let dir = site.source_dir();
    let snapshot = source::dir::read(dir, &site.source_shown(), &BTreeSet::new())
        .map_err(|error| source_failed(&error))?;
    Ok(CheckoutReader::default().read(dir, snapshot))
}

/// A source that cannot be read, as a report.
pub fn source_failed(error: &SourceError) -> Box<Report> {
    let help = Some("nothing was changed".to_owned());
    let aborted = Report::aborted(Failure {
        message: chain(error),
        help,
    });
    Box::new(aborted.for_want_of(Missing::Source))
}

/// Observes and plans. Changes nothing, but that a look that `keep`s completes the store's generated secrets.
///
/// # Errors
/// A report that says why the round was aborted.
pub async fn look<O: Observe, N: Notebook>(
    engine: &O,
    desired: Desired,
    known: &Known<'_, N>,
    ask: &Ask,
) -> Result<View, Box<Report>> {
    match observe(engine, &desired).await {
        Ok(observed) => decide(engine, desired, observed, known, ask).await,
        Err(error) => Err(engine_failed(&desired, error)),
    }
}

/// What the engine says, with the images that are desired.
pub async fn observe<O: Observe>(engine: &O, desired: &Desired) -> Result<Observed, EngineError> {
    let contested = desired.contested.values().map(|contest| &contest.spec);
    let specs = desired.specs.values().chain(contested);
    let images = specs.map(|spec| spec.image.clone());
    engine.observe(&images.collect()).await
}

/// Plans from what was observed.
///
/// # Errors
/// A report that says why the round was aborted.
pub async fn decide<O: Observe, N: Notebook>(
    engine: &O,
    mut desired: Desired,
    observed: Observed,
    known: &Known<'_, N>,
    ask: &Ask,
) -> Result<View, Box<Report>> {
    desired.admit_incumbents(&observed);
    let memory = known.memory;
    let sealed = seal(
        &mut desired,
        &observed,
        engine,
        memory.key.as_ref(),
        known.keep,
    );
    let sealed = match sealed.await {
        Ok(sealed) => sealed,
        Err(error) => return Err(aborted(&desired, failure(&error))),
    };
    let mut view = settle(desired, observed, sealed, known, ask)?;
    if view.plan.steps.iter().any(needs_ground) {
        match engine.ground().await {
            Ok(ground) => view.observed.ground = ground,
            Err(error) => return Err(engine_failed(&view.desired, error)),
        }
    }
    Ok(view)
}

/// Whether a step makes or starts something, which stands on the network.
pub(super) fn needs_ground(step: &Step) -> bool {
    matches!(
        step.action,
        Action::Create { .. } | Action::Replace { .. } | Action::Start { .. }
    )
}

/// Plans, now that the secrets are known, too. Reaches nothing outside.
///
/// # Errors
/// A report that says why the round was aborted.
pub fn settle<N>(
    desired: Desired,
    observed: Observed,
    sealed: Sealed,
    known: &Known<'_, N>,
    ask: &Ask,
) -> Result<View, Box<Report>> {
    let memory = known.memory;
    let history = History {
        now: known.now,
        acts: Arc::clone(known.acts),
        overrides: memory.overrides.clone(),
        orders: ask.orders.clone(),
        unwell_for: ask.unwell_for.clone(),
        waiting: ask.waiting.clone(),
        in_progress: ask.in_progress.clone(),
        removals: memory.removals.clone(),
        absent_for: ask.absent_for.clone(),
        protected: memory.protected_of(&observed),
        secrets_unreadable: sealed.unreadable.clone(),
        confirm_prune: ask.confirm_prune.clone(),
    };
    let mut plan = plan(&desired, &observed, &history, known.policy);
    let violations = check::violations(&plan, &desired, &observed, &history);
    if !violations.is_empty() {
        let message = format!("the plan breaks its own rules: {}", violations.join("; "));
        let help = Some("this is a defect of instanced; nothing was changed".to_owned());
        return Err(aborted(&desired, Failure { message, help }));
    }
    if !ask.names.is_empty() {
        plan.steps.retain(|step| ask.names.contains(&step.instance));
    }
    if let Some(saved) = &ask.expect
        && let Err(moved) = saved.matches(&plan, &desired, &observed)
    {
        let help = "look at what has changed, and save a new plan: instanced reconcile --dry-run --out FILE";
        let (message, help) = (moved.to_string(), Some(help.to_owned()));
        return Err(aborted(&desired, Failure { message, help }));
    }
    Ok(View {
        desired,
        observed,
        plan,
        sealed,
        only: ask.names.clone(),
        unwell_for: history.unwell_for,
    })
}

/// A round that could go no further than what is desired.
pub fn aborted(desired: &Desired, failure: Failure) -> Box<Report> {
    Box::new(Report {
        revision: desired.revision.clone(),
        commit: desired.commit.clone(),
        commit_issue: desired.commit_issue.clone(),
        diagnostics: desired.diagnostics.clone(),
        ..Report::aborted(failure)
    })
}

/// A round whose engine did not say what stands.
pub fn engine_failed(desired: &Desired, error: EngineError) -> Box<Report> {
    let report = *aborted(desired, error.into());
    Box::new(report.for_want_of(Missing::Engine))
}

/// Logs what kept a round from doing more. Steps that were tried are logged as they end, by [`log_step`].
pub fn log(report: &Report) {
    let revision = report.revision.as_str();
    let commit = report.commit.as_ref().map(Commit::revision);
    let commit = commit.as_deref();
    let author = report
        .commit
        .as_ref()
        .and_then(|commit| commit.author.as_deref());
    if let Some(Failure { message, help }) = &report.aborted {
        let help = help.as_deref();
        tracing::error!(
            revision,
            commit,
            author,
            help,
            error = message,
            "round aborted"
        );
    }
    for StepReport { step, outcome, .. } in &report.steps {
        let (instance, reason) = (&step.instance, &step.reason);
        let action = action_name(&step.action);
        match outcome {
            Outcome::Held => {
                let help = reason.way_out(instance);
                tracing::warn!(%instance, %reason, revision, commit, author, help = help.as_deref(), "instance held");
            }
            Outcome::Running { since } => {
                tracing::info!(%instance, action, %since, "step in progress; other instances continue");
            }
            Outcome::Waiting { until, last } => {
                tracing::debug!(%instance, action, %until, error = last.message, "step waits for its next try");
            }
            Outcome::Done | Outcome::Failed(_) => {}
        }
    }
}

/// Logs a step that has ended.
pub fn log_step(told: &StepReport, planned_for: &PlannedFor) {
    let StepReport {
        step,
        outcome,
        millis,
        failure,
    } = told;
    let (instance, reason) = (&step.instance, &step.reason);
    let (action, generation) = (action_name(&step.action), generation(&step.action));
    let revision = planned_for.revision.as_str();
    let known = planned_for.commit.as_ref();
    let author = known.and_then(|commit| commit.author.as_deref());
    let commit = known.map(Commit::revision);
    let commit = commit.as_deref();
    match outcome {
        Outcome::Done => {
            tracing::info!(%instance, action, generation, %reason, revision, commit, author, millis, "step done");
        }
        Outcome::Failed(Failure { message, help }) => {
            let (help, kind) = (help.as_deref(), failure.map(FailureKind::as_str));
            tracing::error!(%instance, action, generation, %reason, revision, commit, author, millis, kind, help, error = message, "step failed");
        }
        Outcome::Held | Outcome::Running { .. } | Outcome::Waiting { .. } => {}
    }
}

/// An engine that cannot be reached, as a report.
pub fn engine_away(error: EngineError) -> Report {
    Report::aborted(error.into()).for_want_of(Missing::Engine)
}

/// A store that cannot be used, as a report.
pub fn store_failed(error: &crate::doors::store::StoreError) -> Report {
    let aborted = Report::aborted(Failure {
        message: chain(error),
        help: None,
    });
    aborted.for_want_of(Missing::Store)
}
