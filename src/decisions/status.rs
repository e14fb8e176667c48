//! How each instance stands: one phase from a closed list, the reason, and the engine's detail.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::words::act::{Act, Deed};
use crate::words::config::Public;
use crate::words::desired::Desired;
use crate::words::history::Entry;
use crate::words::manifest::{Auth, State};
use crate::words::name::InstanceName;
use crate::words::observed::{Applied, Generation, Health, Observed, Phase};
use crate::words::overrides::Overrides;
use crate::words::spec::Spec;
use crate::words::watch::{HealthResult, PullProgress, Usage};

use super::plan::Reason;
use super::reason::times;
use super::remedy::{self, NextRemedy, is_unwell};
use super::report::{Outcome, Report};

/// One instance, for status.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceStatus {
    /// Its name.
    pub name: InstanceName,
    /// How it stands.
    pub phase: InstancePhase,
    /// Why, in a sentence; empty when it is as it should be.
    pub reason: String,
    /// What its health check says.
    pub health: Option<Health>,
    /// The generation that stands.
    pub generation: Option<u64>,
    /// Its image's reference.
    pub image: Option<String>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// When it was started last.
    pub started: Option<jiff::Timestamp>,
    /// The revision that what stands was made by, or changed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// When what failed is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_try: Option<jiff::Timestamp>,
    /// What is done about it where it is not well, and when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<NextRemedy>,
    /// What is being done to it now, where that takes long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_progress: Option<StepInProgress>,
    /// What it uses now, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Where its endpoints are.
    pub endpoints: Vec<EndpointStatus>,
}

/// What a generation wrote last that failed and was removed, without the instance's secrets. It is kept in memory, and
/// shown to whoever asks about this instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FailedOutput {
    /// Its number.
    pub generation: u64,
    /// When it failed.
    pub at: jiff::Timestamp,
    /// Its last lines, oldest first.
    pub lines: Vec<String>,
}

/// A step in progress.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StepInProgress {
    /// What is done: `create`, `replace` …
    pub action: String,
    /// Since when.
    pub since: jiff::Timestamp,
    /// The image that is being pulled for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// How far that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull: Option<PullProgress>,
}

impl std::fmt::Display for StepInProgress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let since = self.since.strftime("%H:%M:%S UTC");
        match (&self.image, &self.pull) {
            (Some(image), Some(pull)) => write!(f, "pulling {image} since {since}: {pull}"),
            _ => write!(f, "{} in progress since {since}", self.action),
        }
    }
}

/// Says of each instance which step is in progress, as `of` knows it.
pub fn note_in_progress(
    all: &mut [InstanceStatus],
    of: impl Fn(&InstanceName) -> Option<StepInProgress>,
) {
    for one in all {
        let Some(step) = of(&one.name) else {
            continue;
        };
        if step.pull.is_some() {
            one.phase = InstancePhase::Pulling;
        }
        one.reason = step.to_string();
        one.in_progress = Some(step);
    }
}

/// One instance in full.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceDetail {
    /// How it stands.
    #[serde(flatten)]
    pub status: InstanceStatus,
    /// What the engine calls what stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// The way out, where one can be named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Since when it is suspended by an operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended: Option<jiff::Timestamp>,
    /// Since when it is stopped by an operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<jiff::Timestamp>,
    /// Since when it is frozen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen: Option<jiff::Timestamp>,
    /// What the last generation wrote that failed to take over and was removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_output: Option<FailedOutput>,
    /// What its health check said lately, oldest first.
    pub health_log: Vec<HealthResult>,
    /// What was done to it last, oldest first.
    pub history: Vec<Entry>,
}

/// One endpoint, for status.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EndpointStatus {
    /// Its name.
    pub name: String,
    /// Its URL at the edge.
    pub url: String,
    /// Who may reach it.
    pub auth: Auth,
}

/// How an instance stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InstancePhase {
    /// It shall be, and is not there yet.
    Pending,
    /// Its image is being pulled.
    Pulling,
    /// It runs, and its health check has not decided yet.
    Starting,
    /// It runs.
    Running,
    /// It runs, and its health check says it is not well.
    Unhealthy,
    /// It stands still, as it should.
    Stopped,
    /// It is left alone on purpose.
    Held,
    /// A step for it failed.
    Failed,
    /// No manifest names it.
    Orphaned,
    /// The engine does not answer.
    Unknown,
}

