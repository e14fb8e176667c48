//! Tokens, under their seal, and when they were last used, outside it.

use std::collections::{BTreeMap, BTreeSet};

use super::opened::{Opened, read};
use super::{StoreError, record, seal};
use crate::words::token::{TokenHash, TokenRecord};

/// Changes of tokens that happen together or not at all. No id is in it twice.
#[derive(Debug, Default)]
pub struct TokenChange {
    /// New ones.
    pub insert: Vec<TokenRecord>,
    /// Ones that are there, as they shall be.
    pub replace: Vec<TokenRecord>,
    /// Ids of those that go.
    pub remove: Vec<String>,
}

/// A token's record before and after a change.
struct Edit {
    before: Option<sled::IVec>,
    after: Option<Vec<u8>>,
}

impl Opened {
    /// All tokens, by id. Fails when a single one cannot be read, or the store has lost any.
    pub(super) fn tokens(&self) -> Result<Vec<TokenRecord>, StoreError> {
        self.seal.check()?;
        self.tokens
            .iter()
            .map(|entry| {
                let (key, value) = entry.map_err(seal::unreadable)?;
                record::decode(&subject(&String::from_utf8_lossy(&key)), &value)
            })
            .collect()
    }

    /// Keeps a new token. Refuses an id that is there.
    pub(super) fn insert_token(&self, token: &TokenRecord) -> Result<(), StoreError> {
        self.change_tokens(&TokenChange {
            insert: vec![token.clone()],
            ..TokenChange::default()
        })
    }

    /// Forgets a token, also one whose record cannot be read. Says whether it was there.
    pub(super) fn remove_token(&self, id: &str) -> Result<bool, StoreError> {
        let change = TokenChange {
            remove: vec![id.to_owned()],
            ..TokenChange::default()
        };
        match self.change_tokens(&change) {
            Ok(()) => Ok(true),
            Err(StoreError::Missing(_)) => {
                // An earlier removal may not have reached the disk.
                self.flush(&subject(id))?;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// All of it, or nothing.
    pub(super) fn change_tokens(&self, change: &TokenChange) -> Result<(), StoreError> {
        let mut sealed = self.seal.begin(&self.tokens)?;
        let edits = self.edits(change)?;
        let records = edits.iter().flat_map(|(id, edit)| {
            let values = [edit.before.as_deref(), edit.after.as_deref()];
            values
                .into_iter()
                .flatten()
                .map(|value| (id.as_bytes(), value))
        });
        sealed.announce(records)?;
        let mut batch = sled::Batch::default();
        let mut gone = sled::Batch::default();
        for (id, edit) in &edits {
            if let Some(value) = &edit.after {
                batch.insert(id.as_bytes(), value.as_slice());
            } else {
                batch.remove(id.as_bytes());
                gone.remove(id.as_bytes());
            }
        }
        let ids: Vec<&str> = edits.keys().copied().collect();
        let subject = subject(&ids.join(", "));
        let written = |source| StoreError::Write {
            record: subject.clone(),
            source,
        };
        self.tokens.apply_batch(batch).map_err(written)?;
        if !change.remove.is_empty() {
            self.uses.apply_batch(gone).map_err(written)?;
        }
        self.flush(&subject)?;
        sealed.settle()
    }

    fn edits<'c>(&self, change: &'c TokenChange) -> Result<BTreeMap<&'c str, Edit>, StoreError> {
        let put = |token: &'c TokenRecord| {
            let value = record::encode(&subject(&token.id), token)?;
            Ok((token.id.as_str(), Some(value)))
        };
        let inserts = change.insert.iter().map(|token| (true, put(token)));
        let replaces = change.replace.iter().map(|token| (false, put(token)));
        let removes = change.remove.iter().map(|id| (false, Ok((&**id, None))));
        let mut edits = BTreeMap::new();
        for (is_new, edit) in inserts.chain(replaces).chain(removes) {
            let (id, after) = edit?;
            let before = read(&self.tokens, id.as_bytes(), &subject(id))?;
            if is_new && before.is_some() {
                return Err(StoreError::Exists(id.to_owned()));
            }
            if !is_new && before.is_none() {
                return Err(StoreError::Missing(id.to_owned()));
            }
            if edits.insert(id, Edit { before, after }).is_some() {
                return Err(StoreError::Exists(id.to_owned()));
            }
        }
        Ok(edits)
    }

