//! A checkup of a host: everything is looked at beside everything else, each within a limit, and nothing is changed. What
//! it means is decided in [`crate::decisions::checkup`].

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::oneshot;

use super::chain::failure;
use super::operate;
use super::ops;
use super::round;
use super::site::Site;
use crate::decisions::checkup::facts::{
    AuthFacts, ClockFacts, Configured, DaemonFacts, DomainFacts, Manifests, PortFacts, Room, Seen,
    SourceFacts, StoreFacts, TraefikFacts,
};
use crate::decisions::checkup::{Area, Finding, confinement, edge, host as verdict, instances};
use crate::decisions::report::{Failure, Report};
use crate::decisions::status::{InstanceStatus, status};
use crate::doors::control_client::ControlClient;
use crate::doors::{host, store};
use crate::words::config::{Isolation, ProviderConfig};
use crate::words::control::SOCKET;
use crate::words::desired::Desired;
use crate::words::manifest::Auth;
use crate::words::name::InstanceName;
use crate::words::resolve::auth_url;
use crate::words::router::{routers, stems};
use crate::words::secret::SecretSource;
use crate::words::spec::Spec;
use crate::words::template;
use asking::Asking;
use engine::EngineSeen;

mod asking;
mod engine;

/// How long one thing may be looked at.
const LIMIT: Duration = Duration::from_secs(8);
/// How long a daemon may take to say how it is.
const DAEMON_LIMIT: Duration = Duration::from_secs(4);
/// How long a connection may take that is made to see whether it can be.
const CONNECT_LIMIT: Duration = Duration::from_millis(500);
/// How long a store is waited for that another command has open.
const STORE_WAIT: Duration = Duration::from_secs(2);

/// Looks at everything. The configuration was read by then: `configured` says what came of it.
pub async fn checkup(site: &Site, configured: &Configured) -> Vec<Finding> {
    // What others need to know, first.
    let (daemon, source, engine, domain) = tokio::join!(
        daemon(site),
        within(LIMIT, source(site)),
        within(LIMIT, EngineSeen::look(site)),
        within(LIMIT, domain(site)),
    );
    let nothing = || Desired::default();
    let (source, desired) = match source {
        Some((facts, desired)) => (verdict::source(&facts), desired.unwrap_or_else(nothing)),
        None => (Area::Source.silent(LIMIT.as_secs()), nothing()),
    };
    let daemon_runs = !matches!(daemon, Ok(None));
    let (standing, store, permissions, disk, images, ports, auth, traefik, unkept) = tokio::join!(
        within(LIMIT, standing(site, &desired, daemon_runs)),
        within(LIMIT, store_facts(site, daemon_runs)),
        within(LIMIT, permissions(site, &desired, engine.as_ref())),
        within(LIMIT, room(site.state.clone())),
        within(LIMIT, images(engine.as_ref())),
        within(LIMIT, ports(site)),
        within(LIMIT, auth(site, engine.as_ref(), daemon_runs)),
        within(LIMIT, traefik(site, &desired, engine.as_ref())),
        within(LIMIT, unkept(site, &desired)),
    );
    let silent = |area: Area| vec![area.silent(LIMIT.as_secs())];
    let mut all = vec![verdict::configuration(configured), source];
    match &engine {
        Some(seen) => {
            all.extend(verdict::engine(&seen.facts, images.flatten()));
            all.extend(confinement::confinement(&seen.processes));
            all.push(verdict::network(&site.config.network, &seen.networks));
        }
        None => all.extend([Area::Engine, Area::Network].map(|area| area.silent(LIMIT.as_secs()))),
    }
    all.push(verdict::daemon(&daemon, env!("CARGO_PKG_VERSION")));
    all.extend(standing.map_or_else(
        || silent(Area::Instances),
        |seen| instances::instances(&seen, daemon_runs),
    ));
    all.extend(confinement::losses(&unkept.unwrap_or_default()));
    all.extend(store.map_or_else(|| silent(Area::Store), |facts| vec![verdict::store(&facts)]));
    all.extend(permissions.unwrap_or_else(|| silent(Area::Permissions)));
    all.extend(disk.map_or_else(
        || silent(Area::Disk),
        |room| vec![verdict::disk(&site.state, &room)],
    ));
    all.extend(ports.map_or_else(
        || silent(Area::Ports),
        |facts| verdict::ports(&facts, daemon_runs),
    ));
    all.extend(auth.map_or_else(|| silent(Area::Auth), |facts| edge::auth(&facts)));
    all.extend(traefik.map_or_else(|| silent(Area::Traefik), |facts| edge::traefik(&facts)));
    all.push(verdict::clock(ClockFacts {
        engine_ahead_millis: engine.as_ref().and_then(|seen| seen.ahead_millis),
        is_synchronised: host::is_synchronised(),
    }));
    all.extend(domain.map_or_else(
        || silent(Area::Domain),
        |facts| vec![verdict::domain(&facts)],
    ));
    all.extend(verdict::policy(&site.config, &unguarded(&desired)));
    all
}

