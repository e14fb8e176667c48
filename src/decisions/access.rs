//! Who may pass: the verdict on one request that Traefik asks about (`FORWARD_AUTH.md`).
//!
//! Pure, and written for the hot path: a verdict costs one BLAKE3 hash, a look-up or two, and allocates
//! nothing. When in doubt it denies.
//!
//! In this order: what the request itself shows to be wrong, then the token, and only for the bearer of a
//! good one the reason why it does not pass here. Whoever has none learns nothing about the fleet: an
//! unknown host, a wrong token and another instance's token give the same answer after the same work.
//!
//! What is pure and what is not: the table says who may pass, the verdict names subjects and tokens by their
//! place in it, and whoever asked counts, notes and answers.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::words::manifest::Auth;
use crate::words::name::InstanceName;
pub use crate::words::route::CHECK_PATH;
use crate::words::token::TokenHash;

pub mod client;
mod header;
mod person;
mod reason;
mod table;

pub use header::{Header, cookie, other_cookies};
pub use person::{SESSION_COOKIE, Visitor, without_ticket};
pub use reason::Reason;
pub use table::{AccessTable, Guard};
use table::{Reach, reach};

/// What asks for an authorization server, of which there is none.
const WELL_KNOWN: &[u8] = b"/.well-known/oauth-";

/// What holds for every request, whatever the fleet.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AccessPolicy {
    trusted_proxies: Vec<IpNet>,
    origins: Vec<String>,
}

impl AccessPolicy {
    /// Who may ask, and which browser origins may call.
    pub fn new(trusted_proxies: &[IpNet], origins: &[String]) -> Self {
        let origins = origins
            .iter()
            .map(|o| o.trim_end_matches('/').to_ascii_lowercase())
            .collect();
        Self {
            trusted_proxies: trusted_proxies.to_vec(),
            origins,
        }
    }

    /// Whether a peer may ask for verdicts at all.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.trusted_proxies.iter().any(|net| net.contains(&peer))
    }

    fn lists(&self, origin: &[u8]) -> bool {
        self.origins
            .iter()
            .any(|listed| listed.as_bytes().eq_ignore_ascii_case(origin))
    }
}

/// One question of Traefik's.
#[derive(Clone, Copy)]
pub struct AuthRequest<'r> {
    /// Who asks.
    pub peer: IpAddr,
    /// How.
    pub method: &'r str,
    /// The path of the address, without a query.
    pub path: &'r str,
    /// `Authorization`.
    pub authorization: Header<'r>,
    /// `X-Forwarded-Host`.
    pub forwarded_host: Header<'r>,
    /// `X-Forwarded-Uri`.
    pub forwarded_uri: Header<'r>,
    /// `Origin`.
    pub origin: Header<'r>,
    /// What is read only where a ticket may open: most questions never need it.
    pub visitor: &'r dyn Fn() -> Visitor<'r>,
}

/// The answer to a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict<'t> {
    /// 204: the request goes on to this instance.
    Allow(Pass<'t>),
    /// 303: the ticket in this link becomes a session, and the browser comes again without it.
    Redeem(Pass<'t>),
    /// 303: the browser has a session already, and comes again without the ticket.
    Redirect(Pass<'t>),
    /// It does not go on. A challenge (401) where another token might help, else a denial; the reason has the status.
    Refuse(Refusal),
}

/// Who passes, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pass<'t> {
    /// Whose endpoint it is.
    pub instance: &'t InstanceName,
    /// Its place among the guards that the table was made from.
    pub subject: usize,
    /// The token's place among those that the table was made from; none for a manifest's grant.
    pub token: Option<usize>,
    /// How the endpoint is guarded.
    pub auth: Auth,
}

/// Who does not pass, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// Why not.
    pub reason: Reason,
    /// Which endpoint it was about, where that is known.
    pub subject: Option<usize>,
    /// Whether a person in a browser reads the answer.
    pub to_person: bool,
}

