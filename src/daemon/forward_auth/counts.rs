//! What was answered, counted by reason. Metrics are read from here.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::decisions::access::{Reason, Verdict};

/// How often untrusted peers are logged, in seconds: they must not fill the disk.
const TELL_EVERY_SECS: i64 = 10;

/// Counts since the start.
#[derive(Debug, Default)]
pub struct AuthCounts {
    allowed: AtomicU64,
    refused: [AtomicU64; Reason::ALL.len()],
    connections: AtomicU64,
    broken: AtomicU64,
    untrusted: AtomicU64,
    /// When untrusted peers may be logged again, in seconds since the epoch.
    quiet_until: AtomicU64,
}

impl AuthCounts {
    /// Requests that passed.
    pub fn allowed(&self) -> u64 {
        self.allowed.load(Ordering::Relaxed)
    }

    /// Requests that did not pass for this reason.
    pub fn refused(&self, reason: Reason) -> u64 {
        self.refused[reason as usize].load(Ordering::Relaxed)
    }

    /// Connections opened.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Connections that ended with an error: no HTTP, too slow, too large a head.
    pub fn broken(&self) -> u64 {
        self.broken.load(Ordering::Relaxed)
    }

    /// Connections from peers outside `trusted_proxies`.
    pub fn untrusted(&self) -> u64 {
        self.untrusted.load(Ordering::Relaxed)
    }

    pub(super) fn count(&self, verdict: Verdict<'_>) {
        let counter = match verdict.reason() {
            None => &self.allowed,
            Some(reason) => &self.refused[reason as usize],
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_connection(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_broken(&self) {
        self.broken.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an untrusted peer, and logs it unless one was logged a moment ago.
    pub(super) fn tell_untrusted(&self, peer: IpAddr) {
        let total = self.untrusted.fetch_add(1, Ordering::Relaxed) + 1;
        let now = jiff::Timestamp::now().as_second();
        let next = (now + TELL_EVERY_SECS).cast_unsigned();
        let quiet_until = self.quiet_until.load(Ordering::Relaxed);
        let mine = now.cast_unsigned() >= quiet_until
            && self
                .quiet_until
                .compare_exchange(quiet_until, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if mine {
            tracing::warn!(
                %peer, total,
                "a peer outside `trusted_proxies` asked for a verdict and was denied"
            );
        }
    }
}
