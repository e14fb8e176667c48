//! Figures for Prometheus. No label is without bound: instances are counted, not named, and of revisions only the one
//! in use has a row.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::forward_auth::{AuthCounts, DURATIONS, SharedTable};
use crate::decisions::access::Reason;
use crate::decisions::event::action_name;
use crate::decisions::report::{Outcome, Report, StepReport};
use crate::decisions::source::SourceStatus;

/// The form of what [`Metrics::encode`] writes.
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Bounds of a round's buckets, in seconds: an idle one takes milliseconds, one that pulls takes minutes.
const ROUND_SECONDS: [f64; 9] = [0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 300.0, 1_800.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RoundLabels {
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StepLabels {
    action: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SourceLabels {
    revision: String,
    author: String,
}

/// The daemon's figures.
pub struct Metrics {
    registry: Registry,
    rounds: Family<RoundLabels, Counter>,
    round_seconds: Histogram,
    steps: Family<StepLabels, Counter>,
    instances: Family<StateLabels, Gauge>,
    source: Family<SourceLabels, Gauge>,
    behind: Gauge,
    fetch_ok: Gauge,
    fetched: Gauge,
}

impl Metrics {
    /// Figures of rounds, and of a listener that answers from `table` and counts into `auth`.
    pub fn new(table: SharedTable, auth: Arc<AuthCounts>) -> Self {
        let mut registry = Registry::with_prefix("instanced");
        let rounds = Family::default();
        let steps = Family::default();
        let instances = Family::default();
        let source = Family::default();
        let round_seconds = Histogram::new(ROUND_SECONDS);
        let (behind, fetch_ok, fetched) = (Gauge::default(), Gauge::default(), Gauge::default());
        registry.register("rounds", "Rounds, by how they ended", rounds.clone());
        registry.register_with_unit(
            "round_duration",
            "How long rounds take",
            Unit::Seconds,
            round_seconds.clone(),
        );
        registry.register(
            "steps",
            "Steps, by what was done and what became of it",
            steps.clone(),
        );
        registry.register(
            "instances",
            "Instances after the last round, by how it left them",
            instances.clone(),
        );
        registry.register(
            "source_revision",
            "1 for the revision that the fleet is kept as, and who made it",
            source.clone(),
        );
        registry.register(
            "source_behind_commits",
            "Commits that are fetched and not all of the fleet yet; -1 where that cannot be counted",
            behind.clone(),
        );
        registry.register(
            "source_fetch_ok",
            "Whether the repository answered when it was asked last",
            fetch_ok.clone(),
        );
        registry.register_with_unit(
            "source_fetched_timestamp",
            "When the repository answered last",
            Unit::Seconds,
            fetched.clone(),
        );
        registry.register_collector(Box::new(Auth {
            table,
            counts: auth,
        }));
        Self {
            registry,
            rounds,
            round_seconds,
            steps,
            instances,
            source,
            behind,
            fetch_ok,
            fetched,
        }
    }

    /// Counts a round.
    pub fn count(&self, report: &Report, took: Duration) {
        let result = if report.aborted.is_some() {
            "aborted"
        } else if report.has_failures() {
            "failed"
        } else if report.has_held() {
            "held"
        } else {
            "done"
        };
        self.rounds.get_or_create(&RoundLabels { result }).inc();
        self.round_seconds.observe(took.as_secs_f64());
        for StepReport { step, outcome, .. } in &report.steps {
            let outcome = match outcome {
                Outcome::Done => "done",
                Outcome::Failed(_) => "failed",
                // They last from round to round: see `instances`.
                Outcome::Held | Outcome::Waiting { .. } => continue,
            };
            let action = action_name(&step.action);
            let labels = StepLabels { action, outcome };
            self.steps.get_or_create(&labels).inc();
        }
        if report.aborted.is_none() {
            self.count_instances(report);
        }
    }

    fn count_instances(&self, report: &Report) {
        let count = |is_one: fn(&Outcome) -> bool| {
            let all = report.steps.iter();
            all.filter(|told| is_one(&told.outcome)).count()
        };
        let done = count(|outcome| *outcome == Outcome::Done);
        for (state, number) in [
            ("as_desired", report.unchanged + done),
            ("held", count(|outcome| *outcome == Outcome::Held)),
            (
                "failed",
                count(|outcome| matches!(outcome, Outcome::Failed(_))),
            ),
            (
                "waiting",
                count(|outcome| matches!(outcome, Outcome::Waiting { .. })),
            ),
        ] {
            let number = i64::try_from(number).unwrap_or(i64::MAX);
            self.instances
                .get_or_create(&StateLabels { state })
                .set(number);
        }
    }

    /// All figures, with how the fleet stands to its source now.
    pub fn encode(&self, source: &SourceStatus) -> Result<String, fmt::Error> {
        let author = source.commit.as_ref().map(|commit| commit.author.clone());
        self.source.clear();
        if !source.revision.is_empty() {
            let labels = SourceLabels {
                revision: source.revision.clone(),
                author: author.unwrap_or_default(),
            };
            self.source.get_or_create(&labels).set(1);
        }
        self.behind.set(match &source.behind {
            None => 0,
            Some(behind) => behind
                .commits
                .map_or(-1, |n| i64::try_from(n).unwrap_or(i64::MAX)),
        });
        self.fetch_ok.set(i64::from(source.fetch_failure.is_none()));
        self.fetched
            .set(source.fetched.map_or(0, jiff::Timestamp::as_second));
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// The `ForwardAuth` listener. What it was asked about is named only where it is an instance of the fleet.
#[derive(Debug)]
struct Auth {
    table: SharedTable,
    counts: Arc<AuthCounts>,
}

impl Collector for Auth {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let table = self.table.load();
        let known = |count: fn(&super::forward_auth::EdgeTable) -> usize| {
            table.as_ref().map_or(0, |table| count(table))
        };
        for (name, help, value) in [
            (
                "auth_ready",
                "Whether it is known who may pass; 0 before anything is known and when the store cannot be read: nobody passes",
                known(|_| 1),
            ),
            (
                "auth_endpoints",
                "Endpoints that can be asked about",
                known(|table| table.access().endpoints()),
            ),
            (
                "auth_tokens",
                "Tokens that are accepted, each counted for every endpoint of its instance",
                known(|table| table.access().keys()),
            ),
            (
                "auth_guessing_clients",
                "Clients that are remembered for their wrong tokens",
                usize::try_from(self.counts.guessing()).unwrap_or(usize::MAX),
            ),
        ] {
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            encoder
                .encode_descriptor(name, help, None, MetricType::Gauge)?
                .encode_gauge(&value)?;
        }
        for (name, help, value) in [
            (
                "auth_connections",
                "Connections to the auth listener",
                self.counts.connections(),
            ),
            (
                "auth_connections_broken",
                "Connections that were no HTTP, or too slow, or too much",
                self.counts.broken(),
            ),
            (
                "auth_untrusted_peers",
                "Connections from outside trusted_proxies",
                self.counts.untrusted(),
            ),
            (
                "auth_tickets_redeemed",
                "Tickets that became sessions",
                self.counts.redeemed(),
            ),
        ] {
            encoder
                .encode_descriptor(name, help, None, MetricType::Counter)?
                .encode_counter::<NoLabelSet, u64, f64>(&value, None)?;
        }
        self.encode_durations(encoder.encode_descriptor(
            "auth_duration",
            "How long answers take; one of sixteen is timed, and no ticket that becomes a session",
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?)?;
        self.encode_requests(encoder.encode_descriptor(
            "auth_requests",
            "What was answered, by reason, and about which instance where that is known",
            None,
            MetricType::Counter,
        )?)
    }
}

impl Auth {
    fn encode_durations(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let (counts, sum) = self.counts.durations();
        // Microseconds fit a float many times over.
        #[expect(clippy::cast_precision_loss, reason = "bounds are small")]
        let bounds = DURATIONS.iter().map(|micros| *micros as f64 / 1e6);
        let buckets: Vec<_> = bounds.chain([f64::INFINITY]).zip(counts).collect();
        encoder.encode_histogram::<NoLabelSet>(sum, counts.iter().sum(), &buckets, None)
    }

    fn encode_requests(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let mut row = |instance: &str, reason: &str, count: u64| {
            let labels = [("instance", instance), ("reason", reason)];
            let mut encoder = encoder.encode_family(&labels)?;
            encoder.encode_counter::<NoLabelSet, u64, f64>(&count, None)
        };
        // What is about no instance of the fleet is what is left of all.
        let instances = self.counts.instances();
        for reason in [None].into_iter().chain(Reason::ALL.map(Some)) {
            let name = reason.map_or("allowed", Reason::as_str);
            let mut left = match reason {
                None => self.counts.allowed(),
                Some(reason) => self.counts.refused(reason),
            };
            for (instance, counts) in &instances {
                let count = match reason {
                    None => counts.allowed(),
                    Some(reason) => counts.refused(reason),
                };
                left = left.saturating_sub(count);
                // Most reasons never happen to most instances.
                if count > 0 {
                    row(instance.as_str(), name, count)?;
                }
            }
            row("", name, left)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decisions::plan::{Action, Reason, Step};
    use crate::decisions::report::Failure;
    use crate::decisions::source::Behind;
    use crate::words::commit::Commit;

    fn told(action: Action, outcome: Outcome) -> StepReport {
        let step = Step {
            instance: "alice".parse().unwrap(),
            action,
            reason: Reason::Orphaned,
            changes: Vec::new(),
            ends_sessions: false,
        };
        StepReport {
            step,
            outcome,
            millis: 1,
        }
    }

    #[test]
    fn rounds_steps_and_the_source_are_counted_and_no_instance_is_named() {
        let metrics = Metrics::new(SharedTable::default(), Arc::default());
        let remove = || Action::Remove {
            targets: Vec::new(),
        };
        let failure = Failure {
            message: "no".to_owned(),
            help: None,
        };
        let report = Report {
            steps: vec![
                told(remove(), Outcome::Done),
                told(remove(), Outcome::Failed(failure.clone())),
                told(Action::Held, Outcome::Held),
            ],
            unchanged: 3,
            ..Report::default()
        };
        metrics.count(&report, Duration::from_millis(30));
        metrics.count(&Report::aborted(failure), Duration::from_millis(3));
        let mut source = SourceStatus {
            revision: "git:0".to_owned(),
            ..SourceStatus::default()
        };
        metrics.encode(&source).unwrap();
        source.revision = "git:5b3e5b3e5b3e".to_owned();
        source.commit = Some(Commit {
            id: "5b3e".repeat(10),
            author: "Ada \"the first\" <ada@example.com>".to_owned(),
            committed: jiff::Timestamp::UNIX_EPOCH,
            subject: String::new(),
            changed_since: false,
        });
        source.behind = Some(Behind {
            commits: Some(2),
            rewritten: false,
            why: String::new(),
        });
        let text = metrics.encode(&source).unwrap();
        for line in [
            "instanced_rounds_total{result=\"failed\"} 1",
            "instanced_rounds_total{result=\"aborted\"} 1",
            "instanced_round_duration_seconds_bucket{le=\"0.1\"} 2",
            "instanced_steps_total{action=\"remove\",outcome=\"done\"} 1",
            "instanced_steps_total{action=\"remove\",outcome=\"failed\"} 1",
            "instanced_instances{state=\"as_desired\"} 4",
            "instanced_instances{state=\"held\"} 1",
            "instanced_source_behind_commits 2",
            "instanced_source_fetch_ok 1",
            "instanced_source_revision{revision=\"git:5b3e5b3e5b3e\",author=\"Ada \\\"the first\\\" <ada@example.com>\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "no {line} in\n{text}");
        }
        assert!(
            !text.contains("alice") && !text.contains("git:0\""),
            "{text}"
        );
    }
}