    /// Remembers hashes of tokens that go. It is on disk with the next change: what is lost of it costs a client
    /// some patience.
    pub(super) fn retire(
        &self,
        hashes: &BTreeSet<TokenHash>,
        at: jiff::Timestamp,
    ) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        for hash in hashes {
            batch.insert(hash.to_string().as_bytes(), record::encode(RETIRED, &at)?);
        }
        self.retired
            .apply_batch(batch)
            .map_err(|source| StoreError::Write {
                record: RETIRED.to_owned(),
                source,
            })
    }

    /// Hashes of tokens that went at `since` or later.
    pub(super) fn retired_since(
        &self,
        since: jiff::Timestamp,
    ) -> Result<BTreeSet<TokenHash>, StoreError> {
        let mut found = BTreeSet::new();
        for entry in &self.retired {
            let (hash, at) = retired(entry)?;
            if at >= since {
                found.extend(hash);
            }
        }
        Ok(found)
    }

    /// Forgets hashes of tokens that went before `until`.
    pub(super) fn forget_retired_before(&self, until: jiff::Timestamp) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        for entry in &self.retired {
            let entry = entry.map_err(unread_retired)?;
            let key = entry.0.clone();
            let (hash, at) = retired(Ok(entry))?;
            if hash.is_none() || at < until {
                batch.remove(key);
            }
        }
        self.retired
            .apply_batch(batch)
            .map_err(|source| StoreError::Write {
                record: RETIRED.to_owned(),
                source,
            })
    }

    /// When tokens were last used, by id.
    pub(super) fn uses(&self) -> Result<BTreeMap<String, jiff::Timestamp>, StoreError> {
        let mut uses = BTreeMap::new();
        for entry in &self.uses {
            let (key, value) = entry.map_err(unread_uses)?;
            let id = String::from_utf8_lossy(&key).into_owned();
            if self.has_token(&id)? {
                let at = record::decode(&format!("the last use of {id}"), &value)?;
                uses.insert(id, at);
            }
        }
        Ok(uses)
    }

    /// Notes when tokens were last used, and forgets it of those that are gone.
    pub(super) fn note_uses(
        &self,
        uses: &BTreeMap<String, jiff::Timestamp>,
    ) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        for key in self.uses.iter().keys() {
            let key = key.map_err(unread_uses)?;
            if !self.has_token(&String::from_utf8_lossy(&key))? {
                batch.remove(key);
            }
        }
        for (id, at) in uses {
            if self.has_token(id)? {
                batch.insert(id.as_bytes(), record::encode(USES, at)?);
            }
        }
        self.uses
            .apply_batch(batch)
            .map_err(|source| StoreError::Write {
                record: USES.to_owned(),
                source,
            })?;
        self.flush(USES)
    }

    fn has_token(&self, id: &str) -> Result<bool, StoreError> {
        read(&self.tokens, id.as_bytes(), &subject(id)).map(|found| found.is_some())
    }
}

const RETIRED: &str = "the removed tokens";

/// A hash, unless it is none, and when its token went.
fn retired(
    entry: sled::Result<(sled::IVec, sled::IVec)>,
) -> Result<(Option<TokenHash>, jiff::Timestamp), StoreError> {
    let (key, value) = entry.map_err(unread_retired)?;
    let hash = std::str::from_utf8(&key).ok();
    let hash = hash.and_then(|text| text.parse().ok());
    Ok((hash, record::decode(RETIRED, &value)?))
}

fn unread_retired(source: sled::Error) -> StoreError {
    StoreError::Read {
        record: RETIRED.to_owned(),
        source,
    }
}

const USES: &str = "the last uses of tokens";

fn unread_uses(source: sled::Error) -> StoreError {
    StoreError::Read {
        record: USES.to_owned(),
        source,
    }
}

fn subject(id: &str) -> String {
    format!("token {id:?}")
}
