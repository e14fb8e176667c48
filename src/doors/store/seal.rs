//! The seal: a file beside sled's that says which tokens must be there.
//!
//! It holds a digest of all token records, before and after the change that was last begun. It is on disk
//! before that change is made, so after a crash the tokens have the one digest or the other, and anything
//! else means that changes were lost. Once the change is on disk the seal holds the one digest alone: what
//! rots from then on, be it the last change, is noticed.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::StoreError;
use super::directory::{failed, make_file};

/// Of a set of records: the exclusive or of their hashes, so that the order does not matter and a record
/// comes and goes by the same sum.
type Digest = [u8; 32];

#[derive(Serialize, Deserialize)]
struct Written {
    form: u8,
    before: Digest,
    after: Digest,
}

pub(super) struct Seal {
    path: PathBuf,
    log: PathBuf,
    is_broken: bool,
    changing: Mutex<()>,
}

/// The right to change tokens, one change at a time.
pub(super) struct Change<'s> {
    seal: &'s Seal,
    before: Digest,
    after: Digest,
    _changing: MutexGuard<'s, ()>,
}

impl Seal {
    /// Compares the tokens with their seal; makes one where there is none. `log` is the file that the tokens
    /// are in.
    pub(super) fn open(dir: &Path, log: &Path, tokens: &sled::Tree) -> Result<Self, StoreError> {
        let path = dir.join("seal");
        let found = digest(tokens)?;
        let is_broken = match fs::read(&path) {
            Ok(bytes) => match serde_json::from_slice::<Written>(&bytes) {
                Ok(seal) if found == seal.before && found == seal.after => false,
                Ok(seal) if found == seal.before || found == seal.after => {
                    // The last process ended in the middle of a change. What it wrote may not be on disk.
                    sync(log)?;
                    write(&path, found, found)?;
                    false
                }
                _ => true,
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                write(&path, found, found)?;
                false
            }
            Err(error) => return Err(failed("read", &path)(error)),
        };
        Ok(Self {
            path,
            log: log.to_owned(),
            is_broken,
            changing: Mutex::new(()),
        })
    }

    /// Fails when tokens were lost.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        if self.is_broken {
            Err(StoreError::Lost {
                seal: self.path.clone(),
            })
        } else {
            Ok(())
        }
    }

    /// Begins a change of the tokens.
    pub(super) fn begin(&self, tokens: &sled::Tree) -> Result<Change<'_>, StoreError> {
        self.check()?;
        // A panic in between leaves a whole file.
        let changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = digest(tokens)?;
        Ok(Change {
            seal: self,
            before,
            after: before,
            _changing: changing,
        })
    }
}

impl Change<'_> {
    /// Puts on disk that these records will come, or go, all of them together.
    pub(super) fn announce<'r>(
        &mut self,
        records: impl IntoIterator<Item = (&'r [u8], &'r [u8])>,
    ) -> Result<(), StoreError> {
        for (key, value) in records {
            toggle(&mut self.after, key, value);
        }
        write(&self.seal.path, self.before, self.after)
    }

    /// The change is made: puts it on disk, and that nothing else counts from now on.
    pub(super) fn settle(self) -> Result<(), StoreError> {
        // sled's own flush asks for the data alone, and of the drive for nothing.
        sync(&self.seal.log)?;
        // Where this fails, the seal that was announced still fits; the next change, or start, settles it.
        let _ = write(&self.seal.path, self.after, self.after);
        Ok(())
    }
}

fn sync(log: &Path) -> Result<(), StoreError> {
    let synced = fs::File::open(log).and_then(|log| log.sync_all());
    synced.map_err(failed("sync", log))
}

pub(super) fn unreadable(source: sled::Error) -> StoreError {
    StoreError::Read {
        record: "the tokens".to_owned(),
        source,
    }
}

fn digest(tokens: &sled::Tree) -> Result<Digest, StoreError> {
    let mut digest = Digest::default();
    for entry in tokens {
        let (key, value) = entry.map_err(unreadable)?;
        toggle(&mut digest, &key, &value);
    }
    Ok(digest)
}

fn toggle(digest: &mut Digest, key: &[u8], value: &[u8]) {
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(&(key.len() as u64).to_be_bytes())
        .update(key)
        .update(value);
    for (byte, other) in digest.iter_mut().zip(hasher.finalize().as_bytes()) {
        *byte ^= other;
    }
}

fn write(path: &Path, before: Digest, after: Digest) -> Result<(), StoreError> {
    let record = || "the seal of the tokens".to_owned();
    let text = serde_json::to_vec(&Written {
        form: 1,
        before,
        after,
    })
    .map_err(|source| StoreError::Encode {
        record: record(),
        source,
    })?;
    let draft = path.with_extension("new");
    let mut file = make_file(&draft)?;
    file.set_len(0)
        .and_then(|()| file.write_all(&text))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&draft, path))
        .map_err(failed("write", path))?;
    let dir = path.parent().unwrap_or(Path::new("."));
    fs::File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(failed("sync", dir))
}
