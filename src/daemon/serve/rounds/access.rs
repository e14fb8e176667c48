//! Access follows the source, also while a round goes on.

use std::sync::Arc;
use std::time::Duration;

use crate::daemon::chain::chain;
use crate::daemon::guards::Guards;
use crate::daemon::round;
use crate::daemon::site::Site;
use crate::daemon::tokens::Tokens;
use crate::doors::store::Store;

/// How often access follows the source while a round goes on.
const ACCESS_EVERY: Duration = Duration::from_secs(1);
/// Access as the source says it, while a round goes on: who may no longer pass is refused whatever rounds wait for.
pub(super) struct AccessFollower {
    pub(super) site: Site,
    pub(super) guards: Arc<Guards>,
    pub(super) tokens: Arc<Tokens>,
    pub(super) store: Arc<Store>,
    /// What was published last.
    pub(super) revision: String,
}

impl AccessFollower {
    pub(super) async fn follow(mut self) {
        let mut before = self.revision.clone();
        loop {
            tokio::time::sleep(ACCESS_EVERY).await;
            let site = self.site.clone();
            let read = move || round::read_source(&site).ok();
            let Ok(Some(snapshot)) = tokio::task::spawn_blocking(read).await else {
                continue;
            };
            let revision = snapshot.revision.clone();
            // A file that is being written reads otherwise the next time.
            let is_settled = std::mem::replace(&mut before, revision.clone()) == revision;
            if is_settled && revision != self.revision {
                self.guards.take_in(&snapshot, &self.site.config);
                publish(&self.tokens, &self.guards, &self.store).await;
                tracing::info!(revision, "access follows the source while a round goes on");
                self.revision = revision;
            }
        }
    }
}

/// Makes the table anew, and puts into the store what a later start shall know of it.
pub(super) async fn publish(tokens: &Arc<Tokens>, guards: &Arc<Guards>, store: &Arc<Store>) {
    let (tokens, guards, store) = (Arc::clone(tokens), Arc::clone(guards), Arc::clone(store));
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
