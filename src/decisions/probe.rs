//! What a row of probes says of an instance: Docker's rules, for the probes that the daemon makes.

use crate::words::observed::Health;
use crate::words::quantity::Span;
use crate::words::spec::HealthProbe;

/// How often one that is starting is asked, at least: clients wait for it.
const STARTING_EVERY: Span = Span(500);

/// What the probes so far come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judgement {
    health: Health,
    /// Failures in a row that count.
    failures: u16,
}

impl Default for Judgement {
    fn default() -> Self {
        Self {
            health: Health::Starting,
            failures: 0,
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
    /// One success makes it healthy, `retries` failures in a row unhealthy. Failures within the start period do
    /// not count, until it was healthy once.
    #[must_use]
    pub fn after(self, well: bool, age: Span, probe: &HealthProbe) -> Self {
        if well {
            return Self {
                health: Health::Healthy,
                failures: 0,
            };
        }
        if self.health == Health::Starting && age < probe.start_period {
            return self;
        }
        let failures = self.failures.saturating_add(1);
        let health = if failures >= probe.retries {
            Health::Unhealthy
        } else {
            self.health
        };
        Self { health, failures }
    }

    /// How long to wait before the next probe.
    pub fn pause(self, age: Span, probe: &HealthProbe) -> Span {
        if self.health == Health::Starting && age < probe.start_period {
            probe.interval.min(STARTING_EVERY)
        } else {
            probe.interval
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
