//! How instances stand, beyond what a round sees: what they use, what their health checks said, and what was done to
//! them.

use super::journal::begun;
use super::watch::{Sampler, redactor};
use crate::decisions::report::{Outcome, Report};
use crate::decisions::status::{InstanceDetail, InstanceStatus};
use crate::doors::engine::Watch;
use crate::words::act::Act;
use crate::words::history::Entry;
use crate::words::name::InstanceName;
use crate::words::observed::{Generation, Observed, Phase};
use crate::words::overrides::Overrides;
use crate::words::watch::{AskUsage, HealthResult};

/// So much of the history stands in a status; `instanced history` has the rest.
const HISTORY: usize = 10;

/// Adds what each of them uses.
pub async fn add_usage<E: Watch>(
    all: &mut [InstanceStatus],
    observed: &Observed,
    engine: &E,
    sampler: &Sampler,
    when: AskUsage,
) {
    let ids: Vec<Option<String>> = all
        .iter()
        .map(|one| running(observed, &one.name).map(str::to_owned))
        .collect();
    let known: Vec<String> = ids.iter().flatten().cloned().collect();
    let usage = match when {
        AskUsage::None => return,
        AskUsage::Recent => sampler.recent(engine, &known).await,
        AskUsage::Now => sampler.now(engine, &known).await,
    };
    for (one, id) in all.iter_mut().zip(ids) {
        one.usage = id.and_then(|id| usage.get(&id).copied());
    }
}

/// One in full. What the engine does not tell is left out: the rest is worth the more then.
pub async fn detail<E: Watch>(
    status: InstanceStatus,
    observed: &Observed,
    engine: Option<&E>,
    overrides: &Overrides,
    history: Vec<Entry>,
    last: &Report,
) -> InstanceDetail {
    let newest = newest(observed, &status.name);
    let mut health_log = Vec::new();
    if let (Some(newest), Some(engine)) = (newest, engine) {
        let told = engine.health_log(&newest.id).await;
        health_log = redacted(engine, &newest.id, told.unwrap_or_default()).await;
    }
    let step = last
        .steps
        .iter()
        .find(|told| told.step.instance == status.name);
    let help = step.and_then(|told| match &told.outcome {
        Outcome::Failed(failure) | Outcome::Waiting { last: failure, .. } => failure.help.clone(),
        Outcome::Held => told.step.reason.way_out(&status.name),
        Outcome::Done | Outcome::Running { .. } => None,
    });
    let surplus = history.len().saturating_sub(HISTORY);
    InstanceDetail {
        container: newest.map(|newest| newest.name.clone()),
        help,
        suspended: overrides.suspended,
        stopped: overrides.stopped.as_ref().map(|stopped| stopped.since),
        frozen: overrides.frozen.as_ref().map(|frozen| frozen.since),
        failed_output: None,
        health_log,
        history: history.into_iter().skip(surplus).collect(),
        status,
    }
}

/// What a health check wrote, without the instance's secrets.
async fn redacted<E: Watch>(engine: &E, id: &str, mut log: Vec<HealthResult>) -> Vec<HealthResult> {
    if log.iter().all(|result| result.output.is_empty()) {
        return log;
    }
    let redactor = redactor(engine, id).await;
    for result in &mut log {
        result.output = match &redactor {
            Ok(redactor) => redactor.line(&result.output).into_owned(),
            Err(error) => format!("not shown, as its secrets cannot be read: {error}"),
        };
    }
    log
}

/// The engine's ids of all that runs.
pub fn all_running(observed: &Observed) -> Vec<String> {
    let running = observed
        .instances
        .keys()
        .filter_map(|name| running(observed, name));
    running.map(str::to_owned).collect()
}

fn running<'o>(observed: &'o Observed, name: &InstanceName) -> Option<&'o str> {
    let newest = newest(observed, name)?;
    (newest.phase == Phase::Running).then_some(newest.id.as_str())
}

fn newest<'o>(observed: &'o Observed, name: &InstanceName) -> Option<&'o Generation> {
    observed.instances.get(name)?.last()
}

/// What was done to an instance: what is written down of it, and what was begun and never written down, as after a
/// crash.
pub fn history(mut written: Vec<Entry>, acts: &[Act]) -> Vec<Entry> {
    let missing = |act: &&Act| !written.iter().any(|entry| entry.at == act.at);
    let missing: Vec<Entry> = acts.iter().filter(missing).map(begun).collect();
    written.extend(missing);
    written.sort_by_key(|entry| entry.at);
    written
}
