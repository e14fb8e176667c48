//! A fleet on an engine that runs containers one by one: instance actions as sequences of calls.
//!
//! Each sequence is ordered so that a crash between any two calls leaves something from which the next
//! plan converges: a container that was never started counts for nothing, the newest one that was started
//! is the instance, older ones are superseded. What may fail without harm (pull, create, put secrets)
//! comes before what cannot be taken back (stop, remove).

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::stream::{self, StreamExt as _};

use super::containers::{ChangeContainers, Container, NetworkFacts, ReadContainers, Touched};
use super::settings::EngineNotes;
use super::{Engine, EngineError, ErrorClass, Secrets, draft};
use crate::decisions::plan::{Action, Reason, Retired, Step};
use crate::doors::edge::{Edge, EdgeError};
use crate::doors::host::mounts::HostMounts;
use crate::words::config::{Isolation, Network};
use crate::words::label;
use crate::words::manifest::Restart;
use crate::words::name::{InstanceName, ManagerName};
use crate::words::observed::Limits;
use crate::words::secret::DIRECTORY;
use crate::words::spec::Spec;
use crate::words::watch::PullProgress;
use swap::Swap;

mod fetch;
mod images;
mod mounts;
mod observe;
mod seen;
mod swap;
mod watch;

use fetch::Pulls;
use observe::generation_number;
use seen::Seen;

/// One manager's fleet on one engine.
#[derive(Clone)]
pub struct Fleet<C> {
    containers: C,
    manager: ManagerName,
    network: Network,
    author: Option<String>,
    seen: Arc<Seen>,
    pulls: Arc<Pulls>,
    making: Arc<Making>,
    edge: Edge,
    mounts: Option<Arc<HostMounts>>,
}

/// Volumes of secrets whose generation is being made now: no crash left them.
#[derive(Default)]
struct Making(Mutex<BTreeSet<String>>);

impl Making {
    fn with<T>(&self, call: impl FnOnce(&mut BTreeSet<String>) -> T) -> T {
        call(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One of [`Making`], until this is dropped.
struct Made<'a> {
    making: &'a Making,
    volume: String,
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        self.making.with(|all| all.remove(&self.volume));
    }
}

impl<C: ReadContainers> Fleet<C> {
    /// A fleet over an engine's calls. Its routes are labels, until [`with_edge`](Self::with_edge).
    pub fn new(containers: C, manager: ManagerName, network: Network) -> Self {
        Self {
            containers,
            edge: Edge::by_labels(manager.clone()),
            manager,
            network,
            author: None,
            seen: Arc::default(),
            pulls: Arc::default(),
            making: Arc::default(),
            mounts: None,
        }
    }

    /// What this fleet creates says whose work it is: the id of a state directory.
    #[must_use]
    pub fn with_author(mut self, author: String) -> Self {
        self.author = Some(author);
        self
    }

    /// With the edge that serves it.
    #[must_use]
    pub fn with_edge(mut self, edge: Edge) -> Self {
        self.edge = edge;
        self
    }

    /// With the check of directories of the host. Without one, no instance that mounts such a directory is made.
    #[must_use]
    pub fn with_mounts(mut self, mounts: HostMounts) -> Self {
        self.mounts = Some(Arc::new(mounts));
        self
    }

    fn labels(&self) -> Vec<(String, String)> {
        vec![(label::MANAGER.to_owned(), self.manager.to_string())]
    }

    async fn newest(&self, instance: &InstanceName) -> Result<Option<Container>, EngineError> {
        let mut labels = self.labels();
        labels.push((label::INSTANCE.to_owned(), instance.to_string()));
        let all = self.containers.list(&labels).await?;
        let newest = all
            .into_iter()
            .max_by_key(|found| generation_number(&found.labels));
        match newest {
            Some(newest) => self.containers.inspect(&newest.id).await,
            None => Ok(None),
        }
    }

