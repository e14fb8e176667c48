//! Finding a repository without git, and what of it is not trusted.
//!
//! Git itself takes any directory for a repository that has `HEAD`, `objects` and `refs`: a commit can add these. It
//! cannot add a `.git`. So only a `.git` counts here, and where it leads must not lie where a commit can write.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::command::Git;
use super::{GitError, configuration, is_there, text};

/// How long a file of a repository's may be that names a path, in bytes.
const POINTER_MAX: u64 = 64 << 10;
/// How many stores of objects may be borrowed from: git itself follows five in a row.
const ALTERNATES_MAX: usize = 16;

/// Where a repository is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The top of its working tree.
    pub(super) top: PathBuf,
    /// Its directory: `.git`, or where that leads, as that of a worktree or a submodule does.
    pub(super) dir: PathBuf,
    /// What all worktrees of a repository share: objects, configuration. `dir` itself where there is one tree.
    pub(super) common: PathBuf,
    /// `.git` as it was found.
    dot_git: PathBuf,
}

impl Place {
    /// The repository whose working tree holds `start`; none where no directory above has a `.git`.
    ///
    /// # Errors
    /// When the `.git` leads nowhere.
    pub(super) fn around(start: &Path) -> Result<Option<Self>, GitError> {
        let found = start.ancestors().find_map(|top| {
            let dot_git = top.join(".git");
            let is_repository = !dot_git.is_dir() || is_there(&dot_git.join("HEAD"));
            (is_there(&dot_git) && is_repository).then(|| (top.to_owned(), dot_git))
        });
        let Some((top, dot_git)) = found else {
            return Ok(None);
        };
        let dir = if dot_git.is_dir() {
            resolved(&dot_git, &dot_git)?
        } else {
            let to = pointer(&dot_git)?;
            let to = to.strip_prefix("gitdir:").map(str::trim);
            let to = to.ok_or_else(|| broken(&dot_git, "it names no `gitdir:`"))?;
            resolved(&dot_git, &top.join(to))?
        };
        let shared = dir.join("commondir");
        let common = if is_there(&shared) {
            let to = pointer(&shared)?;
            resolved(&shared, &dir.join(to.trim()))?
        } else {
            dir.clone()
        };
        Ok(Some(Self {
            top,
            dir,
            common,
            dot_git,
        }))
    }

    /// Git on this repository, once nothing in it can make git run something, or read what others wrote.
    ///
    /// # Errors
    /// [`GitError::Refused`], with the remedy.
    pub(super) fn open(&self) -> Result<Git, GitError> {
        self.check_owner()?;
        self.check_paths()?;
        configuration::check(self)?;
        Ok(Git::checkout(self))
    }

    /// Git's own rule, which it applies only to a repository that it has found itself.
    fn check_owner(&self) -> Result<(), GitError> {
        let us = rustix::process::geteuid().as_raw();
        let sudo = std::env::var("SUDO_UID").ok();
        let sudo = sudo.and_then(|id| id.parse().ok()).filter(|_| us == 0);
        let Some((path, owner)) = self.foreign_part(us, sudo) else {
            return Ok(());
        };
        if is_declared_safe(&self.top)? {
            return Ok(());
        }
        let top = self.top.display();
        Err(GitError::Refused {
            file: path.clone(),
            why: format!(
                "it belongs to user {owner}, and git reads no repository of another user as user {us}"
            ),
            help: format!("trust it, as user {us}: git config --global --add safe.directory {top}"),
        })
    }

    fn foreign_part(&self, us: u32, sudo: Option<u32>) -> Option<(&PathBuf, u32)> {
        let parts = [&self.top, &self.dot_git, &self.dir, &self.common];
        parts.into_iter().find_map(|path| {
            let owner = fs::symlink_metadata(path).ok()?.uid();
            (owner != us && Some(owner) != sudo).then_some((path, owner))
        })
    }

