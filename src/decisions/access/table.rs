//! Every endpoint that can be asked about, and the tokens that open it.

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize};

use super::Reason;
use crate::words::manifest::{Auth, TokenPart};
use crate::words::name::{EndpointName, HostName, InstanceName};
use crate::words::token::{TokenHash, TokenKind, TokenRecord};

/// What an endpoint demands, and of whom.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<TokenPart>,
}

/// Every endpoint that can be asked about, and the tokens that open it.
#[derive(Debug, Default)]
pub struct AccessTable {
    pub(super) subjects: Vec<Subject>,
    // What is looked up may be anybody's invention, what is in there is the operator's: a quick hash does.
    pub(super) by_host: HashMap<HostName, Place, RandomState>,
    pub(super) by_label: HashMap<String, Place, RandomState>,
    ambiguous: Vec<HostName>,
    /// Tokens that opened something until lately. They open nothing, but who shows one does not guess.
    retired: HashSet<TokenHash, RandomState>,
}

/// Where in the table; `None` when two endpoints claim it, so that neither gets it.
pub(super) type Place = Option<usize>;

#[derive(Debug)]
pub(super) struct Subject {
    pub(super) instance: InstanceName,
    pub(super) auth: Auth,
    /// Bearers, or sessions where it is guarded by tickets.
    pub(super) keys: Vec<Key>,
    pub(super) tickets: Vec<Key>,
}

/// A token as one endpoint sees it.
#[derive(Debug)]
pub(super) struct Key {
    hash: TokenHash,
    expires: Option<jiff::Timestamp>,
    /// Whether it opens this endpoint; false for a token of the instance's other ones.
    opens: bool,
    /// Where it is among the tokens that the table was made from; a manifest's grant is not among them.
    token: Option<usize>,
}

/// How far a presented token gets; the furthest counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reach {
    Nowhere,
    Expired,
    OtherEndpoint,
    /// With where the token is among those that the table was made from.
    Through(Option<usize>),
}

impl AccessTable {
    /// The table of these endpoints and the store's tokens. Tokens of instances that are not among them
    /// open nothing.
    pub fn build(guards: impl IntoIterator<Item = Guard>, tokens: &[TokenRecord]) -> Self {
        let mut records: HashMap<&str, Vec<(usize, &TokenRecord)>> = HashMap::new();
        for (place, token) in tokens.iter().enumerate() {
            records
                .entry(token.instance.as_str())
                .or_default()
                .push((place, token));
        }
        let mut table = Self::default();
        for guard in guards {
            let records = records
                .get(guard.instance.as_str())
                .map_or(&[][..], Vec::as_slice);
            let place = table.subjects.len();
            let label = format!("{}-{}", guard.endpoint, guard.instance);
            table.subjects.push(Subject::of(&guard, records));
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

    /// With tokens that opened something until lately.
    #[must_use]
    pub fn with_retired(mut self, retired: impl IntoIterator<Item = TokenHash>) -> Self {
        self.retired = retired.into_iter().collect();
        self
    }

    /// Why a token that opens nothing does not pass: `unknown`, unless it was valid until lately.
    pub(super) fn refused(&self, presented: &TokenHash, unknown: Reason) -> Reason {
        if self.retired.contains(presented) {
            Reason::RetiredToken
        } else {
            unknown
        }
    }

    /// Whose endpoint each subject is, in the order of the guards that the table was made from.
    pub fn subjects(&self) -> impl ExactSizeIterator<Item = &InstanceName> {
        self.subjects.iter().map(|subject| &subject.instance)
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

impl Subject {
    fn of(guard: &Guard, records: &[(usize, &TokenRecord)]) -> Self {
        let issued = |kind: TokenKind, unscoped: bool| {
            records
                .iter()
                .filter(move |(_, record)| record.kind == kind)
                .map(move |(place, record)| Key {
                    hash: record.hash,
                    expires: record.expires,
                    opens: (unscoped && record.endpoints.is_empty())
                        || record.endpoints.contains(&guard.endpoint),
                    token: Some(*place),
                })
        };
        let granted = guard.grants.iter().map(|grant| Key {
            hash: grant.hash,
            expires: grant.expires.map(start_of_day),
            opens: true,
            token: None,
        });
        let (keys, tickets) = match guard.auth {
            Auth::Bearer => {
                let issued = issued(TokenKind::Bearer, true);
                (granted.chain(issued).collect(), Vec::new())
            }
            Auth::Ticket => {
                let sessions = issued(TokenKind::Session, false).filter(|key| key.opens);
                let tickets = issued(TokenKind::Ticket, false).filter(|key| key.opens);
                (sessions.collect(), tickets.collect())
            }
            // Nobody asks about it; who does all the same gets no further than with a token of elsewhere.
            Auth::None => {
                let issued = issued(TokenKind::Bearer, true);
                let closed = granted.chain(issued).map(|key| Key {
                    opens: false,
                    ..key
                });
                (closed.collect(), Vec::new())
            }
        };
        Self {
            instance: guard.instance.clone(),
            auth: guard.auth,
            keys,
            tickets,
        }
    }
}

/// Midnight, UTC. A day that no timestamp can hold counts as long past.
fn start_of_day(day: jiff::civil::Date) -> jiff::Timestamp {
    day.to_zoned(jiff::tz::TimeZone::UTC)
        .map_or(jiff::Timestamp::MIN, |day| day.timestamp())
}

/// Compares with every key and at least one, never stopping early.
pub(super) fn reach(keys: &[Key], presented: &TokenHash, now: jiff::Timestamp) -> Reach {
    let mut reached = Reach::Nowhere;
    for key in keys {
        let matches = presented.matches(&key.hash);
        let as_far = match (key.expires, key.opens) {
            (Some(expires), _) if now >= expires => Reach::Expired,
            (_, false) => Reach::OtherEndpoint,
            (_, true) => Reach::Through(key.token),
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
