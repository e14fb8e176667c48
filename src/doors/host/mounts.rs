//! Directories of the host that instances mount, looked at on the host before the engine resolves their paths.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::join_all;
use tokio::net::UnixStream;

use crate::decisions::host_mount::{Component, Neighbour, ObjectId, Refused, refusal};
use crate::words::config::{Config, UserPolicy};
use crate::words::host_path::HostRule;
use crate::words::name::InstanceName;
use crate::words::spec::{Spec, VolumeSource};

mod walks;

use walks::{LIMIT, Walks, way};

/// What a container engine leaves in the containers that it makes.
const MARKS: [&str; 2] = ["/.dockerenv", "/run/.containerenv"];
/// Variables that say the same.
const MARK_VARIABLES: [&str; 2] = ["container", "KUBERNETES_SERVICE_HOST"];

/// The check of mounts against this host.
#[derive(Debug)]
pub struct HostMounts {
    rule: HostRule,
    users: UserPolicy,
    /// The engine's socket, where it has one on this host.
    socket: Option<PathBuf>,
    walks: Walks,
    claims: Arc<Mutex<Claims>>,
}

/// What is being made now, by the order in which that began.
#[derive(Debug, Default)]
struct Claims {
    next: u64,
    made: BTreeMap<u64, Spec>,
}

/// That an instance is being made. While this lives, others that are made later see its mounts, which no container
/// may tell of yet.
#[derive(Debug)]
pub struct Claim {
    number: u64,
    claims: Arc<Mutex<Claims>>,
    /// Other instances that were being made when this began.
    pub earlier: Vec<(InstanceName, Spec)>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        claims.made.remove(&self.number);
    }
}

/// A path that is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedPath {
    /// The path.
    pub path: String,
    /// Why, and what to do.
    pub refused: Refused,
}

impl HostMounts {
    /// The check that a configuration asks for, with the state directory and the engine's address in use.
    pub fn new(config: &Config, state: &Path, engine: &str) -> Self {
        let socket = engine.strip_prefix("unix://").map(PathBuf::from);
        let mut rule = HostRule::of(config);
        let ours = [
            (Some(state), "the daemon's own files"),
            (socket.as_deref(), "the engine's socket"),
        ];
        for (path, holds) in ours {
            let real = path.and_then(|path| path.canonicalize().ok());
            for path in [path, real.as_deref()] {
                rule = rule.reserving(path.and_then(Path::to_str), holds);
            }
        }
        Self {
            rule,
            users: config.policy.users.clone(),
            socket,
            walks: Walks::new(PathBuf::from("/"), way),
            claims: Arc::default(),
        }
    }

    /// Says that `spec` is about to be made. Nobody waits: of two that are made at once, the later one sees the other.
    pub fn claim(&self, spec: &Spec) -> Claim {
        let mut claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        let others = claims.made.values().filter(|other| other.name != spec.name);
        let earlier = others.map(|other| (other.name.clone(), other.clone()));
        let earlier = earlier.collect();
        let number = claims.next;
        claims.next += 1;
        claims.made.insert(number, spec.clone());
        Claim {
            number,
            claims: Arc::clone(&self.claims),
            earlier,
        }
    }

    /// Checks the mounts of `spec` beside those of other instances.
    ///
    /// # Errors
    /// The first path that is refused.
    pub async fn check(
        &self,
        spec: &Spec,
        others: &[(InstanceName, Spec)],
    ) -> Result<(), RefusedPath> {
        let wanted = mounts(spec);
        let Some((first, _)) = wanted.first() else {
            return Ok(());
        };
        self.shares_files().await.map_err(|why| {
            refused(
                first,
                why,
                "run the daemon on the engine's host itself, or use named volumes",
            )
        })?;
        let beside = others.iter().flat_map(|(name, spec)| {
            let mounts = mounts(spec).into_iter();
            mounts.map(|(path, writes)| (name.clone(), path, writes))
        });
        judge(
            &self.walks,
            &wanted,
            beside.collect(),
            &self.rule,
            &self.users,
        )
        .await
    }

    /// Whether a path means the same to the engine as to this process.
    async fn shares_files(&self) -> Result<(), String> {
        let Some(socket) = &self.socket else {
            return Err("the engine is not on this host, so the path cannot be checked".to_owned());
        };
        let peer = match UnixStream::connect(socket).await {
            Ok(stream) => stream.peer_cred().ok().and_then(|peer| peer.pid()),
            Err(_) => None,
        };
        let is_contained = || {
            MARKS.iter().any(|mark| Path::new(mark).exists())
                || MARK_VARIABLES
                    .iter()
                    .any(|name| std::env::var_os(name).is_some())
        };
        namespace(
            peer,
            &|pid| mount_namespace(&pid.to_string()),
            mount_namespace("self").as_deref(),
            &is_contained,
        )
    }
}

