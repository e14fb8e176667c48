//! The product's engine on the calls of a case, and in its place what a mistake would make of a step.

use std::collections::BTreeSet;
use std::sync::Arc;

use instanced::decisions::plan::{Action, Step};
use instanced::doors::engine::fleet::Fleet;
use instanced::doors::engine::settings::EngineNotes;
use instanced::doors::engine::{Engine, EngineError, Observe, Secrets};
use instanced::words::manifest::ReplaceOrder;
use instanced::words::name::InstanceName;
use instanced::words::observed::Observed;
use instanced::words::secret::{SecretName, SecretValue};
use instanced::words::watch::PullProgress;

use super::bugs::Bug;
use super::engine::Calls;

pub struct Hands {
    pub fleet: Fleet<Calls>,
    pub bug: Option<Bug>,
}

impl Observe for Hands {
    async fn observe(&self, images: &BTreeSet<String>) -> Result<Observed, EngineError> {
        self.fleet.observe(images).await
    }

    async fn ground(&self) -> Result<Option<String>, EngineError> {
        self.fleet.ground().await
    }

    async fn read_secret(
        &self,
        instance: &InstanceName,
        secret: &SecretName,
    ) -> Result<Option<SecretValue>, EngineError> {
        self.fleet.read_secret(instance, secret).await
    }
}

impl Engine for Hands {
    async fn prepare(&self) -> Result<(), EngineError> {
        self.fleet.prepare().await
    }

    async fn tidy(&self, leftovers: &[String]) -> Result<(), EngineError> {
        self.fleet.tidy(leftovers).await
    }

    async fn fetch(&self, step: &Step) -> Result<(), EngineError> {
        self.fleet.fetch(step).await
    }

    fn pulling(&self, image: &str) -> Option<PullProgress> {
        self.fleet.pulling(image)
    }

    async fn perform(&self, step: &Step, secrets: &Secrets) -> Result<(), EngineError> {
        match (self.bug, &step.action) {
            (
                Some(Bug::RemovesBeforeCreate),
                Action::Replace {
                    retire,
                    generation,
                    spec,
                },
            ) => {
                let with = |action| Step {
                    action,
                    ..step.clone()
                };
                let targets = retire.clone();
                let remove = with(Action::Remove { targets });
                self.fleet.perform(&remove, secrets).await?;
                let create = with(Action::Create {
                    generation: *generation,
                    spec: spec.clone(),
                    discard: Vec::new(),
                });
                self.fleet.perform(&create, secrets).await
            }
            (Some(Bug::StopsOldFirst), Action::Replace { .. }) => {
                let mut step = step.clone();
                if let Action::Replace { spec, .. } = &mut step.action {
                    Arc::make_mut(spec).replace = ReplaceOrder::StopFirst;
                }
                self.fleet.perform(&step, secrets).await
            }
            _ => self.fleet.perform(step, secrets).await,
        }
    }

    async fn refresh(&self, images: &BTreeSet<String>) -> Vec<EngineError> {
        self.fleet.refresh(images).await
    }

    fn recall(&self, notes: EngineNotes) {
        self.fleet.recall(notes);
    }

    fn news(&self) -> Option<EngineNotes> {
        self.fleet.news()
    }

    async fn changed(&self, cursor: &mut Option<String>) -> Result<(), EngineError> {
        self.fleet.changed(cursor).await
    }
}
