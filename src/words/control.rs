//! The words of the control API: what is asked over the socket, and how a refusal is told.
//!
//! The daemon's server and every client of it share these, so that neither can misread the other.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::name::{EndpointName, InstanceName};
use super::quantity::Span;
use super::token::TokenRecord;

/// The control socket's name within the state directory.
pub const SOCKET: &str = "control.sock";
/// The media type of a [`Problem`] (RFC 9457).
pub const PROBLEM_TYPE: &str = "application/problem+json";

/// What a label looks like, for those who write one.
const LABEL: &str = r"^[^\s\x00-\x1f\x7f-\x9f]([^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f])?$";

/// Asks for a new token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IssueToken {
    /// Whose endpoints it shall open.
    pub instance: InstanceName,
    /// What it is for.
    #[schemars(length(min = 1, max = 100), regex(pattern = LABEL))]
    pub label: String,
    /// From when on it is no longer valid; never, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<jiff::Timestamp>,
    /// The endpoints it shall open; all bearer endpoints of the instance when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<EndpointName>,
}

/// How long a token goes on by default once another replaces it: a day.
pub const OVERLAP: Span = Span::secs(24 * 60 * 60);

/// Asks for a token in place of another.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateToken {
    /// For how long the old one goes on; [`OVERLAP`] when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<Span>,
    /// From when on the new one is no longer valid; when absent, it lives as long as the old one was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<jiff::Timestamp>,
}

/// Asks for a ticket: it opens, once, a session in a browser.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AskTicket {
    /// The endpoint that the session shall open.
    pub endpoint: EndpointName,
    /// Whom or what it is for; several may say the same.
    #[schemars(length(min = 1, max = 100), regex(pattern = LABEL))]
    pub label: String,
    /// Within which time it must be redeemed; 10 minutes when absent, a day at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lasts: Option<Span>,
    /// How long the session lasts; 12 hours when absent, 30 days at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Span>,
}

/// What an instance's VNC server asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct VncPasswords {
    /// Of whoever may do everything.
    pub password: Option<String>,
    /// Of whoever may look.
    pub view_password: Option<String>,
}

/// Asks for a round.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AskReconcile {
    /// These instances alone; all of them when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<InstanceName>,
    /// The id of a blocked prune that a person has confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_prune: Option<String>,
    /// A saved plan: it is performed, or nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Value>,
    /// How long to wait for steps that take long, such as `30s`; until all of them have ended when absent. Those that go on
    /// are `running` in the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Span>,
    /// What config and source the asker was given, so that a daemon with others can refuse.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
}

/// What a new token's answer holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IssuedToken {
    /// What is kept of it.
    pub record: TokenRecord,
    /// Its plain text, which nobody tells again.
    pub token: String,
    /// What is kept of the one that it replaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<TokenRecord>,
}

/// Which token was revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RevokedToken {
    /// Its id.
    pub id: String,
}

/// Whether the daemon is well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DaemonHealth {
    /// It answers.
    pub live: bool,
    /// Its last round could see what is desired and what there is.
    pub ready: bool,
    /// It is known who may pass to instances.
    pub auth: bool,
    /// Why it is not ready.
    pub reason: Option<String>,
    /// The revision that is desired.
    pub revision: String,
    /// The daemon's process.
    pub pid: u32,
    /// The program's version.
    pub version: String,
    /// Names its configuration and source.
    pub fingerprint: String,
    /// Whether its rounds complete.
    #[serde(default)]
    pub rounds: RoundHealth,
}

/// Whether rounds complete.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RoundHealth {
    /// When the last one did; nothing before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed: Option<jiff::Timestamp>,
    /// Since when none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<jiff::Timestamp>,
    /// What stops them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

/// That the daemon lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Live {
    /// It answers.
    pub live: bool,
}

/// That the daemon is ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ready {
    /// Its last round could see what is desired and what there is.
    pub ready: bool,
}

/// Why something was not done (RFC 9457). It holds no secret: it is printed and logged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// Which problem, for programs: `urn:instanced:problem:<kind>`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Which problem, for people; the same for every problem of one kind.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What went wrong this time.
    pub detail: String,
    /// The way out, where one can be named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl Problem {
    fn new(status: u16, kind: &str, title: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:instanced:problem:{kind}"),
            title: title.to_owned(),
            status,
            detail: detail.into(),
            help: None,
        }
    }

    /// 400: the request itself is wrong.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(400, "invalid-request", "The request is invalid", detail)
    }

    /// 401: the asker has not shown who it is.
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(401, "unauthorized", "Who asks is not known", detail)
    }

    /// 403: the asker may not.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(403, "forbidden", "This is not allowed", detail)
    }

    /// 404: what was asked for is not there.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(404, "not-found", "There is no such thing", detail)
    }

    /// 405: this path knows other methods.
    pub fn method(detail: impl Into<String>) -> Self {
        Self::new(
            405,
            "method-not-allowed",
            "The path has no such method",
            detail,
        )
    }

    /// 408: the request did not arrive in time.
    pub fn too_slow(detail: impl Into<String>) -> Self {
        Self::new(408, "too-slow", "The request took too long", detail)
    }

    /// 409: it does not fit what is there now.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(409, "conflict", "This conflicts with what is there", detail)
    }

    /// 413: the body is too large.
    pub fn too_large(detail: impl Into<String>) -> Self {
        Self::new(413, "too-large", "The request is too large", detail)
    }

    /// 415: the body is no JSON.
    pub fn media_type(detail: impl Into<String>) -> Self {
        Self::new(415, "media-type", "The body must be JSON", detail)
    }

    /// 422: it can be read, and cannot be meant.
    pub fn refused(detail: impl Into<String>) -> Self {
        Self::new(
            422,
            "refused",
            "The request cannot be done as it is",
            detail,
        )
    }

    /// 500: it failed for a reason of the daemon's own.
    pub fn internal(detail: impl Into<String>) -> Self {
        Self::new(500, "internal", "The daemon failed", detail)
    }

    /// 421: another host is meant.
    pub fn misdirected(detail: impl Into<String>) -> Self {
        Self::new(421, "misdirected", "Misdirected Request", detail)
    }

    /// 503: not now.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(503, "unavailable", "This cannot be done now", detail)
    }

    /// With a way out.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_written_as_rfc_9457_says() {
        let problem = Problem::not_found("no instance `ghost`").with_help("see `status`");
        assert_eq!(
            serde_json::to_value(&problem).unwrap(),
            serde_json::json!({
                "type": "urn:instanced:problem:not-found",
                "title": "There is no such thing",
                "status": 404,
                "detail": "no instance `ghost`",
                "help": "see `status`",
            })
        );
    }

    #[test]
    fn an_unknown_key_in_a_request_is_refused() {
        assert!(serde_json::from_str::<AskReconcile>("{}").is_ok());
        assert!(serde_json::from_str::<AskReconcile>(r#"{"nmes": []}"#).is_err());
    }
}
