//! What a round did: data for the log, the status, the API and the command line alike.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::plan::Step;
use crate::words::commit::Commit;
use crate::words::diagnostic::Diagnostic;
use crate::words::document::nearest;
use crate::words::name::InstanceName;

/// One round, told. A round never fails: what failed is in here.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// The revision that was desired; empty when the source could not be read.
    pub revision: String,
    /// The commit of that revision, where the source is in a git repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<Commit>,
    /// Why that commit is not read, where the source is in a repository that is not to be trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit_issue: Option<Diagnostic>,
    /// Every step with what became of it, sorted by instance.
    pub steps: Vec<StepReport>,
    /// How many instances were as they should be.
    pub unchanged: usize,
    /// What is wrong with the source's files.
    pub diagnostics: Vec<Diagnostic>,
    /// Why nothing was tried at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aborted: Option<Failure>,
    /// What kept it from trying, where that is one of those that may be away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aborted_by: Option<Missing>,
    /// What one should know beside: an override that could not be read, a network that is open …
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// What of the routes' files could not be done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Failure>,
}

/// What a round cannot do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// The source cannot be read, or its `fleet.yaml` not be used.
    Source,
    /// The engine does not answer.
    Engine,
    /// The store cannot be read.
    Store,
}

/// One step and its outcome.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StepReport {
    /// The step.
    pub step: Step,
    /// What became of it.
    pub outcome: Outcome,
    /// How long it took; so far, for one that goes on.
    pub millis: u64,
    /// What kind of failure it is, where it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureKind>,
}

impl StepReport {
    fn is_running_since(&self, instance: &InstanceName, began: jiff::Timestamp) -> bool {
        self.step.instance == *instance && self.outcome == Outcome::Running { since: began }
    }
}

/// What kind of failure a step ended with.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The engine or a registry refuses it as it is: another try needs a change.
    Refused,
    /// Something that it needs does not exist.
    NotFound,
    /// A registry does not give it to this user.
    Denied,
    /// A registry asks to wait.
    RateLimited,
    /// A call did not end within its limit.
    Stalled,
    /// The engine does not answer.
    Away,
    /// It failed, and the next try may succeed.
    Failed,
}

impl FailureKind {
    /// Its name in logs and output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::NotFound => "not found",
            Self::Denied => "denied",
            Self::RateLimited => "rate limited",
            Self::Stalled => "stalled",
            Self::Away => "engine away",
            Self::Failed => "failed",
        }
    }
}

/// What became of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// Done.
    Done,
    /// Left alone, as planned.
    Held,
    /// Tried, and failed.
    Failed(Failure),
    /// It goes on beside the rounds since then.
    Running {
        /// When it began.
        since: jiff::Timestamp,
    },
    /// Not tried yet: it failed lately, and its next try is due then.
    Waiting {
        /// When.
        until: jiff::Timestamp,
        /// The last failure.
        last: Failure,
    },
}

/// Something that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// What was tried and what came of it.
    pub message: String,
    /// The way out, where one can be named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl Failure {
    /// That no instance has this name. The way out names the one that was most likely meant.
    pub fn no_instance<'a>(
        name: &InstanceName,
        known: impl Iterator<Item = &'a InstanceName>,
    ) -> Self {
        Self {
            message: format!("there is no instance `{name}`"),
            help: Some(meant(name, known)),
        }
    }
}

/// The way out for a name that nothing has.
pub fn meant<'a>(name: &InstanceName, known: impl Iterator<Item = &'a InstanceName>) -> String {
    let all = "`instanced status` shows them all";
    match nearest(name.as_str(), known.map(InstanceName::as_str)) {
        Some(near) => format!("did you mean `{near}`? {all}"),
        None => all.to_owned(),
    }
}

impl Report {
    /// A round in which nothing could be tried.
    pub fn aborted(failure: Failure) -> Self {
        Self {
            aborted: Some(failure),
            ..Self::default()
        }
    }

    /// The same, for want of something.
    #[must_use]
    pub fn for_want_of(mut self, missing: Missing) -> Self {
        self.aborted_by = Some(missing);
        self
    }

    /// What is known after a round of these instances alone, or of all where none is named: of the others, what
    /// `earlier` says.
    #[must_use]
    pub fn beside(&self, earlier: &Self, names: &[InstanceName]) -> Self {
        let mut known = self.clone();
        if !names.is_empty() && self.aborted.is_none() {
            let others = earlier.steps.iter();
            let others = others.filter(|told| !names.contains(&told.step.instance));
            known.steps.extend(others.cloned());
            known
                .steps
                .sort_by(|a, b| a.step.instance.cmp(&b.step.instance));
        }
        known
    }

    /// Whether anything was tried and failed.
    pub fn has_failures(&self) -> bool {
        self.aborted.is_some()
            || !self.routes.is_empty()
            || self
                .steps
                .iter()
                .any(|s| matches!(s.outcome, Outcome::Failed(_) | Outcome::Waiting { .. }))
    }

    /// Whether any step goes on beside the rounds.
    pub fn has_running(&self) -> bool {
        let mut steps = self.steps.iter();
        steps.any(|step| matches!(step.outcome, Outcome::Running { .. }))
    }

    /// The step of an instance that began at this moment, where it is still said to be running. A later one of the same
    /// instance is another.
    fn running(
        &mut self,
        instance: &InstanceName,
        began: jiff::Timestamp,
    ) -> Option<&mut StepReport> {
        let mut steps = self.steps.iter_mut();
        steps.find(|step| step.is_running_since(instance, began))
    }

    /// Takes the end of a step that went on beside the rounds since `began`.
    pub fn conclude(&mut self, ended: &StepReport, began: jiff::Timestamp) {
        if let Some(same) = self.running(&ended.step.instance, began) {
            same.clone_from(ended);
        }
    }

    /// Takes note that a step in progress was given up before it touched anything.
    pub fn give_up(&mut self, instance: &InstanceName, began: jiff::Timestamp) {
        if let Some(step) = self.running(instance, began) {
            let message = "its image was not pulled in time, or other steps took their time; nothing was changed";
            let help = "wait longer with --timeout, or pull it by hand".to_owned();
            step.failure = Some(FailureKind::Stalled);
            step.outcome = Outcome::Failed(Failure {
                message: message.to_owned(),
                help: Some(help),
            });
        }
    }

    /// Forgets a step in progress that was given up before anything was touched.
    pub fn withdraw(&mut self, instance: &InstanceName, began: jiff::Timestamp) {
        self.steps
            .retain(|step| !step.is_running_since(instance, began));
    }

    /// Whether anything is held or blocked.
    pub fn has_held(&self) -> bool {
        self.steps.iter().any(|s| s.outcome == Outcome::Held)
            || self.diagnostics.iter().any(Diagnostic::is_error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_nothing_has_leads_to_the_nearest() {
        let name = |text: &str| -> InstanceName { text.parse().expect("a name") };
        let known = ["alice", "bob", "night-crawler"].map(name);
        let help = |text: &str| Failure::no_instance(&name(text), known.iter()).help;
        let all = "`instanced status` shows them all";
        for (given, near) in [
            ("alic", "alice"),
            ("bbo", "bob"),
            ("nightcrawler", "night-crawler"),
        ] {
            assert_eq!(help(given), Some(format!("did you mean `{near}`? {all}")));
        }
        assert_eq!(help("zoe"), Some(all.to_owned()));
    }
}
