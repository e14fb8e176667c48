//! A fleet on an engine that runs containers one by one: instance actions as sequences of calls.
//!
//! Each sequence is ordered so that a crash between any two calls leaves something from which the next
//! plan converges: a container that was never started counts for nothing, the newest one that was started
//! is the instance, older ones are superseded. What may fail without harm (pull, create, put secrets)
//! comes before what cannot be taken back (stop, remove).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::StreamExt;

use super::containers::{ChangeContainers, Container, NetworkFacts, ReadContainers};
use super::{Engine, EngineError, ErrorClass, Observe, Secrets, draft};
use crate::decisions::plan::{Action, Retired, Step};
use crate::words::config::{Isolation, Network};
use crate::words::label;
use crate::words::manifest::{Pull, ReplaceOrder, Restart};
use crate::words::name::{InstanceName, ManagerName};
use crate::words::observed::{Applied, Foreign, Generation, Health, Limits, Observed, Phase};
use crate::words::secret::{DIRECTORY, SecretName, SecretValue};
use crate::words::spec::Spec;

/// How long a new generation may take to become healthy before the old one stops.
const HEALTHY_WITHIN: Duration = Duration::from_secs(90);
/// How often health is asked meanwhile.
const HEALTH_EVERY: Duration = Duration::from_millis(250);
/// From healthy until Traefik serves it: its throttle and a margin.
const EDGE_DELAY: Duration = Duration::from_millis(2_100);

/// One manager's fleet on one engine.
#[derive(Clone)]
pub struct Fleet<C> {
    containers: C,
    manager: ManagerName,
    network: Network,
    author: Option<String>,
}

impl<C: ReadContainers> Fleet<C> {
    /// A fleet over an engine's calls.
    pub fn new(containers: C, manager: ManagerName, network: Network) -> Self {
        Self {
            containers,
            manager,
            network,
            author: None,
        }
    }

    /// The same, whose containers bear this id of a state directory.
    #[must_use]
    pub fn with_author(self, author: String) -> Self {
        Self {
            author: Some(author),
            ..self
        }
    }

    fn labels(&self) -> Vec<(String, String)> {
        vec![(label::MANAGER.to_owned(), self.manager.to_string())]
    }

    async fn newest(&self, instance: &InstanceName) -> Result<Option<Container>, EngineError> {
        let mut labels = self.labels();
        labels.push((label::INSTANCE.to_owned(), instance.to_string()));
        let all = self.containers.list(&labels).await?;
        Ok(all.into_iter().max_by_key(generation_number))
    }

    /// One that is not there yet is fine: it is made when the first instance needs it.
    fn check_networks(&self, networks: &[NetworkFacts]) -> Result<(), EngineError> {
        if networks.len() > 1 {
            let detail = format!("there are {} networks of this name", networks.len());
            let help = "remove all but one: docker network ls, docker network rm ID";
            return Err(self.network_wrong(detail, help));
        }
        match networks.first() {
            Some(facts) if self.network.isolation == Isolation::Strict && !facts.isolated => {
                let why = facts.open_because.as_ref().map(|why| format!(": {why}"));
                let detail = format!(
                    "containers on it can reach each other{}",
                    why.unwrap_or_default()
                );
                let help = "name another network under network.name, which is then made isolated; \
                            or, for local development only, set network.isolation: shared";
                Err(self.network_wrong(detail, help))
            }
            _ => Ok(()),
        }
    }

    fn network_wrong(&self, detail: String, help: &str) -> EngineError {
        let operation = format!("check network {}", self.network.name);
        EngineError::new(operation, ErrorClass::Permanent, detail).with_help(help)
    }
}

