//! What was answered, counted by reason and by instance. Metrics are read from here.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::decisions::access::Reason;
use crate::words::name::InstanceName;

/// How often untrusted peers are logged, in seconds: they must not fill the disk.
const TELL_EVERY_SECS: i64 = 10;
/// One of so many answers is timed: to look at the clock twice costs more than most of the verdict.
const SAMPLED: u64 = 16;
/// Bounds of the buckets of answers' durations, in microseconds.
pub const DURATIONS: [u64; 7] = [50, 100, 250, 500, 1_000, 5_000, 25_000];

/// Counts since the start.
#[derive(Debug, Default)]
pub struct AuthCounts {
    allowed: AtomicU64,
    refused: [AtomicU64; Reason::ALL.len()],
    redeemed: AtomicU64,
    connections: AtomicU64,
    broken: AtomicU64,
    untrusted: AtomicU64,
    guessing: AtomicU64,
    turns: AtomicU64,
    /// How many of those that were timed took how long; the last is for longer ones.
    durations: [AtomicU64; DURATIONS.len() + 1],
    duration_nanos: AtomicU64,
    /// When untrusted peers may be logged again, in seconds since the epoch.
    quiet_until: AtomicU64,
    instances: Mutex<BTreeMap<InstanceName, Arc<InstanceCounts>>>,
}

/// What was answered about one instance.
#[derive(Debug, Default)]
pub struct InstanceCounts {
    allowed: AtomicU64,
    refused: [AtomicU64; Reason::ALL.len()],
}

impl InstanceCounts {
    /// Requests that passed.
    pub fn allowed(&self) -> u64 {
        self.allowed.load(Ordering::Relaxed)
    }

    /// Requests that did not pass for this reason.
    pub fn refused(&self, reason: Reason) -> u64 {
        self.refused[reason as usize].load(Ordering::Relaxed)
    }

    pub(super) fn count_allowed(&self) {
        self.allowed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_refused(&self, reason: Reason) {
        self.refused[reason as usize].fetch_add(1, Ordering::Relaxed);
    }
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

    /// Tickets that became sessions.
    pub fn redeemed(&self) -> u64 {
        self.redeemed.load(Ordering::Relaxed)
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

    /// How many clients are remembered for their wrong tokens.
    pub fn guessing(&self) -> u64 {
        self.guessing.load(Ordering::Relaxed)
    }

    /// How many of the answers that were timed, one of sixteen, took as long as each of [`DURATIONS`] and longer than the one before, then how many took
    /// longer than all; and the sum of all, in seconds.
    pub fn durations(&self) -> ([u64; DURATIONS.len() + 1], f64) {
        let counts = self
            .durations
            .each_ref()
            .map(|bucket| bucket.load(Ordering::Relaxed));
        let sum = Duration::from_nanos(self.duration_nanos.load(Ordering::Relaxed));
        (counts, sum.as_secs_f64())
    }

    /// What was answered about each instance that there is.
    pub fn instances(&self) -> BTreeMap<InstanceName, Arc<InstanceCounts>> {
        self.locked().clone()
    }

    /// The counts of one instance, which go on when a new table is made.
    pub(super) fn of(&self, instance: &InstanceName) -> Arc<InstanceCounts> {
        let mut instances = self.locked();
        if let Some(known) = instances.get(instance) {
            return Arc::clone(known);
        }
        let new = Arc::<InstanceCounts>::default();
        instances.insert(instance.clone(), Arc::clone(&new));
        new
    }

    /// Forgets the counts of instances that are gone: labels are bounded by the fleet.
    pub fn keep(&self, is_there: impl Fn(&InstanceName) -> bool) {
        self.locked().retain(|instance, _| is_there(instance));
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, BTreeMap<InstanceName, Arc<InstanceCounts>>> {
        self.instances
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn count_allowed(&self) {
        self.allowed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_refused(&self, reason: Reason) {
        self.refused[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_redeemed(&self) {
        self.redeemed.fetch_add(1, Ordering::Relaxed);
    }

    /// Begins to time an answer, every so often.
    pub(super) fn begin(&self) -> Option<Instant> {
        let turn = self.turns.fetch_add(1, Ordering::Relaxed);
        turn.is_multiple_of(SAMPLED).then(Instant::now)
    }

    /// Ends it, and counts how long it took.
    pub(super) fn end(&self, began: Option<Instant>) {
        let Some(took) = began.map(|began| began.elapsed()) else {
            return;
        };
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = DURATIONS.iter().position(|bound| micros <= *bound);
        self.durations[bucket.unwrap_or(DURATIONS.len())].fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.duration_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    pub(super) fn set_guessing(&self, clients: usize) {
        self.guessing.store(clients as u64, Ordering::Relaxed);
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
