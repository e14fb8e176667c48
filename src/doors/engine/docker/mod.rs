//! Docker, and what speaks its API: the only place that names bollard.
//!
//! [`DockerReader`] can only read, so that a dry run which holds one cannot change anything. [`Docker`] wraps
//! one and adds the changing calls. URLs carry no version: every engine answers in its own newest.
//!
//! Every call has a time limit except waiting for events: one that does not end within it is an error of class
//! [`Stalled`](super::ErrorClass::Stalled), and an engine that refuses the connection one of class
//! [`Away`](super::ErrorClass::Away).

mod about;
mod archive;
mod change;
mod connect;
mod draft;
mod error;
mod events;
mod facts;
mod logs;
mod network;
mod owner;
mod pull;
mod read;
mod refusals;
mod settings;
mod transport;
mod watch;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bollard::Docker as Client;
use tokio::sync::OnceCell;

pub use about::Proxy;

use super::EngineError;
use super::containers::{Container, ImageFacts, NetworkFacts, ReadContainers, Summary, Touched};

/// A connection that can only read.
#[derive(Clone)]
pub struct DockerReader {
    client: Client,
    /// The address, for messages.
    address: String,
    /// Whether the engine shares this host's kernel.
    local: bool,
    /// Who answers.
    speaker: transport::Speaker,
    /// The stream of events between two waits, so that a wait loses none of a burst.
    events: Arc<Mutex<Option<events::Held>>>,
    /// Whether the engine can bound swap, once that mattered.
    bounds_swap: Arc<OnceCell<bool>>,
}

/// A connection that can also change things.
#[derive(Clone)]
pub struct Docker {
    reader: DockerReader,
    defaults: Arc<OnceCell<Defaults>>,
}

/// What an engine is set to, and keeps until it restarts.
struct Defaults {
    /// How it keeps logs where nothing else is said.
    log_driver: String,
    /// Where it keeps images, containers and volumes.
    root: String,
}

impl DockerReader {
    /// Finds the engine: `host` (`unix:///…`, `tcp://…`) where given, else `DOCKER_HOST`, else Docker's usual
    /// socket, else Podman's. A unix socket is tried at once; another address at the first call.
    pub fn connect(host: Option<&str>) -> Result<Self, EngineError> {
        connect::connect(host, |name| std::env::var(name).ok())
    }

    /// Where the engine was found.
    pub fn address(&self) -> &str {
        &self.address
    }
}

impl Docker {
    /// Like [`DockerReader::connect`].
    pub fn connect(host: Option<&str>) -> Result<Self, EngineError> {
        DockerReader::connect(host).map(Self::from)
    }

    /// The reading half, sharing the connection.
    pub fn reader(&self) -> &DockerReader {
        &self.reader
    }

    fn client(&self) -> &Client {
        &self.reader.client
    }
}

impl From<DockerReader> for Docker {
    fn from(reader: DockerReader) -> Self {
        Self {
            reader,
            defaults: Arc::default(),
        }
    }
}

impl ReadContainers for Docker {
    fn engine(&self) -> Option<String> {
        self.reader.engine()
    }

    async fn list(&self, labels: &[(String, String)]) -> Result<Vec<Summary>, EngineError> {
        self.reader.list(labels).await
    }

    async fn inspect(&self, container: &str) -> Result<Option<Container>, EngineError> {
        self.reader.inspect(container).await
    }

    async fn image(&self, reference: &str) -> Result<Option<ImageFacts>, EngineError> {
        self.reader.image(reference).await
    }

    fn open_because(&self) -> Option<String> {
        self.reader.open_because()
    }

    async fn networks(&self, name: &str) -> Result<Vec<NetworkFacts>, EngineError> {
        self.reader.networks(name).await
    }

    async fn volumes(&self, labels: &[(String, String)]) -> Result<Vec<String>, EngineError> {
        self.reader.volumes(labels).await
    }

    async fn volume(&self, name: &str) -> Result<Option<BTreeMap<String, String>>, EngineError> {
        self.reader.volume(name).await
    }

    async fn read_file(&self, container: &str, path: &str) -> Result<Vec<u8>, EngineError> {
        self.reader.read_file(container, path).await
    }

    async fn logs(&self, container: &str, tail: usize) -> Result<Vec<String>, EngineError> {
        self.reader.logs(container, tail).await
    }

    async fn cursor(&self) -> Result<String, EngineError> {
        self.reader.cursor().await
    }

    async fn changed(
        &self,
        labels: &[(String, String)],
        cursor: &mut String,
    ) -> Result<Touched, EngineError> {
        self.reader.changed(labels, cursor).await
    }
}
