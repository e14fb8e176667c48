//! Walks along paths of the host, each in a thread of its own: on a file system that hangs, one never comes back.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, lgetxattr, openat};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::decisions::host_mount::{Component, Kind};

/// How long the host's file systems may take to show a path.
pub(super) const LIMIT: Duration = Duration::from_secs(5);

/// The components of a path, or where the walk ended and why.
pub(super) type Way = Result<Vec<Component>, (String, io::Error)>;

/// Walks below one root, at most one along each path at a time.
#[derive(Debug)]
pub(super) struct Walks {
    root: PathBuf,
    walk: fn(&Path, &str) -> Way,
    /// How long one is waited for.
    pub(super) limit: Duration,
    paths: Mutex<BTreeMap<String, Arc<Place>>>,
}

/// One path.
#[derive(Debug, Default)]
struct Place {
    /// Held by the thread that walks there.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Whether somebody waited for that thread in vain.
    overdue: AtomicBool,
}

impl Walks {
    pub(super) fn new(root: PathBuf, walk: fn(&Path, &str) -> Way) -> Self {
        Self {
            root,
            walk,
            limit: LIMIT,
            paths: Mutex::default(),
        }
    }

    /// What is on the way to a path now; `None` where the host does not show it in time. Where an earlier walk hangs
    /// there, that is told at once, and no other one begins.
    pub(super) async fn along(&self, path: &str) -> Option<Way> {
        let place = self.place(path);
        let is_walked = place.turn.try_lock().is_err();
        if is_walked && place.overdue.load(Ordering::SeqCst) {
            return None;
        }
        let walk = async {
            let turn = Arc::clone(&place.turn).lock_owned().await;
            place.overdue.store(false, Ordering::SeqCst);
            let (tell, told) = oneshot::channel();
            let (walk, root, path) = (self.walk, self.root.clone(), path.to_owned());
            // None of the runtime's: its threads are shared, and those that hang are missed elsewhere.
            let thread = thread::Builder::new().name("host path".to_owned());
            let begun = thread.spawn(move || {
                let way = walk(&root, &path);
                drop(turn);
                // Nobody may wait any more.
                let _ = tell.send(way);
            });
            begun.ok()?;
            told.await.ok()
        };
        let Ok(way) = timeout(self.limit, walk).await else {
            place.overdue.store(true, Ordering::SeqCst);
            return None;
        };
        way
    }

    fn place(&self, path: &str) -> Arc<Place> {
        let mut paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        paths.retain(|_, place| Arc::strong_count(place) + Arc::strong_count(&place.turn) > 2);
        Arc::clone(paths.entry(path.to_owned()).or_default())
    }
}

/// The components from the root to a clean path, each opened below the one before, so that no link is followed. Ends
/// at the first that is a link.
pub(super) fn way(root: &Path, path: &str) -> Way {
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
