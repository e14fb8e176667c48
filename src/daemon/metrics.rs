//! Figures for Prometheus. No label is without bound: instances are counted, not named, but by the auth listener, which
//! names those of the fleet; and of revisions only the one in use has a row. What an alert looks at is there from the
//! start.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry, Unit};

use super::forward_auth::{AuthCounts, SharedTable};
use super::notices::NoticeCounts;
use crate::decisions::event::action_name;
use crate::decisions::hold::Hold;
use crate::decisions::report::{Missing, Outcome, Report, StepReport};
use crate::decisions::source::SourceStatus;
use crate::decisions::status::{InstancePhase, InstanceStatus};
use crate::doors::store::{Operation, StoreFaults};
use crate::words::observed::Health;
use auth::Auth;
pub use form::Form;

mod auth;
mod form;

/// Bounds of a round's buckets, in seconds: an idle one takes milliseconds, one that pulls takes minutes.
const ROUND_SECONDS: [f64; 9] = [0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 300.0, 1_800.0];
/// How a round ends.
const RESULTS: [&str; 4] = ["done", "held", "failed", "aborted"];
/// What a step does to an instance.
const ACTIONS: [&str; 7] = [
    "create", "start", "stop", "update", "restart", "replace", "remove",
];

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
struct PhaseLabels {
    phase: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HoldLabels {
    reason: &'static str,
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
    completed: Gauge,
    steps: Family<StepLabels, Counter>,
    instances: Family<PhaseLabels, Gauge>,
    held: Family<HoldLabels, Gauge>,
    unhealthy: Gauge,
    routes: Gauge,
    engine: Gauge,
    source: Family<SourceLabels, Gauge>,
    behind: Gauge,
    fetch_ok: Gauge,
    fetched: Gauge,
}

impl Metrics {
    /// Figures of rounds, of a listener that answers from `table` and counts into `auth`, of a store's failures, and of
    /// notices.
    pub fn new(
        table: SharedTable,
        auth: Arc<AuthCounts>,
        store: Arc<StoreFaults>,
        notices: Arc<NoticeCounts>,
    ) -> Self {
        let mut all = Registry::default();
        let started = Gauge::<i64>::default();
        started.set(jiff::Timestamp::now().as_second());
        all.register_with_unit(
            "process_start_time",
            "When the daemon began to serve",
            Unit::Seconds,
            started,
        );
        let mut ours = Ours(all.sub_registry_with_prefix("instanced"));
        let version = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        ours.0.register("build", "The daemon's version", version);
        let mut new = Self {
            rounds: ours.add("rounds", "Rounds, by how they ended", Family::default()),
            round_seconds: ours.seconds(
                "round_duration",
                "How long rounds take",
                Histogram::new(ROUND_SECONDS),
            ),
            completed: ours.seconds(
                "round_completed_timestamp",
                "When a round last came through, whatever failed of single instances; 0 before one did",
                Gauge::default(),
            ),
            steps: ours.add(
                "steps",
                "Steps, by what was done and what became of it",
                Family::default(),
            ),
            instances: ours.add(
                "instances",
                "Instances by phase, as the last round found and left them",
                Family::default(),
            ),
            held: ours.add(
                "instances_held",
                "Instances that are left alone, by why",
                Family::default(),
            ),
            unhealthy: ours.add(
                "instances_unhealthy",
                "Instances that are not well, by their health check or as they end again and again",
                Gauge::default(),
            ),
            routes: ours.add(
                "routes_failing",
                "Files of routes that the last round could not write",
                Gauge::default(),
            ),
            engine: ours.add(
                "engine_reachable",
                "Whether the engine answered when it was asked last",
                Gauge::default(),
            ),
            source: ours.add(
                "source_revision",
                "1 for the revision that the fleet is kept as, and who made it",
                Family::default(),
            ),
            behind: ours.add(
                "source_behind_commits",
                "Commits that are fetched and not all of the fleet yet; -1 where that cannot be counted",
                Gauge::default(),
            ),
            fetch_ok: ours.add(
                "source_fetch_ok",
                "Whether the repository answered when it was asked last; 1 where the source is a directory",
                Gauge::default(),
            ),
            fetched: ours.seconds(
                "source_fetched_timestamp",
                "When the repository answered last; 0 where the source is a directory",
                Gauge::default(),
            ),
            registry: Registry::default(),
        };
        ours.0.register_collector(Box::new(Auth {
            table,
            counts: auth,
        }));
        ours.0.register_collector(Box::new(StoreErrors(store)));
        ours.0.register_collector(Box::new(Letters(notices)));
        new.registry = all;
        new.begin();
        new
    }

    /// Has every row of a closed list be there.
    fn begin(&self) {
        for result in RESULTS {
            drop(self.rounds.get_or_create(&RoundLabels { result }));
        }
        for action in ACTIONS {
            for outcome in ["done", "failed"] {
                drop(self.steps.get_or_create(&StepLabels { action, outcome }));
            }
        }
        self.stand(&[]);
        self.hold(&Report::default());
    }

