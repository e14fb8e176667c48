//! The reading calls.

use std::collections::HashMap;

use bollard::query_parameters::{
    DownloadFromContainerOptionsBuilder, InspectContainerOptions, ListContainersOptionsBuilder,
    ListVolumesOptionsBuilder,
};
use futures_util::TryStreamExt as _;

use super::super::containers::{
    Container, ImageFacts, NetworkFacts, ReadContainers, Summary, Touched,
};
use super::super::{EngineError, ErrorClass};
use super::error::{READ_LIMIT, call, gone, short};
use super::{DockerReader, archive, events, facts, logs, network, settings};

impl ReadContainers for DockerReader {
    fn engine(&self) -> Option<String> {
        self.speaker.docker()
    }

    async fn list(&self, labels: &[(String, String)]) -> Result<Vec<Summary>, EngineError> {
        let filters = HashMap::from([("label", label_filters(labels))]);
        let options = ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&filters)
            .build();
        let operation = || "list containers".to_owned();
        let future = self.client.list_containers(Some(options));
        let found = call(operation, READ_LIMIT, future).await?;
        let vouches = self.engine().is_some();
        let summary = |listed| facts::summary(listed, vouches);
        Ok(found.into_iter().filter_map(summary).collect())
    }

    async fn inspect(&self, container: &str) -> Result<Option<Container>, EngineError> {
        let operation = || format!("inspect container {}", short(container));
        let future = self
            .client
            .inspect_container(container, None::<InspectContainerOptions>);
        match call(operation, READ_LIMIT, future).await {
            Ok(inspected) => Ok(Some(facts::container(inspected))),
            Err(error) if gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn image(&self, reference: &str) -> Result<Option<ImageFacts>, EngineError> {
        let operation = || format!("inspect image {reference}");
        match call(operation, READ_LIMIT, self.client.inspect_image(reference)).await {
            Ok(image) => Ok(settings::image(image)),
            Err(error) if gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn open_because(&self) -> Option<String> {
        network::open_because(self)
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

    async fn logs(&self, container: &str, tail: usize) -> Result<Vec<String>, EngineError> {
        logs::last(self, container, tail).await
    }

    async fn cursor(&self) -> Result<String, EngineError> {
        events::now(self).await
    }

    async fn changed(
        &self,
        labels: &[(String, String)],
        cursor: &mut String,
    ) -> Result<Touched, EngineError> {
        events::changed(self, labels, cursor).await
    }
}

fn label_filters(labels: &[(String, String)]) -> Vec<String> {
    labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect()
}
