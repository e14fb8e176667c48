//! Where manifests come from. This is the only room that names notify.
//!
//! [`dir`] reads a directory and the `fleet.yaml` beside it as one [`Snapshot`](crate::words::desired::Snapshot);
//! [`watch`] says when that is worth doing, and which files somebody is still writing. Nothing is parsed
//! here, and nothing is ever written.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

pub use watch::Watch;

use crate::words::bounds::SOURCE_UNFOLDED_MAX;
use crate::words::document::{LENGTH_MAX, unfolded_max};

pub mod dir;
pub mod git;
mod places;
pub mod watch;

/// The names that the fleet's own file may have, of which it has one.
const FLEET_NAMES: [&str; 2] = ["fleet.yaml", "fleet.yml"];

/// Names that somebody meant for the fleet's own file. One is read where there is none of [`FLEET_NAMES`], so that it
/// is reported and not passed over.
const FLEET_MISNAMED: [&str; 6] = [
    "Fleet.yaml",
    "Fleet.yml",
    "fleet.YAML",
    "fleet.YML",
    "FLEET.yaml",
    "FLEET.YAML",
];

/// How many manifests a source may have.
pub const MANIFESTS_MAX: usize = 10_000;
/// How long all files of a source may be together, in bytes. A fleet of 10,000 usual manifests has a tenth of it.
pub const TOTAL_MAX: u64 = TOTAL_BYTES as u64;
const TOTAL_BYTES: usize = 16 << 20;

/// How long `fleet.yaml` may be, times the manifests that it applies to, in bytes: each may take all of it. Its aliases
/// are counted where it is parsed.
pub const UNFOLDED_MAX: u64 = SOURCE_UNFOLDED_MAX as u64;

// What each manifest may unfold to is bounded by its length, so all together need no count.
const _: () = assert!(unfolded_max(MANIFESTS_MAX, TOTAL_BYTES) <= SOURCE_UNFOLDED_MAX);

/// A source that is larger than one may be. All of it would be read into the process that answers `ForwardAuth`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TooLarge {
    /// Too many manifests.
    #[error(
        "{place} has {count} manifests, more than the limit of {MANIFESTS_MAX}; split the fleet over several sources, with a manager each"
    )]
    Manifests {
        /// The directory, and the revision where it has one.
        place: String,
        /// How many.
        count: u64,
    },
    /// Manifests that are too long together.
    #[error(
        "the {count} manifests of {place} and fleet.yaml have {bytes} bytes together, more than the limit of {TOTAL_MAX}; shorten them, or split the fleet over several sources, with a manager each"
    )]
    Bytes {
        /// The directory, and the revision where it has one.
        place: String,
        /// How many.
        count: u64,
        /// How long.
        bytes: u64,
    },
    /// A `fleet.yaml` that is too long for so many manifests.
    #[error(
        "fleet.yaml has {bytes} bytes and applies to {count} manifests of {place}, which may come to more than the limit of {UNFOLDED_MAX} bytes; shorten it, or split the fleet over several sources, with a manager each"
    )]
    Unfolded {
        /// The directory, and the revision where it has one.
        place: String,
        /// How many manifests.
        count: u64,
        /// How long `fleet.yaml` is.
        bytes: u64,
    },
}

/// Counts the files of a source while they are listed, before any is read.
#[derive(Debug, Default)]
struct Size {
    count: u64,
    bytes: u64,
    fleet: u64,
}

impl Size {
    /// Counts one. A file that is longer than any may be is not read, so its length does not count.
    fn add(&mut self, length: u64) {
        self.count += 1;
        if length <= LENGTH_MAX as u64 {
            self.bytes += length;
        }
    }

    /// Counts `fleet.yaml`, the same way.
    fn add_fleet(&mut self, length: u64) {
        if length <= LENGTH_MAX as u64 {
            self.bytes += length;
            self.fleet += length;
        }
    }

    /// Whether another file fits beside those counted. More are counted all the same, to say how many there are.
    fn has_room(&self) -> bool {
        self.count <= MANIFESTS_MAX as u64
    }

    fn check(&self, place: impl FnOnce() -> String) -> Result<(), TooLarge> {
        let Self {
            count,
            bytes,
            fleet,
        } = *self;
        if !self.has_room() {
            let place = place();
            return Err(TooLarge::Manifests { place, count });
        }
        if bytes > TOTAL_MAX {
            let place = place();
            return Err(TooLarge::Bytes {
                place,
                count,
                bytes,
            });
        }
        if fleet * count > UNFOLDED_MAX {
            let place = place();
            return Err(TooLarge::Unfolded {
                place,
                count,
                bytes: fleet,
            });
        }
        Ok(())
    }
}

/// Why a source could not be read or watched. The round ends: nothing is known of what is desired.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// There is no such directory.
    #[error(
        "the source directory {} is missing; make it, or name another with --instances or source.dir",
        path.display()
    )]
    Missing {
        /// The directory.
        path: PathBuf,
    },
    /// A file stands where the directory should.
    #[error("the source {} is no directory; name the directory that holds the manifests", path.display())]
    NotDirectory {
        /// What stands there.
        path: PathBuf,
    },
    /// The directory could not be listed to its end.
    #[error(
        "cannot list the source directory {}; check its mode, and the disk or server it is on",
        path.display()
    )]
    List {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The files changed each time they were read.
    #[error(
        "{} changed while it was read, {tries} times in a row; try again when it is at rest",
        path.display()
    )]
    Changing {
        /// What changed.
        path: PathBuf,
        /// How often it was read.
        tries: u32,
    },
    /// Two files claim to be the fleet's.
    #[error("both fleet.yaml and fleet.yml stand in {}; keep one of them", path.display())]
    TwoFleets {
        /// The directory they stand in.
        path: PathBuf,
    },
    /// More than a source may have.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// The repository, or its mirror, cannot be read.
    #[error(transparent)]
    Git(#[from] git::GitError),
    /// The system gives no watch.
    #[error("cannot watch {}{}", path.display(), remedy.map(|r| format!("; {r}")).unwrap_or_default())]
    Watch {
        /// What was to be watched.
        path: PathBuf,
        /// The way out, where one is known.
        remedy: Option<&'static str>,
        /// Why not.
        source: notify::Error,
    },
}

/// The directory that `fleet.yaml` stands in: the one that holds `dir`, by its name and not by where a
/// link leads.
fn beside(dir: &Path) -> PathBuf {
    match (dir.file_name(), dir.parent()) {
        (Some(_), Some(parent)) if parent.as_os_str().is_empty() => ".".into(),
        (Some(_), Some(parent)) => parent.to_owned(),
        _ => dir.join(".."),
    }
}

/// Whether a file of this name is a manifest, not a dotfile, a backup, a lock or an editor's own. An ending in capitals
/// counts: such a file is reported, not passed over.
fn is_manifest(name: &OsStr) -> bool {
    let path = Path::new(name);
    let ends = |ending: &str| {
        path.extension()
            .is_some_and(|is| is.eq_ignore_ascii_case(ending))
    };
    let bytes = name.as_encoded_bytes();
    (ends("yaml") || ends("yml")) && !bytes.starts_with(b".") && !bytes.starts_with(b"#")
}
