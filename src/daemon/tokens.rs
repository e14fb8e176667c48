//! Issuing, listing and revoking tokens: the store, and the table that verdicts are made from.
//!
//! A token is in the store before it is shown, and out of the table before its revocation is told. All
//! calls block: async callers use `spawn_blocking`.

use std::sync::{Arc, Mutex, PoisonError};

use crate::doors::store::{Store, StoreError};
use crate::words::control::IssueToken;
use crate::words::name::InstanceName;
use crate::words::token::{TOKEN_RANDOM_BYTES, Token, TokenKind, TokenRecord};

/// The longest label, in characters.
const LABEL_MAX: usize = 100;
/// How often an id that is taken is drawn again. Ids have 40 bits: once is rare, four times is a defect.
const DRAWS: u32 = 4;

/// Why a token was not issued, listed or revoked.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// The label says nothing, or cannot be shown.
    #[error("a token's label is 1 to {LABEL_MAX} characters without control characters, not {0:?}")]
    Label(String),
    /// A token that still opens something has this label.
    #[error(
        "{instance} has a token labelled {label:?} (id {id}); revoke it, or choose another label"
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
    /// No such token.
    #[error("there is no token with the id {0:?}")]
    Unknown(String),
    /// The system gave no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
}

/// Called with all tokens after each change, or with why they cannot be told. Whoever decides over
/// requests must then let nobody in: the change might have been a revocation.
pub type Changed = Box<dyn Fn(Result<&[TokenRecord], &StoreError>) + Send + Sync>;

/// The tokens of a store.
pub struct Tokens {
    store: Arc<Store>,
    changed: Changed,
    /// One change at a time: a label is looked up before it is taken, and tables follow in order.
    changing: Mutex<()>,
}

impl Tokens {
    /// The tokens of `store`. `changed` runs before the change that caused it is told.
    pub fn new(store: Arc<Store>, changed: Changed) -> Self {
        Self {
            store,
            changed,
            changing: Mutex::new(()),
        }
    }

    /// Reads all tokens and hands them to `changed`: for a start, and after the desired state changed.
    pub fn refresh(&self) -> Result<(), TokensError> {
        let _changing = self.lock();
        self.publish()
    }

    /// All tokens, or one instance's.
    pub fn list(&self, instance: Option<&InstanceName>) -> Result<Vec<TokenRecord>, TokensError> {
        let mut tokens = self.store.tokens()?;
        tokens.retain(|token| instance.is_none_or(|name| token.instance == *name));
        Ok(tokens)
    }

    /// Makes a token. Whether there is such an instance is for the caller to know. The plain text exists
    /// in what is returned and nowhere else.
    pub fn issue(
        &self,
        asked: IssueToken,
        now: jiff::Timestamp,
    ) -> Result<(TokenRecord, Token), TokensError> {
        let length = asked.label.chars().count();
        if !(1..=LABEL_MAX).contains(&length)
            || asked.label.trim() != asked.label
            || asked.label.chars().any(char::is_control)
        {
            return Err(TokensError::Label(asked.label));
        }
        if let Some(expires) = asked.expires.filter(|expires| *expires <= now) {
            return Err(TokensError::Past(expires));
        }
        let _changing = self.lock();
        let is_live = |token: &TokenRecord| token.expires.is_none_or(|expires| expires > now);
        let mut kept = self.store.tokens()?.into_iter();
        if let Some(other) = kept.find(|token| {
            token.instance == asked.instance && token.label == asked.label && is_live(token)
        }) {
            let TokenRecord {
                instance,
                label,
                id,
                ..
            } = other;
            return Err(TokensError::LabelTaken {
                instance,
                label,
                id,
            });
        }
        let issued = self.insert(asked, now)?;
        self.publish()?;
        Ok(issued)
    }

    /// Ends a token. It opens nothing any more when this returns.
    pub fn revoke(&self, id: &str) -> Result<(), TokensError> {
        let _changing = self.lock();
        let was = self.store.remove_token(id)?;
        self.publish()?;
        if was {
            Ok(())
        } else {
            Err(TokensError::Unknown(id.to_owned()))
        }
    }

