//! The commit of a directory that is watched as one.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::super::beside;
use super::place::Place;
use super::{GitError, Repository, commit_id};
use crate::words::commit::Commit;
use crate::words::desired::{Content, Snapshot};
use crate::words::diagnostic::{Diagnostic, Severity};

/// Reads the commit of a directory, again when the directory or its repository has changed.
#[derive(Debug, Default)]
pub struct CheckoutReader {
    last: Option<(Mark, Option<Commit>)>,
}

/// What changes when a checkout's commit does, or what is changed beside it.
#[derive(Debug, PartialEq, Eq)]
struct Mark {
    revision: String,
    repository: PathBuf,
    written: Vec<Option<SystemTime>>,
}

impl CheckoutReader {
    /// The same snapshot of `dir` with its commit; without one where it is in no repository. Where it
    /// is in one that cannot be read, `commit_issue` says why: the files are all the same.
    pub fn read(&mut self, dir: &Path, snapshot: Snapshot) -> Snapshot {
        // Where a link leads is where the files are.
        let real = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
        match self.look(&real, &snapshot) {
            Ok(commit) => Snapshot { commit, ..snapshot },
            Err(error) => Snapshot {
                commit_issue: Some(issue(&error, &real)),
                ..snapshot
            },
        }
    }

    fn look(&mut self, dir: &Path, snapshot: &Snapshot) -> Result<Option<Commit>, GitError> {
        let Some(place) = Place::around(&beside(dir))? else {
            return Ok(None);
        };
        let mark = Mark::of(&place, &snapshot.revision);
        if let Some((known, commit)) = &self.last
            && *known == mark
        {
            return Ok(commit.clone());
        }
        // A failure is not kept: its remedy may be outside of the repository.
        self.last = None;
        let Some(repository) = Repository::around(dir, &dir.to_string_lossy())? else {
            return Ok(None);
        };
        let commit = match commit_id(repository.git(), "HEAD")? {
            Some(id) => Some(commit(&repository, &id, dir, snapshot)?),
            None => None,
        };
        self.last = Some((mark, commit.clone()));
        Ok(commit)
    }
}

impl Mark {
    fn of(place: &Place, revision: &str) -> Self {
        let written = ["HEAD", "logs/HEAD", "index", "reftable/tables.list"].map(|name| {
            let found = fs::metadata(place.dir.join(name));
            found.and_then(|found| found.modified()).ok()
        });
        Self {
            revision: revision.to_owned(),
            repository: place.dir.clone(),
            written: written.into(),
        }
    }
}

/// The commit, and whether the files that were read are its own. Whose changes others are, nobody knows.
fn commit(
    repository: &Repository,
    id: &str,
    dir: &Path,
    snapshot: &Snapshot,
) -> Result<Commit, GitError> {
    let commit = repository.facts(id)?;
    Ok(if is_committed(repository, id, dir, snapshot)? {
        commit
    } else {
        commit.with_changes()
    })
}

/// Compares contents itself: `git status` runs the filters that a repository's attributes name.
fn is_committed(
    repository: &Repository,
    id: &str,
    dir: &Path,
    snapshot: &Snapshot,
) -> Result<bool, GitError> {
    let mut entries = repository.entries(id)?;
    // A submodule is a directory in a checkout, so it is no file of a snapshot.
    entries.retain(|entry| !entry.is_submodule());
    let contents = repository.contents(&entries)?;
    let links: Vec<_> = entries.iter().filter(|entry| entry.is_link()).collect();
    let mut links = repository.blobs(&links)?.into_iter();
    let holder = beside(dir);
    let files: BTreeMap<PathBuf, &Content> = snapshot
        .manifests
        .iter()
        .map(|file| (dir.join(name_of(&file.path)), &file.content))
        .chain(
            snapshot
                .fleet
                .iter()
                .map(|file| (holder.join(name_of(&file.path)), &file.content)),
        )
        .collect();
    let own = repository.directory_path();
    let same = entries.iter().zip(&contents).all(|(entry, content)| {
        let here = if entry.path.starts_with(&own) {
            dir
        } else {
            &holder
        };
        let path = here.join(name_of(&entry.path));
        let link = entry.is_link().then(|| links.next()).flatten();
        match (files.get(&path), link) {
            (None, _) => false,
            (Some(_), Some(link)) => {
                let leads = fs::read_link(&path);
                leads.is_ok_and(|to| to.as_os_str().as_encoded_bytes() == link)
            }
            (Some(file), None) => is_same(content, file),
        }
    });
    Ok(same && entries.len() == files.len())
}

/// Whether a file has what was committed, but for the ends of lines, which git may have written another way.
fn is_same(committed: &Content, file: &Content) -> bool {
    match (committed, file) {
        // Not in use yet: its round is to come, and with it another look.
        (_, Content::BeingWritten) => true,
        (Content::Text(committed), Content::Text(file)) => {
            committed == file || committed.replace("\r\n", "\n") == file.replace("\r\n", "\n")
        }
        (committed, file) => committed == file,
    }
}

fn name_of(path: &str) -> &OsStr {
    Path::new(path).file_name().unwrap_or_default()
}

/// Why a commit is not read, for people.
fn issue(error: &GitError, dir: &Path) -> Diagnostic {
    let (file, why, help) = match error {
        GitError::Refused { file, why, help } => (file.as_path(), why.clone(), Some(help.as_str())),
        error => (dir, error.to_string(), None),
    };
    Diagnostic {
        severity: Severity::Note,
        ..Diagnostic::of_file(
            &file.display().to_string(),
            format!("the source's commit is not read: {why}"),
            help,
        )
    }
}
