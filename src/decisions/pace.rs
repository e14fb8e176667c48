//! When something is due: rounds after file events, and another try after a failure.
//!
//! Pure: `now` is the time since some fixed moment of the caller's, randomness is an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A change waits this long for its neighbours, counted from the last of them.
const COALESCE: Duration = Duration::from_millis(25);
/// A change never waits longer than this for its neighbours.
const COALESCE_MAX: Duration = Duration::from_millis(150);
/// A file that was written to and not closed counts as finished after so much quiet.
pub const QUIET: Duration = Duration::from_secs(2);

/// What happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileEvent {
    /// Created or written to; whoever does it has not closed it yet.
    Writing,
    /// Complete: closed after writing, or renamed into its place.
    Written,
    /// Its owner or mode changed, which says nothing about its content.
    Altered,
    /// Deleted or renamed away.
    Gone,
}

/// Which files are still being written, and when a round is due because of what happened to files.
///
/// A file is unsettled from its first `Writing` until it is `Written`, `Gone`, or [`QUIET`]. A change is
/// pending from the first event that settles something until the round it calls for is taken.
#[derive(Debug, Clone, Default)]
pub struct Settling {
    /// Unsettled files, with the time of the last sign of life.
    writing: BTreeMap<PathBuf, Duration>,
    pending: Option<Pending>,
}

/// Changes that wait for their round.
#[derive(Debug, Clone, Copy)]
struct Pending {
    first: Duration,
    last: Duration,
}

impl Settling {
    /// Takes note of an event. `now` may lie back for a file that was found freshly written.
    pub fn on_event(&mut self, event: FileEvent, path: &Path, now: Duration) {
        match event {
            FileEvent::Writing => {
                let last = self.writing.entry(path.to_owned()).or_insert(now);
                *last = now.max(*last);
            }
            FileEvent::Written | FileEvent::Gone => {
                self.writing.remove(path);
                self.on_change(now);
            }
            // `cp -p` sets the mode while the file is open: this is no sign that it is complete.
            FileEvent::Altered if self.writing.contains_key(path) => {}
            FileEvent::Altered => self.on_change(now),
        }
    }

    /// Takes note of a change that concerns no single file, such as a directory that was replaced.
    pub fn on_change(&mut self, now: Duration) {
        let first = self.pending.map_or(now, |pending| pending.first);
        self.pending = Some(Pending { first, last: now });
    }

    /// How long after `now` a round is due because of files; `None` while nothing happened.
    pub fn due(&self, now: Duration) -> Option<Duration> {
        let changed = self
            .pending
            .map(|pending| (pending.last + COALESCE).min(pending.first + COALESCE_MAX));
        let quiet = self.writing.values().min().map(|last| *last + QUIET);
        let at = changed.into_iter().chain(quiet).min()?;
        Some(at.saturating_sub(now))
    }

    /// Takes the round that is due at `now`. False when none is.
    pub fn take(&mut self, now: Duration) -> bool {
        let due = self.due(now) == Some(Duration::ZERO);
        if due {
            self.writing.retain(|_, last| now < *last + QUIET);
            self.pending = None;
        }
        due
    }

    /// The files that are still being written.
    pub fn unsettled(&self, now: Duration) -> BTreeSet<PathBuf> {
        let fresh = self.writing.iter().filter(|(_, last)| now < **last + QUIET);
        fresh.map(|(path, _)| path.clone()).collect()
    }
}

/// How long to wait after failures in a row: doubling from `first` to `longest`, spread by a quarter to either side so
/// that what failed together is not tried together again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The wait after the first failure, before it is spread.
    pub first: Duration,
    /// The longest wait, before it is spread.
    pub longest: Duration,
}

impl Backoff {
    /// From 1 s to 5 min.
    pub const USUAL: Self = Self {
        first: Duration::from_secs(1),
        longest: Duration::from_secs(300),
    };
    /// For a registry that asks to wait: from 1 min to 30 min. Docker Hub counts pulls of six hours, so tries every few
    /// minutes would keep the limit exhausted.
    pub const RATE_LIMITED: Self = Self {
        first: Duration::from_secs(60),
        longest: Duration::from_secs(1_800),
    };
    const SPREAD: f64 = 0.25;

    /// The wait after `failures` in a row; none after none. `jitter` is random, from 0 to 1.
    pub fn next(self, failures: u32, jitter: f64) -> Duration {
        let Some(doublings) = failures.checked_sub(1) else {
            return Duration::ZERO;
        };
        let factor = 2_u32.checked_pow(doublings).unwrap_or(u32::MAX);
        let wait = self.first.saturating_mul(factor).min(self.longest);
        let jitter = jitter.clamp(0.0, 1.0);
        wait.mul_f64(1.0 + Self::SPREAD * (2.0 * jitter - 1.0))
    }
}

#[cfg(test)]
mod tests;
