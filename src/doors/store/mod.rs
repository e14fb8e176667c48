//! The store: what the daemon must remember and no container can tell. The only module that names sled.
//!
//! Every write is on disk before its call returns. Reading never writes. All calls block: async callers
//! use `spawn_blocking`. The state directory is the daemon's alone (mode 0700), one process has it open
//! at a time, and whoever comes second is told who was first.
//!
//! A record is a version byte and JSON, so that a later version can read what this one wrote. A record
//! that cannot be read is an error that names it: a token that was skipped in silence would be a
//! revocation nobody asked for. sled itself forgets, in silence, what it wrote after a damaged byte, which
//! may bring a revoked token back; so the tokens carry a seal of their own.
//!
//! sled gives up for good after a write that failed, be it for a full disk, and has in memory what is not on
//! disk. So after a failure nothing is written until its files were opened anew; what was read before can
//! still be read meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use crate::decisions::access::Guard;
use crate::decisions::notice::Ledger;
use crate::doors::engine::settings::EngineNotes;
use crate::words::act::Act;
use crate::words::history::Entry;
use crate::words::name::InstanceName;
use crate::words::overrides::Overrides;
use crate::words::secret::{FingerprintKey, SecretName, SecretValue};
use crate::words::token::{TokenHash, TokenRecord};

mod database;
mod directory;
mod error;
mod faults;
mod history;
mod memory;
mod opened;
mod record;
mod seal;
mod tokens;

pub use directory::Holder;
use directory::Lock;
pub use error::StoreError;
pub use faults::{Operation, StoreFaults};
use opened::Opened;
pub use tokens::TokenChange;

/// How often a lock that is held is tried again.
const LOCK_RETRY: Duration = Duration::from_millis(25);
/// How long sled's own lock may take to go when its files are opened anew.
const REOPEN: Duration = Duration::from_secs(5);
/// So much must fit on the disk before sled is trusted with it again: some of its segments.
const ROOM_BYTES: u64 = 2 << 20;

/// The open store. Dropping it closes it and lets the next process in.
pub struct Store {
    dir: PathBuf,
    // Closed before the lock, which stands below it, is given up. `None` where it could not be opened anew.
    opened: RwLock<Option<Opened>>,
    /// A write has failed: what is in memory may not be on disk.
    failed: AtomicBool,
    faults: Arc<StoreFaults>,
    _lock: Lock,
}

/// Makes the state directory where it is missing, and refuses one that others can write: also for what is kept
/// beside the store, and before it.
pub fn prepare(dir: &Path) -> Result<(), StoreError> {
    directory::prepare(dir)
}

/// Whether there is a store in a state directory.
pub fn is_there(dir: &Path) -> bool {
    dir.join(opened::FILES).is_dir()
}

impl Store {
    /// Opens the store in the state directory `dir`, which is made when it is not there. Waits up to
    /// `wait` for another process to close it; then the error names that process.
    pub fn open(dir: &Path, wait: Duration) -> Result<Self, StoreError> {
        let deadline = Instant::now() + wait;
        prepare(dir)?;
        let lock = loop {
            match Lock::take(dir)? {
                Ok(lock) => break lock,
                Err(holder) if Instant::now() >= deadline => {
                    return Err(StoreError::Held {
                        path: dir.to_owned(),
                        holder,
                    });
                }
                Err(_) => thread::sleep(LOCK_RETRY),
            }
        };
        // sled writes as it opens, and what it cannot write to its end it may not be able to read again.
        need_room(dir)?;
        let opened = Opened::open(dir, deadline)?;
        Ok(Self {
            dir: dir.to_owned(),
            opened: RwLock::new(Some(opened)),
            failed: AtomicBool::new(false),
            faults: Arc::default(),
            _lock: lock,
        })
    }

    /// All tokens, by id. Fails when a single one cannot be read, or the store has lost any.
    pub fn tokens(&self) -> Result<Vec<TokenRecord>, StoreError> {
        self.reading(opened::Opened::tokens)
    }

    /// Keeps a new token. Refuses an id that is there.
    pub fn insert_token(&self, token: &TokenRecord) -> Result<(), StoreError> {
        self.changing(|opened| opened.insert_token(token))
    }

    /// Forgets a token, also one whose record cannot be read. Says whether it was there.
    pub fn remove_token(&self, id: &str) -> Result<bool, StoreError> {
        self.changing(|opened| opened.remove_token(id))
    }

    /// Several changes of tokens: on disk all of them are there or none, whenever the process ends. Refused
    /// whole where an id is taken that shall be new, or missing where one shall change.
    pub fn change_tokens(&self, change: &TokenChange) -> Result<(), StoreError> {
        self.changing(|opened| opened.change_tokens(change))
    }

