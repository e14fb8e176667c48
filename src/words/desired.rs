//! What a source said at one revision, and what became of it: every manifest resolved or told why not.

use std::collections::BTreeMap;
use std::sync::Arc;

pub use held::{AccessLimit, Claim, Contested, InstanceLimit, volume_name};
pub use owners::{Owners, first_label};

use super::commit::Commit;
use super::diagnostic::Diagnostic;
use super::name::InstanceName;
use super::origin::Origins;
use super::spec::Spec;

mod held;
mod owners;

/// The files of a source at one moment. Reading them is a door's work; nothing here is parsed yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Names what was read: a digest of the files, or a commit.
    pub revision: String,
    /// The commit that it was read at, where the source is in a git repository.
    pub commit: Option<Commit>,
    /// Why that commit is not read, where the source is in a repository that is not to be trusted.
    pub commit_issue: Option<Diagnostic>,
    /// `fleet.yaml`, where there is one.
    pub fleet: Option<SourceFile>,
    /// The manifests, sorted by path.
    pub manifests: Vec<SourceFile>,
}

/// One file of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// The path as a person would name it.
    pub path: String,
    /// The stem: `alice` of `instances.d/alice.yaml`.
    pub stem: String,
    /// What it holds.
    pub content: Content,
}

impl SourceFile {
    /// A file with this text; `path` says its stem.
    pub fn of_text(path: &str, text: impl Into<String>) -> Self {
        let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        Self {
            path: path.to_owned(),
            stem: stem.to_owned(),
            content: Content::Text(text.into()),
        }
    }
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Text.
    Text(String),
    /// It could not be read; why.
    Unreadable(Unreadable),
    /// Somebody is still writing it.
    BeingWritten,
}

/// Why a file is no text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// What is wrong.
    pub why: String,
    /// The way out.
    pub help: Option<String>,
    /// Line and column, from 1, of what is no text; the first ones where nothing was read.
    pub at: (usize, usize),
}

/// The fleet as it shall be.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Desired {
    /// Names the revision it was made from.
    pub revision: String,
    /// The commit of that revision, where the source is in a git repository.
    pub commit: Option<Commit>,
    /// Why that commit is not read.
    pub commit_issue: Option<Diagnostic>,
    /// What shall be, by name.
    pub specs: BTreeMap<InstanceName, Arc<Spec>>,
    /// Where what a spec says comes from.
    pub origins: BTreeMap<InstanceName, Origins>,
    /// The file of each sound manifest, as a person would name it.
    pub paths: BTreeMap<InstanceName, String>,
    /// Manifests that could not be resolved: their instances are held as they are.
    pub unreadable: BTreeMap<InstanceName, Vec<Diagnostic>>,
    /// Of each held manifest: the most access that it allows.
    pub access_limits: BTreeMap<InstanceName, AccessLimit>,
    /// Manifests among the unreadable ones that are sound, but claim what others claim.
    pub contested: BTreeMap<InstanceName, Contested>,
    /// The limit on instances, where it is exceeded.
    pub instance_limit: Option<InstanceLimit>,
    /// Everything that is wrong or worth a look, also of files whose stem is no name.
    pub diagnostics: Vec<Diagnostic>,
}

impl Desired {
    /// What an instance of this name shall be.
    pub fn spec(&self, name: &InstanceName) -> Option<&Spec> {
        self.specs.get(name).map(|spec| &**spec)
    }

    /// Whether a manifest of this name is there, sound or not.
    pub fn names(&self, name: &InstanceName) -> bool {
        self.specs.contains_key(name) || self.unreadable.contains_key(name)
    }

    /// The names of all manifests, also of those that cannot be used.
    pub fn all_names(&self) -> impl Iterator<Item = &InstanceName> {
        self.specs.keys().chain(self.unreadable.keys())
    }

    /// Whether no manifest is there at all.
    pub fn is_empty(&self) -> bool {
        self.specs.is_empty() && self.unreadable.is_empty()
    }

    /// Whether any file has an error.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }
}