    /// One that is not there yet is fine: it is made when the first instance needs it.
    fn check_networks(&self, networks: &[NetworkFacts]) -> Result<(), EngineError> {
        if networks.len() > 1 {
            let detail = format!("there are {} networks of this name", networks.len());
            let help = "remove all but one: docker network ls, docker network rm ID";
            return Err(self.network_wrong(detail, help));
        }
        match networks.first() {
            Some(facts) if self.network.isolation == Isolation::Strict => {
                let why = facts.open_because.clone();
                let Some(why) = why.or_else(|| self.containers.open_because()) else {
                    return Ok(());
                };
                let detail = format!("containers on it can reach each other: {why}");
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
            self.seen.mark_networks();
            networks = self.containers.networks(name).await?;
        }
        if networks.is_empty() {
            return Err(self.network_wrong("it vanished after it was made".into(), "try again"));
        }
        self.check_networks(&networks)
    }

    async fn tidy(&self, leftovers: &[String]) -> Result<(), EngineError> {
        let is_left = |volume: &&String| !self.making.with(|all| all.contains(*volume));
        let removals: Vec<_> = leftovers
            .iter()
            .filter(is_left)
            .map(|volume| {
                self.seen.mark_volumes();
                self.containers.remove_volume(volume)
            })
            .collect();
        // One that the engine refuses, or is silent about, keeps no other.
        let mut removed = stream::iter(removals).buffer_unordered(TIDY_AT_ONCE);
        let mut failed = Ok(());
        while let Some(result) = removed.next().await {
            failed = failed.and(result);
        }
        failed
    }

    async fn fetch(&self, step: &Step) -> Result<(), EngineError> {
        match &step.action {
            Action::Create { spec, .. } | Action::Replace { spec, .. } => {
                self.fetch_image(spec).await
            }
            Action::Start { .. }
            | Action::Stop { .. }
            | Action::Update { .. }
            | Action::Restart { .. }
            | Action::Remove { .. }
            | Action::Held => Ok(()),
        }
    }

    fn pulling(&self, image: &str) -> Option<PullProgress> {
        self.pulls.of(image)
    }

    async fn perform(&self, step: &Step, secrets: &Secrets) -> Result<(), EngineError> {
        let _marked = Hand::lay(&self.seen, &step.action);
        match &step.action {
            Action::Create {
                generation,
                spec,
                discard,
            } => {
                self.discard(&step.instance, discard).await?;
                let id = self.create(spec, *generation, secrets).await?;
                self.start(&id, spec).await
            }
            Action::Start { target, spec } => {
                // What it was stopped with may be old: limits of the spec, and its restart policy.
                self.update(target, spec).await?;
                self.start(&target.id, spec).await
            }
            Action::Stop { target } => {
                self.leave(&step.instance, std::slice::from_ref(target))
                    .await?;
                // First the policy: an engine that restarts in between must not revive it.
                self.containers.set_restart(&target.id, Restart::No).await?;
                self.containers.stop(&target.id, STOP_SECS).await
            }
            Action::Update { target, spec } => self.update(target, spec).await,
            Action::Restart { target } => {
                self.check_recorded(&target.id).await?;
                self.leave(&step.instance, std::slice::from_ref(target))
                    .await?;
                self.containers.stop(&target.id, STOP_SECS).await?;
                self.containers.start(&target.id).await
            }
            Action::Replace {
                retire,
                generation,
                spec,
            } => {
                let swap = Swap {
                    instance: &step.instance,
                    retire,
                    generation: *generation,
                    spec,
                };
                self.replace(swap, secrets).await
            }
            Action::Remove { targets } => {
                if step.reason == Reason::Superseded {
                    self.resume(&step.instance, targets).await?;
                }
                self.discard(&step.instance, targets).await
            }
            Action::Held => Ok(()),
        }
    }

    async fn refresh(&self, images: &BTreeSet<String>) -> Vec<EngineError> {
        self.pull_all(images).await
    }

    fn recall(&self, notes: EngineNotes) {
        self.seen.recall(notes);
    }

    fn news(&self) -> Option<EngineNotes> {
        self.seen.news()
    }

    async fn changed(&self, cursor: &mut Option<String>) -> Result<(), EngineError> {
        loop {
            if cursor.is_none() || !self.seen.hears() {
                // Have the place first: what happens from here on is told.
                let place = self.containers.cursor().await?;
                self.seen.set_hears(true);
                match cursor {
                    None => *cursor = Some(place),
                    // What happened while nobody listened may be lost for ever: a round is due.
                    Some(_) => return Ok(()),
                }
            }
            let place = cursor.as_mut().expect("set above");
            match self.containers.changed(&self.labels(), place).await {
                Ok(touched) if self.note(&touched) => return Ok(()),
                Ok(_) => {}
                Err(error) => {
                    self.seen.set_hears(false);
                    return Err(error);
                }
            }
        }
    }
}

impl<C> Fleet<C> {
    /// What events touched must be looked at again. Whether any of it concerns us.
    fn note(&self, touched: &Touched) -> bool {
        self.seen.mark_containers(&touched.containers);
        if touched.images {
            self.seen.mark_images();
        }
        let network = touched.networks.contains(&self.network.name);
        if network {
            self.seen.mark_networks();
        }
        network || touched.images || !touched.containers.is_empty()
    }
}

/// Our own hand on containers: whatever was known of them is marked when it is laid on and when it is taken off,
/// also by a failure or in the middle of a call.
struct Hand<'a> {
    seen: &'a Seen,
    ids: Vec<String>,
    volumes: bool,
}

impl<'a> Hand<'a> {
    fn lay(seen: &'a Seen, action: &Action) -> Self {
        let (ids, volumes) = match action {
            Action::Start { target, .. }
            | Action::Stop { target }
            | Action::Update { target, .. }
            | Action::Restart { target } => (vec![target.id.clone()], false),
            Action::Create { discard: many, .. }
            | Action::Replace { retire: many, .. }
            | Action::Remove { targets: many } => {
                (many.iter().map(|old| old.id.clone()).collect(), true)
            }
            Action::Held => (Vec::new(), false),
        };
        let hand = Self { seen, ids, volumes };
        hand.mark();
        hand
    }

