//! One round: observe, plan, perform. What fails is part of its report.
//!
//! [`look`] reads and plans; it is all that a dry run can reach. [`perform`] acts on what it returned.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;

use super::chain::{chain, failure};
use super::memory::{Memory, blocking};
use super::seal::{Sealed, seal};
use super::site::Site;
use crate::decisions::check;
use crate::decisions::plan::{Action, History, Plan, Reason, Step, plan};
use crate::decisions::report::{Failure, Outcome, Report, StepReport};
use crate::doors::engine::{Engine, EngineError, Observe, Secrets};
use crate::doors::source::{self, SourceError};
use crate::doors::store::Store;
use crate::words::desired::{Desired, Snapshot};
use crate::words::name::InstanceName;
use crate::words::observed::Observed;
use crate::words::resolve::resolve;

/// What a round is asked for beside its site.
#[derive(Debug, Clone, Default)]
pub struct Ask {
    /// These instances alone; all when empty.
    pub names: Vec<InstanceName>,
    /// The id of a blocked prune that a person has confirmed.
    pub confirm_prune: Option<String>,
    /// Since when manifests have been absent, where the source is watched.
    pub absent_since: BTreeMap<InstanceName, jiff::Timestamp>,
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
}

/// Reads the source and resolves it.
///
/// # Errors
/// A report that says why nothing can be said of any instance.
pub fn desired(snapshot: &Snapshot, site: &Site) -> Result<Desired, Box<Report>> {
    resolve(snapshot, &site.config).map_err(|diagnostics| {
        let message = "fleet.yaml cannot be used, so nothing can be said of any instance";
        let help =
            Some("nothing was changed; mend the file, and see `instanced validate`".to_owned());
        let aborted = Some(Failure {
            message: message.to_owned(),
            help,
        });
        let revision = snapshot.revision.clone();
        Box::new(Report {
            revision,
            diagnostics,
            aborted,
            ..Report::default()
        })
    })
}

/// Reads the files of the source as they are now.
///
/// # Errors
/// A report that says why the round was aborted.
pub fn read_source(site: &Site) -> Result<Snapshot, Box<Report>> {
    source::dir::read(site.source_dir(), &site.source_shown(), &BTreeSet::new())
        .map_err(|error| source_failed(&error))
}

/// A source that cannot be read, as a report.
pub fn source_failed(error: &SourceError) -> Box<Report> {
    let help = Some("nothing was changed".to_owned());
    Box::new(Report::aborted(Failure {
        message: chain(error),
        help,
    }))
}

/// Observes and plans. Changes nothing, but that a `keep`ing look completes the store's generated secrets.
///
/// # Errors
/// A report that says why the round was aborted.
pub async fn look<O: Observe>(
    site: &Site,
    engine: &O,
    mut desired: Desired,
    memory: &Memory,
    keep: Option<&Arc<Store>>,
    ask: &Ask,
) -> Result<View, Box<Report>> {
    let aborted = |desired: &Desired, failure: Failure| {
        let Desired {
            revision,
            diagnostics,
            ..
        } = desired.clone();
        Box::new(Report {
            revision,
            diagnostics,
            ..Report::aborted(failure)
        })
    };
    let images = desired
        .specs
        .values()
        .map(|spec| spec.image.clone())
        .collect();
    let observed = match engine.observe(&images).await {
        Ok(observed) => observed,
        Err(error) => return Err(aborted(&desired, error.into())),
    };
    let sealed = match seal(&mut desired, &observed, engine, memory.key.as_ref(), keep).await {
        Ok(sealed) => sealed,
        Err(error) => return Err(aborted(&desired, failure(&error))),
    };
    let history = History {
        now: jiff::Timestamp::now(),
        removals: memory.removals.clone(),
        absent_since: ask.absent_since.clone(),
        protected: memory.protected_of(&observed),
        secrets_unreadable: sealed.unreadable.clone(),
        confirm_prune: ask.confirm_prune.clone(),
    };
    let mut plan = plan(&desired, &observed, &history, &site.config.reconcile.prune);
    let violations = check::violations(&plan, &desired, &observed);
    if !violations.is_empty() {
        let message = format!("the plan breaks its own rules: {}", violations.join("; "));
        let help = Some("this is a defect of instanced; nothing was changed".to_owned());
        return Err(aborted(&desired, Failure { message, help }));
    }
    if !ask.names.is_empty() {
        plan.steps.retain(|step| ask.names.contains(&step.instance));
    }
    Ok(View {
        desired,
        observed,
        plan,
        sealed,
    })
}