impl InstancePhase {
    /// All of them, in the order of the enum.
    pub const ALL: [Self; 10] = [
        Self::Pending,
        Self::Pulling,
        Self::Starting,
        Self::Running,
        Self::Unhealthy,
        Self::Stopped,
        Self::Held,
        Self::Failed,
        Self::Orphaned,
        Self::Unknown,
    ];

    /// Its name in status and figures.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Pulling => "pulling",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Unhealthy => "unhealthy",
            Self::Stopped => "stopped",
            Self::Held => "held",
            Self::Failed => "failed",
            Self::Orphaned => "orphaned",
            Self::Unknown => "unknown",
        }
    }
}

/// What can be said while the engine does not answer: what shall be, and why it is not known what is.
pub fn status_without_engine(desired: &Desired, why: &str, public: &Public) -> Vec<InstanceStatus> {
    let (nothing, never) = (Observed::default(), jiff::Timestamp::UNIX_EPOCH);
    let mut all = status(desired, &nothing, &Report::default(), public, never);
    for status in &mut all {
        status.phase = InstancePhase::Unknown;
        why.clone_into(&mut status.reason);
    }
    all
}

/// Says of each instance which revision made what stands, or changed it last.
pub fn note_revisions(all: &mut [InstanceStatus], acts: &BTreeMap<InstanceName, Vec<Act>>) {
    let makes = |act: &&Act| {
        act.done == Some(true) && matches!(act.deed, Deed::Create | Deed::Replace | Deed::Update)
    };
    for status in all.iter_mut().filter(|status| status.generation.is_some()) {
        let last = acts
            .get(&status.name)
            .and_then(|acts| acts.iter().rfind(makes));
        status.revision = last.map(|act| act.revision.clone());
    }
}

/// Says of each that is not well what a daemon does about it next. `unwell_for` is as its last round found it: one that it
/// did not find so has not been so for long.
pub fn note_next(
    all: &mut [InstanceStatus],
    acts: &BTreeMap<InstanceName, Vec<Act>>,
    overrides: &BTreeMap<InstanceName, Overrides>,
    unwell_for: &BTreeMap<InstanceName, Duration>,
    now: jiff::Timestamp,
) {
    let unwell = all
        .iter_mut()
        .filter(|one| one.phase == InstancePhase::Unhealthy);
    for one in unwell {
        let acts = acts.get(&one.name).map_or(&[][..], Vec::as_slice);
        let resumed = overrides.get(&one.name).and_then(|said| said.resumed);
        let unwell_for = unwell_for.get(&one.name).copied().unwrap_or_default();
        let acts = remedy::since(acts, resumed, now);
        one.next = Some(remedy::next(&acts, unwell_for, now));
    }
}

