//! The directory that Traefik's file provider watches: one file for each instance, written whole or not at all.
//!
//! A file's first line says whose it is. What does not say so is somebody else's, whatever its name, and is
//! neither written nor removed: the directory is shared with the operator and with other managers.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::dynamic;
pub use super::dynamic::server;
use crate::words::name::{InstanceName, ManagerName};
use crate::words::spec::Spec;

/// What every file of ours ends in. Traefik reads `.yaml`, `.yml` and `.toml`.
const SUFFIX: &str = ".yaml";
/// What a file that is being written ends in: Traefik does not read it.
const UNFINISHED: &str = ".unfinished";
/// No file of ours is longer, in bytes.
const LENGTH_MAX: u64 = 1 << 20;

/// One manager's files in a directory.
#[derive(Debug, Clone)]
pub struct RouteFiles {
    dir: PathBuf,
    manager: ManagerName,
}

/// The routes of one instance, as a file says them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteFile {
    /// The generation that it leads to.
    pub generation: u64,
    /// Where that one was when it was written.
    pub address: IpAddr,
    text: String,
}

/// A file or the directory that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {}: {problem}", path.display())]
pub struct RouteFileError {
    operation: &'static str,
    path: PathBuf,
    problem: Problem,
}

#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("{0}")]
    Failed(io::Error),
    #[error("the directory of traefik.provider.file is not there")]
    NoDirectory,
    #[error("it is not ours")]
    Foreign,
}

impl RouteFileError {
    fn new(operation: &'static str, path: &Path, error: io::Error) -> Self {
        Self {
            operation,
            path: path.to_owned(),
            problem: Problem::Failed(error),
        }
    }

    pub(super) fn broken_off() -> Self {
        let error = io::Error::other("it was broken off");
        Self::new("use route files", Path::new(""), error)
    }

    /// The way out.
    pub fn help(&self) -> String {
        match &self.problem {
            Problem::NoDirectory => {
                "make the directory that Traefik's file provider watches, or mend \
                 traefik.provider.file"
            }
            Problem::Foreign => {
                "something else wrote this file: remove or rename it, or give one of two daemons \
                 another `manager` or directory"
            }
            Problem::Failed(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                "give the daemon's user the right to write in the directory of traefik.provider.file"
            }
            Problem::Failed(_) => {
                "the directory of traefik.provider.file must be one that can be written"
            }
        }
        .to_owned()
    }
}

impl RouteFiles {
    /// The files of `manager` in `dir`.
    pub fn new(dir: PathBuf, manager: ManagerName) -> Self {
        Self { dir, manager }
    }

    /// The file that leads the routes of `spec` to a generation.
    pub fn draft(&self, spec: &Spec, generation: u64, address: IpAddr) -> RouteFile {
        let head = self.head(&spec.name);
        let routes = dynamic::text(&self.manager, spec, generation, address);
        RouteFile {
            generation,
            address,
            text: format!("{head}generation {generation}, at {address}; edits are lost\n{routes}"),
        }
    }

    /// The file of an instance; `None` when there is none.
    pub fn read(&self, instance: &InstanceName) -> Result<Option<RouteFile>, RouteFileError> {
        let path = self.path(instance);
        match read_bounded(&path) {
            Ok(text) => self
                .parse(instance, text)
                .map(Some)
                .ok_or_else(|| foreign("use", &path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(RouteFileError::new("read", &path, error)),
        }
    }

    /// Every file of ours.
    pub fn all(&self) -> Result<BTreeMap<InstanceName, RouteFile>, RouteFileError> {
        let prefix = self.prefix();
        let mut found = BTreeMap::new();
        let entries = fs::read_dir(&self.dir).map_err(|error| self.no_directory("list", error))?;
        for entry in entries {
            let entry = entry.map_err(|error| RouteFileError::new("list", &self.dir, error))?;
            let name = entry.file_name();
            let name = name.to_str().and_then(|name| name.strip_prefix(&prefix));
            let name = name.and_then(|name| name.strip_suffix(SUFFIX));
            let Some(Ok(instance)) = name.map(str::parse::<InstanceName>) else {
                continue;
            };
            // One that says another's name, or that cannot be read, is none of ours to remove.
            let text = read_bounded(&entry.path()).ok();
            if let Some(file) = text.and_then(|text| self.parse(&instance, text)) {
                found.insert(instance, file);
            }
        }
        Ok(found)
    }

    /// Writes a file, so that Traefik sees the old or the new one. Whether it was another one before.
    pub fn write(&self, instance: &InstanceName, file: &RouteFile) -> Result<bool, RouteFileError> {
        let path = self.path(instance);
        if self.read(instance)?.as_ref() == Some(file) {
            return Ok(false);
        }
        let unfinished = self
            .dir
            .join(format!(".{}{instance}{UNFINISHED}", self.prefix()));
        let written = write_whole(&unfinished, file.text.as_bytes())
            .and_then(|()| fs::rename(&unfinished, &path));
        written.map_err(|error| {
            // Only tidiness is lost with it.
            let _ = fs::remove_file(&unfinished);
            if self.dir.is_dir() {
                RouteFileError::new("write", &path, error)
            } else {
                self.no_directory("write into", error)
            }
        })?;
        Ok(true)
    }

    /// Removes the file of an instance. Whether there was one.
    pub fn remove(&self, instance: &InstanceName) -> Result<bool, RouteFileError> {
        if self.read(instance)?.is_none() {
            return Ok(false);
        }
        let path = self.path(instance);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(RouteFileError::new("remove", &path, error)),
        }
    }

    fn prefix(&self) -> String {
        format!("instanced-{}-", self.manager)
    }

    /// Where the file of an instance stands.
    pub fn path(&self, instance: &InstanceName) -> PathBuf {
        self.dir
            .join(format!("{}{instance}{SUFFIX}", self.prefix()))
    }

    fn head(&self, instance: &InstanceName) -> String {
        format!(
            "# Written by instanced: manager {}, instance {instance}, ",
            self.manager
        )
    }

    /// `None` for a file that is not ours.
    fn parse(&self, instance: &InstanceName, text: String) -> Option<RouteFile> {
        let rest = text.lines().next()?.strip_prefix(&self.head(instance))?;
        let (generation, rest) = rest.strip_prefix("generation ")?.split_once(", at ")?;
        let (address, _) = rest.split_once(';')?;
        let (generation, address) = (generation.parse().ok()?, address.parse().ok()?);
        Some(RouteFile {
            generation,
            address,
            text,
        })
    }

    fn no_directory(&self, operation: &'static str, error: io::Error) -> RouteFileError {
        let problem = match error.kind() {
            io::ErrorKind::NotFound => Problem::NoDirectory,
            _ => Problem::Failed(error),
        };
        RouteFileError {
            operation,
            path: self.dir.clone(),
            problem,
        }
    }
}

fn foreign(operation: &'static str, path: &Path) -> RouteFileError {
    RouteFileError {
        operation,
        path: path.to_owned(),
        problem: Problem::Foreign,
    }
}

/// A longer file, or one that is no text, is read in part: it is nobody's of ours.
fn read_bounded(path: &Path) -> io::Result<String> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)?;
    let mut bytes = Vec::new();
    file.take(LENGTH_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Traefik, another user, reads it; no secret is in it. Flushed first: after a power cut it is whole.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file: File = OpenOptions::new().write(true).create_new(true).open(path)?;
    // Whatever the daemon's umask is.
    file.set_permissions(Permissions::from_mode(0o644))?;
    file.write_all(bytes)?;
    file.sync_all()
}
