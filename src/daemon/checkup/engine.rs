//! What the engine shows of itself.

use std::time::Duration;

use futures_util::future::join_all;

use super::{aside, within};
use crate::daemon::site::Site;
use crate::decisions::checkup::facts::{EngineFacts, NetworkSeen, ProcessSeen, Seen};
use crate::decisions::report::Failure;
use crate::doors::engine::containers::{NetworkFacts, ReadContainers as _, Summary};
use crate::doors::engine::docker::{DockerReader, Proxy};
use crate::doors::host;
use crate::words::label;
use crate::words::name::InstanceName;
use crate::words::observed::{Health, Phase};
use crate::words::spec::Spec;

/// How long one call may take; together they come in time for whoever looks.
const CALL_LIMIT: Duration = Duration::from_secs(4);
/// The same for the one call that comes after others.
const PROCESS_LIMIT: Duration = Duration::from_secs(2);
/// So many instances are looked at in the kernel.
const PROCESSES: usize = 200;

/// What it shows.
pub(super) struct EngineSeen {
    /// What it is.
    pub(super) facts: Seen<EngineFacts>,
    /// The networks of the name that is configured.
    pub(super) networks: Seen<Vec<NetworkSeen>>,
    /// The generations that Traefik should serve: they run, and no health check says otherwise.
    pub(super) serving: Vec<(InstanceName, u64)>,
    /// The containers that look like Traefik.
    pub(super) proxies: Vec<Proxy>,
    /// An instance that runs.
    pub(super) instance: Option<Proxy>,
    /// What the kernel shows of instances that run.
    pub(super) processes: Vec<ProcessSeen>,
    /// Whether it shares this host's kernel.
    pub(super) is_local: bool,
    /// By how many milliseconds its clock is ahead.
    pub(super) ahead_millis: Option<i64>,
}

impl EngineSeen {
    /// Looks.
    pub(super) async fn look(site: &Site) -> Self {
        let host = site.config.engine.docker.host.clone();
        let connected = aside(move || DockerReader::connect(host.as_deref())).await;
        let reader = match connected {
            Some(Ok(reader)) => reader,
            Some(Err(error)) => return Self::away(&error.into()),
            None => return Self::away(&super::broken_off()),
        };
        let labels = [(label::MANAGER.to_owned(), site.config.manager.to_string())];
        let about = async {
            let before = jiff::Timestamp::now();
            let about = reader.about().await;
            (before, about, jiff::Timestamp::now())
        };
        let (about, networks, listed, proxies) = tokio::join!(
            about,
            within(CALL_LIMIT, reader.networks(&site.config.network.name)),
            within(CALL_LIMIT, reader.list(&labels)),
            within(CALL_LIMIT, reader.proxies()),
        );
        let (before, facts, after) = about;
        let facts = match facts {
            Ok(facts) => facts,
            Err(error) => return Self::away(&error.into()),
        };
        let ahead_millis = facts.time.map(|time| {
            // Anything between the question and the answer agrees.
            let ahead = time.as_millisecond() - after.as_millisecond();
            ahead.max(0) + (time.as_millisecond() - before.as_millisecond()).min(0)
        });
        let networks = match networks {
            Some(Ok(all)) => {
                let host = reader.open_because();
                let all = all.into_iter();
                Ok(all.map(|one| seen(one, host.as_ref())).collect())
            }
            Some(Err(error)) => Err(error.into()),
            None => Err(untold()),
        };
        let mut serving = listed.and_then(Result::ok).unwrap_or_default();
        serving.retain(|found| {
            let is_well = !matches!(found.health, Some(Health::Starting | Health::Unhealthy));
            found.phase == Phase::Running && is_well
        });
        let instance = match serving.first() {
            Some(first) => within(PROCESS_LIMIT, process(&reader, first))
                .await
                .flatten(),
            None => None,
        };
        let processes = if reader.is_local() {
            let looks = serving
                .iter()
                .take(PROCESSES)
                .map(|one| kernel(&reader, one));
            within(PROCESS_LIMIT, join_all(looks)).await
        } else {
            None
        };
        let named = serving.into_iter().filter_map(|found| {
            let name = found.labels.get(label::INSTANCE)?.parse().ok()?;
            let generation = found.labels.get(label::GENERATION)?.parse().ok()?;
            Some((name, generation))
        });
        Self {
            facts: Ok(facts),
            networks,
            serving: named.collect(),
            proxies: proxies.and_then(Result::ok).unwrap_or_default(),
            instance,
            processes: processes.into_iter().flatten().flatten().collect(),
            is_local: reader.is_local(),
            ahead_millis,
        }
    }

    fn away(failure: &Failure) -> Self {
        Self {
            facts: Err(failure.clone()),
            networks: Err(Failure {
                message: "as the engine cannot be reached".to_owned(),
                help: None,
            }),
            serving: Vec::new(),
            proxies: Vec::new(),
            instance: None,
            processes: Vec::new(),
            is_local: false,
            ahead_millis: None,
        }
    }
}

/// A container of ours, to be looked into.
async fn process(reader: &DockerReader, found: &Summary) -> Option<Proxy> {
    let pid = reader.process_of(&found.id).await.ok().flatten()?;
    Some(Proxy {
        name: found.name.clone(),
        pid,
        ..Proxy::default()
    })
}

/// What the kernel shows of a container of ours.
async fn kernel(reader: &DockerReader, found: &Summary) -> Option<ProcessSeen> {
    let instance = found.labels.get(label::INSTANCE)?.parse().ok()?;
    let spec = found.labels.get(label::SPEC)?;
    let spec: Spec = serde_json::from_str(spec).ok()?;
    let pid = reader.process_of(&found.id).await.ok().flatten()?;
    let seen = ProcessSeen {
        instance,
        cap_add: spec.security.cap_add,
        profile: None,
        seccomp: None,
        no_new_privs: None,
        capabilities: None,
    };
    Some(host::confinement(pid, seen))
}

/// The paths that an image declares as volumes.
pub(super) async fn declared_volumes(site: &Site, image: &str) -> Vec<String> {
    let host = site.config.engine.docker.host.clone();
    let connected = aside(move || DockerReader::connect(host.as_deref())).await;
    let Some(Ok(reader)) = connected else {
        return Vec::new();
    };
    let found = reader.image(image).await.ok().flatten();
    found.map_or_else(Vec::new, |found| found.config.volumes.into_iter().collect())
}

fn seen(network: NetworkFacts, host: Option<&String>) -> NetworkSeen {
    NetworkSeen {
        open_because: network.open_because.or_else(|| host.cloned()),
    }
}

fn untold() -> Failure {
    Failure {
        message: format!("the engine did not tell within {} s", CALL_LIMIT.as_secs()),
        help: None,
    }
}
