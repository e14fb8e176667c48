//! For how long something has been so, as rounds of this process found it: a manifest absent, an instance not well.
//! Counted by a clock that nobody sets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::Instant;

use crate::decisions::remedy;
use crate::words::desired::Desired;
use crate::words::name::InstanceName;
use crate::words::observed::{Generation, Health, Observed, Phase};

/// Since when what is absent or not well has been so.
#[derive(Debug, Default)]
pub(super) struct Spells {
    absent: BTreeMap<InstanceName, Instant>,
    unwell: BTreeMap<InstanceName, Instant>,
    /// Since when what counts as unwell has been in one and the same run.
    runs: BTreeMap<InstanceName, (Run, Instant)>,
}

/// For how long instances have not been well, as the last round found it: for whoever asks between rounds.
#[derive(Debug, Default)]
pub struct Unwell(ArcSwap<BTreeMap<InstanceName, Instant>>);

impl Unwell {
    /// Keeps what a round has found.
    pub(super) fn note(&self, unwell_for: &BTreeMap<InstanceName, Duration>) {
        let moment = Instant::now();
        let since = unwell_for.iter().map(|(name, long)| {
            let since = moment.checked_sub(*long).unwrap_or(moment);
            (name.clone(), since)
        });
        self.0.store(Arc::new(since.collect()));
    }

    /// For how long by now.
    pub(super) fn so_far(&self) -> BTreeMap<InstanceName, Duration> {
        elapsed(&self.0.load())
    }
}

/// A run of a container: its id, and when it was started.
type Run = (String, Option<jiff::Timestamp>);

impl Spells {
    /// Takes note of manifests that are there. Before anything of a round may fail: one that was back for a round
    /// that came to nothing was back.
    pub(super) fn end_absence(&mut self, desired: &Desired) {
        self.absent.retain(|name, _| !desired.names(name));
    }

    /// Takes note of what a look has found that began at `moment`. `now` is the time of day.
    pub(super) fn note(
        &mut self,
        desired: &Desired,
        observed: &Observed,
        now: jiff::Timestamp,
        moment: Instant,
    ) {
        let instances = observed.instances.iter();
        let orphans = observed
            .instances
            .keys()
            .filter(|name| !desired.names(name));
        renew(&mut self.absent, orphans, moment);
        let unwell: Vec<_> = instances
            .filter(|(name, _)| desired.specs.contains_key(*name))
            .filter_map(|(name, all)| {
                let newest = all.iter().rfind(|g| g.phase != Phase::Created)?;
                remedy::is_unwell(newest, now).then_some((name, newest))
            })
            .collect();
        let runs = unwell.iter().map(|(name, newest)| {
            let run = (newest.id.clone(), newest.started);
            let before = self.runs.get(*name).filter(|(known, _)| *known == run);
            let since = before.map_or(moment, |(_, since)| *since);
            ((*name).clone(), (run, since))
        });
        self.runs = runs.collect();
        let long = |(name, _): &&(&InstanceName, &Generation)| {
            let (_, since) = &self.runs[*name];
            moment.duration_since(*since) >= remedy::SETTLED_AGAIN
        };
        // A clock that was set back says of one that has long settled that it started just now.
        let settled = unwell.iter().filter(|(_, newest)| is_up(newest));
        let settled: BTreeSet<_> = settled.filter(long).map(|(name, _)| *name).collect();
        let unwell = unwell.iter().map(|(name, _)| *name);
        let unwell = unwell.filter(|name| !settled.contains(name));
        renew(&mut self.unwell, unwell, moment);
    }

    /// For how long manifests had been absent at that moment. A look may take long, and says nothing of its end.
    pub(super) fn absent_for(&self, moment: Instant) -> BTreeMap<InstanceName, Duration> {
        let absent = self.absent.iter();
        absent
            .map(|(name, since)| (name.clone(), moment.duration_since(*since)))
            .collect()
    }

    /// For how long instances have not been well.
    pub(super) fn unwell_for(&self) -> BTreeMap<InstanceName, Duration> {
        elapsed(&self.unwell)
    }

    /// How long until the patience with the next of them ends.
    pub(super) fn next(&self) -> Option<Duration> {
        let moment = Instant::now();
        let left = |since: &Instant| {
            let left = remedy::PATIENCE.saturating_sub(moment.duration_since(*since));
            (!left.is_zero()).then_some(left)
        };
        self.unwell.values().filter_map(left).min()
    }
}

/// Whether only the time of its start may say that it is not well.
fn is_up(generation: &Generation) -> bool {
    generation.phase == Phase::Running && generation.health != Some(Health::Unhealthy)
}

/// Names that are still there keep their moment, new ones get this one.
fn renew<'n>(
    since: &mut BTreeMap<InstanceName, Instant>,
    names: impl Iterator<Item = &'n InstanceName>,
    moment: Instant,
) {
    let names: BTreeSet<&InstanceName> = names.collect();
    since.retain(|name, _| names.contains(name));
    for name in names {
        since.entry(name.clone()).or_insert(moment);
    }
}

fn elapsed(since: &BTreeMap<InstanceName, Instant>) -> BTreeMap<InstanceName, Duration> {
    let moment = Instant::now();
    since
        .iter()
        .map(|(name, since)| (name.clone(), moment.duration_since(*since)))
        .collect()
}
