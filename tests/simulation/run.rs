//! Many cases, on all processors.

use std::fmt;
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::bugs::Bug;
use super::case::{Verdict, play};

/// A number from the environment.
pub fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect("a number"))
}

/// The seed of a case that shall be replayed.
pub fn seed() -> Option<u64> {
    number("INSTANCED_SIM_SEED")
}

/// To whoever looks on.
pub fn say(text: &str) {
    // Nobody need look on.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// What came of many cases.
#[derive(Debug, Default)]
pub struct Tally {
    pub cases: u64,
    pub rounds: u64,
    /// Seeds and what they broke, the first few.
    pub broken: Vec<(u64, String)>,
    longest_settling: (usize, u64),
    longest_settled: (Duration, u64),
    most_changes: (usize, u64),
    most_tries: (usize, u64),
    most_rounds: (usize, u64),
}

impl Tally {
    fn add(&mut self, seed: u64, verdict: Verdict) {
        self.cases += 1;
        self.rounds += verdict.rounds as u64;
        self.longest_settling = self.longest_settling.max((verdict.settling, seed));
        self.longest_settled = self.longest_settled.max((verdict.settled_after, seed));
        self.most_changes = self.most_changes.max((verdict.changes_an_hour, seed));
        self.most_tries = self.most_tries.max((verdict.tries_an_hour, seed));
        self.most_rounds = self.most_rounds.max((verdict.rounds_an_hour, seed));
        if let Some(broken) = verdict.broken {
            self.broken.push((seed, broken));
        }
    }

    fn join(&mut self, other: Self) {
        self.cases += other.cases;
        self.rounds += other.rounds;
        self.broken.extend(other.broken);
        self.broken.sort();
        self.longest_settling = self.longest_settling.max(other.longest_settling);
        self.longest_settled = self.longest_settled.max(other.longest_settled);
        self.most_changes = self.most_changes.max(other.most_changes);
        self.most_tries = self.most_tries.max(other.most_tries);
        self.most_rounds = self.most_rounds.max(other.most_rounds);
    }

    /// What is broken, and how to see it.
    pub fn told(&self) -> String {
        let lines = self.broken.iter().take(20).map(|(seed, broken)| {
            format!("INSTANCED_SIM_SEED={seed} cargo test --test simulation: {broken}")
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} cases, {} rounds; at most {} rounds (seed {}) and {:?} (seed {}) to rest, in an hour {} changing \
             calls (seed {}), {} tries of one instance (seed {}), {} rounds (seed {})",
            self.cases,
            self.rounds,
            self.longest_settling.0,
            self.longest_settling.1,
            self.longest_settled.0,
            self.longest_settled.1,
            self.most_changes.0,
            self.most_changes.1,
            self.most_tries.0,
            self.most_tries.1,
            self.most_rounds.0,
            self.most_rounds.1,
        )
    }
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZero::get)
}

/// Plays so many cases. Ends early once several are broken.
pub fn all(first: u64, cases: u64) -> Tally {
    let next = AtomicU64::new(first);
    let broken = AtomicU64::new(0);
    let total = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        for _ in 0..threads() {
            scope.spawn(|| {
                let mut tally = Tally::default();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + cases || broken.load(Ordering::Relaxed) >= 20 {
                        break;
                    }
                    let verdict = play(seed, None, false);
                    if verdict.broken.is_some() {
                        broken.fetch_add(1, Ordering::Relaxed);
                    }
                    tally.add(seed, verdict);
                }
                total.lock().expect("no thread panics here").join(tally);
            });
        }
    });
    total.into_inner().expect("no thread panics here")
}

/// Where a planted bug shows.
#[derive(Debug)]
pub struct Found {
    pub bug: Bug,
    pub seed: Option<u64>,
    /// What it broke.
    pub broken: String,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bug, seed, broken } = self;
        match seed {
            Some(seed) => write!(f, "{bug:?} shows at seed {seed}: {broken}"),
            None => write!(f, "{bug:?} does not show"),
        }
    }
}

/// Looks for each bug until it shows, `most` cases at most.
pub fn hunt(bugs: &[Bug], most: u64) -> Vec<Found> {
    let next = AtomicU64::new(0);
    let all = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads() {
            scope.spawn(|| {
                while let Some(bug) = bugs.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    let bug = *bug;
                    let found = (0..most).find_map(|seed| {
                        let broken = play(seed, Some(bug), false).broken?;
                        Some((seed, broken))
                    });
                    let (seed, broken) = found.unzip();
                    let broken = broken.unwrap_or_default();
                    all.lock()
                        .expect("no thread panics here")
                        .push(Found { bug, seed, broken });
                }
            });
        }
    });
    all.into_inner().expect("no thread panics here")
}