    /// When tokens were last used, by id, as far as that was noted.
    pub fn uses(&self) -> Result<BTreeMap<String, jiff::Timestamp>, StoreError> {
        self.reading(opened::Opened::uses)
    }

    /// Notes when tokens were last used, in place of what was there; forgets it of tokens that are gone.
    /// This is outside the seal: to lose it lets nobody in.
    pub fn note_uses(&self, uses: &BTreeMap<String, jiff::Timestamp>) -> Result<(), StoreError> {
        self.changing(|opened| opened.note_uses(uses))
    }

    /// What was ever done to an instance, oldest first, as far as it is kept.
    pub fn history(&self, name: &InstanceName) -> Result<Vec<Entry>, StoreError> {
        self.reading(|opened| opened.history(name))
    }

    /// Adds what was done to instances, each in place of what was begun at the same moment.
    pub fn note_history(&self, entries: &[(InstanceName, Entry)]) -> Result<(), StoreError> {
        self.changing(|opened| opened.note_history(entries))
    }

    /// The key for the fingerprints of secrets; made when first asked for.
    pub fn fingerprint_key(&self) -> Result<FingerprintKey, StoreError> {
        self.reading(opened::Opened::fingerprint_key)
    }

    /// A generated secret of an instance.
    pub fn secret(
        &self,
        instance: &InstanceName,
        name: &SecretName,
    ) -> Result<Option<SecretValue>, StoreError> {
        self.reading(|opened| opened.secret(instance, name))
    }

    /// Keeps a generated secret, in place of what was there.
    pub fn put_secret(
        &self,
        instance: &InstanceName,
        name: &SecretName,
        value: &SecretValue,
    ) -> Result<(), StoreError> {
        self.changing(|opened| opened.put_secret(instance, name, value))
    }

    /// Forgets a generated secret. Says whether it was there.
    pub fn remove_secret(
        &self,
        instance: &InstanceName,
        name: &SecretName,
    ) -> Result<bool, StoreError> {
        self.changing(|opened| opened.remove_secret(instance, name))
    }

    /// Notes that an instance was removed.
    pub fn note_removal(
        &self,
        instance: &InstanceName,
        at: jiff::Timestamp,
    ) -> Result<(), StoreError> {
        self.changing(|opened| opened.note_removal(instance, at))
    }

    /// The removals at `since` and later, oldest first.
    pub fn removals_since(
        &self,
        since: jiff::Timestamp,
    ) -> Result<Vec<(InstanceName, jiff::Timestamp)>, StoreError> {
        self.reading(|opened| opened.removals_since(since))
    }

    /// Forgets the removals before `until`. Returns how many there were.
    pub fn forget_removals_before(&self, until: jiff::Timestamp) -> Result<usize, StoreError> {
        self.changing(|opened| opened.forget_removals_before(until))
    }

    /// The instances whose last manifest said `protect: true`.
    pub fn protected(&self) -> Result<BTreeSet<InstanceName>, StoreError> {
        self.reading(opened::Opened::protected)
    }

    /// The instances whose last manifest did not, whatever their containers record.
    pub fn released(&self) -> Result<BTreeSet<InstanceName>, StoreError> {
        self.reading(opened::Opened::released)
    }

    /// Keeps which instances are protected.
    pub fn set_protected(&self, names: &BTreeSet<InstanceName>) -> Result<(), StoreError> {
        self.changing(|opened| opened.set_protected(names))
    }

    /// Keeps which instances are not.
    pub fn set_released(&self, names: &BTreeSet<InstanceName>) -> Result<(), StoreError> {
        self.changing(|opened| opened.set_released(names))
    }

    /// What was done to each instance lately, oldest first.
    pub fn acts(&self) -> Result<BTreeMap<InstanceName, Vec<Act>>, StoreError> {
        self.reading(opened::Opened::acts)
    }

    /// Keeps what was done to these instances, in place of what was there; all of it or none.
    pub fn put_acts(&self, acts: &BTreeMap<InstanceName, Vec<Act>>) -> Result<(), StoreError> {
        self.changing(|opened| opened.put_acts(acts))
    }

    /// What operators said, and what was frozen.
    pub fn overrides(&self) -> Result<BTreeMap<InstanceName, Overrides>, StoreError> {
        self.reading(opened::Opened::overrides)
    }

    /// Keeps what stands between an instance and its manifest; nothing, when nothing does.
    pub fn set_overrides(
        &self,
        name: &InstanceName,
        overrides: &Overrides,
    ) -> Result<(), StoreError> {
        self.changing(|opened| opened.set_overrides(name, overrides))
    }

