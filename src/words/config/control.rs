//! Who may use the control API.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::words::token::TokenHash;

/// Who may use the control API, beside root and the daemon's own user on its socket.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Control {
    /// A group of this host whose members may use the control socket, for everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = ["operators"]))]
    pub group: Option<String>,
    /// Admin tokens, by their hashes: with one of them the API answers on `listen.admin`.
    pub tokens: Vec<AdminToken>,
}

/// A token for the control API on `listen.admin`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub struct AdminToken {
    /// Whose it is, or what for.
    #[schemars(extend("examples" = ["prometheus"]))]
    pub label: String,
    /// `blake3:` and 64 hexadecimal digits; `instanced token hash` makes it.
    pub hash: TokenHash,
    /// `read`, or `full`: also what changes something, and what shows a secret.
    #[serde(default)]
    pub access: Access,
    /// The first day on which it is no longer valid (UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("examples" = ["2027-01-01"]))]
    pub expires: Option<jiff::civil::Date>,
}

/// What an admin token is good for.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// To look: status, logs, events, plans, figures.
    #[default]
    Read,
    /// For everything.
    Full,
}
