//! The least and the most that durations and counts of people may be.
//!
//! A value beyond them is no wish but a slip, and some slips hurt others: a probe without a pause fills the log, one
//! without an end keeps a swap waiting.

use std::fmt::Display;

use super::diagnostic::Problem;
use super::quantity::{Bytes, Cpus, Span};

/// A range, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds<T> {
    /// The least.
    pub least: T,
    /// The most.
    pub most: T,
}

const fn from<T>(least: T, most: T) -> Bounds<T> {
    Bounds { least, most }
}

const DAY: u64 = 24 * 3_600;

/// `health.interval`: more often is load without news, more seldom is no watching.
pub const HEALTH_INTERVAL: Bounds<Span> = from(Span::secs(1), Span::secs(3_600));
/// `health.timeout`: less fails under load, and a swap waits for an answer as long as this.
pub const HEALTH_TIMEOUT: Bounds<Span> = from(Span::secs(1), Span::secs(300));
/// `health.retries`.
pub const HEALTH_RETRIES: Bounds<u16> = from(1, 100);
/// `health.start_period`: a swap waits for its end.
pub const HEALTH_START_PERIOD: Bounds<Span> = from(Span::secs(0), Span::secs(3_600));

/// Memory of all kinds: engines count it in signed 64 bits, and no host has more.
pub const MEMORY: Bounds<Bytes> = from(Bytes::mib(6), Bytes::mib(64 << 20));
/// Shared memory and memory file systems; 0 has none.
pub const SIZE: Bounds<Bytes> = from(Bytes::mib(0), Bytes::mib(64 << 20));
/// Processors; the least that engines take.
pub const CPUS: Bounds<Cpus> = from(Cpus(10_000_000), Cpus(8_192 * 1_000_000_000));
/// Processes and threads: Linux numbers no more (`PID_MAX_LIMIT`).
pub const PIDS: Bounds<u32> = from(1, 4_194_304);

/// Characters of `owner`: it stands in a column of `status`.
pub const OWNER_LENGTH: Bounds<usize> = from(0, 200);
/// `endpoints` of an instance: each is a router of Traefik's.
pub const ENDPOINTS: Bounds<usize> = from(0, 32);
/// `volumes` of an instance: each is a call of the engine, and a mount.
pub const VOLUMES: Bounds<usize> = from(0, 64);
/// `secrets` of an instance: each is read in every round.
pub const SECRETS: Bounds<usize> = from(0, 128);
/// `tokens` of an instance: each is in the table that every request is looked up in.
pub const TOKENS: Bounds<usize> = from(0, 1_000);
/// `env` and `labels` of an instance: the engine returns all of them in every round.
pub const VARIABLES: Bounds<usize> = from(0, 1_000);

/// `command` and `entrypoint` of an instance: the same.
pub const ARGUMENTS: Bounds<usize> = from(0, 1_000);
/// `security.tmpfs` of an instance: each is a mount.
pub const TMPFS: Bounds<usize> = from(0, 64);

/// Nodes and bytes of text that all files of a source may come to, with aliases unfolded and with what all of its
/// manifests take from `fleet.yaml`. All of it is in memory at a time.
pub const SOURCE_UNFOLDED_MAX: usize = 128 << 20;

/// `reconcile.resync`: a round costs a look at every container, and finds what no event announced.
pub const RESYNC: Bounds<Span> = from(Span::secs(1), Span::secs(DAY));
/// `reconcile.image_refresh`: registries limit how often they are asked.
pub const IMAGE_REFRESH: Bounds<Span> = from(Span::secs(10), Span::secs(90 * DAY));
/// `reconcile.parallelism`: engines serve no more at once.
pub const PARALLELISM: Bounds<usize> = from(1, 64);
/// `reconcile.replace.halt_after_failures`; 0 never halts.
pub const HALT_AFTER: Bounds<usize> = from(0, 100_000);
/// `reconcile.prune.min`.
pub const PRUNE_MIN: Bounds<u64> = from(0, 100_000);
/// `policy.max_instances`.
pub const INSTANCES: Bounds<usize> = from(1, 100_000);
/// `source.git.interval`: git hosts limit how often they are asked.
pub const GIT_INTERVAL: Bounds<Span> = from(Span::secs(5), Span::secs(DAY));
/// `notify.after`.
pub const NOTIFY_AFTER: Bounds<Span> = from(Span::secs(0), Span::secs(7 * DAY));
/// `notify.remind`.
pub const NOTIFY_REMIND: Bounds<Span> = from(Span::secs(60), Span::secs(365 * DAY));

impl<T: PartialOrd + Copy + Display> Bounds<T> {
    /// The value, or the nearest one within the bounds.
    pub fn clamp(self, value: T) -> T {
        if value < self.least {
            self.least
        } else if value > self.most {
            self.most
        } else {
            value
        }
    }

    /// The problem of a field whose value is beyond the bounds.
    pub fn check(self, path: &[&str], value: T, help: &str) -> Option<Problem> {
        let Self { least, most } = self;
        if (least..=most).contains(&value) {
            return None;
        }
        let message = format!("{value} is not from {least} to {most}");
        Some(Problem::error(path, message).with_help(help))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beyond_is_found_and_clamped() {
        let check =
            |value| HEALTH_TIMEOUT.check(&["health", "timeout"], value, "3s is the default");
        for within in [Span::secs(1), Span::secs(300)] {
            assert_eq!(check(within), None);
            assert_eq!(HEALTH_TIMEOUT.clamp(within), within);
        }
        let long = "3650d".parse().expect("a duration");
        let problem = check(long).expect("too long");
        assert_eq!(problem.message, "3650d is not from 1s to 5m");
        assert_eq!(HEALTH_TIMEOUT.clamp(long), Span::secs(300));
        assert_eq!(HEALTH_TIMEOUT.clamp(Span(0)), Span::secs(1));
    }
}
