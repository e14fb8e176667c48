//! What was done to an instance, as the store keeps it: from these, planning knows what was tried lately
//! and did not last.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One action that was begun on an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    /// When it was begun.
    pub at: jiff::Timestamp,
    /// What was done.
    pub deed: Deed,
    /// Why.
    pub cause: Cause,
    /// Which generation it was about, or made.
    pub generation: u64,
    /// The digest of the spec that was desired.
    pub spec: String,
    /// The fields that were its reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
    /// The revision that was desired.
    pub revision: String,
    /// Whether the instance served its clients when it was begun; nothing in older records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served: Option<bool>,
    /// What came of it; `None` while it goes on, and for ever where a crash came between.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<bool>,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deed {
    /// A first generation was made.
    Create,
    /// A generation that stood was started.
    Start,
    /// Stopped.
    Stop,
    /// Limits were changed in place.
    Update,
    /// The same container went down and came up.
    Restart,
    /// A new generation took over.
    Replace,
    /// Generations were removed.
    Remove,
}

impl Deed {
    /// As plans, logs and metrics name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Update => "update",
            Self::Restart => "restart",
            Self::Replace => "replace",
            Self::Remove => "remove",
        }
    }
}

/// Why something was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// What is desired changed.
    Desired,
    /// The image's reference led to another image.
    Image,
    /// Something from outside: a hand, a crash.
    Outside,
    /// It was not well.
    Health,
    /// An operator asked.
    Operator,
}
