//! A listener that is full, or cannot accept: both are logged once an interval, however often they happen.

use std::io;
use std::time::Duration;

use tokio::time::Instant;

/// How often one listener logs that it is full or cannot accept.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// What a listener logs of what may happen many times a second.
#[derive(Debug)]
pub(super) struct Pressure {
    listener: &'static str,
    failures: Quiet,
    evictions: Quiet,
}

impl Pressure {
    /// For a listener of this name.
    pub(super) fn on(listener: &'static str) -> Self {
        Self {
            listener,
            failures: Quiet::default(),
            evictions: Quiet::default(),
        }
    }

    /// No connection can be accepted, for want of file descriptors say.
    pub(super) fn failed(&mut self, error: &io::Error) {
        if let Some(times) = self.failures.due(Instant::now()) {
            let listener = self.listener;
            tracing::warn!(listener, %error, times, "failed to accept a connection; trying again");
        }
    }

    /// An idle connection was closed to make room.
    pub(super) fn evicted(&mut self) {
        if let Some(times) = self.evictions.due(Instant::now()) {
            let listener = self.listener;
            tracing::warn!(
                listener,
                times,
                "listener full; closing the longest idle connections"
            );
        }
    }
}

/// An event that is logged once an interval.
#[derive(Debug, Default)]
struct Quiet {
    until: Option<Instant>,
    unlogged: u64,
}

impl Quiet {
    /// Counts an event. Returns how many there were since the last line, when another line is due.
    fn due(&mut self, now: Instant) -> Option<u64> {
        self.unlogged += 1;
        if self.until.is_some_and(|until| now < until) {
            return None;
        }
        self.until = Some(now + LOG_EVERY);
        Some(std::mem::take(&mut self.unlogged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_failures_are_one_line_an_interval() {
        let mut quiet = Quiet::default();
        let start = Instant::now();
        assert_eq!(quiet.due(start), Some(1));
        for _ in 0..999 {
            assert_eq!(quiet.due(start + LOG_EVERY / 2), None);
        }
        assert_eq!(quiet.due(start + LOG_EVERY), Some(1000));
        assert_eq!(quiet.due(start + LOG_EVERY), None);
    }
}