/// Whether the engine that listens as process `peer` sees the same files.
///
/// The same mount namespace settles it. A process of number 0 is in none of our process namespaces, so we are in a
/// container. Otherwise systemd may have given us a namespace of our own, with the host's files in it: then only the
/// marks that engines leave in containers count. What such a namespace hides is not there, so it is refused later.
fn namespace(
    peer: Option<i32>,
    of: &dyn Fn(i32) -> Option<PathBuf>,
    own: Option<&Path>,
    is_contained: &dyn Fn() -> bool,
) -> Result<(), String> {
    let contained = "the daemon runs in a container, so a path of the host is another one to it";
    match peer {
        Some(0) => Err(contained.to_owned()),
        Some(pid) if own.is_some() && of(pid).as_deref() == own => Ok(()),
        _ if is_contained() => Err(contained.to_owned()),
        _ => Ok(()),
    }
}

/// The mount namespace of a process, where it may be seen.
fn mount_namespace(process: &str) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{process}/ns/mnt")).ok()
}

/// The directories of the host that a spec mounts, and whether it can write to them.
fn mounts(spec: &Spec) -> Vec<(String, bool)> {
    let of_host = spec
        .volumes
        .iter()
        .filter_map(|volume| match &volume.source {
            VolumeSource::Host(path) => Some((path.clone(), !volume.read_only)),
            VolumeSource::Name(_) => None,
        });
    of_host.collect()
}

async fn judge(
    walks: &Walks,
    wanted: &[(String, bool)],
    beside: Vec<(InstanceName, String, bool)>,
    rule: &HostRule,
    users: &UserPolicy,
) -> Result<(), RefusedPath> {
    for (path, _) in wanted {
        if rule.refusal(path).is_some() {
            let help =
                "the host's operator allows paths under policy.host_paths.allow in instanced.yaml";
            let why = format!("policy does not allow {path}");
            return Err(refused(path, why, help));
        }
    }
    let (ways, neighbours) = tokio::join!(
        join_all(wanted.iter().map(|(path, _)| walks.along(path))),
        neighbours(walks, beside)
    );
    for ((path, writes), way) in wanted.iter().zip(ways) {
        let Some(way) = way else {
            let why = format!("the host did not show it within {} s", LIMIT.as_secs());
            let help = "look for a network file system that hangs";
            return Err(refused(path, why, help));
        };
        let way = way.map_err(|(at, error)| match error.kind() {
            io::ErrorKind::NotFound => refused(
                path,
                format!("{at} does not exist on the host"),
                "make the directory on the host, or correct `volumes`",
            ),
            io::ErrorKind::PermissionDenied => refused(
                path,
                format!("the daemon may not look into {at}"),
                "let the daemon's user pass through it (chmod o+x), or run the daemon as root",
            ),
            _ => refused(path, format!("{at}: {error}"), "look at it on the host"),
        })?;
        if let Some(refused) = refusal(path, *writes, &way, users, &neighbours) {
            let path = path.clone();
            return Err(RefusedPath { path, refused });
        }
    }
    Ok(())
}

/// What others mount. What the host does not show, or not in time, is compared by its path alone: a neighbour whose
/// file system hangs keeps nobody from being made.
async fn neighbours(walks: &Walks, beside: Vec<(InstanceName, String, bool)>) -> Vec<Neighbour> {
    let paths: BTreeSet<&String> = beside.iter().map(|(_, path, _)| path).collect();
    let look = async |path: &String| {
        let way = walks.along(path).await;
        let seen = way.and_then(Result::ok);
        (path.clone(), seen.map_or(vec![(0, 0)], |way| ids(&way)))
    };
    let ids: BTreeMap<_, _> = join_all(paths.into_iter().map(look))
        .await
        .into_iter()
        .collect();
    let neighbours = beside
        .into_iter()
        .map(|(instance, path, writes)| Neighbour {
            ids: ids.get(&path).cloned().unwrap_or_default(),
            instance,
            path,
            writes,
        });
    neighbours.collect()
}

fn refused(path: &str, why: String, help: &str) -> RefusedPath {
    RefusedPath {
        path: path.to_owned(),
        refused: Refused {
            why,
            help: help.to_owned(),
        },
    }
}

fn ids(way: &[Component]) -> Vec<ObjectId> {
    way.iter().map(|part| part.id).collect()
}

#[cfg(test)]
mod tests;
