//! Issuing, rotating, redeeming, listing and revoking tokens: the store, and the table that verdicts are made
//! from.
//!
//! A token is in the store before it is shown, and out of the table before its revocation is told. What
//! changes two tokens (one comes, the other goes or ends) is one write of the store. All calls block: async
//! callers use `spawn_blocking`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};

use super::chain::chain;
use super::uses::Uses;
use crate::doors::store::{Store, StoreError, TokenChange};
use crate::words::control::{AskTicket, IssueToken, OVERLAP, RotateToken};
use crate::words::name::{EndpointName, InstanceName};
use crate::words::quantity::Span;
use crate::words::token::{
    ListedToken, TOKEN_RANDOM_BYTES, Token, TokenHash, TokenKind, TokenRecord,
};

mod error;

pub use error::TokensError;

/// The longest label, in characters.
const LABEL_MAX: usize = 100;
/// How often an id that is taken is drawn again. Ids have 40 bits: once is rare, four times is a defect.
const DRAWS: u32 = 4;
/// How long a ticket can be redeemed by default: long enough to copy a link into a browser.
const TICKET: Span = Span::secs(10 * 60);
/// The longest that a ticket can be redeemed.
const TICKET_MAX: Span = Span::secs(24 * 60 * 60);
/// How long a session lasts by default.
const SESSION: Span = Span::secs(12 * 60 * 60);
/// The longest that a session lasts.
const SESSION_MAX: Span = Span::secs(30 * 24 * 60 * 60);
/// For how long a token that was replaced is listed after its end.
const REPLACED_KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);
/// For how long a token that was removed is known: clients that still show it learn of it within that time.
const RETIRED_KEPT: SignedDuration = SignedDuration::from_hours(24);
/// How often what is over is removed where nothing else is written.
const SWEEP: SignedDuration = SignedDuration::from_mins(10);

/// Called with all tokens after each change, or with why they cannot be told. Whoever decides over
/// requests must then let nobody in: the change might have been a revocation.
pub type Changed = Box<dyn Fn(Result<Published<'_>, &StoreError>) + Send + Sync>;

/// What verdicts are made from.
#[derive(Debug, Clone, Copy)]
pub struct Published<'t> {
    /// All tokens.
    pub tokens: &'t [TokenRecord],
    /// Hashes of tokens that were removed within the last day.
    pub retired: &'t BTreeSet<TokenHash>,
}

/// The tokens of a store.
pub struct Tokens {
    store: Arc<Store>,
    uses: Arc<Uses>,
    changed: Changed,
    /// One change at a time: a label is looked up before it is taken, and tables follow in order. Within:
    /// when the last sweep was.
    changing: Mutex<Option<Timestamp>>,
}

/// A token in place of another.
#[derive(Debug)]
pub struct Rotated {
    /// The other, as it ends.
    pub old: TokenRecord,
    /// The new one.
    pub new: TokenRecord,
    /// The new one's plain text.
    pub token: Token,
}

/// A token before it has an id.
struct Draft {
    instance: InstanceName,
    label: String,
    created: Timestamp,
    expires: Option<Timestamp>,
    endpoints: Vec<EndpointName>,
    kind: TokenKind,
    session_seconds: Option<u32>,
}

impl Tokens {
    /// The tokens of `store`, which were last used as it says, or as `uses` does. `changed` runs before the
    /// change that caused it is told.
    pub fn new(store: Arc<Store>, uses: Arc<Uses>, changed: Changed) -> Self {
        Self {
            store,
            uses,
            changed,
            changing: Mutex::new(None),
        }
    }

    /// Reads all tokens and hands them to `changed`: for a start, and after the desired state changed. Now and
    /// then it removes what is over.
    pub fn refresh(&self, now: Timestamp) -> Result<(), TokensError> {
        let mut swept = self.lock();
        let is_due = swept.is_none_or(|last| now.duration_since(last).abs() >= SWEEP);
        if is_due {
            *swept = Some(now);
            if let Err(error) = self.sweep(now) {
                // What is over opens nothing, wherever it stands.
                tracing::warn!("tokens that are over stay for now: {}", chain(&error));
            }
        }
        self.publish(now)
    }

