//! When something that was tried is tried again: how long an instance may be unwell before anything is done,
//! what is done then, and how long the next try waits. All of it follows from the acts that were noted, so
//! that a restart of the daemon forgets nothing and hurries nothing.

use std::borrow::Cow;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::pace::Backoff;
use super::plan::{Reason, Step};
use crate::words::act::{Act, Cause, Deed};
use crate::words::name::InstanceName;
use crate::words::observed::{Generation, Health, Phase};
use crate::words::overrides::Frozen;

/// How long an instance may be unwell before anything is done: the engine's own restarts act first.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How long remedies are remembered.
const REMEMBERED: Duration = Duration::from_secs(2 * 3_600);
/// The wait after a restart and a recreation did not help; it doubles with each further try.
const GIVE_UP: Duration = Duration::from_secs(300);
/// The longest such wait.
const GIVE_UP_MOST: Duration = Duration::from_secs(3_600);
/// How long ends and disappearances count together.
const FLAPPING: Duration = Duration::from_secs(1_800);
/// Over which time replacements for the same spec count.
pub const OSCILLATION: Duration = Duration::from_secs(600);
/// So many of them within [`OSCILLATION`] are enough.
const REPLACEMENTS_MOST: usize = 2;
/// One without a health check serves when it has run for so long after its start.
pub const SETTLED: Duration = Duration::from_secs(5);
/// One that the engine had to restart serves again when it has run for so long. Well below [`PATIENCE`]: one
/// that ended once and runs again must not count as unwell until something is done about it.
pub const SETTLED_AGAIN: Duration = Duration::from_secs(30);

/// What is done about an instance that is not well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Remedy {
    /// The same container, down and up.
    Restart,
    /// A new generation.
    Recreate,
}

/// What comes next for an instance that is not well, unless it is well by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NextRemedy {
    /// What is done.
    pub remedy: Remedy,
    /// When.
    pub at: jiff::Timestamp,
    /// How often something was done already.
    #[serde(skip)]
    pub tried: usize,
}

/// Whether a generation that should run is not well: its check says so, or it ends again and again.
pub fn is_unwell(generation: &Generation, now: jiff::Timestamp) -> bool {
    match generation.phase {
        Phase::Restarting => true,
        Phase::Running => {
            generation.health == Some(Health::Unhealthy)
                || generation.restarts > 0 && !has_run_for(generation, SETTLED_AGAIN, now)
        }
        Phase::Created | Phase::Paused | Phase::Exited(_) | Phase::Dead => false,
    }
}

/// Whether a generation serves its clients, as far as anyone can tell.
pub fn serves(generation: &Generation, now: jiff::Timestamp) -> bool {
    if generation.phase != Phase::Running {
        return false;
    }
    match generation.health {
        Some(health) => health == Health::Healthy,
        None if generation.restarts > 0 => has_run_for(generation, SETTLED_AGAIN, now),
        None => has_run_for(generation, SETTLED, now),
    }
}

/// One whose start nobody knows, or that started in a future that a clock has left, has run for long.
fn has_run_for(generation: &Generation, least: Duration, now: jiff::Timestamp) -> bool {
    generation
        .started
        .is_none_or(|started| !within(started, least, now))
}

/// What was done since an operator resumed the instance: what was before no longer counts.
pub fn since(
    acts: &[Act],
    resumed: Option<jiff::Timestamp>,
    now: jiff::Timestamp,
) -> Cow<'_, [Act]> {
    // A clock that was set back since would forget all that is done until it is there again.
    match resumed.filter(|resumed| *resumed <= now) {
        None => Cow::Borrowed(acts),
        Some(resumed) => acts
            .iter()
            .filter(|act| act.at > resumed)
            .cloned()
            .collect(),
    }
}

/// What to do about an instance that has not been well for so long: nothing before [`PATIENCE`] has passed, and ever
/// later the more was tried.
pub fn next(acts: &[Act], unwell_for: Duration, now: jiff::Timestamp) -> NextRemedy {
    let patience = now + PATIENCE.saturating_sub(unwell_for);
    let tried = lately(acts, REMEMBERED, patience).filter(|act| act.cause == Cause::Health);
    let tried: Vec<_> = tried.collect();
    let (remedy, at) = match (tried.len(), tried.last()) {
        (0, _) | (_, None) => (Remedy::Restart, patience),
        (1, _) => (Remedy::Recreate, patience),
        (many, Some(last)) => {
            let doublings = u32::try_from(many - 2).unwrap_or(u32::MAX).min(16);
            let wait = GIVE_UP.saturating_mul(1 << doublings).min(GIVE_UP_MOST);
            (Remedy::Recreate, patience.max(last.at + wait))
        }
    };
    let tried = tried.len();
    NextRemedy { remedy, at, tried }
}

