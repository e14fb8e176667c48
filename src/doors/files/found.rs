//! A file that was found, and is not open yet: opening a device or a pipe may already do something.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::Read as _;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, PROC_SUPER_MAGIC};

use super::FileProblem;
use crate::words::document::LENGTH_MAX;

/// What `statfs` calls sysfs.
const SYSFS_MAGIC: u64 = 0x6265_6572;

/// A file by a handle that neither reads nor writes it.
pub(super) struct Found(OwnedFd);

impl Found {
    /// What is at a path, or where its links lead.
    pub(super) fn at(path: &Path) -> Result<Self, FileProblem> {
        Self::by(path, OFlags::empty())
    }

    /// The same. A link at the path itself leads to a YAML file below its own directory, as Kubernetes' do.
    pub(super) fn beside(path: &Path) -> Result<Self, FileProblem> {
        let itself = Self::by(path, OFlags::NOFOLLOW)?;
        if !itself.metadata(path)?.is_symlink() {
            return Ok(itself);
        }
        let target = Self::at(path)?;
        let holder = path.parent().filter(|p| !p.as_os_str().is_empty());
        let holder = holder.unwrap_or(Path::new(".")).canonicalize();
        let leads_below = fs::read_link(target.name()).is_ok_and(|real| {
            holder.is_ok_and(|holder| real.strip_prefix(holder).is_ok_and(is_yaml_below))
        });
        if leads_below && !target.is_of_the_kernel() {
            Ok(target)
        } else {
            Err(FileProblem::Elsewhere)
        }
    }

    fn by(path: &Path, flags: OFlags) -> Result<Self, FileProblem> {
        let flags = OFlags::PATH | OFlags::CLOEXEC | flags;
        let found = rustix::fs::open(path, flags, Mode::empty());
        found
            .map(Self)
            .map_err(|error| FileProblem::of(path, error.into()))
    }

    /// Reads a regular file, of at most so many bytes. `path` is what it is called in errors.
    pub(super) fn read(&self, path: &Path, length_max: usize) -> Result<Vec<u8>, FileProblem> {
        let failed = |error| FileProblem::of(path, error);
        let found = self.metadata(path)?;
        if found.is_dir() {
            return Err(FileProblem::Directory);
        }
        if !found.is_file() {
            return Err(FileProblem::Irregular);
        }
        let too_long = || match length_max {
            LENGTH_MAX => FileProblem::TooLong,
            most => FileProblem::TooLarge(most),
        };
        if found.len() > length_max as u64 {
            return Err(too_long());
        }
        // A file that others hold a lease on must not make us wait.
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let mut options = OpenOptions::new();
        let file = options.read(true).custom_flags(flags).open(self.name());
        let file: File = file.map_err(failed)?;
        // With room for all of it, and for the read that finds the end, it takes two reads.
        let room = usize::try_from(found.len()).unwrap_or_default() + 64;
        let mut bytes = Vec::with_capacity(room);
        // It may grow while it is read.
        file.take(length_max as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        if bytes.len() > length_max {
            return Err(too_long());
        }
        Ok(bytes)
    }

    fn metadata(&self, path: &Path) -> Result<fs::Metadata, FileProblem> {
        // The file itself: a handle on a link says so.
        let handle = self.0.try_clone().map(File::from);
        let found = handle.and_then(|handle| handle.metadata());
        found.map_err(|error| FileProblem::of(path, error))
    }

    fn is_of_the_kernel(&self) -> bool {
        let kind = rustix::fs::fstatfs(&self.0).map(|found| found.f_type.cast_unsigned());
        kind.is_ok_and(|kind| [PROC_SUPER_MAGIC.cast_unsigned(), SYSFS_MAGIC].contains(&kind))
    }

    /// The file under a name that leads to it whatever happens to its path.
    fn name(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.0.as_raw_fd()).into()
    }
}

/// Whether a path below a directory is that of a YAML file, outside of hidden directories such as `.git`. Kubernetes'
/// begin with two dots.
fn is_yaml_below(path: &Path) -> bool {
    let is_hidden = |name: &OsStr| {
        let name = name.as_encoded_bytes();
        name.starts_with(b".") && !name.starts_with(b"..")
    };
    let is_yaml = path
        .extension()
        .is_some_and(|is| is.eq_ignore_ascii_case("yaml") || is.eq_ignore_ascii_case("yml"));
    is_yaml
        && path
            .components()
            .all(|part| matches!(part, Component::Normal(name) if !is_hidden(name)))
}
