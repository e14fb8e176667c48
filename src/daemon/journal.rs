//! What was done to instances: noted before it happens, and again when it is over. In memory first: a store that fails
//! must not make this process forget.

use std::sync::Arc;

use super::chain::failure;
use super::notebook::{Acts, Notebook};
use super::round::View;
use crate::decisions::event::PlannedFor;
use crate::decisions::plan::{Action, Reason, Step};
use crate::decisions::remedy;
use crate::decisions::report::{Failure, Outcome, StepReport};
use crate::doors::store::StoreError;
use crate::words::act::{Act, Cause, Deed};
use crate::words::history::{Entry, EntryResult};
use crate::words::name::InstanceName;

/// So many acts of an instance are kept.
const ACTS_KEPT: usize = 50;

/// The acts of all instances. Nothing until they are read, which is done once: nobody else writes them while this
/// process has the store.
#[derive(Debug, Default)]
pub(super) struct Journal(Option<Arc<Acts>>);

impl Journal {
    /// The acts, as the notebook has them if this process does not know them yet.
    pub(super) async fn read<N: Notebook>(&self, notebook: &N) -> Result<Arc<Acts>, StoreError> {
        match &self.0 {
            Some(acts) => Ok(Arc::clone(acts)),
            None => Ok(Arc::new(notebook.acts().await?)),
        }
    }

    /// Takes what was read for what is known.
    pub(super) fn know(&mut self, acts: &Arc<Acts>) {
        self.0 = Some(Arc::clone(acts));
    }

    /// Notes what is about to be done: after a crash in between it still counts.
    pub(super) async fn begin<N: Notebook>(
        &mut self,
        steps: &[&Step],
        view: &View,
        now: jiff::Timestamp,
        notebook: &N,
    ) -> Result<(), Failure> {
        if steps.is_empty() {
            return Ok(());
        }
        let known = self.known();
        let mut begun = Acts::new();
        for step in steps {
            let mut acts = known.get(&step.instance).cloned().unwrap_or_default();
            let Some(act) = act(step, view, remedy::cause(step, &acts), now) else {
                continue;
            };
            acts.push(act);
            let surplus = acts.len().saturating_sub(ACTS_KEPT);
            acts.drain(..surplus);
            begun.insert(step.instance.clone(), acts);
        }
        drop(known);
        self.keep(begun, Vec::new(), notebook).await
    }

    /// Notes what came of steps, unless that is unclear. One that was withdrawn was never done.
    pub(super) async fn conclude<N: Notebook>(&mut self, steps: &[Concluded], notebook: &N) {
        let known = self.known();
        let (mut concluded, mut entries) = (Acts::new(), Vec::new());
        for step in steps {
            let instance = &step.report.step.instance;
            let Some(mut acts) = known.get(instance).cloned() else {
                continue;
            };
            let Some(last) = acts.last_mut().filter(|act| act.done.is_none()) else {
                continue;
            };
            if step.withdrawn {
                acts.pop();
            } else if let Some(done) = step.done() {
                last.done = Some(done);
                entries.push((instance.clone(), entry(last, step)));
            } else {
                continue;
            }
            concluded.insert(instance.clone(), acts);
        }
        drop(known);
        if let Err(failure) = self.keep(concluded, entries, notebook).await {
            tracing::warn!(
                error = failure.message,
                "failed to record what was done; a restart forgets it"
            );
        }
    }

    fn known(&self) -> Arc<Acts> {
        self.0.clone().unwrap_or_default()
    }

    /// Keeps acts, and what the history says of those that are over: in one call, which ends even if nobody waits for
    /// it any more.
    async fn keep<N: Notebook>(
        &mut self,
        changed: Acts,
        over: Vec<(InstanceName, Entry)>,
        notebook: &N,
    ) -> Result<(), Failure> {
        if changed.is_empty() {
            return Ok(());
        }
        let mut acts = self.0.take().unwrap_or_default();
        Arc::make_mut(&mut acts).extend(changed.clone());
        self.0 = Some(acts);
        let kept = notebook.put_acts(changed, over).await;
        kept.map_err(|error| failure(&error))
    }
}

/// A step that has ended.
pub(super) struct Concluded {
    pub(super) report: StepReport,
    pub(super) planned_for: PlannedFor,
    /// Whether nothing follows from its failure.
    pub(super) unclear: bool,
    /// Given up before anything of the instance was touched.
    pub(super) withdrawn: bool,
}

impl Concluded {
    /// Whether it is done, where that can be said.
    fn done(&self) -> Option<bool> {
        match self.report.outcome {
            // What it ends is a replacement that a crash broke off, and that came to nothing.
            Outcome::Done => Some(self.report.step.reason != Reason::NeverHealthy),
            Outcome::Failed(_) if !self.unclear => Some(false),
            Outcome::Failed(_)
            | Outcome::Held
            | Outcome::Running { .. }
            | Outcome::Waiting { .. } => None,
        }
    }
}

/// An act that is over, for people.
fn entry(act: &Act, step: &Concluded) -> Entry {
    let Concluded {
        report,
        planned_for,
        ..
    } = step;
    Entry {
        reason: report.step.reason.to_string(),
        commit: planned_for.commit.clone(),
        millis: Some(report.millis),
        result: match &report.outcome {
            Outcome::Failed(failure) => EntryResult::Failed {
                failure: failure.message.clone(),
            },
            _ => EntryResult::Done,
        },
        ..begun(act)
    }
}

/// What is known of an act whose end nobody noted.
pub(super) fn begun(act: &Act) -> Entry {
    Entry {
        at: act.at,
        action: act.deed.as_str().to_owned(),
        cause: act.cause,
        reason: String::new(),
        generation: Some(act.generation),
        fields: act.fields.clone(),
        revision: act.revision.clone(),
        commit: None,
        result: match act.done {
            Some(true) => EntryResult::Done,
            Some(false) => EntryResult::Failed {
                failure: String::new(),
            },
            None => EntryResult::Unknown,
        },
        millis: None,
    }
}

/// What is about to be done, for the notebook; `None` for a held step.
fn act(step: &Step, view: &View, cause: Cause, at: jiff::Timestamp) -> Option<Act> {
    let (deed, generation) = match &step.action {
        Action::Create { generation, .. } => (Deed::Create, *generation),
        Action::Replace { generation, .. } => (Deed::Replace, *generation),
        Action::Start { target, .. } => (Deed::Start, target.number),
        Action::Stop { target } => (Deed::Stop, target.number),
        Action::Update { target, .. } => (Deed::Update, target.number),
        Action::Restart { target } => (Deed::Restart, target.number),
        // The remains of an earlier generation: nothing happens to the instance.
        Action::Remove { .. } if step.reason != Reason::Orphaned => return None,
        Action::Remove { targets } => (Deed::Remove, targets.last().map_or(0, |t| t.number)),
        Action::Held => return None,
    };
    let spec = view.desired.spec(&step.instance);
    let generations = view.observed.instances.get(&step.instance);
    let serves = generations.is_some_and(|all| all.iter().any(|one| remedy::serves(one, at)));
    Some(Act {
        at,
        deed,
        cause,
        generation,
        spec: spec.map_or_else(String::new, crate::words::spec::Spec::digest),
        fields: step.changes.iter().map(|c| c.field.clone()).collect(),
        revision: view.plan.revision.clone(),
        served: Some(serves),
        done: None,
    })
}
