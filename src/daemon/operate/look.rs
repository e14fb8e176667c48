//! Looking at instances for whoever asks.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Operator;
use super::problems::{aborted_problem, unknown};
use crate::daemon::attended::Attended;
use crate::daemon::chain::chain;
use crate::daemon::memory::{Memory, blocking};
use crate::daemon::notebook::Notebook as _;
use crate::daemon::round;
use crate::daemon::standing;
use crate::decisions::status::{
    InstanceDetail, InstanceStatus, note_in_progress, note_next, note_revisions, status,
    status_without_engine,
};
use crate::doors::engine::docker::DockerReader;
use crate::doors::engine::fleet::Fleet;
use crate::doors::engine::{EngineError, ErrorClass, Observe as _};
use crate::words::control::Problem;
use crate::words::desired::Desired;
use crate::words::history::Entry;
use crate::words::name::InstanceName;
use crate::words::observed::Observed;
use crate::words::watch::AskUsage;

/// How long whoever asks for the status waits for an engine that hangs. More than one look at one container may take: one
/// that is not answered must not hide the others.
const STATUS_WAIT: Duration = Duration::from_secs(8);

/// What is desired, what there is, and through what that was seen.
struct Sight {
    desired: Desired,
    observed: Result<Observed, EngineError>,
    engine: Option<Attended<Fleet<DockerReader>>>,
}

impl Operator {
    async fn sight(&self) -> Result<Sight, Problem> {
        let snapshot = round::read_source(&self.site);
        let desired = snapshot.and_then(|snapshot| round::desired(&snapshot, &self.site));
        let (engine, observed) = match self.site.observer() {
            Ok(engine) => {
                let engine = Attended::new(engine, self.verdicts.clone());
                let no_images = BTreeSet::new();
                let looking = Box::pin(engine.observe(&no_images));
                let observed = within(STATUS_WAIT, looking).await;
                (Some(engine), observed)
            }
            Err(error) => (None, Err(error)),
        };
        let mut desired = desired.map_err(|report| aborted_problem(&report))?;
        if let Ok(observed) = &observed {
            desired.admit_incumbents(observed);
        }
        Ok(Sight {
            desired,
            observed,
            engine,
        })
    }

    async fn judged(&self, sight: &Sight) -> Vec<InstanceStatus> {
        let public = &self.site.config.public;
        let mut all = match &sight.observed {
            Ok(observed) => {
                let now = jiff::Timestamp::now();
                status(&sight.desired, observed, &self.last.load(), public, now)
            }
            Err(error) => status_without_engine(&sight.desired, &error.to_string(), public),
        };
        // Without it a column is empty; the rest is worth the more then.
        if let Ok(acts) = self.store.acts().await {
            note_revisions(&mut all, &acts);
            let now = jiff::Timestamp::now();
            if let Ok(Memory { overrides, .. }) = self.store.read(now).await {
                note_next(&mut all, &acts, &overrides, &self.unwell.so_far(), now);
            }
        }
        note_in_progress(&mut all, |name| self.in_flight.of(name));
        all
    }

    /// How all instances stand, as far as the engine can tell now.
    pub(super) async fn statuses(&self, usage: AskUsage) -> Result<Vec<InstanceStatus>, Problem> {
        let sight = self.sight().await?;
        let mut all = self.judged(&sight).await;
        if let (Some(engine), Ok(observed)) = (&sight.engine, &sight.observed) {
            standing::add_usage(&mut all, observed, engine, &self.sampler, usage).await;
        }
        Ok(all)
    }

    /// One in full.
    pub(super) async fn detail(&self, name: &InstanceName) -> Result<InstanceDetail, Problem> {
        let sight = self.sight().await?;
        let mut all = self.judged(&sight).await;
        let nobody = unknown(name, all.iter().map(|one| &one.name));
        all.retain(|one| one.name == *name);
        let nothing = Observed::default();
        let observed = sight.observed.as_ref().unwrap_or(&nothing);
        if let Some(engine) = &sight.engine {
            let recent = AskUsage::Recent;
            standing::add_usage(&mut all, observed, engine, &self.sampler, recent).await;
        }
        let one = all.pop().ok_or(nobody)?;
        let now = jiff::Timestamp::now();
        let memory = self.store.read(now).await;
        let overrides = memory.map(|memory| memory.overrides).unwrap_or_default();
        let overrides = overrides.get(name).cloned().unwrap_or_default();
        let history = self.history_of(name).await.unwrap_or_default();
        let last = self.last.load();
        let engine = sight.engine.as_ref();
        let detail = standing::detail(one, observed, engine, &overrides, history, &last).await;
        Ok(InstanceDetail {
            failed_output: self.in_flight.failed_output(name),
            ..detail
        })
    }

    /// What was done to an instance, whether it is still there or not.
    pub(super) async fn history_of(&self, name: &InstanceName) -> Result<Vec<Entry>, Problem> {
        let of = name.clone();
        let read = blocking(&self.store, move |store| {
            let acts = store.acts()?.remove(&of).unwrap_or_default();
            Ok(standing::history(store.history(&of)?, &acts))
        });
        let history = read
            .await
            .map_err(|error: crate::doors::store::StoreError| Problem::internal(chain(&error)))?;
        if history.is_empty() {
            let snapshot = round::read_source(&self.site);
            let desired = snapshot.and_then(|snapshot| round::desired(&snapshot, &self.site));
            let desired = desired.unwrap_or_default();
            if !desired.names(name) {
                return Err(unknown(name, desired.all_names()));
            }
        }
        Ok(history)
    }
}

async fn within<T>(
    limit: Duration,
    asked: impl Future<Output = Result<T, EngineError>>,
) -> Result<T, EngineError> {
    let answer = tokio::time::timeout(limit, asked).await;
    answer.unwrap_or_else(|_| {
        let detail = format!("no answer within {} s", limit.as_secs());
        Err(EngineError::new("ask the engine", ErrorClass::Away, detail))
    })
}
