//! Watching: what instances write, use and say of their health.

use std::collections::BTreeMap;

use futures_util::stream::{self, StreamExt as _};

use super::super::containers::WatchContainers;
use super::super::{EngineError, GenerationLog, Watch};
use super::Fleet;
use super::observe::generation_number;
use crate::words::label;
use crate::words::name::InstanceName;
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

    async fn health_log(&self, generation: &str) -> Result<Vec<HealthResult>, EngineError> {
        self.containers.health_log(generation).await
    }
}
