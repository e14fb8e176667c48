//! A commit of a git repository, as people know it.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How much of a commit's id names it to people, in hexadecimal digits.
pub const SHORT: usize = 12;

/// The commit that a source was read at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Commit {
    /// Its whole id.
    pub id: String,
    /// Who wrote it: `Ada Lovelace <ada@example.com>`. None where files differ from it: whose change that is, nobody
    /// knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// When it was made.
    pub committed: jiff::Timestamp,
    /// The first line of its message.
    pub subject: String,
    /// The files that were read differ from it: a checkout with changes of its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub changed_since: bool,
}

impl Commit {
    /// The id as people write it.
    pub fn short(&self) -> &str {
        short(&self.id)
    }

    /// The same commit with changes that are in no commit.
    #[must_use]
    pub fn with_changes(self) -> Self {
        Self {
            author: None,
            changed_since: true,
            ..self
        }
    }

    /// What names the files that were read: `a1b2c3d4e5f6`, or `a1b2c3d4e5f6+uncommitted`.
    pub fn revision(&self) -> String {
        let changes = if self.changed_since {
            "+uncommitted"
        } else {
            ""
        };
        format!("{}{changes}", self.short())
    }
}

/// The beginning of a commit's id, as people write it.
pub fn short(id: &str) -> &str {
    id.get(..SHORT).unwrap_or(id)
}

impl fmt::Display for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "commit {}", self.revision())?;
        // Neither author nor subject are those of the changes.
        if self.changed_since {
            return Ok(());
        }
        if let Some(author) = &self.author {
            write!(f, " by {author}")?;
        }
        write!(f, ": {}", self.subject)
    }
}