/// What came of it, where it came in time.
async fn within<T>(limit: Duration, what: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(limit, what).await.ok()
}

/// Something that blocks, on a thread of its own: one that hangs on a dead disk keeps nobody from ending.
async fn aside<T: Send + 'static>(what: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (told, heard) = oneshot::channel();
    let thread = std::thread::Builder::new().spawn(move || {
        // Nobody listens any more once it took too long.
        let _ = told.send(what());
    });
    thread.ok()?;
    heard.await.ok()
}

fn broken_off() -> Failure {
    Failure {
        message: "it was broken off".to_owned(),
        help: None,
    }
}

async fn daemon(site: &Site) -> Seen<Option<DaemonFacts>> {
    let asking = async {
        let client = ControlClient::connect(&site.state).await;
        let unreached = |error| Failure {
            help: Some("run this as the daemon's user, or as root".to_owned()),
            ..failure(&error)
        };
        let Some(client) = client.map_err(unreached)? else {
            return Ok(None);
        };
        let health = client.with_patience(DAEMON_LIMIT).get("/health").await;
        let health = health.map_err(|error| failure(&error))?;
        let text = |key: &str| health[key].as_str().map(str::to_owned);
        Ok(Some(DaemonFacts {
            pid: health["pid"].as_u64(),
            version: text("version"),
            is_same: text("fingerprint").as_deref() == Some(&site.fingerprint()),
            ready: health["ready"] == true,
            reason: text("reason"),
            revision: text("revision").unwrap_or_default(),
            rounds: serde_json::from_value(health["rounds"].clone()).unwrap_or_default(),
        }))
    };
    within(DAEMON_LIMIT, asking).await.unwrap_or_else(|| {
        Err(Failure {
            message: format!("it does not answer within {} s", DAEMON_LIMIT.as_secs()),
            help: Some(
                "its log tells what it does; SIGTERM ends it, and every container runs on"
                    .to_owned(),
            ),
        })
    })
}

/// The source, and what it comes to.
async fn source(site: &Site) -> (SourceFacts, Option<Desired>) {
    let reached = async {
        let mirror = site.mirror()?;
        let answered = Box::pin(mirror.reach()).await;
        Some(answered.map_err(|error| failure(&error)))
    };
    let here = site.clone();
    let read = aside(move || {
        let desired = round::read_source(&here).and_then(|read| round::desired(&read, &here));
        desired.map_err(|report| unread(*report))
    });
    let (repository, read) = tokio::join!(reached, read);
    let read = read.unwrap_or_else(|| Err(broken_off()));
    let manifests = read
        .as_ref()
        .map_err(Clone::clone)
        .map(|desired| Manifests {
            sound: desired.specs.len(),
            unsound: desired.unreadable.keys().map(ToString::to_string).collect(),
            revision: desired.revision.clone(),
        });
    let named = match site.config.source.git {
        Some(_) => site.source_named(),
        None => site.source_shown(),
    };
    let facts = SourceFacts {
        named,
        manifests,
        repository,
    };
    (facts, read.ok())
}

