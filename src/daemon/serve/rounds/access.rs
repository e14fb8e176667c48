//! Access follows the source, also while a round is running.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::daemon::chain::chain;
use crate::daemon::guards::Guards;
use crate::daemon::round;
use crate::daemon::site::Site;
use crate::daemon::tokens::Tokens;
use crate::doors::store::Store;
use crate::words::desired::{Desired, Snapshot};
use crate::words::observed::Observed;
use crate::words::resolve::access_limits;

/// How often access follows the source while a round is running.
const ACCESS_EVERY: Duration = Duration::from_secs(1);

/// Access as the source states it. A round takes in what it reads and what it sees of the engine. While it waits for
/// something, [`follow`](Self::follow) takes in what the files say by then.
pub(in crate::daemon::serve) struct Access {
    site: Site,
    guards: Arc<Guards>,
    tokens: Arc<Tokens>,
    store: Arc<Store>,
    newest: Mutex<Newest>,
}

/// The newest state of the files that access follows.
#[derive(Debug, Clone, Default)]
struct Newest {
    revision: String,
    /// The files, where they were read after the round that is running read its own.
    beside: Option<Arc<Snapshot>>,
    /// How many rounds have read the files.
    rounds: u64,
}

impl Access {
    pub(in crate::daemon::serve) fn new(
        site: &Site,
        guards: Arc<Guards>,
        tokens: Arc<Tokens>,
        store: &Arc<Store>,
    ) -> Self {
        Self {
            site: site.clone(),
            guards,
            tokens,
            store: Arc::clone(store),
            newest: Mutex::default(),
        }
    }

    /// Takes in the files that a round has read; without `desired`, they cannot be used as a whole.
    pub(super) async fn take_read(&self, snapshot: &Snapshot, desired: Option<&Desired>) {
        {
            let mut newest = self.newest();
            newest.revision.clone_from(&snapshot.revision);
            newest.beside = None;
            newest.rounds += 1;
        }
        match desired {
            Some(desired) => self.guards.update(desired, None),
            // Verdicts go on from what was known, without what the manifests revoke.
            None => self.guards.limit(&access_limits(snapshot)),
        }
        self.publish().await;
    }

    /// Takes in what a round has seen of the engine. What the files took away since it read them stays closed.
    pub(super) async fn take_seen(&self, desired: &Desired, observed: &Observed) {
        let beside = self.newest().beside.clone();
        let newer = beside.as_deref().map(|newer| (newer, &self.site.config));
        self.guards.update_seen(desired, observed, newer);
        self.publish().await;
    }

    /// Takes in what the files say while a round is running, as soon as two reads agree. Never returns.
    pub(super) async fn follow(&self) {
        let mut before: Option<(String, u64)> = None;
        loop {
            tokio::time::sleep(ACCESS_EVERY).await;
            let rounds = self.newest().rounds;
            let site = self.site.clone();
            let read = move || round::read_source(&site).ok();
            let Ok(Some(snapshot)) = tokio::task::spawn_blocking(read).await else {
                before = None;
                continue;
            };
            // Of a read that a round's own overtook, nobody knows which is newer.
            let read = (snapshot.revision.clone(), rounds);
            // A file that is being written reads otherwise the next time.
            let is_settled = before.replace(read.clone()).as_ref() == Some(&read);
            {
                let mut newest = self.newest();
                if !is_settled || newest.rounds != rounds || newest.revision == snapshot.revision {
                    continue;
                }
                newest.revision.clone_from(&snapshot.revision);
                newest.beside = Some(Arc::new(snapshot.clone()));
            }
            self.guards.take_in(&snapshot, &self.site.config);
            self.publish().await;
            let revision = snapshot.revision;
            tracing::info!(revision, "access follows the source during a round");
        }
    }

    /// Makes the table anew, and puts into the store what a later start needs of it.
    async fn publish(&self) {
        let (tokens, guards) = (Arc::clone(&self.tokens), Arc::clone(&self.guards));
        let store = Arc::clone(&self.store);
        let publish = move || {
            // What went wrong is told where the table is made.
            let _ = tokens.refresh(jiff::Timestamp::now());
            guards.keep(&store)
        };
        if let Ok(Err(error)) = tokio::task::spawn_blocking(publish).await {
            tracing::warn!(
                error = chain(&error),
                "failed to persist the access index; after a restart an older one answers until the first round"
            );
        }
    }

    fn newest(&self) -> MutexGuard<'_, Newest> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