/// Performs a view's plan. Steps run beside each other, and none stops another.
pub async fn perform<E: Engine>(
    site: &Site,
    engine: &E,
    view: &View,
    store: &Arc<Store>,
    waiting: &BTreeMap<InstanceName, (jiff::Timestamp, Failure)>,
    shutdown: &CancellationToken,
) -> Report {
    if let Err(error) = engine.tidy(&view.observed.leftovers).await {
        // It harms nothing but tidiness, and the next round tries again.
        tracing::warn!(%error, "what a crash left of old secrets is still there");
    }
    let needs_ground = |step: &Step| {
        matches!(
            step.action,
            Action::Create { .. } | Action::Replace { .. } | Action::Start { .. }
        )
    };
    let ground = if view.plan.steps.iter().any(needs_ground) {
        engine.prepare().await.map_err(Failure::from)
    } else {
        Ok(())
    };
    let steps = view.plan.steps.iter().map(|step| {
        let ground = ground.as_ref().err().filter(|_| needs_ground(step));
        async move {
            if shutdown.is_cancelled() && step.action != Action::Held {
                return None;
            }
            let began = Instant::now();
            let outcome = match (&step.action, ground, waiting.get(&step.instance)) {
                (Action::Held, _, _) => Outcome::Held,
                (_, Some(failure), _) => Outcome::Failed(failure.clone()),
                (_, None, Some((until, last))) => Outcome::Waiting {
                    until: *until,
                    last: last.clone(),
                },
                (_, None, None) => perform_one(engine, step, view, store).await,
            };
            let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            Some(StepReport {
                step: step.clone(),
                outcome,
                millis,
            })
        }
    });
    let parallelism = site.config.reconcile.parallelism.max(1);
    let done = futures_util::stream::iter(steps).buffer_unordered(parallelism);
    let mut steps: Vec<StepReport> = done.filter_map(std::future::ready).collect().await;
    steps.sort_by(|a, b| a.step.instance.cmp(&b.step.instance));
    Report {
        revision: view.plan.revision.clone(),
        steps,
        unchanged: view.plan.unchanged,
        diagnostics: view.desired.diagnostics.clone(),
        notes: view.observed.ground.iter().cloned().collect(),
        ..Report::default()
    }
}

async fn perform_one<E: Engine>(
    engine: &E,
    step: &Step,
    view: &View,
    store: &Arc<Store>,
) -> Outcome {
    if step.reason == Reason::Orphaned {
        // Noted before it happens: after a crash in between it still counts.
        let name = step.instance.clone();
        let noted = blocking(store, move |store| {
            let now = jiff::Timestamp::now();
            store.forget_removals_before(Memory::window_start(now))?;
            store.note_removal(&name, now)
        })
        .await;
        if let Err(error) = noted {
            return Outcome::Failed(failure(&error));
        }
    }
    let none = Secrets::new();
    let secrets = view.sealed.values.get(&step.instance).unwrap_or(&none);
    match engine.perform(step, secrets).await {
        Ok(()) => Outcome::Done,
        Err(error) => Outcome::Failed(error.into()),
    }
}

/// Says what a round did: one line a step.
pub fn log(report: &Report) {
    let revision = report.revision.as_str();
    if let Some(Failure { message, help }) = &report.aborted {
        let help = help.as_deref();
        tracing::error!(revision, help, "round aborted: {message}");
    }
    for StepReport {
        step,
        outcome,
        millis,
    } in &report.steps
    {
        let (instance, reason) = (&step.instance, &step.reason);
        let action = action_name(&step.action);
        match outcome {
            Outcome::Done => {
                let generation = generation(&step.action);
                tracing::info!(%instance, action, generation, %reason, revision, millis, "done");
            }
            Outcome::Held => {
                let help = reason.way_out();
                tracing::warn!(%instance, %reason, revision, help = help.as_deref(), "held");
            }
            Outcome::Failed(Failure { message, help }) => {
                let help = help.as_deref();
                tracing::error!(%instance, action, %reason, revision, millis, help, "failed: {message}");
            }
            Outcome::Waiting { until, last } => {
                tracing::debug!(%instance, action, %until, "waiting after: {}", last.message);
            }
        }
    }
}

/// An action's name, as plans and logs say it.
pub fn action_name(action: &Action) -> &'static str {
    match action {
        Action::Create { .. } => "create",
        Action::Start { .. } => "start",
        Action::Stop { .. } => "stop",
        Action::Update { .. } => "update",
        Action::Restart { .. } => "restart",
        Action::Replace { .. } => "replace",
        Action::Remove { .. } => "remove",
        Action::Held => "held",
    }
}

fn generation(action: &Action) -> Option<u64> {
    match action {
        Action::Create { generation, .. } | Action::Replace { generation, .. } => Some(*generation),
        Action::Start { target, .. }
        | Action::Update { target, .. }
        | Action::Restart { target }
        | Action::Stop { target } => Some(target.number),
        Action::Remove { targets } => targets.last().map(|target| target.number),
        Action::Held => None,
    }
}

/// An engine that cannot be reached, as a report.
pub fn engine_away(error: EngineError) -> Report {
    Report::aborted(error.into())
}

/// A store that cannot be used, as a report.
pub fn store_failed(error: &crate::doors::store::StoreError) -> Report {
    Report::aborted(Failure {
        message: chain(error),
        help: None,
    })
}
