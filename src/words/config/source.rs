//! Where manifests come from: a directory, or a git repository.

use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::quantity::Span;

/// Where manifests come from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Source {
    /// A directory of `*.yaml`; `fleet.yaml` stands beside it.
    pub dir: PathBuf,
    /// A git repository, in place of a directory.
    pub git: Option<GitSource>,
}

impl Source {
    /// The directory where none is named.
    pub const DIR: &'static str = "instances.d";
}

impl Default for Source {
    fn default() -> Self {
        Self {
            dir: Self::DIR.into(),
            git: None,
        }
    }
}

/// A git repository that manifests are read from, one commit at a time. Without `branch`, `tag` or `commit`, its
/// default branch.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub struct GitSource {
    /// As `git fetch` takes it: `https://…`, `git@host:team/fleet.git`, a path.
    #[schemars(extend("examples" = ["https://git.example.com/team/fleet.git"]))]
    pub url: String,
    /// This branch.
    #[serde(default)]
    #[schemars(extend("examples" = ["main"]))]
    pub branch: Option<String>,
    /// This tag, wherever it moves.
    #[serde(default)]
    #[schemars(extend("examples" = ["v1.2"]))]
    pub tag: Option<String>,
    /// This commit and no other: its whole id.
    #[serde(default)]
    #[schemars(extend("examples" = ["0123456789abcdef0123456789abcdef01234567"]))]
    pub commit: Option<String>,
    /// The directory of manifests in it; `fleet.yaml` stands beside it.
    #[serde(default = "instances_d")]
    pub path: String,
    /// How often it is asked for news.
    #[serde(default = "minute")]
    pub interval: Span,
    /// Only commits with an SSH signature of an allowed signer are taken.
    #[serde(default)]
    pub verify_signatures: Option<Signers>,
    /// Where given, `POST /v1/sync` on `listen.admin` has it asked at once.
    #[serde(default)]
    pub webhook: Option<Webhook>,
}

/// Who may sign commits.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub struct Signers {
    /// A file as `ssh-keygen` reads it, under ALLOWED SIGNERS: `ada@example.com ssh-ed25519 AAAA…`.
    #[schemars(extend("examples" = ["/etc/instanced/allowed_signers"]))]
    pub allowed_signers: PathBuf,
}

/// What a webhook proves itself by.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub struct Webhook {
    /// A file that holds the secret that was given to the forge, too.
    #[schemars(extend("examples" = ["/etc/instanced/webhook.secret"]))]
    pub secret_file: PathBuf,
}

/// Which commits of a repository are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow<'c> {
    /// The newest of its default branch.
    Default,
    /// The newest of a branch.
    Branch(&'c str),
    /// The one that a tag names.
    Tag(&'c str),
    /// One alone.
    Commit(&'c str),
}

impl GitSource {
    /// The default branch of a repository, with every other key at its default.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            branch: None,
            tag: None,
            commit: None,
            path: instances_d(),
            interval: minute(),
            verify_signatures: None,
            webhook: None,
        }
    }

    /// Which commits are followed. The configuration's check lets no two be named.
    pub fn follow(&self) -> Follow<'_> {
        match (&self.commit, &self.tag, &self.branch) {
            (Some(commit), _, _) => Follow::Commit(commit),
            (None, Some(tag), _) => Follow::Tag(tag),
            (None, None, Some(branch)) => Follow::Branch(branch),
            (None, None, None) => Follow::Default,
        }
    }

    /// The address without what may be a password in it.
    pub fn shown_url(&self) -> String {
        let Some((scheme, rest)) = self.url.split_once("://") else {
            return self.url.clone();
        };
        let host_ends = rest.find('/').unwrap_or(rest.len());
        match rest[..host_ends].rfind('@') {
            Some(at) => format!("{scheme}://{}", &rest[at + 1..]),
            None => self.url.clone(),
        }
    }
}

impl fmt::Display for GitSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (url, path) = (self.shown_url(), &self.path);
        write!(f, "{path} in {url}, {}", self.follow())
    }
}

impl fmt::Display for Follow<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("its default branch"),
            Self::Branch(name) => write!(f, "branch {name}"),
            Self::Tag(name) => write!(f, "tag {name}"),
            Self::Commit(id) => write!(f, "commit {}", super::super::commit::short(id)),
        }
    }
}

fn instances_d() -> String {
    Source::DIR.to_owned()
}

fn minute() -> Span {
    Span::secs(60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_password_is_not_shown() {
        for (url, shown) in [
            (
                "https://ada:ghp_secret@git.example.com/f.git",
                "https://git.example.com/f.git",
            ),
            (
                "https://token@git.example.com/a@b.git",
                "https://git.example.com/a@b.git",
            ),
            (
                "https://git.example.com/a@b.git",
                "https://git.example.com/a@b.git",
            ),
            (
                "git@git.example.com:team/fleet.git",
                "git@git.example.com:team/fleet.git",
            ),
            ("/srv/fleet.git", "/srv/fleet.git"),
        ] {
            assert_eq!(GitSource::new(url).shown_url(), shown);
        }
    }
}
