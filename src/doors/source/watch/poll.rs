//! Looking for changes where the system gives no watch: slower, and complete.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use super::Places;
use crate::decisions::pace::FileEvent;

/// How often it is looked.
pub(super) const POLL_EVERY: Duration = Duration::from_secs(2);

/// The files of a source as they were last seen.
pub(super) struct Poll {
    seen: BTreeMap<PathBuf, Stamp>,
    /// When it is looked again.
    pub(super) due: Instant,
}

/// What changes with a file's content: device and inode, size, times.
type Stamp = (u64, u64, u64, (i64, i64), (i64, i64));

impl Poll {
    pub(super) fn new(places: &Places) -> Self {
        Self {
            seen: stamps(places),
            due: Instant::now() + POLL_EVERY,
        }
    }

    /// What happened since the last look.
    pub(super) fn look(&mut self, places: &Places) -> Vec<(FileEvent, PathBuf)> {
        self.due = Instant::now() + POLL_EVERY;
        let now = stamps(places);
        let gone = self.seen.keys().filter(|path| !now.contains_key(*path));
        let gone = gone.map(|path| (FileEvent::Gone, path.clone()));
        // The writer may not be done: files settle as they do for a watch.
        let changed = now
            .iter()
            .filter(|(path, stamp)| self.seen.get(*path) != Some(*stamp));
        let changed = changed.map(|(path, _)| (FileEvent::Writing, path.clone()));
        let events = gone.chain(changed).collect();
        self.seen = now;
        events
    }
}

fn stamps(places: &Places) -> BTreeMap<PathBuf, Stamp> {
    let files = places.files().into_iter();
    files
        .filter_map(|path| Some((path.clone(), stamp(&path)?)))
        .collect()
}

fn stamp(path: &Path) -> Option<Stamp> {
    let found = fs::metadata(path).ok()?;
    Some((
        found.dev(),
        found.ino(),
        found.size(),
        (found.mtime(), found.mtime_nsec()),
        (found.ctime(), found.ctime_nsec()),
    ))
}
