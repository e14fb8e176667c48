//! At which commit a directory stands that is watched as one.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::super::{FLEET_NAMES, beside};
use super::{At, GitError, is_there};
use crate::words::commit::Commit;

/// The commit of a directory, looked up again when the directory or its repository has changed.
#[derive(Debug, Default)]
pub struct Teller {
    last: Option<(Mark, Option<Commit>)>,
}

/// What changes when a checkout's commit does, or what is changed beside it.
#[derive(Debug, PartialEq, Eq)]
struct Mark {
    revision: String,
    repository: PathBuf,
    written: Vec<Option<SystemTime>>,
}

impl Teller {
    /// The commit at which `dir` stands, whose files are named by `revision`; none where it is in no repository, or git
    /// would not tell: then the files are all the same.
    pub fn tell(&mut self, dir: &Path, revision: &str) -> Option<Commit> {
        let mark = Mark::of(dir, revision)?;
        if let Some((known, commit)) = &self.last
            && *known == mark
        {
            return commit.clone();
        }
        let commit = look(dir).unwrap_or_else(|error| {
            tracing::debug!(%error, "the source's commit cannot be told");
            None
        });
        self.last = Some((mark, commit.clone()));
        commit
    }
}

impl Mark {
    /// None where no directory above is a repository: git need not be asked.
    fn of(dir: &Path, revision: &str) -> Option<Self> {
        let real = dir.canonicalize().ok()?;
        let found = real.ancestors().map(|above| above.join(".git"));
        let dot_git = found.into_iter().find(|path| is_there(path))?;
        let repository = match fs::read_to_string(&dot_git) {
            // A worktree's, or a submodule's.
            Ok(text) => {
                let to = text.trim_end().strip_prefix("gitdir: ")?.to_owned();
                dot_git.parent()?.join(to)
            }
            Err(_) => dot_git,
        };
        let written = ["HEAD", "logs/HEAD", "index"].map(|name| {
            let found = fs::metadata(repository.join(name));
            found.and_then(|found| found.modified()).ok()
        });
        Some(Self {
            revision: revision.to_owned(),
            repository,
            written: written.into(),
        })
    }
}

fn look(dir: &Path) -> Result<Option<Commit>, GitError> {
    // Where a link leads is where the files are.
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let at = At::Tree(beside(&dir));
    let Some(id) = at.commit_id("HEAD")? else {
        return Ok(None);
    };
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    // A monitor that its configuration names would be started.
    let mut arguments = vec!["-c", "core.fsmonitor=false", "status", "--porcelain"];
    arguments.extend(["--untracked-files=all", "--", &name]);
    arguments.extend(FLEET_NAMES);
    let changes = at.must("status", &arguments)?;
    Ok(Some(Commit {
        changed_since: !changes.is_empty(),
        ..at.facts(&id)?
    }))
}
