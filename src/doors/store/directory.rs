//! The state directory: private to the daemon's user, and one process's at a time.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::StoreError;

/// Write permission for group and others.
const WRITE_BY_OTHERS: u32 = 0o022;

/// Makes the state directory where it is missing, and refuses one that others can write.
pub(super) fn prepare(dir: &Path) -> Result<(), StoreError> {
    make_private(dir)?;
    let found = fs::metadata(dir).map_err(failed("read", dir))?;
    let me = rustix::process::geteuid().as_raw();
    if found.uid() != me && found.uid() != 0 {
        return Err(StoreError::Insecure {
            path: dir.to_owned(),
            why: format!("belongs to user {}, not to user {me}", found.uid()),
            remedy: format!("run `chown {me} {}`", dir.display()),
        });
    }
    if found.mode() & WRITE_BY_OTHERS != 0 {
        return Err(StoreError::Insecure {
            path: dir.to_owned(),
            why: format!(
                "can be written by others (mode {:04o})",
                found.mode() & 0o7777
            ),
            remedy: format!("run `chmod 0700 {}`", dir.display()),
        });
    }
    Ok(())
}

/// Makes a directory with mode 0700, its parents included, where it is missing.
pub(super) fn make_private(dir: &Path) -> Result<(), StoreError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(failed("make", dir))
}

/// Opens a file that only the owner can read; makes it where it is missing, and leaves what it holds.
pub(super) fn make_file(path: &Path) -> Result<File, StoreError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(failed("open", path))
}

/// Takes all rights on sled's files from group and others, and puts their names on disk. What sled adds
/// later is guarded by the directory.
pub(super) fn close_to_others(dir: &Path) -> Result<(), StoreError> {
    for entry in fs::read_dir(dir).map_err(failed("list", dir))? {
        let path = entry.map_err(failed("list", dir))?.path();
        let mode = if path.is_dir() { 0o700 } else { 0o600 };
        match fs::set_permissions(&path, Permissions::from_mode(mode)) {
            // sled tidies up snapshots on its own.
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("set the mode of", &path)(error));
            }
            _ => {}
        }
    }
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(failed("sync", dir))
}

/// The process that has the store open, as it described itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process id; 0 when it has not said yet.
    pub pid: u32,
    /// Its command line.
    pub command: String,
    /// Whether such a process was seen running here; one in another container is not.
    #[serde(skip)]
    pub seen: bool,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.pid, self.seen) {
            (0, _) => f.write_str("a process that has just started"),
            (pid, true) => write!(f, "process {pid} (`{}`)", self.command),
            (pid, false) => write!(
                f,
                "process {pid} (`{}`), which is not visible from here: another container?",
                self.command
            ),
        }
    }
}

/// The right to open the store, until dropped.
pub(super) struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock, or says who has it.
    pub(super) fn take(dir: &Path) -> Result<Result<Self, Holder>, StoreError> {
        let path = dir.join("holder");
        let mut file = make_file(&path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Err(read_holder(&mut file))),
            Err(TryLockError::Error(error)) => return Err(failed("lock", &path)(error)),
        }
        let holder = Holder {
            pid: std::process::id(),
            command: command_line("self"),
            seen: true,
        };
        write_holder(&mut file, &holder).map_err(failed("write", &path))?;
        Ok(Ok(Self { file }))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The lock itself goes with the file; a name that stays behind would mislead nobody.
        let _ = self.file.set_len(0);
    }
}

fn write_holder(file: &mut File, holder: &Holder) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(&serde_json::to_vec(holder)?)
}

fn read_holder(file: &mut File) -> Holder {
    let mut text = String::new();
    let told = file
        .read_to_string(&mut text)
        .ok()
        .and_then(|_| serde_json::from_str(&text).ok());
    let Some(holder) = told else {
        return Holder {
            pid: 0,
            command: String::new(),
            seen: false,
        };
    };
    let holder: Holder = holder;
    let seen = command_line(&holder.pid.to_string()) == holder.command;
    Holder { seen, ..holder }
}

/// A process's command line, from /proc; empty when there is none.
fn command_line(process: &str) -> String {
    let bytes = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    let words = bytes.split(|b| *b == 0).filter(|word| !word.is_empty());
    words
        .map(String::from_utf8_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

pub(super) fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Directory {
        operation,
        path,
        source,
    }
}
