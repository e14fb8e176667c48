//! When a round is due because something happened.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Several events in a row make one round.
const EVENTS_COALESCE: Duration = Duration::from_millis(100);

/// A round is due: something happened on the engine, or a probe says something else.
pub(in crate::daemon::serve) struct Due {
    notify: Arc<Notify>,
    /// When, once it was heard of. It stays until a round of all instances begins.
    at: Option<Instant>,
}

impl Due {
    pub(in crate::daemon::serve) fn new(notify: Arc<Notify>) -> Self {
        Self { notify, at: None }
    }

    /// For whoever notices that one is due.
    pub(super) fn notify(&self) -> Arc<Notify> {
        Arc::clone(&self.notify)
    }

    /// Until a round is due. Nothing is lost when this is dropped before that.
    pub(super) async fn passed(&mut self) {
        if self.at.is_none() {
            self.notify.notified().await;
            self.at = Some(Instant::now() + EVENTS_COALESCE);
        }
        if let Some(at) = self.at {
            tokio::time::sleep_until(at).await;
        }
    }

    /// A round of all instances begins: it sees whatever was heard of.
    pub(super) fn begin_round(&mut self) {
        self.at = None;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_was_heard_while_somebody_asked_is_due_after_their_round() {
        let mut due = Due::new(Arc::default());
        due.notify().notify_one();
        let asked = Duration::from_millis(50);
        assert!(timeout(asked, due.passed()).await.is_err(), "it coalesces");
        let rest = timeout(asked + asked, due.passed()).await;
        assert!(rest.is_ok(), "the wake-up was lost");
        due.begin_round();
        assert!(timeout(asked * 10, due.passed()).await.is_err());
    }
}
