//! Endpoints that people open in a browser: a link with a one-time ticket, then a cookie.
//!
//! `docs/tickets.md` is the contract. A ticket is used up by a navigation of a browser's and by nothing else: not
//! by a chat program that looks what is behind a link, nor by a browser that fetches ahead.

use super::header::{self, Header};
use super::table::{AccessTable, Reach, reach};
use super::{AccessPolicy, Pass, Reason, Verdict};
use crate::words::manifest::Auth;
use crate::words::token::TokenHash;

/// The session's cookie. By its prefix browsers take it from this host alone, over TLS, for every path: no
/// neighbour under the same domain can plant one.
pub const SESSION_COOKIE: &str = "__Host-instanced";
/// The ticket's parameter in a link.
const TICKET: &[u8] = b"ticket=";

/// What a browser says of its request, beside what every client does.
#[derive(Debug, Clone, Copy, Default)]
pub struct Visitor<'r> {
    /// The value of [`SESSION_COOKIE`].
    pub session: Header<'r>,
    /// `X-Forwarded-Method`: how the client asked.
    pub method: Header<'r>,
    /// `X-Forwarded-Proto`.
    pub scheme: Header<'r>,
    /// `Sec-Fetch-Dest`: what the browser wants it for.
    pub destination: Header<'r>,
    /// `Sec-Purpose`: whether anybody wants it yet.
    pub purpose: Header<'r>,
}

impl Visitor<'_> {
    /// Whether a person opens a link: a browser's own navigation, and no look ahead.
    fn opens_a_link(&self) -> bool {
        self.method == Header::Once(b"GET")
            && self.destination == Header::Once(b"document")
            && self.purpose == Header::Absent
    }

    /// Whether the request can come again at another address without losing a body.
    fn reads(&self) -> bool {
        matches!(self.method, Header::Once(b"GET" | b"HEAD"))
    }
}

/// Whether a link holds a ticket anywhere, of whatever length: none of them may reach a container.
fn has_ticket(uri: &[u8]) -> bool {
    let Some(question) = uri.iter().position(|b| *b == b'?') else {
        return false;
    };
    let mut pairs = uri[question + 1..].split(|b| *b == b'&');
    pairs.any(|pair| pair.starts_with(TICKET))
}

/// A question about an endpoint that is guarded by tickets.
pub(super) struct Asked<'t, 'r> {
    pub(super) policy: &'r AccessPolicy,
    pub(super) table: &'t AccessTable,
    pub(super) place: usize,
    /// As it was forwarded, with its port.
    pub(super) host: &'r [u8],
    pub(super) uri: Option<&'r [u8]>,
    pub(super) origin: Option<&'r [u8]>,
}

impl<'t> Asked<'t, '_> {
    pub(super) fn judge(
        &self,
        visitor: &Visitor<'_>,
        now: jiff::Timestamp,
    ) -> Result<Verdict<'t>, Reason> {
        let subject = &self.table.subjects[self.place];
        let pass = |token| Pass {
            instance: &subject.instance,
            subject: self.place,
            token,
            auth: Auth::Ticket,
        };
        let (session, unknown) = match visitor.session {
            Header::Absent => (None, Reason::WrongToken),
            Header::Once(value) => {
                let hash = TokenHash::of(value);
                let reached = reach(&subject.keys, &hash, now);
                (Some(reached), self.table.refused(&hash, Reason::WrongToken))
            }
            // Which one counts is anybody's guess.
            Header::Repeated => (Some(Reach::Nowhere), Reason::WrongToken),
        };
        let ticket = self.uri.and_then(ticket_in);
        if let Some(ticket) = ticket.filter(|_| visitor.opens_a_link()) {
            let hash = TokenHash::of(ticket);
            let reached = reach(&subject.tickets, &hash, now);
            return match (reached, session) {
                (Reach::Through(token), _) => Ok(Verdict::Redeem(pass(token))),
                (_, Some(Reach::Through(token))) => Ok(Verdict::Redirect(pass(token))),
                (Reach::Expired, _) => Err(Reason::ExpiredToken),
                _ => Err(self.table.refused(&hash, Reason::WrongToken)),
            };
        }
        match session {
            None => Err(Reason::NoCredentials),
            Some(Reach::Through(token)) if self.is_at_home(visitor) => {
                if !self.uri.is_some_and(has_ticket) {
                    Ok(Verdict::Allow(pass(token)))
                } else if visitor.reads() {
                    // A reader of the container's log could redeem it.
                    Ok(Verdict::Redirect(pass(token)))
                } else {
                    Err(Reason::Malformed)
                }
            }
            Some(Reach::Through(_)) => Err(Reason::UnlistedOrigin),
            Some(Reach::Expired) => Err(Reason::ExpiredToken),
            Some(_) => Err(unknown),
        }
    }

    /// Whether the page that asks is the endpoint's own, or one that is listed. Browsers send the cookie along
    /// with what a neighbour's page asks for, and they open web sockets for anybody: this is what stops both.
    fn is_at_home(&self, visitor: &Visitor<'_>) -> bool {
        let Some(origin) = self.origin else {
            return true;
        };
        let scheme: &[u8] = match visitor.scheme {
            Header::Once(b"https" | b"wss") => b"https://",
            Header::Once(b"http" | b"ws") => b"http://",
            _ => return false,
        };
        let own = origin
            .strip_prefix(scheme)
            .is_some_and(|authority| authority.eq_ignore_ascii_case(self.host));
        own || self.policy.lists(origin)
    }
}

/// The ticket of a link: the value of its first parameter of that name.
fn ticket_in(uri: &[u8]) -> Option<&[u8]> {
    let question = uri.iter().position(|b| *b == b'?')?;
    uri[question + 1..]
        .split(|b| *b == b'&')
        .find_map(|pair| pair.strip_prefix(TICKET))
        .filter(|ticket| !ticket.is_empty() && ticket.len() <= header::BEARER_MAX)
}

/// The path and query of a link without its ticket: where the browser goes next, on the same host, whatever
/// the link says. `None` for what no link looks like.
pub fn without_ticket(uri: &[u8]) -> Option<String> {
    let uri = std::str::from_utf8(uri).ok()?;
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    // `//host` and `/\host` would be somebody else's.
    let mut target = format!("/{}", path.trim_start_matches(['/', '\\']));
    let rest = query
        .split('&')
        .filter(|pair| !pair.is_empty() && !pair.as_bytes().starts_with(TICKET));
    for (place, pair) in rest.enumerate() {
        target.push(if place == 0 { '?' } else { '&' });
        target.push_str(pair);
    }
    target
        .bytes()
        .all(|b| b.is_ascii_graphic())
        .then_some(target)
}

#[cfg(test)]
mod tests;
