//! The reading calls.

use std::collections::{BTreeMap, HashMap};

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
            Ok(inspected) => {
                let mut container = facts::container(inspected);
                let limits = &mut container.limits;
                // Without the kernel's help Docker takes the bound of swap away again, and says so only once.
                // That is nobody's hand, and no new container would have it either.
                if limits.memory.is_some()
                    && limits.memory_swap.is_none()
                    && !self.bounds_swap().await?
                {
                    limits.memory_swap = limits.memory;
                }
                Ok(Some(container))
            }
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

    async fn volume(&self, name: &str) -> Result<Option<BTreeMap<String, String>>, EngineError> {
        let operation = || format!("inspect volume {name}");
        match call(operation, READ_LIMIT, self.client.inspect_volume(name)).await {
            Ok(volume) => Ok(Some(volume.labels.into_iter().collect())),
            Err(error) if gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
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

impl DockerReader {
    /// Whether the engine can bound swap. Asked once: it changes only with its host's kernel.
    async fn bounds_swap(&self) -> Result<bool, EngineError> {
        let ask = || async {
            let operation = || "ask what the engine can bound".to_owned();
            let info = call(operation, READ_LIMIT, self.client.info()).await?;
            // An engine that says nothing of it can.
            Ok(info.swap_limit != Some(false))
        };
        self.bounds_swap.get_or_try_init(ask).await.copied()
    }
}

fn label_filters(labels: &[(String, String)]) -> Vec<String> {
    labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixListener;
    use std::path::Path;

    use super::*;
    use crate::words::quantity::Bytes;

    /// An engine whose only container has memory bound and swap unbound, as both a hand and a kernel leave it.
    fn serve(socket: &Path, swap_limit: &'static str) {
        let listener = UnixListener::bind(socket).expect("a socket");
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                let mut asked = Vec::new();
                let mut byte = [0];
                while !asked.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n > 0) {
                    asked.push(byte[0]);
                }
                let body = if asked.starts_with(b"GET /info") {
                    format!("{{{swap_limit}}}")
                } else {
                    r#"{"Id":"1","HostConfig":{"Memory":1048576,"MemorySwap":-1}}"#.to_owned()
                };
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                );
                // Whoever only tries whether somebody is there hangs up.
                let _ = stream.write_all(answer.as_bytes());
            }
        });
    }

    #[tokio::test]
    async fn swap_that_an_engine_cannot_bound_is_nobodys_hand() {
        let dir = tempfile::tempdir().expect("a directory");
        let bound = Some(Bytes(1 << 20));
        for (number, says, swap) in [
            (0, r#""SwapLimit":false"#, bound),
            (1, r#""SwapLimit":true"#, None),
            (2, "", None),
        ] {
            let socket = dir.path().join(format!("engine-{number}.sock"));
            serve(&socket, says);
            let host = format!("unix://{}", socket.display());
            let reader = DockerReader::connect(Some(&host)).expect("it stands");
            let found = reader
                .inspect("1")
                .await
                .expect("told")
                .expect("it is there");
            assert_eq!(
                (found.limits.memory, found.limits.memory_swap),
                (bound, swap),
                "{says}"
            );
        }
    }
}
