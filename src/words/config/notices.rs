//! Who is told when something needs a person.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::quantity::Span;

/// Who is told when something needs a person: docs/notifications.md.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Notify {
    /// How long something must last that may pass by itself.
    pub after: Span,
    /// How often it is told again while it lasts.
    pub remind: Span,
    /// Who is told.
    pub webhooks: Vec<Receiver>,
}

impl Default for Notify {
    fn default() -> Self {
        Self {
            after: Span::secs(300),
            remind: Span::secs(24 * 3_600),
            webhooks: Vec::new(),
        }
    }
}

/// One who is told, by a signed POST.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub struct Receiver {
    /// `https://…` or `http://…`.
    #[schemars(extend("examples" = ["https://hooks.example.com/instanced"]))]
    pub url: String,
    /// A file that holds the secret to sign with: `whsec_` and 24 to 64 bytes in base64. A second line may hold the
    /// one before, while it is being changed.
    #[schemars(extend("examples" = ["/etc/instanced/notify.secret"]))]
    pub secret_file: PathBuf,
    /// Who signs for the receiver, as certificates in PEM, in place of those whom this host trusts.
    #[serde(default)]
    #[schemars(extend("examples" = ["/etc/instanced/hooks-ca.pem"]))]
    pub ca_file: Option<PathBuf>,
}
