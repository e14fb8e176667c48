//! Learning of changes in a directory of manifests, through notify.
//!
//! Watches are never mended: when a directory or a link on the way to it changes, all of them are made anew
//! and the old ones dropped, so that no late event of an old watch can undo a new one. Events are hints;
//! what the daemon misses here, its resync timer finds.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind, RenameMode};
use notify::{Config, ErrorKind, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use super::places::{Meaning, Places};
use super::{FLEET_NAMES, SourceError, beside, dir};
use crate::decisions::pace::{FileEvent, QUIET, Settling};
use crate::words::desired::Snapshot;
use poll::Poll;

/// How often watches are made when what they watch moves meanwhile, and files read when they change.
const TRIES: u32 = 3;
/// Time for notify's thread to hand over what the kernel has told it.
const HANDOVER: Duration = Duration::from_millis(1);

/// How often it is looked whether a file has settled that a round waits for.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A watch on a source's directory, and on all that decides what stands there.
pub struct Watch {
    dir: PathBuf,
    shared: Arc<Shared>,
    armed: Armed,
    /// Making the watches anew failed: some of what is watched is no longer the source.
    stale: bool,
}

/// The watches of one moment.
struct Armed {
    eyes: Eyes,
    places: Arc<Places>,
    /// The fleet's files that were there.
    fleets: BTreeSet<PathBuf>,
}

/// How changes are noticed.
enum Eyes {
    /// The system says.
    Watcher(RecommendedWatcher),
    /// The system gives no watch, for this reason.
    Poll(Poll, SourceError),
}

/// What notify's thread tells us.
struct Shared {
    started: Instant,
    state: Mutex<State>,
    told: Notify,
}

#[derive(Default)]
struct State {
    settling: Settling,
    /// Something on the way to the source changed.
    turned: bool,
    /// Files that something happened to since the last reading began.
    touched: BTreeSet<PathBuf>,
}

impl Watch {
    /// Begins to watch. A directory that is not there yet is waited for. Files that were written in the last
    /// moments may be unfinished: they are unsettled until they have been quiet for long enough.
    pub fn new(dir: &Path) -> Result<Self, SourceError> {
        let shared = Arc::new(Shared::new());
        let armed = Armed::new(dir, &shared)?;
        armed.log(false);
        let dir = dir.to_owned();
        let watch = Self {
            dir,
            shared,
            armed,
            stale: false,
        };
        watch.unsettle_fresh();
        Ok(watch)
    }

    /// Why changes are noticed late, where the system gives no watch.
    pub fn polls(&self) -> Option<&SourceError> {
        match &self.armed.eyes {
            Eyes::Watcher(_) => None,
            Eyes::Poll(_, why) => Some(why),
        }
    }

    /// Looks at the files once they are due; never, where the system says what happens.
    async fn poll(&mut self) {
        let Eyes::Poll(poll, _) = &mut self.armed.eyes else {
            return std::future::pending().await;
        };
        tokio::time::sleep_until(poll.due).await;
        for (what, file) in poll.look(&self.armed.places) {
            self.shared.file_event(what, &file);
        }
        if Places::of(&self.dir) != *self.armed.places {
            self.shared.turn();
        }
    }

    /// Returns when a round is due because of files. Nothing is lost when it is dropped before that.
    pub async fn changed(&mut self) {
        loop {
            let turned = std::mem::take(&mut self.shared.state().turned);
            if turned && let Err(error) = self.arm() {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "changes of the source are seen at the next resync only"
                );
            }
            let wait = {
                let mut state = self.shared.state();
                let now = self.shared.now();
                if state.settling.take(now) {
                    return;
                }
                state.settling.due(now)
            };
            let due = async {
                match wait {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => std::future::pending().await,
                }
            };
            let shared = Arc::clone(&self.shared);
            tokio::select! {
                () = shared.told.notified() => {}
                () = due => {}
                () = self.poll() => {}
            }
        }
    }

    /// Returns once nobody is writing to the fleet's file any more: until then nothing can be said of any instance. One
    /// who never ends is waited for no longer than `most`.
    pub async fn fleet_settled(&self, most: Duration) {
        let settled = async {
            while !self.unsettled().is_disjoint(&self.armed.fleets) {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        // A round tells what is wrong with the file then.
        let _ = tokio::time::timeout(most, settled).await;
    }

    /// The files that somebody is still writing, as [`dir::read`] wants them.
    pub fn unsettled(&self) -> BTreeSet<PathBuf> {
        self.shared.state().settling.unsettled(self.shared.now())
    }

    /// Reads the source as [`dir::read`] does. A file that a writer began on while it was read is not taken
    /// as it was then: everything is read again. Only a truncation is told so late by the kernel that a file
    /// may show zero bytes; such a file counts as unfinished anyway. Blocks for as long as the disk takes.
    pub fn read(&mut self, shown_as: &str) -> Result<Snapshot, SourceError> {
        for _ in 0..TRIES {
            self.hand_over();
            self.shared.state().touched.clear();
            let unsettled = self.unsettled();
            let snapshot = dir::read(&self.dir, shown_as, &unsettled)?;
            self.hand_over();
            if self.shared.state().touched.is_subset(&unsettled) {
                return Ok(snapshot);
            }
        }
        Err(SourceError::Changing {
            path: self.dir.clone(),
            tries: TRIES,
        })
    }

    /// Makes the watches anew where they watch what is no longer the source. To be called now and then: a
    /// mount changes without an event.
    pub fn rearm(&mut self) -> Result<(), SourceError> {
        let dead = !self.hand_over();
        // The system may have watches to give by now.
        let polls = self.polls().is_some();
        if !dead && !self.stale && !polls && Places::of(&self.dir) == *self.armed.places {
            return Ok(());
        }
        self.arm()?;
        self.shared.change();
        Ok(())
    }

    fn arm(&mut self) -> Result<(), SourceError> {
        self.stale = true;
        let armed = Armed::new(&self.dir, &self.shared)?;
        self.stale = false;
        for gone in self.armed.fleets.difference(&armed.fleets) {
            // Perhaps it is being replaced: see `Shared::file_event`.
            self.shared.file_event(FileEvent::Gone, gone);
        }
        armed.log(self.polls().is_some());
        self.armed = armed;
        self.unsettle_fresh();
        Ok(())
    }

    /// Who wrote a file before the watch began may still be at it.
    fn unsettle_fresh(&self) {
        let wall = SystemTime::now();
        let now = self.shared.now();
        let mut state = self.shared.state();
        for path in self.armed.places.files() {
            let written = fs::metadata(&path).and_then(|found| found.modified());
            let age = written
                .ok()
                .and_then(|written| wall.duration_since(written).ok());
            if let Some(age) = age.filter(|age| *age < QUIET) {
                state
                    .settling
                    .on_event(FileEvent::Writing, &path, now.saturating_sub(age));
            }
        }
    }

    /// Waits until notify's thread has told us of everything that happened before. It answers a call after
    /// the work it had; the pause keeps the second call out of the work that it answered the first from.
    /// Returns false when the thread is no more.
    fn hand_over(&mut self) -> bool {
        let Eyes::Watcher(watcher) = &mut self.armed.eyes else {
            return true;
        };
        let mut answer = || watcher.configure(Config::default()).is_ok();
        let first = answer();
        thread::sleep(HANDOVER);
        first && answer()
    }
}

impl Armed {
    /// Logs that changes are polled, or no longer.
    fn log(&self, polled: bool) {
        match &self.eyes {
            Eyes::Poll(_, why) if !polled => tracing::warn!(
                error = why as &dyn std::error::Error,
                interval = ?poll::POLL_EVERY,
                "failed to watch the source; polling it"
            ),
            Eyes::Watcher(_) if polled => tracing::info!("watching the source again"),
            _ => {}
        }
    }

    fn new(dir: &Path, shared: &Arc<Shared>) -> Result<Self, SourceError> {
        for _ in 0..TRIES {
            let places = Arc::new(Places::of(dir));
            let eyes = match watcher(dir, shared, &places) {
                Ok(watcher) => Eyes::Watcher(watcher),
                Err(error) if is_limit(&error.1) => {
                    Eyes::Poll(Poll::new(&places), failed(&error.0)(error.1))
                }
                Err((path, error)) => return Err(failed(&path)(error)),
            };
            if Places::of(dir) == *places {
                let fleets = FLEET_NAMES.map(|name| beside(dir).join(name));
                let there = fleets
                    .into_iter()
                    .filter(|path| path.symlink_metadata().is_ok());
                return Ok(Self {
                    eyes,
                    places,
                    fleets: there.collect(),
                });
            }
        }
        Err(SourceError::Changing {
            path: dir.to_owned(),
            tries: TRIES,
        })
    }
}

/// Watches of all these places, or the path that cannot be watched.
fn watcher(
    dir: &Path,
    shared: &Arc<Shared>,
    places: &Arc<Places>,
) -> Result<RecommendedWatcher, (PathBuf, notify::Error)> {
    let (shared, known) = (Arc::clone(shared), Arc::clone(places));
    let handler = move |event| shared.note(&known, event);
    let mut watcher = RecommendedWatcher::new(handler, Config::default())
        .map_err(|error| (dir.to_owned(), error))?;
    for directory in places.directories() {
        let Err(error) = watcher.watch(directory, RecursiveMode::NonRecursive) else {
            continue;
        };
        // What is missing moved away: the comparison after this finds out. Without another directory's
        // watch, only moves of the source itself wait for the resync.
        let needed = places.is_source(directory) || is_limit(&error);
        if needed && !is_missing(&error) {
            return Err((directory.to_owned(), error));
        }
    }
    Ok(watcher)
}

impl Shared {
    fn new() -> Self {
        Self {
            started: Instant::now(),
            state: Mutex::default(),
            told: Notify::new(),
        }
    }

    /// The time by which events are told, far enough from its beginning that files can be older.
    fn now(&self) -> Duration {
        self.started.elapsed() + QUIET
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change of the state is one call: a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of what notify's thread says.
    fn note(&self, places: &Places, event: notify::Result<Event>) {
        let event = match event {
            Ok(event) if !event.need_rescan() => event,
            // Events were lost, so anything may have happened.
            _ => return self.turn(),
        };
        let Some(what) = classify(event.kind) else {
            return;
        };
        for path in &event.paths {
            match places.meaning(path) {
                Meaning::Nothing => {}
                Meaning::Turn => self.turn(),
                // A link leads to somewhere that is not watched yet.
                Meaning::Files(_) if path.is_symlink() => self.turn(),
                Meaning::Files(files) => files.iter().for_each(|file| self.file_event(what, file)),
            }
        }
    }

    fn file_event(&self, what: FileEvent, file: &Path) {
        let fleet = file
            .file_name()
            .is_some_and(|name| FLEET_NAMES.iter().any(|f| name == *f));
        let what = match what {
            // Editors move the old file away before they write the new one. For the moment between, a
            // manifest's absence changes nothing (pruning waits), but a fleet's would change every instance.
            FileEvent::Gone if fleet => FileEvent::Writing,
            what => what,
        };
        let mut state = self.state();
        state.settling.on_event(what, file, self.now());
        state.touched.insert(file.to_owned());
        drop(state);
        self.told.notify_one();
    }

    fn turn(&self) {
        self.state().turned = true;
        self.change();
    }

    fn change(&self) {
        self.state().settling.on_change(self.now());
        self.told.notify_one();
    }
}

/// What an event says of its file; `None` for what changes nothing, such as our own reading.
fn classify(kind: EventKind) -> Option<FileEvent> {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write))
        | EventKind::Modify(ModifyKind::Name(RenameMode::To)) => Some(FileEvent::Written),
        // `Both` doubles the two events of a rename.
        EventKind::Access(_) | EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => None,
        EventKind::Modify(ModifyKind::Name(RenameMode::From)) | EventKind::Remove(_) => {
            Some(FileEvent::Gone)
        }
        // A directory that is called like a manifest is never closed.
        EventKind::Modify(ModifyKind::Metadata(_)) | EventKind::Create(CreateKind::Folder) => {
            Some(FileEvent::Altered)
        }
        EventKind::Create(_) | EventKind::Modify(_) | EventKind::Any | EventKind::Other => {
            Some(FileEvent::Writing)
        }
    }
}

