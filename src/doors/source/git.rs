//! Manifests in a git repository, read from its objects by the `git` program: so a person's keys, credential helpers
//! and signatures just work, and no half-checked-out directory is ever looked at.
//!
//! [`Repository`] reads one commit. [`Mirror`] keeps a bare copy of a repository elsewhere, and says which of its
//! commits is to be used. [`checkout`] finds the commit of a directory that is watched as one.
//!
//! Nothing that a repository contains makes git run a program: `command` is the only place that starts git, `place`
//! finds repositories in its stead, and `configuration` reads a repository's own before git does.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

pub use mirror::{Head, Mirror};
pub use repository::Repository;

use self::command::Git;
use super::TooLarge;
use crate::words::commit::Commit;

mod address;
pub mod checkout;
mod command;
mod configuration;
mod fetch;
mod mirror;
mod place;
mod repository;
pub mod reviewed;

/// How much of what git says of a commit is read, in bytes.
const FACTS_MAX: u64 = 16 << 10;

/// Why a repository could not be read. Says all there is to say: it has no source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GitError {
    /// The program is not there, or could not be started.
    #[error("cannot run git: {0}; install it, and have it on PATH")]
    Program(String),
    /// Nothing here is in a repository.
    #[error("{} is in no git repository: no directory above has a `.git`", path.display())]
    NoRepository {
        /// Where was looked.
        path: PathBuf,
    },
    /// Something in the repository could make git run a program or read elsewhere, or others could have written it.
    #[error("{}: {why}; {help}", file.display())]
    Refused {
        /// The file or directory.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
        /// The remedy.
        help: String,
    },
    /// More than a source may have.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// The disk is full, or cannot be written.
    #[error("cannot write in {}: {why}; free space on its disk, or make it writable", dir.display())]
    Disk {
        /// The directory.
        dir: PathBuf,
        /// What git says.
        why: String,
    },
    /// No commit has this name.
    #[error(
        "there is no revision `{0}` here; fetch it first (in CI, a whole clone: fetch-depth: 0)"
    )]
    NoRevision(String),
    /// Two files claim to be the fleet's.
    #[error("both fleet.yaml and fleet.yml stand in {} at {revision}; keep one of them", path.display())]
    TwoFleets {
        /// The directory they stand in.
        path: PathBuf,
        /// The commit.
        revision: String,
    },
    /// The directory of manifests is something else in this commit.
    #[error(
        "{path} is {what} at {revision}, so its manifests cannot be read; name the directory itself"
    )]
    NoDirectory {
        /// The path in the repository.
        path: String,
        /// What stands there.
        what: &'static str,
        /// The commit.
        revision: String,
    },
    /// There is no directory of manifests, and never was one.
    #[error("there is no {path} at {revision}; source.git.path names the directory of manifests")]
    NoPath {
        /// The path in the repository.
        path: String,
        /// The commit.
        revision: String,
    },
    /// What is followed is not in the repository any more, or is no commit.
    #[error("{what} is not in {url}{}", if *is_empty { ", which is empty" } else { "" })]
    NoRef {
        /// What is followed.
        what: String,
        /// The repository.
        url: String,
        /// Whether the repository holds nothing at all.
        is_empty: bool,
    },
    /// The repository could not be asked.
    #[error("cannot fetch {url}: {why}")]
    Fetch {
        /// The repository.
        url: String,
        /// What git says.
        why: String,
    },
    /// Nothing was fetched yet.
    #[error(
        "nothing was fetched from {0} yet; `instanced serve` and `instanced reconcile` fetch it"
    )]
    NotFetched(String),
    /// The commit's signature does not do.
    #[error("commit {commit} is not signed by anyone whom {} allows{}", signers.display(), why.as_ref().map(|why| format!(": {why}")).unwrap_or_default())]
    NotSigned {
        /// The commit.
        commit: String,
        /// The file of allowed signers.
        signers: PathBuf,
        /// What is said against its signature, where it has one.
        why: Option<String>,
    },
    /// Git failed at something that it should do.
    #[error("git {what} failed: {why}")]
    Failed {
        /// What it was asked for.
        what: &'static str,
        /// What it says.
        why: String,
    },
}

