//! What the engine shows of itself.

use super::aside;
use crate::daemon::site::Site;
use crate::decisions::checkup::facts::{EngineFacts, NetworkSeen, Seen};
use crate::decisions::report::Failure;
use crate::doors::engine::containers::ReadContainers as _;
use crate::doors::engine::docker::{DockerReader, Proxy};
use crate::words::label;
use crate::words::name::InstanceName;
use crate::words::observed::{Health, Phase};

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
            reader.networks(&site.config.network.name),
            reader.list(&labels),
            reader.proxies(),
        );
        let (before, facts, after) = about;
        let ahead_millis = facts
            .as_ref()
            .ok()
            .and_then(|facts| facts.time)
            .map(|time| {
                // Anything between the question and the answer agrees.
                let ahead = time.as_millisecond() - after.as_millisecond();
                ahead.max(0) + (time.as_millisecond() - before.as_millisecond()).min(0)
            });
        let serving = listed.unwrap_or_default().into_iter().filter(|found| {
            let is_well = !matches!(found.health, Some(Health::Starting | Health::Unhealthy));
            found.phase == Phase::Running && is_well
        });
        let serving = serving.filter_map(|found| {
            let name = found.labels.get(label::INSTANCE)?.parse().ok()?;
            let generation = found.labels.get(label::GENERATION)?.parse().ok()?;
            Some((name, generation))
        });
        let seen = networks.map(|all| {
            let seen = all.into_iter().map(|network| NetworkSeen {
                isolated: network.isolated,
                open_because: network.open_because,
            });
            seen.collect()
        });
        Self {
            facts: facts.map_err(Into::into),
            networks: seen.map_err(Into::into),
            serving: serving.collect(),
            proxies: proxies.unwrap_or_default(),
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
            is_local: false,
            ahead_millis: None,
        }
    }
}
