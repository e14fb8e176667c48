//! How often one client may guess. Asked only when a wrong token was presented: whoever has a valid one passes,
//! whatever else its address sends.

use std::collections::hash_map::RandomState;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{Quota, RateLimiter};
use lru::LruCache;
use rustix::time::{ClockId, clock_gettime};

/// So many guesses at once.
const BURST: u32 = 20;
/// And so many a minute from then on.
const PER_MINUTE: u32 = 10;
/// So many clients are remembered: some 100 bytes each. Beyond it the one that has guessed nothing for longest is
/// forgotten, and nobody is locked out.
const CLIENTS_MAX: usize = 32_768;

/// A token bucket for each client that guesses.
pub(super) struct Limiter<C: Clock = CoarseClock> {
    buckets: RateLimiter<IpAddr, Clients, C, NoOpMiddleware<C::Instant>>,
    clients: Clients,
    clock: C,
}

impl Default for Limiter {
    fn default() -> Self {
        Self::with_clock(CoarseClock)
    }
}

impl<C: Clock + Clone> Limiter<C> {
    fn with_clock(clock: C) -> Self {
        const RATE: NonZeroU32 = NonZeroU32::new(PER_MINUTE).expect("above zero");
        const AT_ONCE: NonZeroU32 = NonZeroU32::new(BURST).expect("above zero");
        let quota = Quota::per_minute(RATE).allow_burst(AT_ONCE);
        let clients = Clients::default();
        let buckets = RateLimiter::new(quota, clients.clone(), clock.clone());
        Self {
            buckets,
            clients,
            clock,
        }
    }

    /// Counts a guess.
    ///
    /// # Errors
    /// How long this client has to wait for its next one, where it had too many.
    pub(super) fn guess(&self, client: IpAddr) -> Result<(), Duration> {
        let checked = self.buckets.check_key(&client);
        checked.map_err(|until| until.wait_time_from(self.clock.now()))
    }

    /// How many clients are remembered.
    pub(super) fn clients(&self) -> usize {
        self.clients.count.load(Ordering::Relaxed)
    }
}

impl<C: Clock + Clone> std::fmt::Debug for Limiter<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Limiter({} clients)", self.clients())
    }
}

/// Time that never goes back, some milliseconds late at most: buckets fill over seconds, and it is a third of the price.
#[derive(Debug, Clone, Copy)]
pub(super) struct CoarseClock;

impl Clock for CoarseClock {
    /// Since the machine was started.
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        let now = clock_gettime(ClockId::MonotonicCoarse);
        Duration::try_from(now).unwrap_or_default().into()
    }
}

/// The buckets, at most [`CLIENTS_MAX`] of them.
#[derive(Clone)]
struct Clients {
    buckets: Arc<Mutex<LruCache<IpAddr, Nanos, RandomState>>>,
    count: Arc<AtomicUsize>,
}

impl Default for Clients {
    fn default() -> Self {
        // Unbounded, as a bounded one takes all its memory at once; it is kept short below. Its hash has random keys:
        // what is kept here is what clients choose.
        let buckets = LruCache::unbounded_with_hasher(RandomState::default());
        Self {
            buckets: Arc::new(Mutex::new(buckets)),
            count: Arc::default(),
        }
    }
}

impl Clients {
    fn locked(&self) -> MutexGuard<'_, LruCache<IpAddr, Nanos, RandomState>> {
        // A panic in between leaves a bucket as it was.
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StateStore for Clients {
    type Key = IpAddr;

    fn measure_and_replace<T, F, E>(&self, client: &IpAddr, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut clients = self.locked();
        if let Some(known) = clients.get_mut(client) {
            let (told, next) = measure(Some(*known))?;
            *known = next;
            return Ok(told);
        }
        let (told, next) = measure(None)?;
        clients.put(*client, next);
        if clients.len() > CLIENTS_MAX {
            clients.pop_lru();
        }
        self.count.store(clients.len(), Ordering::Relaxed);
        Ok(told)
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    fn address(n: u32) -> IpAddr {
        IpAddr::from(n.to_be_bytes())
    }

    #[test]
    fn a_client_may_guess_twenty_times_and_then_ten_times_a_minute() {
        let clock = FakeRelativeClock::default();
        let limiter = Limiter::with_clock(clock.clone());
        for _ in 0..BURST {
            limiter.guess(address(1)).unwrap();
        }
        let wait = limiter.guess(address(1)).unwrap_err();
        assert!(
            wait <= Duration::from_secs(6) && wait > Duration::from_secs(5),
            "{wait:?}"
        );
        // Another client is another matter, and asking too early costs nothing.
        limiter.guess(address(2)).unwrap();
        clock.advance(wait);
        limiter.guess(address(1)).unwrap();
        limiter.guess(address(1)).unwrap_err();
        clock.advance(Duration::from_secs(60));
        let passed = (0..BURST).filter(|_| limiter.guess(address(1)).is_ok());
        assert_eq!(passed.count(), PER_MINUTE as usize);
    }

    #[test]
    fn a_million_clients_take_no_more_than_their_share_and_lock_nobody_out() {
        let limiter = Limiter::with_clock(FakeRelativeClock::default());
        for n in 0..1_000_000 {
            limiter.guess(address(n)).unwrap();
        }
        assert_eq!(limiter.clients(), CLIENTS_MAX);
        // Whoever goes on guessing through all that is not forgotten.
        let mut guesses = 0;
        for n in 0..100_000 {
            limiter.guess(address(n)).unwrap();
            if n % 1_000 == 0 && limiter.guess(address(u32::MAX)).is_ok() {
                guesses += 1;
            }
        }
        assert_eq!(guesses, BURST);
    }
}