impl GitError {
    /// A failure at something that git should do in `dir`.
    fn of_failure(what: &'static str, why: String, dir: &Path) -> Self {
        Self::of_disk(&why, dir).unwrap_or(Self::Failed { what, why })
    }

    /// The same where the disk is to blame, by the system's words.
    fn of_disk(why: &str, dir: &Path) -> Option<Self> {
        const WORDS: [&str; 3] = [
            "No space left on device",
            "Disk quota exceeded",
            "Read-only file system",
        ];
        let is_disk = WORDS.iter().any(|words| why.contains(words));
        is_disk.then(|| Self::Disk {
            dir: dir.to_owned(),
            why: why.to_owned(),
        })
    }
}

/// What people know a commit by, at most so long, in characters.
const SHOWN_MAX: usize = 240;

/// The id of the commit that a revision names; none when it names none.
fn commit_id(git: &Git, revision: &str) -> Result<Option<String>, GitError> {
    let wanted = format!("{revision}^{{commit}}");
    let found = git.run(&[
        "rev-parse",
        "--verify",
        "--quiet",
        "--end-of-options",
        &wanted,
    ])?;
    Ok(found.ok().map(|id| text(&id).trim_end().to_owned()))
}

/// What people know a commit by.
fn facts(git: &Git, id: &str) -> Result<Commit, GitError> {
    let what = "log";
    let arguments = [
        what,
        "-1",
        "--no-show-signature",
        "--format=%H%x00%cI%x00%an <%ae>%x00%s",
        "--end-of-options",
        id,
    ];
    let failed = |why: &str| GitError::Failed {
        what,
        why: why.to_owned(),
    };
    let answer = git.stream(what, &arguments, String::new(), |answer| {
        let mut read = Vec::new();
        let beginning = answer.take(FACTS_MAX).read_to_end(&mut read);
        beginning
            // A message of any length is read to its end, so that git ends as it should.
            .and_then(|_| io::copy(answer, &mut io::sink()))
            .map_err(|error| failed(&error.to_string()))?;
        Ok(text(&read))
    })?;
    let mut parts = answer.trim_end_matches('\n').split('\0');
    let (Some(id), Some(committed), Some(author)) = (parts.next(), parts.next(), parts.next())
    else {
        return Err(failed("the answer is no commit"));
    };
    let shown = |text: &str| printable(text).chars().take(SHOWN_MAX).collect::<String>();
    Ok(Commit {
        id: id.to_owned(),
        author: Some(shown(author)),
        committed: committed.parse().map_err(|_| failed("no date"))?,
        subject: shown(parts.next().unwrap_or_default()),
        changed_since: false,
    })
}

/// What can be done where a hook of git's runs this, in case one does: git says so in the environment, which no call of
/// ours heeds.
pub fn help_in_a_hook() -> Option<String> {
    let is_set = |name| std::env::var_os(name).is_some();
    let text = if is_set("GIT_QUARANTINE_PATH") {
        "this runs in a hook before a push is accepted: git keeps the pushed objects apart until then, so no other program can read them. Validate a copy: GIT_INDEX_FILE=COPY/.index git --work-tree=COPY checkout NEW_ID -- . and then instanced validate COPY/instances.d (git archive leaves out what attributes of the commit say); or compare in a post-receive hook or in CI"
    } else if is_set("GIT_DIR") {
        "GIT_DIR is set, as in a hook of git's, and is not used: instanced takes the `.git` above the source directory. Name a directory in a checkout with --instances; a bare repository has none"
    } else {
        return None;
    };
    Some(text.to_owned())
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn no_program(error: io::Error) -> GitError {
    GitError::Program(error.to_string())
}

/// What git said, in one line.
fn said(stderr: &[u8]) -> String {
    let lines = text(stderr);
    let lines = lines.lines().map(|line| {
        let line = line.trim();
        let line = line.strip_prefix("fatal: ").unwrap_or(line);
        line.strip_prefix("error: ").unwrap_or(line)
    });
    let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    printable(&lines.join("; "))
}

/// Whoever may commit writes names and messages: they steer nobody's terminal.
fn printable(text: &str) -> String {
    let shown = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().map(shown).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Whether something of a repository stands here.
fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}
