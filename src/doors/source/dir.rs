//! A directory of manifests, read as of one moment.
//!
//! A file system has no snapshots: everything is listed, read, and listed again, and what was read counts
//! only when both listings agree.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::{FLEET_MISNAMED, FLEET_NAMES, Size, SourceError, TooLarge, beside, is_manifest};
use crate::doors::files::read_text_beside;
use crate::words::desired::{Content, Snapshot, SourceFile};
use crate::words::spread::spread;

/// How often a directory is read that changes meanwhile.
const TRIES: u32 = 3;
/// The pause before the second try; the next one is twice as long.
const PAUSE: Duration = Duration::from_millis(10);
/// How much of the digest names a revision.
const REVISION_DIGITS: usize = 12;

/// Reads the manifests in `dir` and the `fleet.yaml` beside it. `shown_as` is `dir` as a person would name
/// it. `unsettled` are files that are still being written, named as `dir` joined with their name (or the
/// directory beside it): they are not opened.
///
/// Blocks for as long as the disk takes.
pub fn read(
    dir: &Path,
    shown_as: &str,
    unsettled: &BTreeSet<PathBuf>,
) -> Result<Snapshot, SourceError> {
    for attempt in 0..TRIES {
        if attempt > 0 {
            thread::sleep(PAUSE * attempt);
        }
        let before = Listing::take(dir, unsettled)?;
        before.check_size(shown_as)?;
        let snapshot = before.read(Path::new(shown_as), unsettled);
        if Listing::take(dir, unsettled)? == before {
            return Ok(snapshot);
        }
    }
    Err(SourceError::Changing {
        path: dir.to_owned(),
        tries: TRIES,
    })
}

/// What stood in the directory and beside it at one moment.
#[derive(Debug, PartialEq, Eq)]
struct Listing {
    /// The directory itself: one that was replaced is another, even with equal names in it.
    dir: Identity,
    fleet: Option<(PathBuf, Identity)>,
    manifests: Vec<(PathBuf, Identity)>,
}

/// What changes when a file is replaced or written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Identity {
    /// Somebody is writing to it: it changes, and is not read.
    Unsettled,
    /// A link to nowhere, or something that may not be looked at.
    Unknown,
    /// As the file system has it.
    Known {
        device: u64,
        inode: u64,
        length: u64,
        modified: (i64, i64),
        changed: (i64, i64),
    },
}

impl Identity {
    fn of(found: &Metadata) -> Self {
        Self::Known {
            device: found.dev(),
            inode: found.ino(),
            length: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }

    /// The same directory, whatever happens in it.
    fn of_directory(found: &Metadata) -> Self {
        Self::Known {
            device: found.dev(),
            inode: found.ino(),
            length: 0,
            modified: (0, 0),
            changed: (0, 0),
        }
    }
}

impl Listing {
    fn take(dir: &Path, unsettled: &BTreeSet<PathBuf>) -> Result<Self, SourceError> {
        let failed = |error| listing_error(dir, error);
        let found = fs::metadata(dir).map_err(failed)?;
        let mut names: Vec<OsString> = Vec::new();
        let mut size = Size::default();
        for entry in fs::read_dir(dir).map_err(failed)? {
            // Half a listing would make half the fleet look removed.
            let name = entry.map_err(failed)?.file_name();
            if is_manifest(&name) {
                size.add(0);
                if size.has_room() {
                    names.push(name);
                }
            }
        }
        size.check(|| dir.display().to_string())?;
        names.sort();
        let identified = spread(&names, |name| {
            let path = dir.join(name);
            identify(&path, unsettled).map(|identity| (path, identity))
        });
        let manifests = identified.into_iter().flatten().collect();
        Ok(Self {
            dir: Identity::of_directory(&found),
            fleet: find_fleet(&beside(dir), unsettled)?,
            manifests,
        })
    }

    fn check_size(&self, shown_as: &str) -> Result<(), TooLarge> {
        let mut size = Size::default();
        let length = |identity: &Identity| match identity {
            Identity::Known { length, .. } => *length,
            Identity::Unsettled | Identity::Unknown => 0,
        };
        for (_, identity) in &self.manifests {
            size.add(length(identity));
        }
        if let Some((_, identity)) = &self.fleet {
            size.add_fleet(length(identity));
        }
        size.check(|| shown_as.to_owned())
    }

