//! A client that does no more than it is asked: bollard's calls and types, and nothing of ours.

use bollard::models::{ContainerCreateBody, ContainerInspectResponse, ContainerSummary};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, InspectContainerOptions, ListContainersOptionsBuilder,
    RemoveContainerOptionsBuilder, StartContainerOptions,
};
use bollard::{API_DEFAULT_VERSION, Docker};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

/// Whose a container is.
const LABEL: &str = "instanced.manager";
/// As many inspects at a time as ours makes.
const INSPECTS: usize = 16;
/// How many containers are removed at a time.
const REMOVALS: usize = 4;
/// Seconds.
const TIMEOUT: u64 = 120;

/// The client.
#[derive(Clone)]
pub struct Bare {
    client: Docker,
    manager: String,
}

impl Bare {
    /// A client of the engine at a socket, for what a manager's label is on.
    pub fn connect(socket: &str, manager: &str) -> Self {
        let client = Docker::connect_with_unix(socket, TIMEOUT, API_DEFAULT_VERSION);
        Self {
            client: client.expect("the engine's socket"),
            manager: manager.to_owned(),
        }
    }

    /// One list call: of everybody's containers, as ours is, which must know who holds its names.
    pub async fn list(&self) -> Vec<ContainerSummary> {
        let options = ListContainersOptionsBuilder::default().all(true).build();
        let listed = self.client.list_containers(Some(options)).await;
        listed.expect("the engine lists")
    }

    /// One list call, and the ids in it that the label is on.
    async fn ids(&self) -> Vec<String> {
        let is_ours = |found: &ContainerSummary| {
            let labels = found.labels.as_ref();
            labels.and_then(|labels| labels.get(LABEL)) == Some(&self.manager)
        };
        let listed = self.list().await.into_iter().filter(is_ours);
        listed.filter_map(|found| found.id).collect()
    }

    /// One list call, and one inspect for each that it names.
    pub async fn list_and_inspect(&self) -> Vec<ContainerInspectResponse> {
        let inspects = stream::iter(self.ids().await).map(|id| async move {
            let options = None::<InspectContainerOptions>;
            self.client.inspect_container(&id, options).await
        });
        let inspected = inspects.buffered(INSPECTS).try_collect().await;
        inspected.expect("the engine inspects")
    }

    /// Creates and starts these, so many at a time.
    pub async fn create_and_start(
        &self,
        bodies: &[(String, ContainerCreateBody)],
        parallelism: usize,
    ) {
        let each = stream::iter(bodies.to_vec()).map(|(name, body)| async move {
            let options = CreateContainerOptionsBuilder::default().name(&name).build();
            let created = self.client.create_container(Some(options), body).await?;
            let options = None::<StartContainerOptions>;
            self.client.start_container(&created.id, options).await
        });
        let done = each.buffer_unordered(parallelism).try_collect::<Vec<_>>();
        done.await.expect("the engine creates and starts");
    }

    /// Removes all that the label is on.
    pub async fn remove_all(&self) {
        let removals = stream::iter(self.ids().await).map(|id| async move {
            let options = RemoveContainerOptionsBuilder::default()
                .v(true)
                .force(true)
                .build();
            self.client.remove_container(&id, Some(options)).await
        });
        let done = removals
            .buffer_unordered(REMOVALS)
            .try_collect::<Vec<_>>()
            .await;
        done.expect("the engine removes");
    }
}

/// What would create the same container again: its name, and a body with the settings that inspect tells.
pub fn body_of(inspected: &ContainerInspectResponse) -> (String, ContainerCreateBody) {
    let name = inspected.name.as_deref().unwrap_or_default();
    let config = serde_json::to_value(&inspected.config).expect("plain data");
    let body: ContainerCreateBody = serde_json::from_value(config).expect("a body has its fields");
    let body = ContainerCreateBody {
        host_config: inspected.host_config.clone(),
        ..body
    };
    (name.trim_start_matches('/').to_owned(), body)
}
