//! Who may ask the control API for what on `listen.admin`. On its socket the kernel says who may.

use std::net::{IpAddr, SocketAddr};

use crate::words::config::{Access, AdminToken};
use crate::words::token::TokenHash;

use super::access::Header;

/// What a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Needs {
    /// Nothing: whether the daemon lives says nothing of the fleet.
    Nothing,
    /// Nothing where only this host's own processes can ask, else a token.
    Near,
    /// A token.
    Read,
    /// A token with full access.
    Full,
}

/// Why a request is not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No token.
    #[error("this needs an admin token: `Authorization: Bearer TOKEN`")]
    NoToken,
    /// A token that is none of ours, or no longer.
    #[error("no admin token has this hash, or it has expired")]
    WrongToken,
    /// It may only look.
    #[error("this admin token has `access: read`, and this needs `access: full`")]
    ReadOnly,
}

/// Whether a request is admitted. `near` says that only processes of this host can ask.
///
/// # Errors
/// Why it is not.
pub fn admit(
    tokens: &[AdminToken],
    needs: Needs,
    near: bool,
    authorization: Header<'_>,
    today: jiff::civil::Date,
) -> Result<(), Denied> {
    if needs == Needs::Nothing || needs == Needs::Near && near {
        return Ok(());
    }
    let presented = match authorization {
        Header::Absent => return Err(Denied::NoToken),
        Header::Once(value) => bearer(value).ok_or(Denied::NoToken)?,
        Header::Repeated => return Err(Denied::WrongToken),
    };
    let hash = TokenHash::of(presented);
    let live = |token: &&AdminToken| token.expires.is_none_or(|day| today < day);
    // All of them are compared, so that the time does not tell which.
    let access = tokens
        .iter()
        .filter(live)
        .filter(|token| token.hash.matches(&hash))
        .map(|token| token.access)
        .max();
    match access {
        None => Err(Denied::WrongToken),
        Some(Access::Read) if needs == Needs::Full => Err(Denied::ReadOnly),
        Some(_) => Ok(()),
    }
}

/// Whether a `Host` is one of this listener's: an IP address, `localhost`, or a name that is `listed`. A page of a
/// name that is pointed at this host can ask, too (DNS rebinding), and is refused by it.
pub fn is_own_host(host: Header<'_>, listed: &[String]) -> bool {
    let host = match host {
        // No browser leaves it out.
        Header::Absent => return true,
        Header::Once(host) => host,
        Header::Repeated => return false,
    };
    let Ok(host) = std::str::from_utf8(host) else {
        return false;
    };
    if host.parse::<IpAddr>().is_ok() || host.parse::<SocketAddr>().is_ok() {
        return true;
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let bracketed = name.strip_prefix('[').and_then(|n| n.strip_suffix(']'));
    if bracketed.is_some_and(|address| address.parse::<IpAddr>().is_ok()) {
        return true;
    }
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name == "localhost"
        || name.ends_with(".localhost")
        || listed.iter().any(|known| known.eq_ignore_ascii_case(&name))
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(b"bearer ".len())?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer ") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str, access: Access, expires: Option<&str>) -> AdminToken {
        AdminToken {
            label: text.to_owned(),
            hash: TokenHash::of(text.as_bytes()),
            access,
            expires: expires.map(|day| day.parse().unwrap()),
        }
    }

    #[test]
    fn a_name_that_was_pointed_here_is_none_of_ours() {
        let listed = ["metrics.internal".to_owned()];
        for (host, is_own) in [
            ("127.0.0.1:9181", true),
            ("127.0.0.1", true),
            ("[::1]:9181", true),
            ("[::1]", true),
            ("10.0.0.7:9181", true),
            ("localhost", true),
            ("LOCALHOST:9181", true),
            ("localhost.:9181", true),
            ("instanced.localhost", true),
            ("Metrics.Internal:9181", true),
            ("evil.example", false),
            ("evil.example:9181", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example:9181", false),
            ("xmetrics.internal", false),
            ("", false),
            (":9181", false),
        ] {
            let header = Header::Once(host.as_bytes());
            assert_eq!(is_own_host(header, &listed), is_own, "{host:?}");
        }
        assert!(is_own_host(Header::Absent, &[]));
        assert!(!is_own_host(Header::Repeated, &[]));
    }

    #[test]
    fn a_token_admits_as_far_as_it_goes() {
        let tokens = [
            token("looks", Access::Read, None),
            token("does", Access::Full, None),
            token("did", Access::Full, Some("2026-11-27")),
        ];
        let asked = |needs, near, authorization: &str| {
            let header = match authorization {
                "" => Header::Absent,
                value => Header::Once(value.as_bytes()),
            };
            admit(&tokens, needs, near, header, "2026-11-27".parse().unwrap())
        };
        for (needs, near, authorization, expected) in [
            (Needs::Nothing, false, "", Ok(())),
            (Needs::Near, true, "", Ok(())),
            (Needs::Near, false, "", Err(Denied::NoToken)),
            (Needs::Near, false, "Bearer looks", Ok(())),
            (Needs::Read, true, "", Err(Denied::NoToken)),
            (Needs::Read, true, "Bearer ", Err(Denied::NoToken)),
            (Needs::Read, true, "Basic bG9va3M6", Err(Denied::NoToken)),
            (Needs::Read, true, "Bearer other", Err(Denied::WrongToken)),
            (Needs::Read, true, "bearer looks", Ok(())),
            (Needs::Full, true, "Bearer looks", Err(Denied::ReadOnly)),
            (Needs::Full, true, "Bearer does", Ok(())),
            // From its day on it is over.
            (Needs::Full, true, "Bearer did", Err(Denied::WrongToken)),
        ] {
            assert_eq!(
                asked(needs, near, authorization),
                expected,
                "{authorization}"
            );
        }
        let twice = admit(
            &tokens,
            Needs::Read,
            true,
            Header::Repeated,
            jiff::civil::date(2026, 1, 1),
        );
        assert_eq!(twice, Err(Denied::WrongToken));
    }
}