    /// Counts a round. One that was asked for some instances alone tells nothing of how all of them stand.
    pub fn count(&self, report: &Report, took: Duration, whole: bool) {
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
        for step in &report.steps {
            self.count_step(step);
        }
        match (&report.aborted, report.aborted_by) {
            (Some(_), Some(Missing::Engine)) => {
                self.reach(false);
                self.lose_sight();
            }
            (Some(_), _) => {}
            (None, _) => {
                self.reach(true);
                self.completed.set(jiff::Timestamp::now().as_second());
                self.routes.set(number(report.routes.len()));
                if whole {
                    self.hold(report);
                }
            }
        }
    }

    /// Counts a step that has ended.
    pub fn count_step(&self, told: &StepReport) {
        let outcome = match told.outcome {
            Outcome::Done => "done",
            Outcome::Failed(_) => "failed",
            // They last from round to round: see `instances`.
            Outcome::Held | Outcome::Running { .. } | Outcome::Waiting { .. } => return,
        };
        let action = action_name(&told.step.action);
        let labels = StepLabels { action, outcome };
        self.steps.get_or_create(&labels).inc();
    }

    /// Takes note of whether the engine answers.
    pub fn reach(&self, answers: bool) {
        self.engine.set(i64::from(answers));
    }

    fn hold(&self, report: &Report) {
        let holds = |told: &StepReport| match told.outcome {
            Outcome::Held => Hold::of(&told.step.reason),
            // Nothing else is planned for its instance, whatever its own reason.
            Outcome::Running { .. } => Some(Hold::InProgress),
            Outcome::Done | Outcome::Failed(_) | Outcome::Waiting { .. } => None,
        };
        let held: Vec<_> = report.steps.iter().map(holds).collect();
        for hold in Hold::ALL {
            let many = held.iter().filter(|one| **one == Some(hold)).count();
            let reason = hold.as_str();
            self.held
                .get_or_create(&HoldLabels { reason })
                .set(number(many));
        }
    }

    /// Takes note of how all instances stand.
    pub fn stand(&self, all: &[InstanceStatus]) {
        for phase in InstancePhase::ALL {
            let many = all.iter().filter(|one| one.phase == phase).count();
            let phase = phase.as_str();
            self.instances
                .get_or_create(&PhaseLabels { phase })
                .set(number(many));
        }
        let unhealthy = |one: &&InstanceStatus| {
            one.phase == InstancePhase::Unhealthy || one.health == Some(Health::Unhealthy)
        };
        self.unhealthy
            .set(number(all.iter().filter(unhealthy).count()));
    }

    /// Of whatever was known to stand nothing is known.
    fn lose_sight(&self) {
        let mut all = 0;
        for phase in InstancePhase::ALL.map(InstancePhase::as_str) {
            all += self.instances.get_or_create(&PhaseLabels { phase }).set(0);
        }
        let phase = InstancePhase::Unknown.as_str();
        self.instances
            .get_or_create(&PhaseLabels { phase })
            .set(all);
    }

    /// All figures, with how the fleet stands to its source now.
    pub fn encode(&self, source: &SourceStatus) -> Result<String, fmt::Error> {
        let author = source
            .commit
            .as_ref()
            .and_then(|commit| commit.author.clone());
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

fn number(many: usize) -> i64 {
    i64::try_from(many).unwrap_or(i64::MAX)
}

/// Where figures of ours are registered.
struct Ours<'r>(&'r mut Registry);

impl Ours<'_> {
    fn add<M: Metric + Clone>(&mut self, name: &str, help: &str, metric: M) -> M {
        self.0.register(name, help, metric.clone());
        metric
    }

    fn seconds<M: Metric + Clone>(&mut self, name: &str, help: &str, metric: M) -> M {
        self.0
            .register_with_unit(name, help, Unit::Seconds, metric.clone());
        metric
    }
}

/// The store's failures.
#[derive(Debug)]
struct StoreErrors(Arc<StoreFaults>);

impl Collector for StoreErrors {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Calls of the store that failed, by what they were for";
        let mut encoder =
            encoder.encode_descriptor("store_errors", help, None, MetricType::Counter)?;
        for operation in Operation::ALL {
            let labels = [("operation", operation.as_str())];
            encoder
                .encode_family(&labels)?
                .encode_counter::<NoLabelSet, u64, f64>(&self.0.of(operation), None)?;
        }
        Ok(())
    }
}

/// What became of notices.
#[derive(Debug)]
struct Letters(Arc<NoticeCounts>);

impl Collector for Letters {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Notices that no receiver has taken yet, each counted for every receiver";
        let waiting = i64::try_from(self.0.waiting()).unwrap_or(i64::MAX);
        encoder
            .encode_descriptor("notices_waiting", help, None, MetricType::Gauge)?
            .encode_gauge(&waiting)?;
        let help = "Tries to deliver notices, by what became of them; dropped ones were given up";
        let mut encoder =
            encoder.encode_descriptor("notice_deliveries", help, None, MetricType::Counter)?;
        for (result, count) in [
            ("delivered", self.0.delivered()),
            ("failed", self.0.failed()),
            ("dropped", self.0.dropped()),
        ] {
            encoder
                .encode_family(&[("result", result)])?
                .encode_counter::<NoLabelSet, u64, f64>(&count, None)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
