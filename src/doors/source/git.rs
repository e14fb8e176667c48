//! Manifests in a git repository, read from its objects by the `git` program: so a person's keys, credential helpers
//! and signatures just work, and no half-checked-out directory is ever looked at.
//!
//! [`Repository`] reads one commit. [`Mirror`] keeps a bare copy of a repository elsewhere, and says which of its
//! commits is to be used. [`checkout`] tells at which commit a directory stands that is watched as one.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

pub use mirror::{Head, Mirror};
pub use repository::Repository;

use crate::words::commit::Commit;

pub mod checkout;
mod fetch;
mod mirror;
mod repository;

/// Why a repository could not be read. Says all there is to say: it has no source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GitError {
    /// The program is not there, or could not be started.
    #[error("cannot run git: {0}; install it, and have it on PATH")]
    Program(String),
    /// Nothing here is in a repository.
    #[error("{} is in no git repository: {why}", path.display())]
    NoRepository {
        /// Where was looked.
        path: PathBuf,
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

/// Where git is run.
#[derive(Debug, Clone, PartialEq, Eq)]
enum At {
    /// In a directory of a working tree, as the person there would.
    Tree(PathBuf),
    /// On a bare repository of our own, whatever the environment says of others.
    Bare(PathBuf),
}

impl At {
    fn git(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("git");
        match self {
            Self::Tree(dir) => command.arg("-C").arg(dir),
            Self::Bare(dir) => {
                for name in FOREIGN {
                    command.env_remove(name);
                }
                command.arg("--git-dir").arg(dir)
            }
        };
        command
            .args(arguments)
            .env("LC_ALL", "C")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_LITERAL_PATHSPECS", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs git to its end: what it wrote, or what it said against it.
    fn run(&self, arguments: &[&str]) -> Result<Result<Vec<u8>, String>, GitError> {
        let output = self.git(arguments).output().map_err(no_program)?;
        Ok(if output.status.success() {
            Ok(output.stdout)
        } else {
            Err(complaint(&output))
        })
    }

    /// The same, where a complaint is a failure.
    fn must(&self, what: &'static str, arguments: &[&str]) -> Result<String, GitError> {
        match self.run(arguments)? {
            Ok(said) => Ok(text(&said)),
            Err(why) => Err(GitError::Failed { what, why }),
        }
    }

    /// The id of the commit that a revision names; none when it names none.
    fn commit_id(&self, revision: &str) -> Result<Option<String>, GitError> {
        let wanted = format!("{revision}^{{commit}}");
        let found = self.run(&[
            "rev-parse",
            "--verify",
            "--quiet",
            "--end-of-options",
            &wanted,
        ])?;
        Ok(found.ok().map(|id| text(&id).trim_end().to_owned()))
    }

    /// What people know a commit by.
    fn facts(&self, id: &str) -> Result<Commit, GitError> {
        let what = "log";
        let told = self.must(
            what,
            &[
                "log",
                "-1",
                "--no-show-signature",
                "--format=%H%x00%an <%ae>%x00%cI%x00%s",
                "--end-of-options",
                id,
            ],
        )?;
        let parts: Vec<&str> = told.trim_end_matches('\n').split('\0').collect();
        let failed = |why: &str| GitError::Failed {
            what,
            why: why.to_owned(),
        };
        let [id, author, committed, subject] = parts[..] else {
            return Err(failed("it says something else than it was asked for"));
        };
        Ok(Commit {
            id: id.to_owned(),
            author: printable(author),
            committed: committed.parse().map_err(|_| failed("no date"))?,
            subject: printable(subject),
            changed_since: false,
        })
    }
}

/// What a hook's environment says of a repository that is not ours.
const FOREIGN: [&str; 6] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_NAMESPACE",
];

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn no_program(error: io::Error) -> GitError {
    GitError::Program(error.to_string())
}

fn complaint(output: &Output) -> String {
    let why = said(&output.stderr);
    if why.is_empty() {
        output.status.to_string()
    } else {
        why
    }
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