fn is_missing(error: &notify::Error) -> bool {
    match &error.kind {
        ErrorKind::PathNotFound => true,
        ErrorKind::Io(error) => {
            matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            )
        }
        _ => false,
    }
}

/// Whether the system has no more watches to give, or no more instances of inotify.
fn is_limit(error: &notify::Error) -> bool {
    let is_full = |error: &io::Error| {
        let full = [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE];
        full.iter()
            .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
    };
    match &error.kind {
        ErrorKind::MaxFilesWatch => true,
        ErrorKind::Io(error) => is_full(error),
        _ => false,
    }
}

fn failed(path: &Path) -> impl FnOnce(notify::Error) -> SourceError {
    let path = path.to_owned();
    move |source| SourceError::Watch {
        path,
        remedy: remedy(&source),
        source,
    }
}

fn remedy(error: &notify::Error) -> Option<&'static str> {
    match &error.kind {
        ErrorKind::MaxFilesWatch => {
            Some("raise the limit: sysctl fs.inotify.max_user_watches=524288")
        }
        // Too many open files: here, too many inotify instances of this user's.
        ErrorKind::Io(error)
            if error.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error()) =>
        {
            Some("raise the limit: sysctl fs.inotify.max_user_instances=1024 (or ulimit -n)")
        }
        ErrorKind::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Some("the daemon's user needs the right to read it")
        }
        _ => None,
    }
}

mod poll;
#[cfg(test)]
mod tests;
