//! A bare copy of a repository, and which of its commits is in use.
//!
//! Three references of our own hold what is known: `head`, what was fetched last; `current`, what the fleet is kept
//! as; `applied`, what all of it has been made. They are named by what the configuration follows, so that another
//! branch or another repository starts afresh. Whoever writes here holds the store, and is alone.

use std::path::{Path, PathBuf};

use super::command::Git;
use super::{GitError, Repository, commit_id, facts, is_there};
use crate::words::commit::{Commit, short};
use crate::words::config::GitSource;
use crate::words::desired::Snapshot;

/// The mirror's name in the state directory.
const NAME: &str = "source.git";

/// A bare copy of a repository.
#[derive(Debug, Clone)]
pub struct Mirror {
    pub(super) dir: PathBuf,
    pub(super) source: GitSource,
    /// What the names of our references begin with.
    refs: String,
}

/// What is to be used of a repository now.
#[derive(Debug, Clone)]
pub struct Head {
    /// The manifests of the commit in use.
    pub snapshot: Snapshot,
    /// The id of what was fetched last.
    pub fetched: String,
    /// Why what was fetched last is not in use.
    pub refused: Option<GitError>,
}

impl Mirror {
    /// The mirror of `source` in a state directory. Nothing is made yet.
    pub fn new(state: &Path, source: &GitSource) -> Self {
        let followed = format!("{}\0{:?}\0{}", source.url, source.follow(), source.path);
        let digest = blake3::hash(followed.as_bytes()).to_hex();
        Self {
            dir: state.join(NAME),
            source: source.clone(),
            refs: format!("refs/instanced/{}/", &digest[..12]),
        }
    }

    /// What is followed.
    pub fn source(&self) -> &GitSource {
        &self.source
    }

    pub(super) fn git(&self) -> Git {
        Git::bare(&self.dir)
    }

    pub(super) fn reference(&self, name: &str) -> String {
        format!("{}{name}", self.refs)
    }

    /// What is to be used now: what was fetched last, or what was in use before where that does not do.
    ///
    /// # Errors
    /// When nothing was fetched yet, or nothing of it ever did.
    pub fn read(&self) -> Result<Head, GitError> {
        let fetched = self.head()?;
        let fetched = fetched.ok_or_else(|| GitError::NotFetched(self.source.shown_url()))?;
        let current = self.id_of("current")?;
        let refused = match self.take(&fetched, current.is_some()) {
            Ok(snapshot) => {
                return Ok(Head {
                    snapshot,
                    fetched,
                    refused: None,
                });
            }
            Err(refused) => refused,
        };
        match current {
            Some(current) if current != fetched => Ok(Head {
                snapshot: self.repository().read(&current)?,
                fetched,
                refused: Some(refused),
            }),
            _ => Err(refused),
        }
    }

    /// The id of what was fetched last.
    ///
    /// # Errors
    /// When git fails.
    pub fn head(&self) -> Result<Option<String>, GitError> {
        self.id_of("head")
    }

    /// The manifests of a commit, if it may be used.
    fn take(&self, id: &str, known: bool) -> Result<Snapshot, GitError> {
        self.verify(id)?;
        let repository = self.repository();
        let snapshot = repository.read(id)?;
        // A directory that is emptied is gone from a tree. One that never was is mistyped.
        if snapshot.manifests.is_empty() && !known && !repository.has_directory(id)? {
            return Err(GitError::NoPath {
                path: self.source.path.clone(),
                revision: snapshot.revision,
            });
        }
        Ok(snapshot)
    }

    /// The manifests of the commit that was in use last.
    ///
    /// # Errors
    /// When none was.
    pub fn known(&self) -> Result<Snapshot, GitError> {
        let id = self.id_of("current")?;
        let id = id.ok_or_else(|| GitError::NotFetched(self.source.shown_url()))?;
        self.repository().read(&id)
    }

    /// Its commits, to read.
    pub fn repository(&self) -> Repository {
        Repository::mirror(self.git(), &self.source.path, &self.refs)
    }

    /// Notes that a commit is in use.
    ///
    /// # Errors
    /// When git fails.
    pub fn set_current(&self, id: &str) -> Result<(), GitError> {
        self.set("current", id)
    }

    /// The newest commit that the whole fleet has been made.
    ///
    /// # Errors
    /// When git fails.
    pub fn applied(&self) -> Result<Option<String>, GitError> {
        self.id_of("applied")
    }

    /// Notes that the whole fleet has been made a commit.
    ///
    /// # Errors
    /// When git fails.
    pub fn set_applied(&self, id: &str) -> Result<(), GitError> {
        self.set("applied", id)
    }

    /// What people know a commit by.
    ///
    /// # Errors
    /// When it is not here.
    pub fn facts(&self, id: &str) -> Result<Commit, GitError> {
        facts(&self.git(), id)
    }

    /// How many commits of `to` are not in `from`, and whether `from` is part of its history at all.
    ///
    /// # Errors
    /// When one of them is not here.
    pub fn distance(&self, from: &str, to: &str) -> Result<(u64, bool), GitError> {
        let range = format!("{from}..{to}");
        let count = self
            .git()
            .must("rev-list", &["rev-list", "--count", &range])?;
        let count = count.trim().parse().unwrap_or(0);
        let is_ancestor = self
            .git()
            .run(&["merge-base", "--is-ancestor", from, to])?
            .is_ok();
        Ok((count, is_ancestor))
    }

    fn id_of(&self, name: &str) -> Result<Option<String>, GitError> {
        if !is_there(&self.dir) {
            return Ok(None);
        }
        commit_id(&self.git(), &self.reference(name))
    }

    pub(super) fn set(&self, name: &str, id: &str) -> Result<(), GitError> {
        let reference = self.reference(name);
        let arguments = ["update-ref", &reference, id];
        self.git().must("update-ref", &arguments).map(drop)
    }

    /// Whether a commit is signed by one who may, where that is asked for.
    fn verify(&self, id: &str) -> Result<(), GitError> {
        let Some(signers) = &self.source.verify_signatures else {
            return Ok(());
        };
        let allowed = &signers.allowed_signers;
        let refused = |why: Option<String>| GitError::NotSigned {
            commit: short(id).to_owned(),
            signers: allowed.clone(),
            why,
        };
        if let Err(error) = crate::doors::files::read_text(allowed) {
            return Err(refused(Some(error.to_string())));
        }
        let keys = format!("gpg.ssh.allowedSignersFile={}", allowed.display());
        // Other kinds of signature count by keyrings that nobody allowed here: their programs are never asked.
        let arguments = [
            "-c",
            &keys,
            "-c",
            "gpg.program=false",
            "-c",
            "gpg.openpgp.program=false",
            "-c",
            "gpg.x509.program=false",
            "verify-commit",
            "--end-of-options",
            id,
        ];
        let verified = self.git().run(&arguments)?;
        verified
            .map(drop)
            .map_err(|why| match GitError::of_disk(&why, &self.dir) {
                Some(error) => error,
                // Without a word where there is no signature at all.
                None => refused((!why.starts_with("exit status")).then_some(why)),
            })
    }
}
