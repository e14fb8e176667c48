//! Who may pass: the verdict on one request that Traefik asks about (`FORWARD_AUTH.md`).
//!
//! Pure, and written for the hot path: a verdict costs one BLAKE3 hash, a look-up or two, and allocates
//! nothing. When in doubt it denies.
//!
//! In this order: what the request itself shows to be wrong, then the token, and only for the bearer of a
//! good one the reason why it does not pass here. Whoever has none learns nothing about the fleet: an
//! unknown host, a wrong token and another instance's token give the same answer after the same work.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::words::manifest::{Auth, TokenPart};
use crate::words::name::{EndpointName, HostName, InstanceName};
use crate::words::token::{TokenHash, TokenRecord};

mod header;
mod reason;

pub use header::Header;
pub use reason::Reason;

/// The path that Traefik asks at, with or without `/<endpoint>-<name>` behind it.
pub const CHECK_PATH: &str = "/auth/mcp-bearer-check";
/// What asks for an authorization server, of which there is none.
const WELL_KNOWN: &[u8] = b"/.well-known/oauth-";

/// What an endpoint demands, and of whom.
#[derive(Debug, Clone, PartialEq)]
pub struct Guard {
    /// Whose endpoint it is.
    pub instance: InstanceName,
    /// Which one.
    pub endpoint: EndpointName,
    /// Where it stands.
    pub host: HostName,
    /// Who may reach it.
    pub auth: Auth,
    /// The tokens that the manifest grants.
    pub grants: Vec<TokenPart>,
}

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
#[derive(Debug, Clone, Copy)]
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
}

/// The answer to a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict<'t> {
    /// 204: the request goes on to this instance.
    Allow(&'t InstanceName),
    /// 401: with another token it might.
    Challenge(Reason),
    /// Any other status: it does not go on.
    Deny(Reason),
}

impl Verdict<'_> {
    fn refuse(reason: Reason) -> Self {
        if reason.status() == 401 {
            Self::Challenge(reason)
        } else {
            Self::Deny(reason)
        }
    }

    /// Why not; `None` when allowed.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Allow(_) => None,
            Self::Challenge(reason) | Self::Deny(reason) => Some(*reason),
        }
    }
}

/// Every endpoint that can be asked about, and the tokens that open it.
#[derive(Debug, Default)]
pub struct AccessTable {
    subjects: Vec<Subject>,
    by_host: HashMap<HostName, Place>,
    by_label: HashMap<String, Place>,
    ambiguous: Vec<HostName>,
}

/// Where in the table; `None` when two endpoints claim it, so that neither gets it.
type Place = Option<usize>;

#[derive(Debug)]
struct Subject {
    instance: InstanceName,
    keys: Vec<Key>,
}

/// A token as one endpoint sees it.
#[derive(Debug)]
struct Key {
    hash: TokenHash,
    expires: Option<jiff::Timestamp>,
    /// Whether it opens this endpoint; false for a token of the instance's other ones.
    opens: bool,
}

/// How far a presented token gets; the furthest counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    Nowhere,
    Expired,
    OtherEndpoint,
    Through,
}

impl AccessTable {
    /// The table of these endpoints and the store's tokens. Tokens of instances that are not among them
    /// open nothing.
    pub fn build(guards: impl IntoIterator<Item = Guard>, tokens: &[TokenRecord]) -> Self {
        let mut records: HashMap<&str, Vec<&TokenRecord>> = HashMap::new();
        for token in tokens {
            records
                .entry(token.instance.as_str())
                .or_default()
                .push(token);
        }
        let mut table = Self::default();
        for guard in guards {
            let records = records
                .get(guard.instance.as_str())
                .map_or(&[][..], Vec::as_slice);
            let keys = keys_of(&guard, records);
            let place = table.subjects.len();
            let label = format!("{}-{}", guard.endpoint, guard.instance);
            table.subjects.push(Subject {
                instance: guard.instance,
                keys,
            });
            table
                .by_label
                .entry(label)
                .and_modify(|other| *other = None)
                .or_insert(Some(place));
            table
                .by_host
                .entry(guard.host.clone())
                .and_modify(|other| {
                    *other = None;
                    table.ambiguous.push(guard.host);
                })
                .or_insert(Some(place));
        }
        table
    }

    /// How many endpoints can be asked about.
    pub fn endpoints(&self) -> usize {
        self.subjects.len()
    }

    /// How many tokens are accepted, each counted for every endpoint of its instance.
    pub fn keys(&self) -> usize {
        self.subjects.iter().map(|subject| subject.keys.len()).sum()
    }

