//! Text files of a person's: read whole, bounded, and told clearly when they cannot be read.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use self::found::Found;
use crate::words::desired::Unreadable;
use crate::words::document::LENGTH_MAX;
use crate::words::lines;

pub use configuration::{ConfigError, LoadedConfig, default_config, load_config};
pub use kept::{KeepError, Kept};

mod check;
mod configuration;
mod found;
mod kept;

/// A file that could not be read. Says all there is to say: it has no source.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct FileError {
    /// Which file.
    pub path: PathBuf,
    /// Why not, and the way out.
    pub problem: FileProblem,
}

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FileProblem {
    /// It is not there.
    #[error("there is no such file; check the path and its spelling")]
    Missing,
    /// A link to nowhere.
    #[error("a symbolic link to `{}`, which is not there; mend or remove the link", .0.display())]
    Dangling(PathBuf),
    /// It may not be read.
    #[error("permission denied; give user {0} the right to read it, and to enter its directories")]
    Denied(u32),
    /// A link to something that may hold anything, and that what is written here must not show.
    #[error(
        "a symbolic link to something other than a YAML file below its own directory, which is not read; put the file itself there"
    )]
    Elsewhere,
    /// A directory stands there.
    #[error("a directory, not a file; name a file in it")]
    Directory,
    /// A pipe, a socket or a device stands there.
    #[error("a pipe, socket or device; only regular files are read, so save it as one")]
    Irregular,
    /// It is longer than any file of ours.
    #[error("longer than {LENGTH_MAX} bytes; is it the right file? Split it if it is")]
    TooLong,
    /// It is longer than one of its kind may be.
    #[error("longer than {0} bytes; is it the right file?")]
    TooLarge(usize),
    /// It is text in another encoding.
    #[error("UTF-16 text; save it as UTF-8")]
    Utf16,
    /// It is text in another encoding, of four bytes a character.
    #[error("UTF-32 text; save it as UTF-8")]
    Utf32,
    /// It is no text, or text in another encoding.
    #[error("not UTF-8 at byte {offset} (line {line}); save it as UTF-8")]
    NotUtf8 {
        /// How many bytes before it are sound.
        offset: usize,
        /// The line, from 1.
        line: usize,
        /// The column, from 1, in characters.
        column: usize,
    },
    /// The system failed.
    #[error("cannot be read: {0}; check the disk, or the server it is mounted from")]
    Failed(io::Error),
}

impl FileProblem {
    /// The problem that an error of opening or reading `path` is.
    pub(super) fn of(path: &Path, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => fs::read_link(path).map_or(Self::Missing, Self::Dangling),
            io::ErrorKind::PermissionDenied => Self::Denied(rustix::process::geteuid().as_raw()),
            io::ErrorKind::IsADirectory => Self::Directory,
            _ => Self::Failed(error),
        }
    }
}

impl FileProblem {
    /// The same, as what a manifest holds. Every text here is what is wrong, a semicolon, the way out.
    pub fn unreadable(&self) -> Unreadable {
        let told = self.to_string();
        let (why, help) = told.rsplit_once("; ").unwrap_or((&told, ""));
        Unreadable {
            why: why.to_owned(),
            help: Some(help.to_owned()).filter(|help| !help.is_empty()),
            at: match self {
                Self::NotUtf8 { line, column, .. } => (*line, *column),
                _ => (1, 1),
            },
        }
    }
}

/// Writes a text file that is not there yet, with the directories that it lies in. Returns whether it did: what is
/// there, a broken link too, is left as it is.
pub fn create_text(path: &Path, text: &str) -> io::Result<bool> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(mut file) => file.write_all(text.as_bytes()).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// Writes a text file in place of what is there, at once: whoever reads sees the old one or the new one. A pipe or a
/// device is written to.
pub fn replace_text(path: &Path, text: &str) -> io::Result<()> {
    // Through a link, so that it stays one.
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let found = target.metadata();
    if found.is_ok_and(|found| !found.is_file()) {
        return fs::write(target, text);
    }
    let mut beside = target.clone().into_os_string();
    beside.push(format!(".{}.new", std::process::id()));
    let written = fs::write(&beside, text).and_then(|()| fs::rename(&beside, &target));
    written.inspect_err(|_| {
        // It may never have been there.
        let _ = fs::remove_file(&beside);
    })
}

/// Reads a text file: at most [`LENGTH_MAX`] bytes of UTF-8, a byte order mark left out.
pub fn read_text(path: &Path) -> Result<String, FileError> {
    read_text_within(path, LENGTH_MAX)
}

/// Reads a text file that others may have put there, such as a commit. A link is followed only to a YAML
/// file below its own directory: any other could hold what its author must not see.
pub fn read_text_beside(path: &Path) -> Result<String, FileError> {
    let failed = |problem| FileError {
        path: path.to_owned(),
        problem,
    };
    let file = Found::beside(path).map_err(failed)?;
    let bytes = file.read(path, LENGTH_MAX).map_err(failed)?;
    decode(bytes).map_err(failed)
}

/// Reads a text file of at most so many bytes.
pub fn read_text_within(path: &Path, length_max: usize) -> Result<String, FileError> {
    let failed = |problem| FileError {
        path: path.to_owned(),
        problem,
    };
    let bytes = read_bytes(path, length_max).map_err(failed)?;
    decode(bytes).map_err(failed)
}

fn read_bytes(path: &Path, length_max: usize) -> Result<Vec<u8>, FileProblem> {
    Found::at(path)?.read(path, length_max)
}

/// Text out of bytes: UTF-8, a byte order mark left out.
///
/// # Errors
/// Which encoding it has, or where it has none.
pub fn decode(mut bytes: Vec<u8>) -> Result<String, FileProblem> {
    if [&b"\xff\xfe\0\0"[..], b"\0\0\xfe\xff"]
        .iter()
        .any(|mark| bytes.starts_with(mark))
    {
        return Err(FileProblem::Utf32);
    }
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err(FileProblem::Utf16);
    }
    if bytes.starts_with(b"\xef\xbb\xbf") {
        bytes.drain(..3);
    }
    String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        let sound = String::from_utf8_lossy(&error.as_bytes()[..offset]);
        // As if the first byte that is no text were a character.
        let with_it = format!("{sound}?");
        let (line, column) = lines::place_of(&with_it, sound.chars().count());
        FileProblem::NotUtf8 {
            offset,
            line,
            column,
        }
    })
}

/// A path as a person in `cwd` would write it.
pub fn shown(path: &Path, cwd: &Path) -> String {
    let inside = path.strip_prefix(cwd).unwrap_or(path);
    let inside = inside.strip_prefix(".").unwrap_or(inside);
    if inside.as_os_str().is_empty() {
        ".".to_owned()
    } else {
        inside.display().to_string()
    }
}

#[cfg(test)]
mod tests;