    /// Remembers hashes of tokens that go at `at`.
    pub fn retire(
        &self,
        hashes: &BTreeSet<TokenHash>,
        at: jiff::Timestamp,
    ) -> Result<(), StoreError> {
        self.changing(|opened| opened.retire(hashes, at))
    }

    /// Hashes of tokens that went at `since` or later.
    pub fn retired_since(&self, since: jiff::Timestamp) -> Result<BTreeSet<TokenHash>, StoreError> {
        self.reading(|opened| opened.retired_since(since))
    }

    /// Forgets hashes of tokens that went before `until`.
    pub fn forget_retired_before(&self, until: jiff::Timestamp) -> Result<(), StoreError> {
        self.changing(|opened| opened.forget_retired_before(until))
    }

    /// The guards of each instance's endpoints, as they were last known; none, where they never were.
    pub fn guards(&self) -> Result<Option<BTreeMap<InstanceName, Vec<Guard>>>, StoreError> {
        self.reading(opened::Opened::guards)
    }

    /// Keeps the guards, in place of what was there.
    pub fn set_guards(
        &self,
        guards: &BTreeMap<InstanceName, Vec<Guard>>,
    ) -> Result<(), StoreError> {
        self.changing(|opened| opened.set_guards(guards))
    }

    /// What was noted of the engine; nothing, where it was noted in a form that this version does not know.
    pub fn engine_notes(&self) -> Result<Option<EngineNotes>, StoreError> {
        self.reading(opened::Opened::engine_notes)
    }

    /// Notes what the engine said that lasts, in place of what was there. It can be asked again: nothing hangs on it but time.
    pub fn put_engine_notes(&self, notes: &EngineNotes) -> Result<(), StoreError> {
        self.changing(|opened| opened.put_engine_notes(notes))
    }

    /// What was told to whom, and what is yet to be delivered.
    pub fn notices(&self) -> Result<Ledger, StoreError> {
        self.reading(opened::Opened::notices)
    }

    /// Keeps that, in place of what was there.
    pub fn put_notices(&self, ledger: &Ledger) -> Result<(), StoreError> {
        self.changing(|opened| opened.put_notices(ledger))
    }

    /// The id of this state directory, by which a container tells who made it; made when first asked for.
    pub fn author(&self) -> Result<String, StoreError> {
        self.reading(opened::Opened::author)
    }

    fn reading<T>(
        &self,
        read: impl FnOnce(&Opened) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let opened = self.opened.read().unwrap_or_else(PoisonError::into_inner);
        let Some(opened) = &*opened else {
            drop(opened);
            self.mend()?;
            return self.reading(read);
        };
        let result = read(opened);
        if let Err(error) = &result {
            self.faults.count(error);
        }
        if matches!(result, Err(StoreError::Write { .. })) {
            self.failed.store(true, Ordering::SeqCst);
        }
        result
    }

    fn changing<T>(
        &self,
        change: impl FnOnce(&Opened) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if self.failed.load(Ordering::SeqCst) {
            self.mend()?;
        }
        self.reading(change)
    }

    /// How often it failed.
    pub fn faults(&self) -> Arc<StoreFaults> {
        Arc::clone(&self.faults)
    }

    fn mend(&self) -> Result<(), StoreError> {
        self.open_anew()
            .inspect_err(|error| self.faults.count(error))
    }

    /// Opens sled's files anew, if there is room for what it will write.
    fn open_anew(&self) -> Result<(), StoreError> {
        let mut opened = self.opened.write().unwrap_or_else(PoisonError::into_inner);
        if opened.is_some() && !self.failed.load(Ordering::SeqCst) {
            return Ok(());
        }
        need_room(&self.dir)?;
        // sled admits one user of its files, this process included.
        drop(opened.take());
        *opened = Some(Opened::open(&self.dir, Instant::now() + REOPEN)?);
        self.failed.store(false, Ordering::SeqCst);
        Ok(())
    }
}

/// Fails where the disk is full.
fn need_room(dir: &Path) -> Result<(), StoreError> {
    let path = dir.join("room");
    let tried = directory::make_file(&path).and_then(|file| {
        match fallocate(&file, FallocateFlags::empty(), 0, ROOM_BYTES) {
            // There are file systems that cannot tell beforehand.
            Ok(()) | Err(Errno::OPNOTSUPP) => Ok(()),
            Err(error) => Err(directory::failed("write", &path)(error.into())),
        }
    });
    // Whether it is gone is told by the next try.
    let _ = fs::remove_file(&path);
    tried
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store(…)")
    }
}

#[cfg(test)]
mod tests;