/// How every instance stands that is desired, held or observed.
pub fn status(
    desired: &Desired,
    observed: &Observed,
    report: &Report,
    public: &Public,
    now: jiff::Timestamp,
) -> Vec<InstanceStatus> {
    let told: BTreeMap<_, _> = report
        .steps
        .iter()
        .map(|step| (&step.step.instance, step))
        .collect();
    let names: std::collections::BTreeSet<&InstanceName> = desired
        .specs
        .keys()
        .chain(desired.unreadable.keys())
        .chain(observed.instances.keys())
        .chain(observed.unobserved.keys())
        .collect();
    names
        .into_iter()
        .map(|name| {
            let newest = observed.instances.get(name).and_then(|all| all.last());
            let applied = newest.and_then(applied_spec);
            let spec = desired.spec(name).or(applied);
            let step = told.get(name).copied();
            let (phase, reason) = match step.map(|s| (&s.outcome, &s.step.reason)) {
                Some((Outcome::Held, reason @ Reason::Unobserved { .. })) => {
                    (InstancePhase::Unknown, reason.to_string())
                }
                Some((Outcome::Failed(failure), _)) => {
                    (InstancePhase::Failed, failure.message.clone())
                }
                Some((Outcome::Waiting { last, until }, _)) => (
                    InstancePhase::Failed,
                    format!(
                        "{}; next try at {}",
                        last.message,
                        until.strftime("%H:%M:%S")
                    ),
                ),
                Some((Outcome::Held, reason @ Reason::StoppedByOperator { .. })) => {
                    (InstancePhase::Stopped, held(name, reason))
                }
                Some((Outcome::Held, reason)) => (InstancePhase::Held, held(name, reason)),
                // It stands still by now, and what its manifest says does not count.
                Some((Outcome::Done, reason @ Reason::StoppedByOperator { .. }))
                    if newest.is_none_or(|g| g.phase != Phase::Running) =>
                {
                    (InstancePhase::Stopped, held(name, reason))
                }
                Some((Outcome::Done | Outcome::Running { .. }, _)) | None => {
                    let state = desired.specs.get(name).map(|spec| spec.state);
                    phase_of(newest, desired.names(name), state, now)
                }
            };
            InstanceStatus {
                name: name.clone(),
                phase,
                reason,
                health: newest
                    .filter(|g| g.phase == Phase::Running)
                    .and_then(|g| g.health),
                generation: newest.map(|g| g.number),
                image: spec.map(|s| s.image.clone()),
                owner: spec.and_then(|s| s.owner.clone()),
                started: newest.and_then(|g| g.started),
                revision: None,
                next_try: match step.map(|s| (&s.outcome, &s.step.reason)) {
                    Some(
                        (Outcome::Waiting { until, .. }, _)
                        | (Outcome::Held, Reason::BackingOff { until, .. }),
                    ) => Some(*until),
                    _ => None,
                },
                next: None,
                in_progress: None,
                usage: None,
                endpoints: spec.map(|s| endpoints(s, public)).unwrap_or_default(),
            }
        })
        .collect()
}

/// The endpoints of a spec as people open them.
pub fn endpoints(spec: &Spec, public: &Public) -> Vec<EndpointStatus> {
    spec.endpoints
        .iter()
        .map(|(name, endpoint)| EndpointStatus {
            name: name.to_string(),
            url: public.url(&endpoint.host, &endpoint.path),
            auth: endpoint.auth,
        })
        .collect()
}

fn applied_spec(generation: &Generation) -> Option<&Spec> {
    match &generation.applied {
        Applied::Spec(spec) => Some(spec),
        Applied::Newer(_) | Applied::Unreadable(_) => None,
    }
}

/// Why it is held; with the way out, where that is to be typed.
fn held(name: &InstanceName, reason: &Reason) -> String {
    match (reason, reason.way_out(name)) {
        (Reason::PruneBlocked { .. }, Some(way_out)) => format!("{reason}: {way_out}"),
        _ => reason.to_string(),
    }
}

fn phase_of(
    newest: Option<&Generation>,
    named: bool,
    state: Option<State>,
    now: jiff::Timestamp,
) -> (InstancePhase, String) {
    let Some(generation) = newest else {
        let phase = match state {
            Some(State::Stopped) => InstancePhase::Stopped,
            Some(State::Running) | None => InstancePhase::Pending,
        };
        return (phase, String::new());
    };
    let phase = match (generation.phase, generation.health) {
        _ if !named => InstancePhase::Orphaned,
        _ if is_unwell(generation, now) => {
            return (InstancePhase::Unhealthy, ailment(generation));
        }
        (Phase::Running, Some(Health::Starting)) | (Phase::Restarting | Phase::Created, _) => {
            InstancePhase::Starting
        }
        (Phase::Running, _) => InstancePhase::Running,
        (phase @ (Phase::Exited(_) | Phase::Paused | Phase::Dead), _)
            if state == Some(State::Running) =>
        {
            let why = Reason::NotRunning { phase }.to_string();
            return (InstancePhase::Pending, why);
        }
        (Phase::Exited(_) | Phase::Paused | Phase::Dead, _) => InstancePhase::Stopped,
    };
    (phase, String::new())
}

/// What is wrong with one that is not well.
fn ailment(generation: &Generation) -> String {
    match generation.health {
        Some(Health::Unhealthy) => "its health check fails".to_owned(),
        _ if generation.restarts == 0 => "it ends by itself".to_owned(),
        _ => {
            let often = usize::try_from(generation.restarts).unwrap_or(usize::MAX);
            format!(
                "it ends by itself; the engine has restarted it {}",
                times(often)
            )
        }
    }
}

#[cfg(test)]
mod tests;
