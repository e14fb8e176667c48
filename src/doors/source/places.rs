//! Which directories have to be watched to learn of every change of a source, and what a name in them
//! means.
//!
//! A path may lead through links (`instances.d -> releases/7`, Kubernetes' `..data`), and a manifest may
//! itself be one. Every directory in which some link or the end of some path stands is watched, by its
//! real path: inotify knows one watch for each directory, however it is reached.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use super::{FLEET_NAMES, beside, is_manifest};

/// As many links as Linux follows.
const LINKS_MAX: u32 = 40;
/// Directories of linked manifests beyond this are left to the resync timer.
const DIRECTORIES_MAX: usize = 256;

/// What to watch.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    directories: BTreeMap<PathBuf, Place>,
}

/// A watched directory.
#[derive(Debug, Default, PartialEq, Eq)]
struct Place {
    /// Device and inode: another directory by the same name is not the one that is watched.
    identity: Option<(u64, u64)>,
    /// It is the source's own: every manifest in it counts, under this path.
    source: Option<PathBuf>,
    /// Files that count, and the paths that the source has for them.
    files: BTreeMap<OsString, BTreeSet<PathBuf>>,
    /// Names that paths lead through: links, and directories.
    turns: BTreeSet<OsString>,
}

/// What a path in a watched directory means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// These files of the source.
    Files(BTreeSet<PathBuf>),
    /// Paths may lead elsewhere now: everything is to be looked up anew.
    Turn,
    /// Nothing.
    Nothing,
}

impl Places {
    /// Looks up what a source in `dir` needs to have watched. What is missing is waited for where it would
    /// appear.
    pub(super) fn of(dir: &Path) -> Self {
        let mut places = Self::default();
        if let Some(real) = places.follow(dir, None) {
            places.place(&real).source = Some(dir.to_owned());
            let names = fs::read_dir(&real).into_iter().flatten().flatten();
            for entry in names.filter(|entry| is_manifest(&entry.file_name())) {
                let linked = entry.file_type().is_ok_and(|kind| kind.is_symlink());
                if linked && places.directories.len() < DIRECTORIES_MAX {
                    let file = dir.join(entry.file_name());
                    places.follow(&file, Some(&file));
                }
            }
        }
        let parent = beside(dir);
        for file in FLEET_NAMES.map(|name| parent.join(name)) {
            places.follow(&file, Some(&file));
        }
        for (path, place) in &mut places.directories {
            place.identity = fs::metadata(path)
                .ok()
                .map(|found| (found.dev(), found.ino()));
        }
        places
    }

    /// The directories to watch, by their real paths.
    pub(super) fn directories(&self) -> impl Iterator<Item = &Path> {
        self.directories.keys().map(PathBuf::as_path)
    }

    /// Whether it is the source's own directory.
    pub(super) fn is_source(&self, directory: &Path) -> bool {
        self.directories
            .get(directory)
            .is_some_and(|place| place.source.is_some())
    }

    /// What an event at this path is about.
    pub(super) fn meaning(&self, path: &Path) -> Meaning {
        if self.directories.contains_key(path) {
            return Meaning::Turn;
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Meaning::Nothing;
        };
        self.directories
            .get(parent)
            .map_or(Meaning::Nothing, |place| place.meaning(name))
    }

    /// Every file of the source that is there.
    pub(super) fn files(&self) -> BTreeSet<PathBuf> {
        let mut files = BTreeSet::new();
        for place in self.directories.values() {
            files.extend(place.files.values().flatten().cloned());
            let Some(dir) = &place.source else { continue };
            let entries = fs::read_dir(dir).into_iter().flatten().flatten();
            let names = entries.map(|entry| entry.file_name());
            files.extend(
                names
                    .filter(|name| is_manifest(name))
                    .map(|name| dir.join(name)),
            );
        }
        files
    }

    fn place(&mut self, directory: &Path) -> &mut Place {
        self.directories.entry(directory.to_owned()).or_default()
    }

    /// Follows a path to its end, and notes every name on the way that is a link or missing, and the last.
    /// Returns the real path when there is one.
    fn follow(&mut self, path: &Path, file: Option<&Path>) -> Option<PathBuf> {
        let mut real = PathBuf::from("/");
        let mut rest = components(&std::path::absolute(path).ok()?);
        let mut links = 0;
        while let Some(name) = rest.pop() {
            if name == ".." {
                real.pop();
                continue;
            }
            let next = real.join(&name);
            let target = fs::read_link(&next).ok();
            let there = target.is_none() && fs::symlink_metadata(&next).is_ok();
            if let (true, Some(file)) = (target.is_none() && rest.is_empty(), file) {
                let files = &mut self.place(&real).files;
                files.entry(name).or_default().insert(file.to_owned());
            } else if target.is_some() || !there || rest.is_empty() {
                self.place(&real).turns.insert(name);
            }
            match target {
                Some(target) => {
                    links += 1;
                    if links > LINKS_MAX {
                        return None;
                    }
                    if target.is_absolute() {
                        real = "/".into();
                    }
                    rest.extend(components(&target));
                }
                None if there => real = next,
                None => return None,
            }
        }
        Some(real)
    }
}

impl Place {
    fn meaning(&self, name: &OsStr) -> Meaning {
        if self.turns.contains(name) {
            return Meaning::Turn;
        }
        let mut files = self.files.get(name).cloned().unwrap_or_default();
        if let Some(dir) = self.source.as_ref().filter(|_| is_manifest(name)) {
            files.insert(dir.join(name));
        }
        if files.is_empty() {
            Meaning::Nothing
        } else {
            Meaning::Files(files)
        }
    }
}

/// The names of a path, last one first.
fn components(path: &Path) -> Vec<OsString> {
    let names = path
        .components()
        .rev()
        .filter(|component| matches!(component, Component::Normal(_) | Component::ParentDir));
    names
        .map(|component| component.as_os_str().to_owned())
        .collect()
}

#[cfg(test)]
mod tests;
