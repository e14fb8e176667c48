//! An engine as the daemon hands it to its rounds: what it tells is completed by the daemon's own probes, and
//! which of its steps are over is noted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::probes::Verdicts;
use crate::decisions::plan::Step;
use crate::doors::engine::settings::EngineNotes;
use crate::doors::engine::{Engine, EngineError, GenerationLog, Observe, Secrets, Watch};
use crate::words::name::InstanceName;
use crate::words::observed::Observed;
use crate::words::secret::{SecretName, SecretValue};
use crate::words::watch::{AskLog, Counters, HealthResult, PullProgress};

/// An engine with the daemon beside it. Clones share what is noted.
#[derive(Debug, Clone)]
pub struct Attended<E> {
    engine: E,
    verdicts: Verdicts,
    over: Arc<Over>,
}

/// Instances whose step of this round is over.
#[derive(Debug, Default)]
struct Over {
    instances: Mutex<BTreeSet<InstanceName>>,
    news: Notify,
}

impl<E> Attended<E> {
    /// An engine that also tells what the probes say.
    pub fn new(engine: E, verdicts: Verdicts) -> Self {
        Self {
            engine,
            verdicts,
            over: Arc::default(),
        }
    }

    /// A round begins: no step is over.
    pub fn begin(&self) {
        let over = self.over.instances.lock();
        over.unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Whether the step of an instance is over.
    pub fn is_over(&self, name: &InstanceName) -> bool {
        let over = self.over.instances.lock();
        over.unwrap_or_else(PoisonError::into_inner).contains(name)
    }

    /// All of those.
    pub fn all_over(&self) -> BTreeSet<InstanceName> {
        let over = self.over.instances.lock();
        over.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Until another step is over.
    pub async fn news(&self) {
        self.over.news.notified().await;
    }
}

impl<E: Observe> Observe for Attended<E> {
    async fn observe(&self, images: &BTreeSet<String>) -> Result<Observed, EngineError> {
        let mut observed = self.engine.observe(images).await?;
        self.verdicts.overlay(&mut observed);
        Ok(observed)
    }

    async fn ground(&self) -> Result<Option<String>, EngineError> {
        self.engine.ground().await
    }

    async fn read_secret(
        &self,
        instance: &InstanceName,
        secret: &SecretName,
    ) -> Result<Option<SecretValue>, EngineError> {
        self.engine.read_secret(instance, secret).await
    }
}

impl<E: Watch> Watch for Attended<E> {
    async fn log(
        &self,
        instance: &InstanceName,
        ask: AskLog,
    ) -> Result<Option<GenerationLog>, EngineError> {
        self.engine.log(instance, ask).await
    }

    async fn counters(&self, generations: &[String]) -> BTreeMap<String, Counters> {
        self.engine.counters(generations).await
    }

    async fn secrets(&self, generation: &str) -> Result<Vec<SecretValue>, EngineError> {
        self.engine.secrets(generation).await
    }

    async fn health_log(&self, generation: &str) -> Result<Vec<HealthResult>, EngineError> {
        let log = self.engine.health_log(generation).await?;
        Ok(if log.is_empty() {
            self.verdicts.log(generation)
        } else {
            log
        })
    }
}

impl<E: Engine> Engine for Attended<E> {
    async fn prepare(&self) -> Result<(), EngineError> {
        self.engine.prepare().await
    }

    async fn tidy(&self, leftovers: &[String]) -> Result<(), EngineError> {
        self.engine.tidy(leftovers).await
    }

    async fn fetch(&self, step: &Step) -> Result<(), EngineError> {
        self.engine.fetch(step).await
    }

    fn pulling(&self, image: &str) -> Option<PullProgress> {
        self.engine.pulling(image)
    }

    async fn perform(&self, step: &Step, secrets: &Secrets) -> Result<(), EngineError> {
        let result = self.engine.perform(step, secrets).await;
        let over = self.over.instances.lock();
        over.unwrap_or_else(PoisonError::into_inner)
            .insert(step.instance.clone());
        self.over.news.notify_one();
        result
    }

    async fn refresh(&self, images: &BTreeSet<String>) -> Vec<EngineError> {
        self.engine.refresh(images).await
    }

    fn recall(&self, notes: EngineNotes) {
        self.engine.recall(notes);
    }

    fn news(&self) -> Option<EngineNotes> {
        self.engine.news()
    }

    async fn changed(&self, cursor: &mut Option<String>) -> Result<(), EngineError> {
        self.engine.changed(cursor).await
    }
}
