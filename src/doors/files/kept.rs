//! A text file of another program's, in which something of ours is changed: read, then written at once, with its mode
//! and its owner, where nobody wrote it meanwhile.

use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use super::{FileError, FileProblem, decode, read_bytes};
use crate::words::document::LENGTH_MAX;

const MARK: &[u8] = b"\xef\xbb\xbf";
/// Read and written by its owner alone.
const PRIVATE: u32 = 0o600;

/// A file as it was read, or the place of one that is not there yet.
#[derive(Debug)]
pub struct Kept {
    /// The file itself, behind all links.
    path: PathBuf,
    bytes: Option<Vec<u8>>,
    mode: u32,
    text: String,
    /// Whether it begins with a byte order mark, and keeps it.
    has_mark: bool,
}

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The system failed.
    #[error("cannot write {}", path.display())]
    Failed {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another program wrote it.
    #[error("{} was changed while it was being edited; nothing was written", .0.display())]
    Changed(PathBuf),
}

impl Kept {
    /// Reads it. A link is followed; a link to nowhere is an error.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let failed = |problem| FileError {
            path: path.to_owned(),
            problem,
        };
        let bytes = match read_bytes(path, LENGTH_MAX) {
            Ok(bytes) => bytes,
            Err(FileProblem::Missing) => {
                return Ok(Self {
                    path: path.to_owned(),
                    bytes: None,
                    mode: PRIVATE,
                    text: String::new(),
                    has_mark: false,
                });
            }
            Err(problem) => return Err(failed(problem)),
        };
        let found = path
            .canonicalize()
            .and_then(|path| Ok((path.metadata()?.mode(), path)))
            .map_err(|error| failed(FileProblem::of(path, error)));
        let (mode, target) = found?;
        Ok(Self {
            path: target,
            mode: mode & 0o7777,
            text: decode(bytes.clone()).map_err(failed)?,
            has_mark: bytes.starts_with(MARK),
            bytes: Some(bytes),
        })
    }

    /// What it says; nothing where it is not there.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it begins with a byte order mark.
    pub fn has_mark(&self) -> bool {
        self.has_mark
    }

    /// Has it written without its byte order mark.
    pub fn drop_mark(&mut self) {
        self.has_mark = false;
    }

    /// Whether it is there.
    pub fn exists(&self) -> bool {
        self.bytes.is_some()
    }

    /// Whether others than its owner may read it.
    pub fn is_open(&self) -> bool {
        self.exists() && self.mode & 0o044 != 0
    }

    /// Writes another text in its place, with the directories that it lies in. `is_shared` tells whether a new file is
    /// for others, too.
    pub fn write(&self, text: &str, is_shared: bool) -> Result<(), KeepError> {
        let failed = |source| KeepError::Failed {
            path: self.path.clone(),
            source,
        };
        let dir = self.path.parent().unwrap_or(Path::new("."));
        // A relative path of one word has an empty parent.
        let dir = if dir.as_os_str().is_empty() {
            Path::new(".")
        } else {
            dir
        };
        if !self.exists() {
            fs::create_dir_all(dir).map_err(failed)?;
        }
        let mut beside = tempfile::Builder::new()
            .prefix(".instanced-")
            .tempfile_in(dir)
            .map_err(failed)?;
        let mark = if self.has_mark { MARK } else { &[] };
        let mode = match (self.exists(), is_shared) {
            (true, _) => self.mode,
            (false, true) => 0o644,
            (false, false) => PRIVATE,
        };
        let file = beside.as_file_mut();
        file.write_all(mark)
            .and_then(|()| file.write_all(text.as_bytes()))
            .and_then(|()| self.hand_over(file, dir))
            .and_then(|()| file.set_permissions(Permissions::from_mode(mode)))
            .and_then(|()| file.sync_all())
            .map_err(failed)?;
        if self.is_changed() {
            return Err(KeepError::Changed(self.path.clone()));
        }
        let placed = if self.exists() {
            beside.persist(&self.path)
        } else {
            beside.persist_noclobber(&self.path)
        };
        placed.map(drop).map_err(|error| match error.error.kind() {
            io::ErrorKind::AlreadyExists => KeepError::Changed(self.path.clone()),
            _ => failed(error.error),
        })
    }

    /// Whose it is stays so, also where root edits it for somebody.
    fn hand_over(&self, file: &File, dir: &Path) -> io::Result<()> {
        if !rustix::process::geteuid().is_root() {
            return Ok(());
        }
        let like = if self.exists() { &self.path } else { dir };
        let (like, ours) = (like.metadata()?, file.metadata()?);
        if (like.uid(), like.gid()) == (ours.uid(), ours.gid()) {
            return Ok(());
        }
        fchown(file, Some(like.uid()), Some(like.gid()))
    }

    fn is_changed(&self) -> bool {
        let now = read_bytes(&self.path, LENGTH_MAX).ok();
        self.exists() && now != self.bytes
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().mode() & 0o7777
    }

    #[test]
    fn a_file_keeps_its_mode_its_mark_and_the_links_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real.json"), dir.path().join("link.json"));
        fs::write(&real, b"\xef\xbb\xbf{}").unwrap();
        fs::set_permissions(&real, Permissions::from_mode(0o640)).unwrap();
        symlink("real.json", &link).unwrap();
        let kept = Kept::read(&link).unwrap();
        assert_eq!((kept.text(), kept.is_open()), ("{}", true));
        kept.write("{ }", true).unwrap();
        assert_eq!(fs::read(&real).unwrap(), b"\xef\xbb\xbf{ }");
        let mut kept = Kept::read(&link).unwrap();
        assert!(kept.has_mark());
        kept.drop_mark();
        kept.write("{}", true).unwrap();
        assert_eq!(fs::read(&real).unwrap(), b"{}");
        assert_eq!(mode(&real), 0o640);
        assert!(link.is_symlink());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_new_file_is_private_or_for_others_and_has_its_directories() {
        let dir = tempfile::tempdir().unwrap();
        for (name, is_shared, expected) in
            [("a/b/own.json", false, 0o600), ("c/ours.json", true, 0o644)]
        {
            let path = dir.path().join(name);
            let kept = Kept::read(&path).unwrap();
            assert!(!kept.exists() && !kept.is_open() && kept.text().is_empty());
            kept.write("{}\n", is_shared).unwrap();
            assert_eq!(mode(&path), expected, "{name}");
        }
    }

    #[test]
    fn what_another_program_wrote_meanwhile_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("old"), dir.path().join("new"));
        fs::write(&old, "1").unwrap();
        let kept = (Kept::read(&old).unwrap(), Kept::read(&new).unwrap());
        fs::write(&old, "2").unwrap();
        fs::write(&new, "2").unwrap();
        for (kept, path) in [(kept.0, &old), (kept.1, &new)] {
            let error = kept.write("3", false).unwrap_err();
            assert!(matches!(error, KeepError::Changed(_)), "{error}");
            assert_eq!(fs::read_to_string(path).unwrap(), "2");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_link_to_nowhere_and_a_directory_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        symlink("nowhere", &link).unwrap();
        let error = Kept::read(&link).unwrap_err();
        assert!(matches!(error.problem, FileProblem::Dangling(_)), "{error}");
        let error = Kept::read(dir.path()).unwrap_err();
        assert!(matches!(error.problem, FileProblem::Directory), "{error}");
    }
}