    /// All tokens, or one instance's.
    pub fn list(&self, instance: Option<&InstanceName>) -> Result<Vec<ListedToken>, TokensError> {
        let mut tokens = self.store.tokens()?;
        tokens.retain(|token| instance.is_none_or(|name| token.instance == *name));
        let mut uses = self.store.uses().unwrap_or_else(|error| {
            // Who may pass is worth showing without it.
            tracing::warn!("last uses of tokens are not known: {}", chain(&error));
            BTreeMap::new()
        });
        let listed = tokens.into_iter().map(|record| ListedToken {
            last_used: self.uses.last(&record.id).or(uses.remove(&record.id)),
            record,
        });
        Ok(listed.collect())
    }

    /// Makes a bearer token. Whether there is such an instance, and such endpoints, is for the caller to know.
    /// The plain text exists in what is returned and nowhere else.
    pub fn issue(
        &self,
        asked: IssueToken,
        now: Timestamp,
    ) -> Result<(TokenRecord, Token), TokensError> {
        check_label(&asked.label)?;
        check_expiry(asked.expires, now)?;
        let _changing = self.lock();
        let kept = self.store.tokens()?;
        let holder = kept.iter().find(|token| {
            token.instance == asked.instance
                && token.label == asked.label
                && token.kind == TokenKind::Bearer
                && token.successor.is_none()
                && token.is_live(now)
        });
        if let Some(holder) = holder {
            return Err(TokensError::LabelTaken {
                instance: asked.instance,
                label: asked.label,
                id: holder.id.clone(),
            });
        }
        let mut endpoints = asked.endpoints;
        endpoints.sort();
        endpoints.dedup();
        let draft = Draft {
            instance: asked.instance,
            label: asked.label,
            created: now,
            expires: asked.expires,
            endpoints,
            kind: TokenKind::Bearer,
            session_seconds: None,
        };
        self.make(&draft, &kept, |_| TokenChange::default())
    }

    /// Makes a token in place of another, with its instance, label and endpoints. The other goes on for the
    /// overlap, at most until its own end: clients change over meanwhile.
    pub fn rotate(
        &self,
        id: &str,
        asked: &RotateToken,
        now: Timestamp,
    ) -> Result<Rotated, TokensError> {
        check_expiry(asked.expires, now)?;
        let _changing = self.lock();
        let kept = self.store.tokens()?;
        let old = kept
            .iter()
            .find(|token| token.id == id)
            .ok_or_else(|| TokensError::Unknown(id.to_owned()))?;
        let id = id.to_owned();
        if old.kind != TokenKind::Bearer {
            return Err(TokensError::NotBearer { id });
        }
        if let Some(successor) = old.successor.clone() {
            return Err(TokensError::Replaced { id, successor });
        }
        if let Some(expired) = old.expires.filter(|_| !old.is_live(now)) {
            return Err(TokensError::Expired { id, expired });
        }
        let lifetime = old.expires.map(|end| end.duration_since(old.created));
        let draft = Draft {
            instance: old.instance.clone(),
            label: old.label.clone(),
            created: now,
            expires: asked
                .expires
                .or(lifetime.map(|lifetime| later(now, lifetime))),
            endpoints: old.endpoints.clone(),
            kind: TokenKind::Bearer,
            session_seconds: None,
        };
        let end = later(now, duration(asked.overlap.unwrap_or(OVERLAP)));
        let ending = |successor: &TokenRecord| TokenRecord {
            expires: Some(old.expires.map_or(end, |own| own.min(end))),
            successor: Some(successor.id.clone()),
            ..old.clone()
        };
        let (new, token) = self.make(&draft, &kept, |new| TokenChange {
            replace: vec![ending(new)],
            ..TokenChange::default()
        })?;
        Ok(Rotated {
            old: ending(&new),
            new,
            token,
        })
    }

