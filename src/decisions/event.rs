//! What happened, as the event stream tells it: every change with its reason, revision and author.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::plan::{Action, Step};
use super::report::{Outcome, Report, StepReport};
use crate::words::commit::Commit;
use crate::words::name::InstanceName;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A step was done, failed, or is held.
    Step(StepEvent),
    /// A round ended that did something, or could do nothing.
    Round(RoundEvent),
    /// Another commit was fetched.
    Fetched {
        /// When.
        at: jiff::Timestamp,
        /// Which.
        commit: Commit,
    },
    /// The whole fleet is at a commit that it was not at before.
    Applied {
        /// When.
        at: jiff::Timestamp,
        /// Which.
        commit: Commit,
    },
}

/// A step and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StepEvent {
    /// When its round ended.
    pub at: jiff::Timestamp,
    /// Whose.
    pub instance: InstanceName,
    /// What was done: `create`, `replace` …
    pub action: String,
    /// The generation that it made or was done to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Why, in words.
    pub reason: String,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// The revision that asked for it.
    pub revision: String,
    /// Its commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<Commit>,
}

/// A round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RoundEvent {
    /// When it ended.
    pub at: jiff::Timestamp,
    /// The revision that was desired.
    pub revision: String,
    /// Its commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<Commit>,
    /// Why nothing was tried at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aborted: Option<String>,
    /// How many steps were done.
    pub done: usize,
    /// How many failed, or wait since they did.
    pub failed: usize,
    /// How many instances are held.
    pub held: usize,
    /// How many were as they should be.
    pub unchanged: usize,
}

impl Event {
    /// Its name in the stream.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Step(_) => "step",
            Self::Round(_) => "round",
            Self::Fetched { .. } => "fetched",
            Self::Applied { .. } => "applied",
        }
    }
}

/// What a step has to tell that ended.
pub fn of_step(told: &StepReport, planned_for: &PlannedFor, at: jiff::Timestamp) -> Event {
    Event::Step(StepEvent {
        at,
        instance: told.step.instance.clone(),
        action: action_name(&told.step.action).to_owned(),
        generation: generation(&told.step.action),
        reason: told.step.reason.to_string(),
        outcome: told.outcome.clone(),
        revision: planned_for.revision.clone(),
        commit: planned_for.commit.clone(),
    })
}

/// What a round has to tell: `news` is its report without what was told before. Steps that ended were told then.
pub fn of_round(report: &Report, news: &Report, at: jiff::Timestamp) -> Vec<Event> {
    let told = |told: &&StepReport| !matches!(told.outcome, Outcome::Waiting { .. });
    let ended = |told: &&StepReport| matches!(told.outcome, Outcome::Done | Outcome::Failed(_));
    let planned_for = PlannedFor {
        revision: report.revision.clone(),
        commit: report.commit.clone(),
        digest: None,
    };
    let is_news = news.steps.iter().any(|step| told(&step));
    let steps = news.steps.iter().filter(told).filter(|step| !ended(step));
    let mut events: Vec<Event> = steps.map(|step| of_step(step, &planned_for, at)).collect();
    if is_news || news.aborted.is_some() {
        let count = |is_one: fn(&Step, &Outcome) -> bool| {
            let all = report.steps.iter();
            all.filter(|told| is_one(&told.step, &told.outcome)).count()
        };
        events.push(Event::Round(RoundEvent {
            at,
            revision: report.revision.clone(),
            commit: report.commit.clone(),
            aborted: report
                .aborted
                .as_ref()
                .map(|failure| failure.message.clone()),
            done: count(|_, outcome| *outcome == Outcome::Done),
            failed: count(|_, outcome| {
                matches!(outcome, Outcome::Failed(_) | Outcome::Waiting { .. })
            }),
            held: count(|_, outcome| *outcome == Outcome::Held),
            unchanged: report.unchanged,
        }));
    }
    events
}

/// The revision that a step was planned for.
#[derive(Debug, Clone, Default)]
pub struct PlannedFor {
    /// The revision.
    pub revision: String,
    /// Its commit, where it is known.
    pub commit: Option<Commit>,
    /// The digest of the instance's spec without the values of its secrets; nothing for an orphan.
    pub digest: Option<String>,
}

/// An action's name, as plans, logs and metrics say it.
pub fn action_name(action: &Action) -> &'static str {
    match action {
        Action::Create { .. } => "create",
        Action::Start { .. } => "start",
        Action::Stop { .. } => "stop",
        Action::Update { .. } => "update",
        Action::Restart { .. } => "restart",
        Action::Replace { .. } => "replace",
        Action::Remove { .. } => "remove",
        Action::Held => "held",
    }
}

/// The generation that an action makes or is done to.
pub fn generation(action: &Action) -> Option<u64> {
    match action {
        Action::Create { generation, .. } | Action::Replace { generation, .. } => Some(*generation),
        Action::Start { target, .. }
        | Action::Update { target, .. }
        | Action::Restart { target }
        | Action::Stop { target } => Some(target.number),
        Action::Remove { targets } => targets.last().map(|target| target.number),
        Action::Held => None,
    }
}