fn unread(report: Report) -> Failure {
    let first = report.diagnostics.first().map(ToString::to_string);
    match (report.aborted, first) {
        (Some(failure), Some(first)) => Failure {
            message: format!("{}: {first}", failure.message),
            ..failure
        },
        (Some(failure), None) => failure,
        (None, first) => Failure {
            message: first.unwrap_or_else(|| "nothing was read".to_owned()),
            help: None,
        },
    }
}

async fn domain(site: &Site) -> DomainFacts {
    let name = format!("mcp-x.{}", site.config.domain);
    let found: BTreeSet<_> = match tokio::net::lookup_host((name.as_str(), 443)).await {
        Ok(found) => found.map(|at| at.ip()).collect(),
        Err(_) => BTreeSet::new(),
    };
    let addresses = found.into_iter().map(|ip| (ip, host::is_local(ip)));
    DomainFacts {
        host: name,
        addresses: addresses.collect(),
    }
}

/// How the instances stand, as the daemon says, else as the engine does. Without a daemon the store is left alone.
async fn standing(site: &Site, desired: &Desired, daemon_runs: bool) -> Seen<Vec<InstanceStatus>> {
    if daemon_runs {
        return ops::status(site).await;
    }
    let observed = operate::observe(site).await?;
    let (last, public, now) = (
        Report::default(),
        &site.config.public,
        jiff::Timestamp::now(),
    );
    Ok(status(desired, &observed, &last, public, now))
}

async fn store_facts(site: &Site, daemon_runs: bool) -> StoreFacts {
    let state = site.state.clone();
    let looked = aside(move || {
        let here = host::path(&state);
        if here.mode.is_some() && !here.readable {
            return StoreFacts::Others { owner: here.owner };
        }
        if !store::is_there(&state) {
            return StoreFacts::Absent;
        }
        let bytes = host::size(&state);
        if daemon_runs {
            return StoreFacts::Held { bytes };
        }
        // Whoever opens it writes in it: what another user's daemon must read later would be ours.
        if here.owner != host::user() {
            return StoreFacts::Others { owner: here.owner };
        }
        let tokens = store::Store::open(&state, STORE_WAIT).and_then(|store| store.tokens());
        match tokens {
            Ok(tokens) => StoreFacts::Opened {
                bytes,
                tokens: tokens.len(),
            },
            Err(error) => StoreFacts::Broken(failure(&error)),
        }
    });
    looked
        .await
        .unwrap_or_else(|| StoreFacts::Broken(broken_off()))
}

async fn permissions(site: &Site, desired: &Desired, engine: Option<&EngineSeen>) -> Vec<Finding> {
    let mut files: BTreeSet<PathBuf> = BTreeSet::new();
    for spec in desired.specs.values() {
        files.extend(
            spec.secrets
                .values()
                .filter_map(|secret| match &secret.from {
                    SecretSource::File(path) => Some(PathBuf::from(path)),
                    SecretSource::Env(_) | SecretSource::Generated => None,
                }),
        );
    }
    let git = site.config.source.git.as_ref();
    let webhook = git.and_then(|git| git.webhook.as_ref());
    files.extend(webhook.map(|webhook| webhook.secret_file.clone()));
    let open_engine = engine.is_some_and(|seen| {
        let facts = seen.facts.as_ref();
        facts.is_ok_and(|facts| facts.open_socket)
    });
    let state = site.state.clone();
    let looked = aside(move || {
        let files: Vec<_> = files.iter().map(|path| host::path(path)).collect();
        let socket = host::path(&state.join(SOCKET));
        let state = host::path(&state);
        verdict::permissions(&state, Some(&socket), &files, open_engine, host::user())
    });
    looked.await.unwrap_or_default()
}

async fn room(path: PathBuf) -> Seen<Room> {
    let looked = aside(move || host::room(&path).map_err(|error| failure(&error)));
    looked.await.unwrap_or_else(|| Err(broken_off()))
}

