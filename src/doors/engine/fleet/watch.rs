//! Watching: what instances write, use and say of their health.

use std::collections::BTreeMap;

use futures_util::stream::{self, StreamExt as _};

use super::super::containers::WatchContainers;
use super::super::{EngineError, ErrorClass, GenerationLog, Watch};
use super::Fleet;
use super::observe::generation_number;
use crate::words::label;
use crate::words::name::InstanceName;
use crate::words::secret::{DIRECTORY, SecretName, SecretValue};
use crate::words::watch::{AskLog, Counters, HealthResult};

/// How many containers are asked what they use at the same time: the engine makes each of them wait for its next look,
/// once a second.
const WATCHED: usize = 128;

impl<C: WatchContainers> Watch for Fleet<C> {
    async fn log(
        &self,
        instance: &InstanceName,
        ask: AskLog,
    ) -> Result<Option<GenerationLog>, EngineError> {
        let mut labels = self.labels();
        labels.push((label::INSTANCE.to_owned(), instance.to_string()));
        let all = self.containers.list(&labels).await?;
        let newest = all
            .into_iter()
            .map(|found| (generation_number(&found.labels), found.id))
            .max();
        let Some((generation, id)) = newest else {
            return Ok(None);
        };
        let written = self.containers.follow_log(&id, ask).await?;
        Ok(Some(GenerationLog {
            generation,
            id,
            written,
        }))
    }

    async fn counters(&self, generations: &[String]) -> BTreeMap<String, Counters> {
        let look = async |id: String| {
            // One that cannot be told is left out: this is for people's eyes.
            let counters = self.containers.counters(&id).await.ok()??;
            Some((id, counters))
        };
        let looks: Vec<_> = generations.iter().cloned().map(look).collect();
        let looks = stream::iter(looks).buffer_unordered(WATCHED);
        looks.filter_map(|told| async { told }).collect().await
    }

    async fn secrets(&self, generation: &str) -> Result<Vec<SecretValue>, EngineError> {
        let Some(container) = self.containers.inspect(generation).await? else {
            return Ok(Vec::new());
        };
        let mut values = Vec::new();
        for name in secret_names(&container.labels) {
            let path = format!("{DIRECTORY}/{name}");
            match self.containers.read_file(generation, &path).await {
                Ok(value) => values.push(SecretValue::new(value)),
                // It never got that far.
                Err(error) if error.class == ErrorClass::Gone => {}
                Err(error) => return Err(error),
            }
        }
        Ok(values)
    }

    async fn health_log(&self, generation: &str) -> Result<Vec<HealthResult>, EngineError> {
        self.containers.health_log(generation).await
    }
}

/// The names of the secrets in a recorded spec, of whichever version it is.
fn secret_names(labels: &BTreeMap<String, String>) -> Vec<SecretName> {
    let spec = labels.get(label::SPEC).map_or("", String::as_str);
    let spec: serde_json::Value = serde_json::from_str(spec).unwrap_or_default();
    let secrets = spec.get("secrets").and_then(serde_json::Value::as_object);
    let names = secrets.into_iter().flat_map(|secrets| secrets.keys());
    names.filter_map(|name| name.parse().ok()).collect()
}
