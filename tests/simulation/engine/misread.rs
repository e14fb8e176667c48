//! What a daemon with a planted bug understands of the engine's answers.

use std::collections::BTreeMap;

use instanced::doors::engine::containers::Container;
use instanced::doors::engine::{EngineError, ErrorClass};
use instanced::words::label;
use instanced::words::observed::Health;
use instanced::words::quantity::Bytes;

use super::super::bugs::Bug;
use super::Calls;

impl Calls {
    /// What labels say to a daemon with a mistake.
    pub(super) fn misread_labels(&self, name: &str, labels: &mut BTreeMap<String, String>) {
        let mut set = |key: &str, value: &str| labels.insert(key.to_owned(), value.to_owned());
        match self.bug() {
            Some(Bug::IgnoresGenerations) => {
                set(label::GENERATION, "1");
            }
            Some(Bug::ForeignByPrefix) => {
                let generation = name.strip_prefix("instanced-default-");
                let parts = generation.and_then(|generation| generation.rsplit_once("-g"));
                let foreign = !labels.contains_key(label::MANAGER);
                if let (Some((instance, number)), true) = (parts, foreign) {
                    let mut set =
                        |key: &str, value: &str| labels.insert(key.to_owned(), value.to_owned());
                    set(label::MANAGER, "default");
                    set(label::INSTANCE, instance);
                    set(label::GENERATION, number);
                    set(label::SPEC_VERSION, "1");
                }
            }
            _ => {}
        }
    }

    pub(super) fn misread(&self, container: &mut Container) {
        let name = container.name.clone();
        self.misread_labels(&name, &mut container.labels);
        match self.bug() {
            Some(Bug::MisreadsLimits) => {
                container.limits.memory = container.limits.memory.map(|Bytes(b)| Bytes(b / 2));
            }
            Some(Bug::StartingIsHealthy) if container.health == Some(Health::Starting) => {
                container.health = Some(Health::Healthy);
            }
            _ => {}
        }
    }

    pub(super) fn believed(&self, result: Result<(), EngineError>) -> Result<(), EngineError> {
        match result {
            Err(error) if error.class == ErrorClass::Away && self.has(Bug::LostReplyIsSuccess) => {
                Ok(())
            }
            other => other,
        }
    }
}