    fn insert(
        &self,
        asked: IssueToken,
        now: jiff::Timestamp,
    ) -> Result<(TokenRecord, Token), TokensError> {
        let IssueToken {
            instance,
            label,
            expires,
            endpoints,
        } = asked;
        let mut draws = DRAWS;
        loop {
            let mut bytes = [0; TOKEN_RANDOM_BYTES];
            getrandom::fill(&mut bytes).map_err(TokensError::Random)?;
            let token = Token::from_random(&bytes);
            let record = TokenRecord {
                id: token.id().to_owned(),
                instance: instance.clone(),
                label: label.clone(),
                hash: token.hash(),
                created: now,
                expires,
                endpoints: endpoints.clone(),
                kind: TokenKind::Bearer,
                session_seconds: None,
                successor: None,
            };
            draws -= 1;
            match self.store.insert_token(&record) {
                Ok(()) => return Ok((record, token)),
                Err(StoreError::Exists(_)) if draws > 0 => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn publish(&self) -> Result<(), TokensError> {
        let tokens = self.store.tokens();
        (self.changed)(tokens.as_deref());
        tokens.map(drop).map_err(TokensError::Store)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, ()> {
        // A panic in between leaves nothing half done: the store's writes are whole.
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(second: i64) -> jiff::Timestamp {
        jiff::Timestamp::from_second(second).unwrap()
    }

    fn ask(instance: &str, label: &str) -> IssueToken {
        IssueToken {
            instance: instance.parse().unwrap(),
            label: label.to_owned(),
            expires: None,
            endpoints: Vec::new(),
        }
    }

    struct Bench {
        tokens: Tokens,
        published: Arc<Mutex<Vec<usize>>>,
        _dir: tempfile::TempDir,
    }

    fn bench() -> Bench {
        let dir = tempfile::TempDir::new().unwrap();
        let store = Arc::new(Store::open(dir.path(), Duration::ZERO).unwrap());
        let published = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&published);
        let changed: Changed =
            Box::new(move |tokens| seen.lock().unwrap().push(tokens.unwrap().len()));
        Bench {
            tokens: Tokens::new(store, changed),
            published,
            _dir: dir,
        }
    }

    #[test]
    fn an_issued_token_is_kept_by_its_hash_and_published_before_it_is_returned() {
        let bench = bench();
        let (record, token) = bench.tokens.issue(ask("alice", "laptop"), at(5)).unwrap();
        assert_eq!(record.id, token.id());
        assert_eq!(record.hash, token.hash());
        assert_eq!(token.expose().parse::<Token>().unwrap(), token);
        assert_eq!(
            bench.tokens.list(None).unwrap(),
            std::slice::from_ref(&record)
        );
        assert_eq!(*bench.published.lock().unwrap(), [1]);
        let kept = serde_json::to_string(&record).unwrap();
        assert!(!kept.contains(token.expose()));
    }

    #[test]
    fn a_revoked_token_is_gone_from_what_is_published() {
        let bench = bench();
        let (record, _) = bench.tokens.issue(ask("alice", "laptop"), at(5)).unwrap();
        bench.tokens.revoke(&record.id).unwrap();
        assert_eq!(*bench.published.lock().unwrap(), [1, 0]);
        assert!(matches!(
            bench.tokens.revoke(&record.id),
            Err(TokensError::Unknown(_))
        ));
    }

    #[test]
    fn a_label_is_one_live_tokens_of_an_instance() {
        let bench = bench();
        let first = IssueToken {
            expires: Some(at(10)),
            ..ask("alice", "laptop")
        };
        let (first, _) = bench.tokens.issue(first, at(5)).unwrap();
        let error = bench
            .tokens
            .issue(ask("alice", "laptop"), at(9))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(&first.id) && error.contains("revoke"),
            "{error}"
        );
        bench.tokens.issue(ask("bob", "laptop"), at(9)).unwrap();
        bench.tokens.issue(ask("alice", "laptop"), at(10)).unwrap();
        let alice = "alice".parse().unwrap();
        assert_eq!(bench.tokens.list(Some(&alice)).unwrap().len(), 2);
    }

    #[test]
    fn what_could_never_be_used_or_shown_is_refused() {
        let bench = bench();
        let past = IssueToken {
            expires: Some(at(5)),
            ..ask("alice", "laptop")
        };
        assert!(matches!(
            bench.tokens.issue(past, at(5)),
            Err(TokensError::Past(_))
        ));
        for label in ["", " a", "a\nb", &"x".repeat(101)] {
            let error = bench.tokens.issue(ask("alice", label), at(5)).unwrap_err();
            assert!(matches!(error, TokensError::Label(_)), "{label:?}");
        }
        assert!(bench.tokens.list(None).unwrap().is_empty());
    }

    #[test]
    fn many_at_once_lose_none() {
        let bench = bench();
        std::thread::scope(|scope| {
            for n in 0..4 {
                let tokens = &bench.tokens;
                scope.spawn(move || {
                    for m in 0..5 {
                        tokens
                            .issue(ask("alice", &format!("{n}-{m}")), at(5))
                            .unwrap();
                    }
                });
            }
        });
        assert_eq!(bench.tokens.list(None).unwrap().len(), 20);
        assert_eq!(
            *bench.published.lock().unwrap(),
            (1..=20).collect::<Vec<_>>()
        );
    }
}
