//! What an operator said of an instance beside its manifest, and what the daemon froze. Kept in the store,
//! shown in status and in every plan until it is lifted.

use serde::{Deserialize, Serialize};

/// Everything that stands between an instance and its manifest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overrides {
    /// It shall stand still, until it is started or its manifest changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Stopped>,
    /// Nothing is done to it since then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended: Option<jiff::Timestamp>,
    /// It was replaced over and over, so it is left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen: Option<Frozen>,
    /// What was done before then no longer counts against it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed: Option<jiff::Timestamp>,
}

/// An operator's stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopped {
    /// Since when.
    pub since: jiff::Timestamp,
    /// The digest of the manifest as it was then.
    pub manifest: String,
}

/// What was seen to oscillate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frozen {
    /// Since when.
    pub since: jiff::Timestamp,
    /// The digest of the spec that was desired then.
    pub spec: String,
    /// The fields that would not stay as they were made.
    pub fields: Vec<String>,
}

impl Overrides {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What an operator asks for one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// The same container, down and up.
    Restart,
    /// A new generation of the same spec.
    Recreate,
    /// Stand still until told otherwise.
    Stop,
    /// Lifts a stop.
    Start,
    /// Do nothing to it.
    Suspend,
    /// Lifts a suspension, and thaws what is frozen.
    Resume,
}

impl Order {
    /// Its name in commands and paths.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Recreate => "recreate",
            Self::Stop => "stop",
            Self::Start => "start",
            Self::Suspend => "suspend",
            Self::Resume => "resume",
        }
    }
}