impl<C: ReadContainers> Observe for Fleet<C> {
    async fn observe(&self, images: &BTreeSet<String>) -> Result<Observed, EngineError> {
        let listed = self.containers.list(&self.labels()).await?;
        let prefix = format!("instanced-{}-", self.manager);
        let mut foreign = self.containers.names(&prefix).await?;
        let mut instances: BTreeMap<InstanceName, Vec<Generation>> = BTreeMap::new();
        for container in &listed {
            // Without a legible name it is nobody's instance: left alone, and its name counts as taken.
            let name = container
                .labels
                .get(label::INSTANCE)
                .and_then(|name| name.parse().ok());
            let Some(name) = name else { continue };
            foreign.remove(&container.name);
            instances
                .entry(name)
                .or_default()
                .push(self.generation(container));
        }
        for generations in instances.values_mut() {
            generations.sort_by(|a, b| (a.number, &a.id).cmp(&(b.number, &b.id)));
        }
        let used: BTreeSet<_> = instances
            .iter()
            .flat_map(|(name, all)| all.iter().map(move |g| (name, g.number)))
            .map(|(name, number)| label::secrets_volume(&self.manager, name, number))
            .collect();
        let mut leftovers = self.containers.volumes(&self.labels()).await?;
        leftovers.retain(|volume| !used.contains(volume));
        let mut known = BTreeMap::new();
        for reference in images {
            if let Some(id) = self.containers.image(reference).await? {
                known.insert(reference.clone(), id);
            }
        }
        let foreign = foreign.into_iter().filter_map(|(name, id)| {
            let generation = name.strip_prefix(&prefix)?.to_owned();
            Some((
                generation,
                Foreign {
                    name,
                    what: format!("container {id:.12}"),
                },
            ))
        });
        let networks = self.containers.networks(&self.network.name).await?;
        let ground = self
            .check_networks(&networks)
            .err()
            .map(|error| error.to_string());
        Ok(Observed {
            instances,
            foreign: foreign.collect(),
            ground,
            images: known,
            leftovers,
        })
    }