/// What instances lose at each replacement, as their images keep it in volumes without a name.
async fn unkept(site: &Site, desired: &Desired) -> Vec<(InstanceName, Vec<String>)> {
    let images: BTreeSet<&str> = desired
        .specs
        .values()
        .map(|spec| spec.image.as_str())
        .collect();
    let looks = images.into_iter().map(async |image| {
        let declared = engine::declared_volumes(site, image).await;
        (image, declared)
    });
    let declared: BTreeMap<&str, Vec<String>> = join_all(looks).await.into_iter().collect();
    let of = |(name, spec): (&InstanceName, &Arc<Spec>)| {
        let declared = declared.get(spec.image.as_str())?.clone();
        let unkept = confinement::unkept(spec, declared);
        (!unkept.is_empty()).then(|| (name.clone(), unkept))
    };
    desired.specs.iter().filter_map(of).collect()
}

/// The room where images are, where that is on this host.
async fn images(engine: Option<&EngineSeen>) -> Option<Room> {
    let root = engine?.facts.as_ref().ok()?.root.clone()?;
    room(root).await.ok()
}

async fn ports(site: &Site) -> Vec<PortFacts> {
    let listen = &site.config.listen;
    let asked = [("listen.auth", listen.auth), ("listen.admin", listen.admin)];
    let looked = asked.map(|(key, at)| {
        aside(move || PortFacts {
            key,
            at,
            taken: host::is_taken(at, CONNECT_LIMIT),
        })
    });
    let [auth, admin] = looked;
    let (auth, admin) = tokio::join!(auth, admin);
    auth.into_iter().chain(admin).collect()
}

async fn auth(site: &Site, engine: Option<&EngineSeen>, daemon_runs: bool) -> AuthFacts {
    let url = auth_url(&site.config);
    let asking = Asking {
        url: url.clone(),
        host: format!("mcp-x.{}", site.config.domain),
        authority: site.config.traefik.auth_ca.clone(),
    };
    let seen = engine.filter(|_| daemon_runs);
    let is_local = engine.is_some_and(|seen| seen.is_local);
    let inside = |proxy| asking.ask_within(proxy, is_local);
    let proxies = seen.into_iter().flat_map(|seen| &seen.proxies).map(inside);
    // Where neighbours share a network with Traefik, they are trusted on purpose.
    let is_strict = site.config.network.isolation == Isolation::Strict;
    let instance = seen.filter(|_| is_strict);
    let instance = instance.and_then(|seen| seen.instance.as_ref()).map(inside);
    let (here, proxies, instance) =
        tokio::join!(asking.ask(), join_all(proxies), join_all(instance));
    let instance = instance.into_iter().find_map(|seen| {
        let answer = seen.answer.ok()?;
        Some((seen.container, answer))
    });
    AuthFacts {
        url,
        here,
        proxies,
        instance,
        daemon_runs,
    }
}

async fn traefik(site: &Site, desired: &Desired, engine: Option<&EngineSeen>) -> TraefikFacts {
    let manager = &site.config.manager;
    let running = engine.map_or(&[][..], |seen| &seen.serving);
    let expected = running.iter().filter_map(|(name, generation)| {
        let spec = desired.spec(name)?;
        Some(routers(manager, spec, *generation))
    });
    let seen = match site.edge().api() {
        Some(api) => {
            let seen = api.seen(&format!("instanced-{manager}-")).await;
            Some(seen.map_err(|error| failure(&error)))
        }
        None => None,
    };
    TraefikFacts {
        api: site.config.traefik.api.clone(),
        seen,
        expected: expected.flatten().map(|router| router.id).collect(),
        stems: desired
            .specs
            .values()
            .flat_map(|spec| stems(manager, spec))
            .collect(),
        provider: match site.config.traefik.provider {
            ProviderConfig::Labels => "docker",
            ProviderConfig::File(_) => "file",
        },
    }
}

/// Endpoints that anybody may use whom the network lets through. The template's noVNC asks for a password.
fn unguarded(desired: &Desired) -> Vec<String> {
    let endpoints = desired.specs.values().flat_map(|spec| {
        let open = spec.endpoints.iter();
        let open = open
            .filter(|(name, it)| it.auth == Auth::None && !template::asks_for_password(spec, name));
        open.map(|(name, _)| format!("{name} of {}", spec.name))
    });
    endpoints.collect()
}
