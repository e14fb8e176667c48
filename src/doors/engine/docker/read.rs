//! The reading calls.

use std::collections::{BTreeMap, HashMap};

use bollard::models::ContainerSummary;
use bollard::query_parameters::{
    DownloadFromContainerOptionsBuilder, InspectContainerOptions, ListContainersOptionsBuilder,
    ListVolumesOptionsBuilder,
};
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::super::containers::{Container, NetworkFacts, ReadContainers};
use super::super::{EngineError, ErrorClass};
use super::error::{READ_LIMIT, call, gone, short};
use super::{DockerReader, archive, events, facts, network};

/// How many containers are inspected at the same time.
const INSPECTS: usize = 16;

impl ReadContainers for DockerReader {
    async fn list(&self, labels: &[(String, String)]) -> Result<Vec<Container>, EngineError> {
        let found = self.summaries("label", label_filters(labels)).await?;
        let ids = found.into_iter().filter_map(|summary| summary.id);
        let inspected: Vec<Option<Container>> = stream::iter(ids.map(|id| self.inspect(id)))
            .buffered(INSPECTS)
            .try_collect()
            .await?;
        Ok(inspected.into_iter().flatten().collect())
    }

    async fn names(&self, prefix: &str) -> Result<BTreeMap<String, String>, EngineError> {
        // The engine's filter is a regular expression without anchors: it narrows, and we decide.
        let filter = format!("^/?{}", prefix.replace('.', "\\."));
        let found = self.summaries("name", vec![filter]).await?;
        let mut names = BTreeMap::new();
        for summary in found {
            let Some(id) = summary.id else { continue };
            for name in summary.names.unwrap_or_default() {
                let name = name.trim_start_matches('/');
                if name.starts_with(prefix) {
                    names.insert(name.to_owned(), id.clone());
                }
            }
        }
        Ok(names)
    }

    async fn image(&self, reference: &str) -> Result<Option<String>, EngineError> {
        let operation = || format!("inspect image {reference}");
        match call(operation, READ_LIMIT, self.client.inspect_image(reference)).await {
            Ok(image) => Ok(image.id),
            Err(error) if gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn networks(&self, name: &str) -> Result<Vec<NetworkFacts>, EngineError> {
        network::list(self, name).await
    }

    async fn volumes(&self, labels: &[(String, String)]) -> Result<Vec<String>, EngineError> {
        let filters = HashMap::from([("label", label_filters(labels))]);
        let options = ListVolumesOptionsBuilder::default()
            .filters(&filters)
            .build();
        let operation = || "list volumes".to_owned();
        let found = call(
            operation,
            READ_LIMIT,
            self.client.list_volumes(Some(options)),
        )
        .await?;
        Ok(found
            .volumes
            .unwrap_or_default()
            .into_iter()
            .map(|volume| volume.name)
            .collect())
    }

    async fn read_file(&self, container: &str, path: &str) -> Result<Vec<u8>, EngineError> {
        let operation = || format!("read {path} of container {}", short(container));
        let options = DownloadFromContainerOptionsBuilder::default()
            .path(path)
            .build();
        let mut chunks = self
            .client
            .download_from_container(container, Some(options));
        let download = async {
            let mut bytes = Vec::new();
            while let Some(chunk) = chunks.try_next().await? {
                bytes.extend_from_slice(&chunk);
                if bytes.len() > archive::READ_MOST {
                    break;
                }
            }
            Ok(bytes)
        };
        let bytes = call(operation, READ_LIMIT, download).await?;
        archive::unpack(&bytes)
            .map_err(|detail| EngineError::new(operation(), ErrorClass::Permanent, detail))
    }

    async fn changed(
        &self,
        labels: &[(String, String)],
        cursor: &mut Option<String>,
    ) -> Result<(), EngineError> {
        events::changed(self, labels, cursor).await
    }
}

impl DockerReader {
    async fn summaries(
        &self,
        filter: &str,
        values: Vec<String>,
    ) -> Result<Vec<ContainerSummary>, EngineError> {
        let filters = HashMap::from([(filter, values)]);
        let options = ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&filters)
            .build();
        let operation = || "list containers".to_owned();
        call(
            operation,
            READ_LIMIT,
            self.client.list_containers(Some(options)),
        )
        .await
    }

    /// One container; `None` when it is gone.
    pub(super) async fn inspect(&self, id: String) -> Result<Option<Container>, EngineError> {
        let operation = || format!("inspect container {}", short(&id));
        let future = self
            .client
            .inspect_container(&id, None::<InspectContainerOptions>);
        match call(operation, READ_LIMIT, future).await {
            Ok(inspected) => Ok(Some(facts::container(inspected))),
            Err(error) if gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn label_filters(labels: &[(String, String)]) -> Vec<String> {
    labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect()
}
