//! What a row of probes says of an instance: Docker's rules, for the probes that the daemon makes.

use crate::words::observed::Health;
use crate::words::quantity::Span;
use crate::words::spec::HealthProbe;

/// How often one that is starting is asked, at least: clients wait for it.
const STARTING_EVERY: Span = Span(500);

/// The shortest pause between two probes, also where an old record says less.
const PAUSE_LEAST: Span = Span(100);
/// The same, of one that is not starting.
const PAUSE_LEAST_LATER: Span = Span::secs(1);
/// So long after it became unhealthy the last time, an instance counts as steady again.
const STEADY_AFTER: Span = Span::secs(600);
/// One that flaps needs no more successes in a row than this to be healthy again.
const SUCCESSES_MOST: u16 = 16;

/// What the probes so far come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judgement {
    health: Health,
    /// Failures in a row that count.
    failures: u16,
    /// Successes in a row.
    successes: u16,
    /// Successes in a row that make it healthy: one, and twice as many each time it becomes unhealthy soon again. Every
    /// change of the verdict is a round, a log line and perhaps a notice.
    needed: u16,
    /// How long it had run when it became unhealthy.
    fell: Option<Span>,
}

impl Default for Judgement {
    fn default() -> Self {
        Self {
            health: Health::Starting,
            failures: 0,
            successes: 0,
            needed: 1,
            fell: None,
        }
    }
}

impl Judgement {
    /// What it says.
    pub fn health(self) -> Health {
        self.health
    }

    /// With one more probe, made when the instance had run for `age`.
    ///
    /// One success makes it healthy, `retries` failures in a row unhealthy; one that flaps needs more successes in a row.
    /// Failures within the start period do not count, until it was healthy once.
    #[must_use]
    pub fn after(self, well: bool, age: Span, probe: &HealthProbe) -> Self {
        if well {
            let successes = self.successes.saturating_add(1);
            let is_healthy = self.health == Health::Healthy || successes >= self.needed;
            return Self {
                health: if is_healthy {
                    Health::Healthy
                } else {
                    self.health
                },
                failures: 0,
                successes,
                ..self
            };
        }
        if self.health == Health::Starting && age < probe.start_period {
            return self;
        }
        let failures = self.failures.saturating_add(1);
        let falls = failures >= probe.retries && self.health != Health::Unhealthy;
        let failed = Self {
            failures,
            successes: 0,
            ..self
        };
        if falls { failed.fall(age) } else { failed }
    }

    fn fall(self, age: Span) -> Self {
        let steady = self
            .fell
            .is_none_or(|fell| age.0.saturating_sub(fell.0) >= STEADY_AFTER.0);
        let needed = if steady {
            1
        } else {
            (self.needed * 2).min(SUCCESSES_MOST)
        };
        Self {
            health: Health::Unhealthy,
            needed,
            fell: Some(age),
            ..self
        }
    }

    /// How long to wait before the next probe.
    pub fn pause(self, age: Span, probe: &HealthProbe) -> Span {
        if self.health == Health::Starting && age < probe.start_period {
            probe.interval.min(STARTING_EVERY).max(PAUSE_LEAST)
        } else {
            probe.interval.max(PAUSE_LEAST_LATER)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::manifest::StatusRange;

    const LATER: Span = Span::secs(3_600);

    fn probe() -> HealthProbe {
        HealthProbe {
            endpoint: "mcp".parse().expect("a name"),
            path: "/".to_owned(),
            expect: StatusRange {
                first: 200,
                last: 499,
            },
            interval: Span::secs(10),
            timeout: Span::secs(3),
            retries: 3,
            start_period: Span::secs(20),
        }
    }

    /// The verdicts after each of these probes, all at one age.
    fn verdicts(results: &[bool], age: Span) -> Vec<Health> {
        let mut judgement = Judgement::default();
        results
            .iter()
            .map(|well| {
                judgement = judgement.after(*well, age, &probe());
                judgement.health()
            })
            .collect()
    }

    #[test]
    fn one_that_flaps_changes_its_verdict_ever_more_seldom() {
        let probe = HealthProbe {
            retries: 1,
            interval: Span(0),
            ..probe()
        };
        let mut judgement = Judgement::default();
        let (mut changes, mut age) = (0, Span::secs(60));
        for n in 0..500 {
            let before = judgement.health();
            judgement = judgement.after(n % 2 == 0, age, &probe);
            changes += usize::from(judgement.health() != before);
            age = Span(age.0 + judgement.pause(age, &probe).0);
        }
        assert!(changes <= 4, "{changes} changes in {age:?}");
        // Once it is steady, it is healthy again, and the next time one success is enough.
        for _ in 0..SUCCESSES_MOST {
            judgement = judgement.after(true, age, &probe);
        }
        assert_eq!(judgement.health(), Health::Healthy);
        let later = Span(age.0 + STEADY_AFTER.0 + 1);
        let fallen = judgement.after(false, later, &probe);
        assert_eq!(fallen.health(), Health::Unhealthy);
        assert_eq!(fallen.after(true, later, &probe).health(), Health::Healthy);
    }

    #[test]
    fn nothing_is_decided_before_the_first_probe() {
        assert_eq!(Judgement::default().health(), Health::Starting);
    }

    #[test]
    fn one_success_is_enough_also_within_the_start_period() {
        assert_eq!(verdicts(&[true], Span(0)), [Health::Healthy]);
    }

    #[test]
    fn failures_within_the_start_period_do_not_count() {
        assert_eq!(verdicts(&[false; 50], Span(19_999)), [Health::Starting; 50]);
    }

    #[test]
    fn failures_in_a_row_after_it_make_it_unhealthy() {
        assert_eq!(
            verdicts(&[false, false, false], Span::secs(20)),
            [Health::Starting, Health::Starting, Health::Unhealthy]
        );
    }

    #[test]
    fn one_that_was_healthy_once_gets_no_more_grace() {
        use Health::{Healthy, Unhealthy};
        assert_eq!(
            verdicts(&[true, false, false, false], Span(0)),
            [Healthy, Healthy, Healthy, Unhealthy]
        );
    }

    #[test]
    fn a_success_in_between_begins_the_count_anew() {
        let last = verdicts(&[true, false, false, true, false, false], LATER);
        assert_eq!(last, [Health::Healthy; 6]);
    }

    #[test]
    fn an_unhealthy_one_recovers_with_one_success() {
        let row = verdicts(&[false, false, false, false, true], LATER);
        assert_eq!(row[3..], [Health::Unhealthy, Health::Healthy]);
    }

    #[test]
    fn one_that_is_starting_is_asked_more_often() {
        let probe = probe();
        let starting = Judgement::default();
        assert_eq!(starting.pause(Span(0), &probe), STARTING_EVERY);
        assert_eq!(starting.pause(LATER, &probe), probe.interval);
        let healthy = starting.after(true, Span(0), &probe);
        assert_eq!(healthy.pause(Span(0), &probe), probe.interval);
        let quick = HealthProbe {
            interval: Span(100),
            ..probe
        };
        assert_eq!(starting.pause(Span(0), &quick), Span(100));
    }
}
