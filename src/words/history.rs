//! What was ever done to an instance, for people: with the reason, and the commit that asked for it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::act::Cause;
use super::commit::Commit;

/// One thing that was done to an instance, or said of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Entry {
    /// When it was begun.
    pub at: jiff::Timestamp,
    /// What: an action of a plan (`create`, `replace` …), or an operator's word (`suspend`, `resume`).
    pub action: String,
    /// Who or what was behind it.
    pub cause: Cause,
    /// Why, in words.
    pub reason: String,
    /// The generation that it made or was done to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// The fields that were its reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
    /// The revision that was desired.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub revision: String,
    /// Its commit, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<Commit>,
    /// What came of it.
    #[serde(flatten)]
    pub result: EntryResult,
    /// How long it took, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub millis: Option<u64>,
}

/// What came of something that was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum EntryResult {
    /// It was done.
    Done,
    /// It failed.
    Failed {
        /// Why, in words.
        failure: String,
    },
    /// It goes on; or the daemon ended before it did.
    Unknown,
}