    /// Makes a ticket, which [`redeem`](Self::redeem) turns into a session. Whether there is such an endpoint is
    /// for the caller to know.
    pub fn ticket(
        &self,
        instance: InstanceName,
        asked: AskTicket,
        now: Timestamp,
    ) -> Result<(TokenRecord, Token), TokensError> {
        check_label(&asked.label)?;
        let lasts = lasting("ticket", asked.lasts.unwrap_or(TICKET), TICKET_MAX)?;
        let session = lasting("session", asked.session.unwrap_or(SESSION), SESSION_MAX)?;
        let _changing = self.lock();
        let kept = self.store.tokens()?;
        let draft = Draft {
            instance,
            label: asked.label,
            created: now,
            expires: Some(later(now, lasts)),
            endpoints: vec![asked.endpoint],
            kind: TokenKind::Ticket,
            session_seconds: u32::try_from(session.as_secs()).ok(),
        };
        self.make(&draft, &kept, |_| TokenChange::default())
    }

    /// Turns a ticket into a session: in one write the one goes and the other comes, so whatever happens a
    /// ticket makes one session at most. Whoever asks has shown the ticket itself, not its id alone.
    pub fn redeem(&self, id: &str, now: Timestamp) -> Result<(TokenRecord, Token), TokensError> {
        let _changing = self.lock();
        let kept = self.store.tokens()?;
        let ticket = kept
            .iter()
            .find(|token| token.id == id)
            .filter(|token| token.kind == TokenKind::Ticket && token.is_live(now))
            .ok_or_else(|| TokensError::Spent(id.to_owned()))?;
        let lasts = ticket.session_seconds.map_or(duration(SESSION), |seconds| {
            SignedDuration::from_secs(i64::from(seconds))
        });
        let draft = Draft {
            instance: ticket.instance.clone(),
            label: ticket.label.clone(),
            created: now,
            expires: Some(later(now, lasts)),
            endpoints: ticket.endpoints.clone(),
            kind: TokenKind::Session,
            session_seconds: None,
        };
        self.make(&draft, &kept, |_| TokenChange {
            remove: vec![ticket.id.clone()],
            ..TokenChange::default()
        })
    }

    /// Ends a token. It opens nothing any more when this returns.
    pub fn revoke(&self, id: &str) -> Result<(), TokensError> {
        let (_changing, now) = (self.lock(), Timestamp::now());
        // One that cannot be read is revoked all the same.
        let kept = self.store.tokens().unwrap_or_default();
        self.retire(&kept, &[id.to_owned()], now);
        let was = self.store.remove_token(id)?;
        self.publish(now)?;
        if was {
            Ok(())
        } else {
            Err(TokensError::Unknown(id.to_owned()))
        }
    }

    /// Draws a token, keeps it together with `change` (which is told of it), and publishes. What is over goes in
    /// the same write.
    fn make(
        &self,
        draft: &Draft,
        kept: &[TokenRecord],
        change: impl Fn(&TokenRecord) -> TokenChange,
    ) -> Result<(TokenRecord, Token), TokensError> {
        let mut draws = DRAWS;
        let made = loop {
            let mut bytes = [0; TOKEN_RANDOM_BYTES];
            getrandom::fill(&mut bytes).map_err(TokensError::Random)?;
            let token = Token::from_random(&bytes);
            let record = draft.with(&token);
            let mut change = change(&record);
            change.insert.push(record.clone());
            change.remove.extend(over(kept, draft.created));
            draws -= 1;
            self.retire(kept, &change.remove, draft.created);
            match self.store.change_tokens(&change) {
                Ok(()) => break (record, token),
                Err(StoreError::Exists(_)) if draws > 0 => {}
                Err(error) => return Err(error.into()),
            }
        };
        self.publish(draft.created)?;
        Ok(made)
    }

