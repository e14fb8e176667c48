//! Directories of the host that instances mount, looked at on the host before the engine resolves their paths.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, lgetxattr, openat};
use tokio::net::UnixStream;
use tokio::sync::{Mutex, MutexGuard};

use crate::decisions::host_mount::{Component, Kind, Neighbour, ObjectId, Refused, refusal};
use crate::words::config::{Config, UserPolicy};
use crate::words::host_path::HostRule;
use crate::words::name::InstanceName;
use crate::words::spec::{Spec, VolumeSource};

/// How long the host's file systems may take to show a few paths.
const LIMIT: Duration = Duration::from_secs(5);
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
    /// Two instances that are made at once see each other only one after the other.
    turn: Mutex<()>,
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
            turn: Mutex::default(),
        }
    }

    /// Keeps others from being made meanwhile.
    pub async fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
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
        let refused = |path: &str, why: String, help: &str| RefusedPath {
            path: path.to_owned(),
            refused: Refused {
                why,
                help: help.to_owned(),
            },
        };
        self.shares_files().await.map_err(|why| {
            refused(
                first,
                why,
                "run the daemon on the engine's host itself, or use named volumes",
            )
        })?;
        let (rule, users) = (self.rule.clone(), self.users.clone());
        let beside = others.iter().flat_map(|(name, spec)| {
            let mounts = mounts(spec).into_iter();
            mounts.map(|(path, writes)| (name.clone(), path, writes))
        });
        let beside: Vec<_> = beside.collect();
        let path = first.clone();
        let look = tokio::task::spawn_blocking(move || {
            judge(Path::new("/"), &wanted, beside, &rule, &users)
        });
        match tokio::time::timeout(LIMIT, look).await {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(_)) | Err(_) => Err(refused(
                &path,
                format!("the host did not show it within {} s", LIMIT.as_secs()),
                "look for a network file system that hangs",
            )),
        }
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

fn judge(
    root: &Path,
    wanted: &[(String, bool)],
    beside: Vec<(InstanceName, String, bool)>,
    rule: &HostRule,
    users: &UserPolicy,
) -> Result<(), RefusedPath> {
    let neighbours = beside
        .into_iter()
        .map(|(instance, path, writes)| Neighbour {
            // What cannot be seen any more is compared by its path alone.
            ids: way(root, &path).map_or_else(|_| vec![(0, 0)], |way| ids(&way)),
            instance,
            path,
            writes,
        });
    let neighbours: Vec<_> = neighbours.collect();
    for (path, writes) in wanted {
        let refused = |why: String, help: &str| RefusedPath {
            path: path.clone(),
            refused: Refused {
                why,
                help: help.to_owned(),
            },
        };
        if rule.refusal(path).is_some() {
            let help =
                "the host's operator allows paths under policy.host_paths.allow in instanced.yaml";
            return Err(refused(format!("policy does not allow {path}"), help));
        }
        let way = way(root, path).map_err(|(at, error)| match error.kind() {
            io::ErrorKind::NotFound => refused(
                format!("{at} does not exist on the host"),
                "make the directory on the host, or correct `volumes`",
            ),
            io::ErrorKind::PermissionDenied => refused(
                format!("the daemon may not look into {at}"),
                "let the daemon's user pass through it (chmod o+x), or run the daemon as root",
            ),
            _ => refused(format!("{at}: {error}"), "look at it on the host"),
        })?;
        if let Some(refused) = refusal(path, *writes, &way, users, &neighbours) {
            let path = path.clone();
            return Err(RefusedPath { path, refused });
        }
    }
    Ok(())
}

fn ids(way: &[Component]) -> Vec<ObjectId> {
    way.iter().map(|part| part.id).collect()
}

/// The components from the root to a clean path, each opened below the one before, so that no link is followed. Ends
/// at the first that is a link.
fn way(root: &Path, path: &str) -> Result<Vec<Component>, (String, io::Error)> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = |dir: Option<&OwnedFd>, name: &Path| match dir {
        Some(dir) => openat(dir, name, flags, Mode::empty()),
        None => openat(CWD, name, flags, Mode::empty()),
    };
    let mut at = String::new();
    let told = |at: &str, error: rustix::io::Errno| (at.to_owned(), io::Error::from(error));
    let mut here = open(None, root).map_err(|error| told("/", error))?;
    let mut way = vec![component("/", root, &here).map_err(|error| told("/", error))?];
    for part in path.split('/').filter(|part| !part.is_empty()) {
        if way.last().is_some_and(|last| last.kind == Kind::Link) {
            break;
        }
        at = format!("{at}/{part}");
        here = open(Some(&here), Path::new(part)).map_err(|error| told(&at, error))?;
        let real = root.join(at.trim_start_matches('/'));
        way.push(component(&at, &real, &here).map_err(|error| told(&at, error))?);
    }
    Ok(way)
}

fn component(path: &str, real: &Path, opened: &OwnedFd) -> rustix::io::Result<Component> {
    let found = fstat(opened)?;
    let kind = match FileType::from_raw_mode(found.st_mode) {
        FileType::Directory => Kind::Directory,
        FileType::RegularFile => Kind::File,
        FileType::Symlink => Kind::Link,
        _ => Kind::Other,
    };
    let mut none: [u8; 0] = [];
    Ok(Component {
        path: path.to_owned(),
        kind,
        id: (found.st_dev, found.st_ino),
        uid: found.st_uid,
        gid: found.st_gid,
        mode: found.st_mode & 0o7777,
        // With no room for the value, the call tells how much there is.
        has_acl: lgetxattr(real, "system.posix_acl_access", &mut none).is_ok_and(|bytes| bytes > 0),
    })
}

#[cfg(test)]
mod tests;