    fn read(&self, shown_as: &Path, unsettled: &BTreeSet<PathBuf>) -> Snapshot {
        let source_file = |path: &Path, shown_in: &Path| {
            let name = path.file_name().unwrap_or_default();
            let shown = shown_in.join(name);
            SourceFile {
                path: shown
                    .strip_prefix(".")
                    .unwrap_or(&shown)
                    .display()
                    .to_string(),
                stem: path
                    .file_stem()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned(),
                content: content(path, unsettled),
            }
        };
        let shown_beside = beside(shown_as);
        let fleet = self
            .fleet
            .as_ref()
            .map(|(path, _)| source_file(path, &shown_beside));
        let manifests = spread(&self.manifests, |(path, _)| source_file(path, shown_as));
        Snapshot {
            revision: revision(fleet.as_ref(), &manifests),
            commit: None,
            commit_issue: None,
            fleet,
            manifests,
        }
    }
}

fn listing_error(dir: &Path, error: io::Error) -> SourceError {
    let path = dir.to_owned();
    match error.kind() {
        io::ErrorKind::NotFound => SourceError::Missing { path },
        io::ErrorKind::NotADirectory => SourceError::NotDirectory { path },
        _ => SourceError::List {
            path,
            source: error,
        },
    }
}

/// What stands at a path; `None` when nothing does, or a directory.
fn identify(path: &Path, unsettled: &BTreeSet<PathBuf>) -> Option<Identity> {
    if unsettled.contains(path) {
        return Some(Identity::Unsettled);
    }
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => None,
        Ok(found) => Some(Identity::of(&found)),
        // Gone since it was listed, unless a link stands there that leads nowhere.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::symlink_metadata(path).ok().map(|_| Identity::Unknown)
        }
        Err(_) => Some(Identity::Unknown),
    }
}

/// `fleet.yaml`, by either of its names. One that is unsettled counts even while it is away: it is being
/// replaced, and a fleet without its templates would be another fleet.
fn find_fleet(
    dir: &Path,
    unsettled: &BTreeSet<PathBuf>,
) -> Result<Option<(PathBuf, Identity)>, SourceError> {
    let look = |name: &str| {
        let path = dir.join(name);
        identify(&path, unsettled).map(|identity| (path, identity))
    };
    let mut found = FLEET_NAMES.into_iter().filter_map(look);
    match (found.next(), found.next()) {
        (Some((_, Identity::Unsettled)), Some(other)) => Ok(Some(other)),
        (Some(first), Some((_, Identity::Unsettled)) | None) => Ok(Some(first)),
        (Some(_), Some(_)) => Err(SourceError::TwoFleets {
            path: dir.to_owned(),
        }),
        (None, _) => Ok(FLEET_MISNAMED.into_iter().find_map(look)),
    }
}

fn content(path: &Path, unsettled: &BTreeSet<PathBuf>) -> Content {
    if unsettled.contains(path) {
        return Content::BeingWritten;
    }
    match read_text_beside(path) {
        Ok(text) => Content::Text(text),
        Err(error) => Content::Unreadable(error.problem.unreadable()),
    }
}

/// Names the files and what they hold. Each part is preceded by its length, so that no two sets of files
/// run together into the same bytes.
fn revision(fleet: Option<&SourceFile>, manifests: &[SourceFile]) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut part = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    part(if fleet.is_some() { b"fleet" } else { b"" });
    for file in fleet.into_iter().chain(manifests) {
        part(file.stem.as_bytes());
        match &file.content {
            Content::Text(text) => {
                part(b"text");
                part(text.as_bytes());
            }
            Content::Unreadable(_) => part(b"unreadable"),
            Content::BeingWritten => part(b"being written"),
        }
    }
    let digest = hasher.finalize().to_hex();
    format!("dir:{}", &digest[..REVISION_DIGITS])
}

#[cfg(test)]
mod tests;
