//! When tokens were last used: noted in memory at each request, written to the store now and then.
//!
//! To note a use takes no lock and no memory, so the `ForwardAuth` path may do it. What was noted since the last
//! flush is lost when the daemon is killed: an operator then sees an older use.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::chain::chain;
use super::memory::blocking;
use crate::doors::store::{Store, StoreError};

/// How often uses are written.
const FLUSH: Duration = Duration::from_secs(60);
/// Before any moment that a timestamp can hold.
const NEVER: i64 = i64::MIN;

/// When one token was last used.
#[derive(Debug)]
pub struct LastUse(AtomicI64);

impl LastUse {
    /// Notes a use at this second since 1970.
    pub fn note(&self, now_seconds: i64) {
        // Many requests fall into one second: all but the first only read, and no cache line moves.
        if self.0.load(Ordering::Relaxed) != now_seconds {
            self.0.store(now_seconds, Ordering::Relaxed);
        }
    }

    fn second(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Default for LastUse {
    fn default() -> Self {
        Self(AtomicI64::new(NEVER))
    }
}

#[derive(Debug)]
struct Noted {
    last: Arc<LastUse>,
    /// The second that the store has.
    written: i64,
}

impl Default for Noted {
    fn default() -> Self {
        Self {
            last: Arc::default(),
            written: NEVER,
        }
    }
}

/// When tokens were last used, by id, as far as this process has seen.
#[derive(Debug, Default)]
pub struct Uses(Mutex<BTreeMap<String, Noted>>);

impl Uses {
    /// Where the uses of this token are noted. Locks: for whoever makes a table, not for requests.
    pub fn of(&self, id: &str) -> Arc<LastUse> {
        let mut all = self.lock();
        if let Some(noted) = all.get(id) {
            return Arc::clone(&noted.last);
        }
        Arc::clone(&all.entry(id.to_owned()).or_default().last)
    }

    /// When this token was last used, as far as this process has seen.
    pub fn last(&self, id: &str) -> Option<Timestamp> {
        self.lock()
            .get(id)
            .and_then(|noted| moment(noted.last.second()))
    }

    /// What the store does not have yet.
    pub fn changed(&self) -> BTreeMap<String, Timestamp> {
        let all = self.lock();
        let changed = all.iter().filter_map(|(id, noted)| {
            let second = noted.last.second();
            let at = moment(second).filter(|_| second != noted.written)?;
            Some((id.clone(), at))
        });
        changed.collect()
    }

    /// The store has these. Forgets tokens that no table knows any more.
    fn written(&self, uses: &BTreeMap<String, Timestamp>) {
        let mut all = self.lock();
        for (id, at) in uses {
            if let Some(noted) = all.get_mut(id) {
                noted.written = at.as_second();
            }
        }
        all.retain(|_, noted| {
            Arc::strong_count(&noted.last) > 1 || noted.last.second() != noted.written
        });
    }

    /// Writes what the store does not have yet. Blocks.
    ///
    /// # Errors
    /// When the store cannot be written; the next call writes it then.
    pub fn flush(&self, store: &Store) -> Result<(), StoreError> {
        let changed = self.changed();
        if !changed.is_empty() {
            store.note_uses(&changed)?;
        }
        self.written(&changed);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Noted>> {
        // A panic in between leaves whole entries.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn moment(second: i64) -> Option<Timestamp> {
    Timestamp::from_second(second).ok()
}

/// Writes uses each minute, and once more at `shutdown`: cancel it when no request is answered any more.
pub async fn keep(uses: Arc<Uses>, store: Arc<Store>, shutdown: CancellationToken) {
    let mut is_failing = false;
    loop {
        let is_last = tokio::select! {
            () = tokio::time::sleep(FLUSH) => false,
            () = shutdown.cancelled() => true,
        };
        let flushing = Arc::clone(&uses);
        match blocking(&store, move |store| flushing.flush(store)).await {
            Ok(()) => is_failing = false,
            Err(error) => {
                if !is_failing {
                    tracing::warn!("last uses of tokens are not written: {}", chain(&error));
                }
                is_failing = true;
            }
        }
        if is_last {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::TempDir::new().unwrap();
        let store = Store::open(dir.path(), Duration::ZERO).unwrap();
        (dir, store)
    }

    #[test]
    fn what_was_noted_since_the_last_flush_is_written_once() {
        let (_dir, store) = store();
        let uses = Uses::default();
        let (one, two) = (uses.of("one"), uses.of("two"));
        assert!(uses.changed().is_empty());
        one.note(5);
        one.note(7);
        assert_eq!(uses.of("one").second(), 7);
        assert_eq!(uses.changed(), [("one".to_owned(), at(7))].into());
        uses.flush(&store).unwrap();
        assert!(uses.changed().is_empty());
        assert_eq!(uses.last("one"), Some(at(7)));
        two.note(9);
        assert_eq!(uses.changed(), [("two".to_owned(), at(9))].into());
        // A clock that was set back is believed.
        one.note(3);
        assert_eq!(uses.changed().len(), 2);
        assert_eq!((uses.last("two"), uses.last("three")), (Some(at(9)), None));
    }

    #[test]
    fn what_no_table_knows_is_forgotten_after_it_was_written() {
        let (_dir, store) = store();
        let uses = Uses::default();
        let (kept, gone) = (uses.of("kept"), uses.of("gone"));
        kept.note(1);
        gone.note(2);
        drop(gone);
        assert_eq!(uses.changed().len(), 2);
        uses.flush(&store).unwrap();
        assert_eq!(uses.last("gone"), None);
        assert_eq!(uses.last("kept"), Some(at(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn uses_are_written_each_minute_and_at_the_end() {
        let (_dir, store) = store();
        let store = Arc::new(store);
        let record = crate::words::token::TokenRecord {
            id: "one".to_owned(),
            instance: "alice".parse().unwrap(),
            label: "laptop".to_owned(),
            hash: crate::words::token::TokenHash::of(b"x"),
            created: at(0),
            expires: None,
            endpoints: Vec::new(),
            kind: crate::words::token::TokenKind::Bearer,
            session_seconds: None,
            successor: None,
        };
        store.insert_token(&record).unwrap();
        let uses = Arc::new(Uses::default());
        let one = uses.of("one");
        let shutdown = CancellationToken::new();
        let keeping = keep(Arc::clone(&uses), Arc::clone(&store), shutdown.clone());
        let keeping = tokio::spawn(keeping);
        one.note(5);
        let deadline = tokio::time::Instant::now() + FLUSH * 3;
        while store.uses().unwrap().is_empty() {
            assert!(tokio::time::Instant::now() < deadline);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        one.note(8);
        shutdown.cancel();
        keeping.await.unwrap();
        assert_eq!(store.uses().unwrap(), [("one".to_owned(), at(8))].into());
    }
}
