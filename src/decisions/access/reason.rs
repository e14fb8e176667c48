//! Why a request does not pass: a closed list, for metrics and logs. Clients see no more than the status.

/// Why a request does not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The peer is none of `trusted_proxies`: a container that calls us itself.
    UntrustedPeer,
    /// Neither GET nor HEAD.
    WrongMethod,
    /// A path that is nothing here.
    NoSuchPath,
    /// No `X-Forwarded-Host`.
    NoHost,
    /// More than one `X-Forwarded-Host`.
    DuplicateHost,
    /// More than one `Authorization`.
    DuplicateAuthorization,
    /// A header that cannot be read.
    Malformed,
    /// It is not known yet, or not any more, who may pass.
    Unready,
    /// A client looks for an authorization server.
    WellKnown,
    /// No bearer token.
    NoCredentials,
    /// No such host, or no such name in the address.
    Unknown,
    /// No token of this instance.
    WrongToken,
    /// A token of this instance, too late.
    ExpiredToken,
    /// A token that was revoked, replaced, redeemed or swept within the last day.
    RetiredToken,
    /// A valid token, of a host that is not the one in the address.
    HostDisagrees,
    /// A valid token, for another endpoint of the instance.
    WrongEndpoint,
    /// A valid token, sent by a browser from a page of an origin that is not listed.
    UnlistedOrigin,
    /// Too many wrong tokens from this address.
    Limited,
}

impl Reason {
    /// All of them, in the order of the enum.
    pub const ALL: [Self; 18] = [
        Self::UntrustedPeer,
        Self::WrongMethod,
        Self::NoSuchPath,
        Self::NoHost,
        Self::DuplicateHost,
        Self::DuplicateAuthorization,
        Self::Malformed,
        Self::Unready,
        Self::WellKnown,
        Self::NoCredentials,
        Self::Unknown,
        Self::WrongToken,
        Self::ExpiredToken,
        Self::RetiredToken,
        Self::HostDisagrees,
        Self::WrongEndpoint,
        Self::UnlistedOrigin,
        Self::Limited,
    ];

    /// The HTTP status that tells it.
    pub fn status(self) -> u16 {
        match self {
            Self::NoHost | Self::DuplicateHost | Self::DuplicateAuthorization | Self::Malformed => {
                400
            }
            Self::NoCredentials
            | Self::Unknown
            | Self::WrongToken
            | Self::ExpiredToken
            | Self::RetiredToken => 401,
            Self::UntrustedPeer
            | Self::HostDisagrees
            | Self::WrongEndpoint
            | Self::UnlistedOrigin => 403,
            Self::NoSuchPath | Self::WellKnown => 404,
            Self::WrongMethod => 405,
            Self::Limited => 429,
            Self::Unready => 503,
        }
    }

    /// Its name in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UntrustedPeer => "untrusted_peer",
            Self::WrongMethod => "wrong_method",
            Self::NoSuchPath => "no_such_path",
            Self::NoHost => "no_host",
            Self::DuplicateHost => "duplicate_host",
            Self::DuplicateAuthorization => "duplicate_authorization",
            Self::Malformed => "malformed",
            Self::Unready => "unready",
            Self::WellKnown => "well_known",
            Self::NoCredentials => "no_credentials",
            Self::Unknown => "unknown",
            Self::WrongToken => "wrong_token",
            Self::ExpiredToken => "expired_token",
            Self::RetiredToken => "retired_token",
            Self::HostDisagrees => "host_disagrees",
            Self::WrongEndpoint => "wrong_endpoint",
            Self::UnlistedOrigin => "unlisted_origin",
            Self::Limited => "limited",
        }
    }

    /// Whether a token was presented that is not known: what a limiter of guesses counts. A token that was valid
    /// once is no guess: many clients of one host share an address, and one stale token must not block the others.
    pub fn is_guess(self) -> bool {
        matches!(self, Self::Unknown | Self::WrongToken)
    }
}
