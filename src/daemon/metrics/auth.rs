//! Figures of the `ForwardAuth` listener.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use crate::daemon::forward_auth::{AuthCounts, DURATIONS, EdgeTable, SharedTable};
use crate::decisions::access::Reason;

/// The `ForwardAuth` listener. What it was asked about is named only where it is an instance of the fleet.
#[derive(Debug)]
pub(super) struct Auth {
    pub(super) table: SharedTable,
    pub(super) counts: Arc<AuthCounts>,
}

impl Collector for Auth {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let table = self.table.load();
        let known = |count: fn(&EdgeTable) -> usize| table.as_ref().map_or(0, |table| count(table));
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
        // Prometheus calls whom it scrapes `instance`, so ours are called by `name`.
        let mut row = |instance: &str, reason: &str, count: u64| {
            let labels = [("name", instance), ("reason", reason)];
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
