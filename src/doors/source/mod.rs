//! Where manifests come from. This is the only room that names notify.
//!
//! [`dir`] reads a directory and the `fleet.yaml` beside it as one [`Snapshot`](crate::words::desired::Snapshot);
//! [`watch`] says when that is worth doing, and which files somebody is still writing. Nothing is parsed
//! here, and nothing is ever written.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

pub use watch::Watch;

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