    /// No part of the repository lies where a commit can write.
    fn check_paths(&self) -> Result<(), GitError> {
        let mut parts = vec![
            (self.dot_git.clone(), self.dir.clone()),
            (self.dir.join("commondir"), self.common.clone()),
        ];
        let mut stores = vec![self.common.join("objects")];
        let mut seen = 0;
        while let Some(store) = stores.pop() {
            let Ok(real) = store.canonicalize() else {
                continue;
            };
            let alternates = real.join("info/alternates");
            parts.push((store, real.clone()));
            if !is_there(&alternates) {
                continue;
            }
            for line in pointer(&alternates)?.lines() {
                if !line.is_empty() && !line.starts_with('#') {
                    stores.push(real.join(line.trim_matches('"')));
                }
            }
            seen += 1;
            if seen > ALTERNATES_MAX {
                return Err(broken(&alternates, "it leads to too many others"));
            }
        }
        let bad = parts.into_iter().find(|(_, to)| lies_in_a_working_tree(to));
        match bad {
            None => Ok(()),
            Some((file, to)) => Err(GitError::Refused {
                file,
                why: format!(
                    "it leads to {}, in the working tree of a repository, where a commit can write",
                    to.display()
                ),
                help: "move the repository's directory out of every working tree".to_owned(),
            }),
        }
    }
}

/// Whether a commit of some repository could add or change this path. Below a `.git` none can.
fn lies_in_a_working_tree(path: &Path) -> bool {
    !path.iter().any(|name| name == ".git")
        && path.ancestors().any(|above| is_there(&above.join(".git")))
}

/// Whether the user's own configuration, or the system's, trusts a working tree.
fn is_declared_safe(top: &Path) -> Result<bool, GitError> {
    let asked = ["--type=path", "-z", "--get-all", "safe.directory"];
    let declared = Git::user_setting(&asked)?.unwrap_or_default();
    Ok(is_safe_by(&text(&declared), top))
}

/// As git reads it: an empty entry takes back those before it, `*` is all, `/*` at the end all below.
fn is_safe_by(declared: &str, top: &Path) -> bool {
    let entries = declared.strip_suffix('\0').unwrap_or(declared).split('\0');
    entries.fold(false, |safe, entry| match entry {
        "" => false,
        "*" => true,
        below if below.ends_with("/*") => safe || top.starts_with(below.trim_end_matches("/*")),
        exact => {
            let exact = Path::new(exact);
            safe || top == exact || exact.canonicalize().is_ok_and(|real| real == top)
        }
    })
}

/// The text of a file that names a path.
fn pointer(file: &Path) -> Result<String, GitError> {
    let found = fs::metadata(file).ok();
    if !found.is_some_and(|found: Metadata| found.is_file() && found.len() <= POINTER_MAX) {
        return Err(broken(file, "it is no file that names a path"));
    }
    let read = fs::read(file).map_err(|error| broken(file, &error.to_string()))?;
    Ok(text(&read).trim_end_matches('\n').to_owned())
}

fn resolved(file: &Path, to: &Path) -> Result<PathBuf, GitError> {
    let real = to.canonicalize();
    real.map_err(|error| broken(file, &format!("it leads to {}: {error}", to.display())))
}

fn broken(file: &Path, why: &str) -> GitError {
    GitError::Refused {
        file: file.to_owned(),
        why: why.to_owned(),
        help: "repair the repository: `git status` there says more".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_belongs_to_who_asks_or_to_who_became_root() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        assert_eq!(Place::around(&top).unwrap(), None);
        fs::create_dir(top.join(".git")).unwrap();
        assert_eq!(Place::around(&top).unwrap(), None, "no repository");
        fs::write(top.join(".git/HEAD"), "ref: refs/heads/main\n").unwrap();
        let place = Place::around(&top).unwrap().expect("a repository");
        let us = rustix::process::geteuid().as_raw();
        assert_eq!(place.foreign_part(us, None), None);
        assert_eq!(place.foreign_part(us + 1, Some(us)), None);
        assert_eq!(place.foreign_part(us + 1, None), Some((&top, us)));
    }

    #[test]
    fn a_working_tree_is_trusted_as_git_would_trust_it() {
        let top = Path::new("/srv/fleet");
        for (declared, safe) in [
            ("", false),
            ("/srv/other\0", false),
            ("/srv/fleet\0", true),
            ("/srv/*\0", true),
            ("/srv/fleet/*\0", true),
            ("/sr*\0", false),
            ("*\0", true),
            ("*\0\0", false),
            ("*\0\0/srv/fleet\0", true),
        ] {
            assert_eq!(is_safe_by(declared, top), safe, "{declared:?}");
        }
    }
}