    async fn read_secret(
        &self,
        instance: &InstanceName,
        secret: &SecretName,
    ) -> Result<Option<SecretValue>, EngineError> {
        let Some(container) = self.newest(instance).await? else {
            return Ok(None);
        };
        match self
            .containers
            .read_file(&container.id, &format!("{DIRECTORY}/{secret}"))
            .await
        {
            Ok(value) => Ok(Some(SecretValue::new(value))),
            Err(error) if error.class == ErrorClass::Gone => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl<C: ReadContainers> Fleet<C> {
    fn generation(&self, container: &Container) -> Generation {
        Generation {
            id: container.id.clone(),
            name: container.name.clone(),
            number: generation_number(container),
            applied: applied(&container.labels),
            phase: container.phase,
            health: container.health,
            image_id: container.image_id.clone(),
            address: container.addresses.get(&self.network.name).copied(),
            started: container.started,
            limits: container.limits,
            drift: Vec::new(),
            author: container.labels.get(label::AUTHOR).cloned(),
            restarts: container.restarts,
        }
    }
}

/// 0 for a label that is no number: below every real one.
fn generation_number(container: &Container) -> u64 {
    container
        .labels
        .get(label::GENERATION)
        .and_then(|n| n.parse().ok())
        .unwrap_or(0)
}

fn applied(labels: &BTreeMap<String, String>) -> Applied {
    let version = labels
        .get(label::SPEC_VERSION)
        .and_then(|v| v.parse::<u32>().ok());
    match version {
        Some(version) if version > label::SPEC_VERSION_NOW => return Applied::Newer(version),
        Some(_) => {}
        None => return Applied::Unreadable(format!("no label {}", label::SPEC_VERSION)),
    }
    let Some(text) = labels.get(label::SPEC) else {
        return Applied::Unreadable(format!("no label {}", label::SPEC));
    };
    match serde_json::from_str(text) {
        Ok(spec) => Applied::Spec(spec),
        Err(error) => Applied::Unreadable(format!("label {}: {error}", label::SPEC)),
    }
}

impl<C: ChangeContainers> Engine for Fleet<C> {
    async fn prepare(&self) -> Result<(), EngineError> {
        let name = &self.network.name;
        let strict = self.network.isolation == Isolation::Strict;
        let mut networks = self.containers.networks(name).await?;
        if networks.is_empty() {
            let labels = self.labels().into_iter().collect();
            self.containers
                .create_network(name, strict, &labels)
                .await?;
            networks = self.containers.networks(name).await?;
        }
        if networks.is_empty() {
            return Err(self.network_wrong("it vanished after it was made".into(), "try again"));
        }
        self.check_networks(&networks)
    }

    async fn tidy(&self, leftovers: &[String]) -> Result<(), EngineError> {
        for volume in leftovers {
            self.containers.remove_volume(volume).await?;
        }
        Ok(())
    }

    async fn perform(&self, step: &Step, secrets: &Secrets) -> Result<(), EngineError> {
        match &step.action {
            Action::Create {
                generation,
                spec,
                discard,
            } => {
                self.discard(&step.instance, discard).await?;
                let id = self.create(spec, *generation, secrets).await?;
                self.containers.start(&id).await
            }
            Action::Start { target, spec } => {
                // What it was stopped with may be old: limits of the spec, and its restart policy.
                self.update(target, spec).await?;
                self.containers.start(&target.id).await
            }
            Action::Stop { target } => {
                // First the policy: an engine that restarts in between must not revive it.
                self.containers.set_restart(&target.id, Restart::No).await?;
                self.containers.stop(&target.id, STOP_SECS).await
            }
            Action::Update { target, spec } => self.update(target, spec).await,
            Action::Restart { target } => {
                self.containers.stop(&target.id, STOP_SECS).await?;
                self.containers.start(&target.id).await
            }
            Action::Replace {
                retire,
                generation,
                spec,
            } => {
                self.replace(&step.instance, retire, *generation, spec, secrets)
                    .await
            }
            Action::Remove { targets } => self.discard(&step.instance, targets).await,
            Action::Held => Ok(()),
        }
    }

    async fn refresh(&self, images: &BTreeSet<String>) -> Vec<EngineError> {
        let pulls: Vec<_> = images
            .iter()
            .map(|image| self.containers.pull(image))
            .collect();
        let mut done = futures_util::stream::iter(pulls).buffer_unordered(PULLS);
        let mut failed = Vec::new();
        while let Some(pulled) = done.next().await {
            failed.extend(pulled.err());
        }
        failed
    }

    async fn changed(&self, cursor: &mut Option<String>) -> Result<(), EngineError> {
        self.containers.changed(&self.labels(), cursor).await
    }
}

/// Registries that are asked at the same time.
const PULLS: usize = 4;
/// Between TERM and KILL.
const STOP_SECS: u32 = 10;

impl<C: ChangeContainers> Fleet<C> {
    /// Changes limits in place, and believes no engine that it did.
    async fn update(&self, target: &Retired, spec: &Spec) -> Result<(), EngineError> {
        let wanted = Limits::of(spec);
        self.containers.set_limits(&target.id, &wanted).await?;
        let all = self.containers.list(&self.labels()).await?;
        let found = all.into_iter().find(|container| container.id == target.id);
        match found.map(|container| container.limits) {
            Some(limits) if limits == wanted => Ok(()),
            Some(_) => {
                let operation = format!("update container {:.12}", target.id);
                let detail = "the engine said yes, but the limits are not what was asked for";
                Err(EngineError::new(operation, ErrorClass::Permanent, detail))
            }
            None => Err(EngineError::new(
                format!("update container {:.12}", target.id),
                ErrorClass::Gone,
                "it vanished",
            )),
        }
    }

    /// A generation that is complete and not started. On failure nothing of it is left.
    async fn create(
        &self,
        spec: &Spec,
        generation: u64,
        secrets: &Secrets,
    ) -> Result<String, EngineError> {
        self.fetch(spec).await?;
        let files = draft::secret_files(spec, secrets);
        let mut draft = draft::draft(&self.manager, spec, generation, !files.is_empty());
        if let Some(author) = &self.author {
            draft
                .labels
                .insert(label::AUTHOR.to_owned(), author.clone());
        }
        let volume = label::secrets_volume(&self.manager, &spec.name, generation);
        if !files.is_empty() {
            let labels = draft::ownership(&self.manager, spec, generation);
            self.containers.create_volume(&volume, &labels).await?;
        }
        let created = async {
            let id = self.containers.create(&draft).await?;
            if !files.is_empty()
                && let Err(error) = self.containers.put_files(&id, DIRECTORY, &files).await
            {
                self.drop_quietly(&id).await;
                return Err(error);
            }
            Ok(id)
        };
        match created.await {
            Err(error) if !files.is_empty() => {
                if let Err(left) = self.containers.remove_volume(&volume).await {
                    tracing::warn!(%volume, error = %left, "a volume of secrets was left behind");
                }
                Err(error)
            }
            other => other,
        }
    }

    async fn fetch(&self, spec: &Spec) -> Result<(), EngineError> {
        let present = self.containers.image(&spec.image).await?.is_some();
        match spec.pull {
            Pull::Always => self.containers.pull(&spec.image).await,
            Pull::Missing if !present => self.containers.pull(&spec.image).await,
            Pull::Never if !present => {
                let operation = format!("find image {}", spec.image);
                let detail = "the engine does not have it, and `pull: never` forbids to fetch it";
                Err(EngineError::new(operation, ErrorClass::Permanent, detail)
                    .with_help("build or pull it, or write `pull: missing`"))
            }
            Pull::Missing | Pull::Never => Ok(()),
        }
    }

    async fn replace(
        &self,
        instance: &InstanceName,
        retire: &[Retired],
        generation: u64,
        spec: &Spec,
        secrets: &Secrets,
    ) -> Result<(), EngineError> {
        let id = self.create(spec, generation, secrets).await?;
        if spec.replace == ReplaceOrder::StartFirst {
            let started = async {
                self.containers.start(&id).await?;
                self.until_healthy(instance, &id).await
            };
            if let Err(error) = started.await {
                self.drop_quietly(&id).await;
                self.drop_secrets(instance, generation).await;
                return Err(error);
            }
            tokio::time::sleep(EDGE_DELAY).await;
            return self.discard(instance, retire).await;
        }
        for old in retire {
            // The policy too: should we end here, the engine must not run two generations.
            ok_if_gone(self.containers.set_restart(&old.id, Restart::No).await)?;
            self.containers.stop(&old.id, STOP_SECS).await?;
        }
        self.containers.start(&id).await?;
        self.discard(instance, retire).await
    }

    async fn until_healthy(&self, instance: &InstanceName, id: &str) -> Result<(), EngineError> {
        let deadline = tokio::time::Instant::now() + HEALTHY_WITHIN;
        loop {
            let newest = self
                .newest(instance)
                .await?
                .filter(|container| container.id == id);
            match newest.map(|container| (container.phase, container.health)) {
                Some((Phase::Running, Some(Health::Healthy))) => return Ok(()),
                Some((Phase::Running, None)) => {
                    let detail = "its image has no health check, and start-first needs one";
                    return Err(not_healthy(id, detail).with_help(
                        "write `replace: stop-first`, or give the image a HEALTHCHECK",
                    ));
                }
                Some((Phase::Running, Some(Health::Starting))) => {}
                found => {
                    let detail = found.map_or("it vanished".to_owned(), |(phase, health)| {
                        format!("it is {phase:?}, health {health:?}").to_lowercase()
                    });
                    return Err(not_healthy(id, &detail));
                }
            }
            if tokio::time::Instant::now() > deadline {
                let detail = format!("not healthy within {} s", HEALTHY_WITHIN.as_secs());
                return Err(not_healthy(id, &detail));
            }
            tokio::time::sleep(HEALTH_EVERY).await;
        }
    }

    /// Stops and removes generations with their volumes of secrets.
    async fn discard(&self, instance: &InstanceName, old: &[Retired]) -> Result<(), EngineError> {
        for old in old {
            self.containers.stop(&old.id, STOP_SECS).await?;
            self.containers.remove(&old.id).await?;
            self.drop_secrets(instance, old.number).await;
        }
        Ok(())
    }

    /// A volume that stays behind harms nothing but tidiness, so it fails no step.
    async fn drop_secrets(&self, instance: &InstanceName, generation: u64) {
        let volume = label::secrets_volume(&self.manager, instance, generation);
        match self.containers.remove_volume(&volume).await {
            Err(error) if error.class != ErrorClass::Gone => {
                tracing::warn!(%volume, %error, "a volume of secrets was left behind");
            }
            _ => {}
        }
    }

    /// Removes a container of which the caller already has a failure to tell.
    async fn drop_quietly(&self, id: &str) {
        let gone = async {
            self.containers.stop(id, STOP_SECS).await?;
            self.containers.remove(id).await
        };
        if let Err(error) = gone.await {
            tracing::warn!(%error, "a container was left behind; the next round removes it");
        }
    }
}

fn ok_if_gone(result: Result<(), EngineError>) -> Result<(), EngineError> {
    match result {
        Err(error) if error.class == ErrorClass::Gone => Ok(()),
        other => other,
    }
}

fn not_healthy(id: &str, detail: &str) -> EngineError {
    EngineError::new(
        format!("start container {id:.12}"),
        ErrorClass::Retry,
        detail,
    )
    .with_help("the old generation still serves; look at the image's logs")
}
