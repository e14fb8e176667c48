//! Two revisions of the source compared, from git alone: no engine, no store.

use super::round;
use super::site::Site;
use crate::decisions::compare::{Comparison, compare as compare_desired};
use crate::decisions::report::Failure;
use crate::doors::source::git::{self, GitError, Repository};
use crate::words::desired::{Content, Desired, Snapshot};
use crate::words::diagnostic::Diagnostic;

/// What came of a comparison.
#[derive(Debug)]
pub struct Compared {
    /// What the change would do.
    pub comparison: Comparison,
    /// What is wrong with the files of the head.
    pub diagnostics: Vec<Diagnostic>,
    /// What one should know beside.
    pub notes: Vec<String>,
    head: Snapshot,
}

impl Compared {
    /// The text of a file as the head has it.
    pub fn text(&self, path: &str) -> Option<String> {
        let mut files = self.head.fleet.iter().chain(&self.head.manifests);
        let file = files.find(|file| file.path == path)?;
        match &file.content {
            Content::Text(text) => Some(text.clone()),
            Content::Unreadable(_) | Content::BeingWritten => None,
        }
    }
}

/// Compares `base` and `head`, names of commits, under the policy of `site`.
///
/// # Errors
/// Where git, a revision, or the `fleet.yaml` of one cannot be used.
pub fn compare(site: &Site, base: &str, head: &str) -> Result<Compared, Failure> {
    let repository = match site.mirror() {
        Some(mirror) => mirror.repository(),
        None => Repository::of(site.source_dir(), &site.source_shown()).map_err(failed)?,
    };
    let commits = [base, head].map(|revision| repository.commit(revision));
    let [base_commit, head_commit] = commits;
    let (base_commit, head_commit) = (base_commit.map_err(failed)?, head_commit.map_err(failed)?);
    // A mirror is read from its objects. A checkout holds what git makes of them.
    if site.mirror().is_none() {
        repository
            .refuse_conversions(&head_commit)
            .map_err(failed)?;
    }
    let base_snapshot = repository.read(&base_commit).map_err(failed)?;
    let head_snapshot = repository.read(&head_commit).map_err(failed)?;
    if base_snapshot.manifests.is_empty() && head_snapshot.manifests.is_empty() {
        return Err(Failure {
            message: format!(
                "neither {base} nor {head} has manifests in {}",
                site.source_named()
            ),
            help: Some("name the directory with --instances, or in instanced.yaml".to_owned()),
        });
    }
    let base_desired = desired(&base_snapshot, site, base)?;
    let head_desired = desired(&head_snapshot, site, head)?;
    let mut notes: Vec<_> = site.warnings.iter().map(ToString::to_string).collect();
    if !base_desired.unreadable.is_empty() {
        let names: Vec<_> = base_desired
            .unreadable
            .keys()
            .map(ToString::to_string)
            .collect();
        let names = names.join(", ");
        notes.push(format!(
            "the base's manifests of {names} cannot be used, so they count as new"
        ));
    }
    if let Some(path) = &site.config_path
        && repository.has(path, &head_commit).map_err(failed)?
    {
        notes.push(format!(
            "{} is part of the revision that is looked at, and so is its policy: give --config a file of the host's",
            path.display()
        ));
    }
    Ok(Compared {
        comparison: compare_desired(&base_desired, &head_desired, &site.config.reconcile.prune),
        diagnostics: head_desired.diagnostics,
        notes,
        head: head_snapshot,
    })
}

fn desired(snapshot: &Snapshot, site: &Site, revision: &str) -> Result<Desired, Failure> {
    round::desired(snapshot, site).map_err(|report| {
        let what: Vec<String> = report.diagnostics.iter().map(ToString::to_string).collect();
        Failure {
            message: format!("at {revision}, {}", what.join("; ")),
            help: None,
        }
    })
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn failed(error: GitError) -> Failure {
    Failure {
        message: super::chain::chain(&error),
        help: match error {
            GitError::NoRepository { .. } | GitError::NoRevision(_) => git::help_in_a_hook(),
            _ => None,
        },
    }
}
