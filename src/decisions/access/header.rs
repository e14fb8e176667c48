//! The headers of a question, read without trust: they come from whoever called the edge.

use super::Reason;

/// The longest host name, in bytes.
pub(super) const HOST_MAX: usize = 253;
/// The longest bearer that is looked at, in bytes: ours have 62, and someone's own may be longer.
pub(super) const BEARER_MAX: usize = 4096;

/// A header that may stand once in a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Header<'r> {
    /// Not there.
    #[default]
    Absent,
    /// There once.
    Once(&'r [u8]),
    /// There more than once: which one counts is anybody's guess, so none does.
    Repeated,
}

impl<'r> Header<'r> {
    /// Of all values that a request has for one name.
    pub fn of(values: impl IntoIterator<Item = &'r [u8]>) -> Self {
        let mut values = values.into_iter();
        match (values.next(), values.next()) {
            (None, _) => Self::Absent,
            (Some(value), None) => Self::Once(value),
            (Some(_), Some(_)) => Self::Repeated,
        }
    }

    pub(super) fn required(self, absent: Reason, repeated: Reason) -> Result<&'r [u8], Reason> {
        self.optional(repeated)?.ok_or(absent)
    }

    pub(super) fn optional(self, repeated: Reason) -> Result<Option<&'r [u8]>, Reason> {
        match self {
            Self::Absent => Ok(None),
            Self::Once(value) => Ok(Some(value)),
            Self::Repeated => Err(repeated),
        }
    }
}

/// The bearer token (RFC 6750, section 2.1). `None` where another scheme or nothing was presented.
pub(super) fn bearer(authorization: Header<'_>) -> Result<Option<&[u8]>, Reason> {
    let Some(value) = authorization.optional(Reason::DuplicateAuthorization)? else {
        return Ok(None);
    };
    let end = value.iter().position(|b| *b == b' ').unwrap_or(value.len());
    let (scheme, rest) = value.split_at(end);
    if scheme.is_empty()
        || !scheme
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || *b == b'-')
    {
        return Err(Reason::Malformed);
    }
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Ok(None);
    }
    let token = rest.trim_ascii();
    if token.is_empty() || token.len() > BEARER_MAX || !all_of(token, &OF_TOKENS) {
        return Err(Reason::Malformed);
    }
    Ok(Some(token))
}

/// Which bytes may stand in a token; and in a host, with its port's colon and an address's brackets. Tables, as every
/// byte of every question is looked at.
static OF_TOKENS: [bool; 256] = alphanumeric_and(b"-._~+/=");
static OF_HOSTS: [bool; 256] = alphanumeric_and(b"-._:[]");

const fn alphanumeric_and(more: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte <= u8::MAX as usize {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "it is no more than a byte's most"
        )]
        let is_alphanumeric = (byte as u8).is_ascii_alphanumeric();
        table[byte] = is_alphanumeric;
        byte += 1;
    }
    let mut place = 0;
    while place < more.len() {
        table[more[place] as usize] = true;
        place += 1;
    }
    table
}

/// Without an end before the last byte, so that no branch is guessed wrong.
fn all_of(bytes: &[u8], table: &[bool; 256]) -> bool {
    bytes
        .iter()
        .fold(true, |all, byte| all & table[usize::from(*byte)])
}

/// A forwarded host in lower case, without its port and one trailing dot. Whether any such host can
/// exist is left to the look-up; what no host can look like is malformed.
pub(super) fn host<'b>(value: &[u8], buffer: &'b mut [u8; HOST_MAX]) -> Result<&'b str, Reason> {
    let name = match value.iter().rposition(|b| *b == b':') {
        Some(colon) => {
            let port = &value[colon + 1..];
            if port.len() > 5 || !port.iter().all(u8::is_ascii_digit) {
                return Err(Reason::Malformed);
            }
            &value[..colon]
        }
        None => value,
    };
    let name = name.strip_suffix(b".").unwrap_or(name);
    if name.is_empty() || name.len() > HOST_MAX || !all_of(name, &OF_HOSTS) {
        return Err(Reason::Malformed);
    }
    let lower = &mut buffer[..name.len()];
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    std::str::from_utf8(lower).map_err(|_| Reason::Malformed)
}

/// The value of one cookie. A client may send its cookies in one header or in several (RFC 9113, section 8.2.3).
pub fn cookie<'r>(values: impl IntoIterator<Item = &'r [u8]>, name: &str) -> Header<'r> {
    let of_name = |pair: &'r [u8]| {
        pair.strip_prefix(name.as_bytes())
            .and_then(|rest| rest.strip_prefix(b"="))
    };
    Header::of(values.into_iter().flat_map(pairs).filter_map(of_name))
}

/// All cookies but one, as one header has them; nothing, where there is no other.
pub fn other_cookies<'r>(
    values: impl IntoIterator<Item = &'r [u8]>,
    name: &str,
) -> Option<Vec<u8>> {
    let is_other = |pair: &&[u8]| {
        let end = pair.iter().position(|b| *b == b'=').unwrap_or(pair.len());
        pair[..end].trim_ascii() != name.as_bytes()
    };
    let others: Vec<&[u8]> = values
        .into_iter()
        .flat_map(pairs)
        .filter(is_other)
        .collect();
    (!others.is_empty()).then(|| others.join(&b"; "[..]))
}

fn pairs(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|b| *b == b';')
        .map(<[u8]>::trim_ascii)
        .filter(|pair| !pair.is_empty())
}