/// Until when an instance that ended or vanished by itself, or by somebody's hand, is left alone, and how
/// often it was brought back lately. The first time it is brought back at once.
pub fn bring_back(
    name: &InstanceName,
    acts: &[Act],
    spec: &str,
    now: jiff::Timestamp,
) -> (Option<jiff::Timestamp>, usize) {
    let brought = lately(acts, FLAPPING, now)
        .filter(|act| act.cause == Cause::Outside && act.spec == spec && act.deed != Deed::Remove);
    let brought: Vec<_> = brought.collect();
    let Some(last) = brought.last() else {
        return (None, 0);
    };
    let tries = u32::try_from(brought.len()).unwrap_or(u32::MAX);
    let until = last.at + Backoff::USUAL.next(tries, spread(name));
    ((now < until).then_some(until), brought.len())
}

/// Whether an instance was replaced so often for this spec that another time would not help. What was broken
/// off does not count: it says something of the daemon, and nothing of the instance.
pub fn oscillates(acts: &[Act], spec: &str, now: jiff::Timestamp) -> bool {
    let replaced = lately(acts, OSCILLATION, now).filter(|act| {
        act.deed == Deed::Replace
            && act.spec == spec
            && act.done == Some(true)
            && matches!(act.cause, Cause::Desired | Cause::Image | Cause::Outside)
    });
    replaced.count() >= REPLACEMENTS_MOST
}

/// Whether something was made of another spec since it was frozen: that has thawed it, also when it is taken back.
pub fn has_thawed(frozen: &Frozen, acts: &[Act]) -> bool {
    let mut later = acts.iter().filter(|act| act.at > frozen.since);
    later.any(|act| act.spec != frozen.spec)
}

/// Acts of the last `window`. One that lies in a future that a clock has left does not count: it would
/// count for ever.
fn lately(acts: &[Act], window: Duration, now: jiff::Timestamp) -> impl Iterator<Item = &Act> {
    acts.iter().filter(move |act| within(act.at, window, now))
}

/// Whether a moment lies in the last `window`; one that lies in the future does not.
pub(super) fn within(at: jiff::Timestamp, window: Duration, now: jiff::Timestamp) -> bool {
    let age = now.duration_since(at);
    Duration::try_from(age).is_ok_and(|age| age < window)
}

/// Spreads tries of instances that ended together; from 0 to 1, the same for one name.
fn spread(name: &InstanceName) -> f64 {
    let hash = blake3::hash(name.as_str().as_bytes());
    f64::from(hash.as_bytes()[0]) / 255.0
}

/// Why a step is done, as its act shall say.
pub fn cause(step: &Step, acts: &[Act]) -> Cause {
    match &step.reason {
        Reason::Asked | Reason::StoppedByOperator { .. } => Cause::Operator,
        Reason::Unhealthy { .. } => Cause::Health,
        Reason::ImageMoved { .. } => Cause::Image,
        // One that was stopped on purpose and shall run again did not end by itself.
        Reason::NotRunning { .. } if acts.last().is_some_and(|act| act.deed == Deed::Stop) => {
            Cause::Desired
        }
        // One that somebody starts again and again.
        Reason::NotStopped if acts.last().is_some_and(|act| act.deed == Deed::Stop) => {
            Cause::Outside
        }
        Reason::Vanished
        | Reason::Drifted
        | Reason::Illegible { .. }
        | Reason::NotRunning { .. } => Cause::Outside,
        _ => Cause::Desired,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: jiff::Timestamp = jiff::Timestamp::constant(1_000_000, 0);

    fn tried(seconds_ago: i64) -> Act {
        Act {
            at: NOW - jiff::SignedDuration::from_secs(seconds_ago),
            deed: Deed::Replace,
            cause: Cause::Health,
            generation: 1,
            spec: String::new(),
            fields: Vec::new(),
            revision: String::new(),
            served: None,
            done: Some(true),
        }
    }

    /// What comes after so many remedies, and in how many seconds.
    fn comes(acts: &[Act], unwell_secs: u64) -> (Remedy, i64, usize) {
        let next = next(acts, Duration::from_secs(unwell_secs), NOW);
        (
            next.remedy,
            next.at.as_second() - NOW.as_second(),
            next.tried,
        )
    }

    #[test]
    fn what_comes_next_is_known_beforehand() {
        assert_eq!(comes(&[], 0), (Remedy::Restart, 60, 0));
        assert_eq!(comes(&[], 45), (Remedy::Restart, 15, 0));
        assert_eq!(comes(&[], 600), (Remedy::Restart, 0, 0));
        assert_eq!(comes(&[tried(100)], 20), (Remedy::Recreate, 40, 1));
        let twice = [tried(300), tried(100)];
        assert_eq!(comes(&twice, 20), (Remedy::Recreate, 200, 2));
        assert_eq!(comes(&twice, 90), (Remedy::Recreate, 200, 2));
        let long_ago = [tried(900), tried(290)];
        assert_eq!(comes(&long_ago, 0), (Remedy::Recreate, 60, 2));
        // What is forgotten by then does not count.
        let old = [tried(7_190)];
        assert_eq!(comes(&old, 0), (Remedy::Restart, 60, 0));
        assert_eq!(comes(&old, 60), (Remedy::Recreate, 0, 1));
    }
}