    fn mark(&self) {
        self.seen.mark_containers(&self.ids);
        if self.volumes {
            self.seen.mark_volumes();
        }
    }
}

impl Drop for Hand<'_> {
    fn drop(&mut self) {
        self.mark();
    }
}

/// So many leftovers are removed at the same time.
const TIDY_AT_ONCE: usize = 16;
/// Between TERM and KILL.
const STOP_SECS: u32 = 10;

impl<C: ChangeContainers> Fleet<C> {
    /// Changes limits in place, and believes no engine that it did.
    async fn update(&self, target: &Retired, spec: &Spec) -> Result<(), EngineError> {
        let wanted = Limits::of(spec);
        self.containers.set_limits(&target.id, &wanted).await?;
        let found = self.containers.inspect(&target.id).await?;
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
        let files = draft::secret_files(spec, secrets);
        let mut draft = draft::draft(&self.manager, spec, generation, !files.is_empty());
        if let Some(author) = &self.author {
            draft
                .labels
                .insert(label::AUTHOR.to_owned(), author.clone());
        }
        self.refuse_routes(&draft).await?;
        let _claim = self.claim_mounts(spec).await?;
        self.own_volumes(spec).await?;
        let volume = label::secrets_volume(&self.manager, &spec.name, generation);
        self.making.with(|all| all.insert(volume.clone()));
        let _made = Made {
            making: &self.making,
            volume: volume.clone(),
        };
        if !files.is_empty() {
            let labels = draft::ownership(&self.manager, spec, generation);
            self.containers.create_volume(&volume, &labels).await?;
        }
        let created = async {
            let id = self.create_owned(&draft, spec).await?;
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

    /// Stops and removes generations with their volumes of secrets.
    async fn discard(&self, instance: &InstanceName, old: &[Retired]) -> Result<(), EngineError> {
        self.leave(instance, old).await?;
        for old in old {
            self.containers.stop(&old.id, STOP_SECS).await?;
            self.containers.remove(&old.id).await?;
            self.drop_secrets(instance, old.number).await;
        }
        Ok(())
    }

    /// Before they stop: no route leads to them any more.
    async fn leave(&self, instance: &InstanceName, old: &[Retired]) -> Result<(), EngineError> {
        let numbers: Vec<u64> = old.iter().map(|old| old.number).collect();
        let left = self.edge.leave(instance, &numbers).await;
        left.map_err(|error| unrouted(instance, &error))
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

/// The edge's error, as the engine's: the step fails, and is tried again.
fn unrouted(instance: &InstanceName, error: &EdgeError) -> EngineError {
    let operation = format!("lead the routes of {instance}");
    EngineError::new(operation, ErrorClass::Retry, error.to_string()).with_help(error.help())
}