    /// The hosts that more than one endpoint claims: nobody passes there.
    pub fn ambiguous(&self) -> &[HostName] {
        &self.ambiguous
    }
}

fn keys_of(guard: &Guard, records: &[&TokenRecord]) -> Vec<Key> {
    let guarded = guard.auth == Auth::Bearer;
    let granted = guard.grants.iter().map(|grant| Key {
        hash: grant.hash,
        expires: grant.expires.map(start_of_day),
        opens: guarded,
    });
    let issued = records.iter().map(|record| Key {
        hash: record.hash,
        expires: record.expires,
        opens: guarded
            && (record.endpoints.is_empty() || record.endpoints.contains(&guard.endpoint)),
    });
    granted.chain(issued).collect()
}

/// Midnight, UTC. A day that no timestamp can hold counts as long past.
fn start_of_day(day: jiff::civil::Date) -> jiff::Timestamp {
    day.to_zoned(jiff::tz::TimeZone::UTC)
        .map_or(jiff::Timestamp::MIN, |day| day.timestamp())
}

/// The verdict on a request at the time `now`. `table` is `None` as long as it is not known who may pass.
pub fn decide<'t>(
    policy: &AccessPolicy,
    table: Option<&'t AccessTable>,
    request: &AuthRequest<'_>,
    now: jiff::Timestamp,
) -> Verdict<'t> {
    judge(policy, table, request, now).map_or_else(Verdict::refuse, Verdict::Allow)
}

fn judge<'t>(
    policy: &AccessPolicy,
    table: Option<&'t AccessTable>,
    request: &AuthRequest<'_>,
    now: jiff::Timestamp,
) -> Result<&'t InstanceName, Reason> {
    if !policy.trusts(request.peer) {
        return Err(Reason::UntrustedPeer);
    }
    if !matches!(request.method, "GET" | "HEAD") {
        return Err(Reason::WrongMethod);
    }
    let label = address_label(request.path)?;
    let host = request
        .forwarded_host
        .required(Reason::NoHost, Reason::DuplicateHost)?;
    let token = header::bearer(request.authorization)?;
    let origin = request.origin.optional(Reason::Malformed)?;
    let uri = request.forwarded_uri.optional(Reason::Malformed)?;
    if uri.is_some_and(|uri| uri.starts_with(WELL_KNOWN)) {
        return Err(Reason::WellKnown);
    }
    let mut buffer = [0; header::HOST_MAX];
    let host = header::host(host, &mut buffer)?;
    let table = table.ok_or(Reason::Unready)?;
    let token = token.ok_or(Reason::NoCredentials)?;

    let by_host = table.by_host.get(host).copied().flatten();
    let by_label = match label {
        Some(label) => table.by_label.get(label).copied().flatten(),
        None => by_host,
    };
    let hash = TokenHash::of(token);
    let (Some(by_host), Some(by_label)) = (by_host, by_label) else {
        reach(&[], &hash, now);
        return Err(Reason::Unknown);
    };
    let subject = &table.subjects[by_label];
    let mut reached = reach(&subject.keys, &hash, now);
    if by_host != by_label {
        reached = reached.max(reach(&table.subjects[by_host].keys, &hash, now));
    }
    match reached {
        Reach::Nowhere => Err(Reason::WrongToken),
        Reach::Expired => Err(Reason::ExpiredToken),
        _ if by_host != by_label => Err(Reason::HostDisagrees),
        Reach::OtherEndpoint => Err(Reason::WrongEndpoint),
        Reach::Through => match origin {
            Some(origin) if !policy.lists(origin) => Err(Reason::UnlistedOrigin),
            _ => Ok(&subject.instance),
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

/// Compares with every key and at least one, never stopping early.
fn reach(keys: &[Key], presented: &TokenHash, now: jiff::Timestamp) -> Reach {
    let mut reached = Reach::Nowhere;
    for key in keys {
        let matches = presented.matches(&key.hash);
        let as_far = match (key.expires, key.opens) {
            (Some(expires), _) if now >= expires => Reach::Expired,
            (_, false) => Reach::OtherEndpoint,
            (_, true) => Reach::Through,
        };
        if matches {
            reached = reached.max(as_far);
        }
    }
    if keys.is_empty() {
        // Nothing to compare with: the same work, its result thrown away.
        std::hint::black_box(presented.matches(&std::hint::black_box(*presented)));
    }
    reached
}

#[cfg(test)]
mod tests;