impl Verdict<'_> {
    /// Why not; `None` when allowed.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Refuse(refusal) => Some(refusal.reason),
            Self::Allow(_) | Self::Redeem(_) | Self::Redirect(_) => None,
        }
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self {
            reason,
            subject: None,
            to_person: false,
        }
    }
}

/// The verdict on a request at the time `now`. `table` is `None` as long as it is not known who may pass.
pub fn decide<'t>(
    policy: &AccessPolicy,
    table: Option<&'t AccessTable>,
    request: &AuthRequest<'_>,
    now: jiff::Timestamp,
) -> Verdict<'t> {
    judge(policy, table, request, now).unwrap_or_else(Verdict::Refuse)
}

fn judge<'t>(
    policy: &AccessPolicy,
    table: Option<&'t AccessTable>,
    request: &AuthRequest<'_>,
    now: jiff::Timestamp,
) -> Result<Verdict<'t>, Refusal> {
    if !policy.trusts(request.peer) {
        return Err(Reason::UntrustedPeer.into());
    }
    if !matches!(request.method, "GET" | "HEAD") {
        return Err(Reason::WrongMethod.into());
    }
    let label = address_label(request.path)?;
    let forwarded_host = request
        .forwarded_host
        .required(Reason::NoHost, Reason::DuplicateHost)?;
    let token = header::bearer(request.authorization)?;
    let origin = request.origin.optional(Reason::Malformed)?;
    let uri = request.forwarded_uri.optional(Reason::Malformed)?;
    if uri.is_some_and(|uri| uri.starts_with(WELL_KNOWN)) {
        return Err(Reason::WellKnown.into());
    }
    let mut buffer = [0; header::HOST_MAX];
    let host = header::host(forwarded_host, &mut buffer)?;
    let table = table.ok_or(Reason::Unready)?;

    let by_host = table.by_host.get(host).copied().flatten();
    let by_label = match label {
        Some(label) => table.by_label.get(label).copied().flatten(),
        None => by_host,
    };
    let refuse = |reason: Reason| Refusal {
        subject: by_label.or(by_host),
        ..reason.into()
    };
    if let (Some(place), true) = (by_host, by_host == by_label)
        && table.subjects[place].auth == Auth::Ticket
    {
        let asked = person::Asked {
            policy,
            table,
            place,
            host: forwarded_host,
            uri,
            origin,
        };
        return asked
            .judge(&(request.visitor)(), now)
            .map_err(|reason| Refusal {
                to_person: true,
                ..refuse(reason)
            });
    }
    let token = token.ok_or(refuse(Reason::NoCredentials))?;
    let hash = TokenHash::of(token);
    let (Some(by_host), Some(by_label)) = (by_host, by_label) else {
        reach(&[], &hash, now);
        return Err(refuse(table.refused(&hash, Reason::Unknown)));
    };
    let subject = &table.subjects[by_label];
    let mut reached = reach(&subject.keys, &hash, now);
    if by_host != by_label {
        reached = reached.max(reach(&table.subjects[by_host].keys, &hash, now));
    }
    match reached {
        Reach::Nowhere => Err(refuse(table.refused(&hash, Reason::WrongToken))),
        Reach::Expired => Err(refuse(Reason::ExpiredToken)),
        _ if by_host != by_label => Err(refuse(Reason::HostDisagrees)),
        Reach::OtherEndpoint => Err(refuse(Reason::WrongEndpoint)),
        Reach::Through(token) => match origin {
            Some(origin) if !policy.lists(origin) => Err(refuse(Reason::UnlistedOrigin)),
            _ => Ok(Verdict::Allow(Pass {
                instance: &subject.instance,
                subject: by_label,
                token,
                auth: subject.auth,
            })),
        },
    }
}

/// `<endpoint>-<name>` behind the path that Traefik asks at, if anything is.
fn address_label(path: &str) -> Result<Option<&str>, Reason> {
    match path.strip_prefix(CHECK_PATH) {
        Some("") => Ok(None),
        Some(rest) => rest.strip_prefix('/').map(Some).ok_or(Reason::NoSuchPath),
        None => Err(Reason::NoSuchPath),
    }
}

#[cfg(test)]
mod tests;