    fn sweep(&self, now: Timestamp) -> Result<(), StoreError> {
        self.store.forget_retired_before(retired_since(now))?;
        let kept = self.store.tokens()?;
        let remove: Vec<_> = over(&kept, now).collect();
        if remove.is_empty() {
            return Ok(());
        }
        self.retire(&kept, &remove, now);
        self.store.change_tokens(&TokenChange {
            remove,
            ..TokenChange::default()
        })
    }

    /// Remembers the hashes of tokens that are about to go: a client that still shows one does not guess. Without
    /// that it may be slowed down for a while, nothing else.
    fn retire(&self, kept: &[TokenRecord], ids: &[String], now: Timestamp) {
        let gone = kept.iter().filter(|token| ids.contains(&token.id));
        let hashes: BTreeSet<TokenHash> = gone.map(|token| token.hash).collect();
        if let Err(error) = self.store.retire(&hashes, now) {
            tracing::warn!(error = %chain(&error), "failed to remember removed tokens");
        }
    }

    fn publish(&self, now: Timestamp) -> Result<(), TokensError> {
        let tokens = self.store.tokens();
        let retired = self.store.retired_since(retired_since(now));
        let retired = retired.unwrap_or_else(|error| {
            tracing::warn!(error = %chain(&error), "failed to read removed tokens");
            BTreeSet::new()
        });
        let published = tokens.as_deref().map(|tokens| Published {
            tokens,
            retired: &retired,
        });
        (self.changed)(published);
        tokens.map(drop).map_err(TokensError::Store)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Timestamp>> {
        // A panic in between leaves nothing half done: the store's writes are whole.
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Draft {
    fn with(&self, token: &Token) -> TokenRecord {
        TokenRecord {
            id: token.id().to_owned(),
            instance: self.instance.clone(),
            label: self.label.clone(),
            hash: token.hash(),
            created: self.created,
            expires: self.expires,
            endpoints: self.endpoints.clone(),
            kind: self.kind,
            session_seconds: self.session_seconds,
            successor: None,
        }
    }
}

/// The ids of tokens that nobody needs to see any more. A bearer token that expired stays, so that an operator
/// sees why a client is refused; tickets and sessions are too many for that.
fn over(tokens: &[TokenRecord], now: Timestamp) -> impl Iterator<Item = String> {
    let is_over = move |token: &&TokenRecord| match (token.kind, token.expires, &token.successor) {
        (TokenKind::Ticket | TokenKind::Session, ..) => !token.is_live(now),
        (TokenKind::Bearer, Some(end), Some(_)) => later(end, REPLACED_KEPT) <= now,
        (TokenKind::Bearer, ..) => false,
    };
    tokens.iter().filter(is_over).map(|token| token.id.clone())
}

fn check_label(label: &str) -> Result<(), TokensError> {
    let length = label.chars().count();
    if (1..=LABEL_MAX).contains(&length)
        && label.trim() == label
        && !label.chars().any(char::is_control)
    {
        Ok(())
    } else {
        Err(TokensError::Label(label.to_owned()))
    }
}

fn check_expiry(expires: Option<Timestamp>, now: Timestamp) -> Result<(), TokensError> {
    match expires {
        Some(expires) if expires <= now => Err(TokensError::Past(expires)),
        _ => Ok(()),
    }
}

fn lasting(what: &'static str, asked: Span, most: Span) -> Result<SignedDuration, TokensError> {
    if (Span::secs(1)..=most).contains(&asked) {
        Ok(duration(asked))
    } else {
        Err(TokensError::Lasting { what, most, asked })
    }
}

fn duration(span: Span) -> SignedDuration {
    SignedDuration::from_millis(i64::try_from(span.0).unwrap_or(i64::MAX))
}

/// Tokens that were removed since then are remembered.
fn retired_since(now: Timestamp) -> Timestamp {
    now.checked_sub(RETIRED_KEPT).unwrap_or(Timestamp::MIN)
}

/// The end of time, where that would be later.
fn later(at: Timestamp, after: SignedDuration) -> Timestamp {
    at.checked_add(after).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod kills;
#[cfg(test)]
mod tests;
