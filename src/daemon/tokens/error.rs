//! What can go wrong with tokens, each with the way out where there is one.

use crate::doors::store::StoreError;
use crate::words::name::InstanceName;
use crate::words::quantity::Span;

use super::LABEL_MAX;

/// Why a token was not issued, rotated, redeemed, listed or revoked.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// The label says nothing, or cannot be shown.
    #[error("a token's label is 1 to {LABEL_MAX} characters without control characters, not {0:?}")]
    Label(String),
    /// A token that still opens something has this label.
    #[error(
        "{instance} has a token labelled {label:?} (id {id}); rotate or revoke it, or choose another label"
    )]
    LabelTaken {
        /// Whose token it is.
        instance: InstanceName,
        /// Its label.
        label: String,
        /// Its id.
        id: String,
    },
    /// It would never be valid.
    #[error("a token that expires at {0} has expired already")]
    Past(jiff::Timestamp),
    /// It would be valid for longer than is good, or for no time.
    #[error("a {what} lasts for 1s to {most}, not for {asked}")]
    Lasting {
        /// A ticket, or a session.
        what: &'static str,
        /// The longest time.
        most: Span,
        /// What was asked for.
        asked: Span,
    },
    /// No such token.
    #[error("there is no token with the id {0:?}")]
    Unknown(String),
    /// Tickets and sessions are not rotated.
    #[error(
        "{id} is no bearer token but a browser's ticket or session, which is not rotated; revoke it"
    )]
    NotBearer {
        /// Its id.
        id: String,
    },
    /// It opens nothing any more, so nobody needs time to change over.
    #[error("token {id} expired at {expired}, so there is nothing to rotate; issue a new one")]
    Expired {
        /// Its id.
        id: String,
        /// Since when.
        expired: jiff::Timestamp,
    },
    /// It was rotated before.
    #[error(
        "token {id} was replaced by {successor} already; rotate that one, or issue one with another label"
    )]
    Replaced {
        /// Its id.
        id: String,
        /// The id of the token that replaced it.
        successor: String,
    },
    /// The ticket is none, or none any more.
    #[error(
        "{0} is no ticket that can be redeemed: it was redeemed before, is over, or was revoked; make a new one"
    )]
    Spent(String),
    /// The system gave no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
}
