//! How the fleet stands to its source: at which commit it is, how far behind, and why.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::plan::Reason;
use super::report::{Outcome, Report, StepReport};
use crate::words::commit::Commit;
use crate::words::diagnostic::{Diagnostic, Severity};

/// How the fleet stands to its source.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SourceStatus {
    /// Where manifests come from, as a person would say it.
    pub source: String,
    /// Names what the fleet is kept as; empty while nothing could be read.
    pub revision: String,
    /// Its commit, where the source is in a git repository.
    pub commit: Option<Commit>,
    /// Why that commit is not read, where the source is in a repository that is not to be trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit_issue: Option<Diagnostic>,
    /// What was fetched last, where that is another commit.
    pub newest: Option<Commit>,
    /// When a repository was last asked for news, and answered.
    pub fetched: Option<jiff::Timestamp>,
    /// Why it did not answer since.
    pub fetch_failure: Option<String>,
    /// How far the fleet is behind what was fetched last; none when all of it is there, or the source is a directory.
    pub behind: Option<Behind>,
}

/// How far a fleet is behind its repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Behind {
    /// Commits since the newest that the whole fleet was made; none where it never was made one.
    pub commits: Option<u64>,
    /// The commit that the whole fleet was made is no part of the history any more.
    pub rewritten: bool,
    /// Why.
    pub why: String,
}

/// Why the fleet is not all that its revision says, after a round; none when it is. What an operator has said of an
/// instance is no reason: it is so on purpose.
pub fn unfinished(report: &Report) -> Option<String> {
    if let Some(failure) = &report.aborted {
        return Some(failure.message.clone());
    }
    let steps = report.steps.iter().filter_map(step_unfinished);
    // Those of instances' own are told by their steps.
    let routes = report.routes.iter().map(|failure| failure.message.clone());
    let mut all: Vec<String> = steps.chain(routes).collect();
    if all.is_empty() {
        let files = report.diagnostics.iter().filter(|d| d.is_error());
        all.extend(files.map(|d| format!("{} cannot be used", d.place.path)));
    }
    let first = all.first()?;
    Some(match all.len() - 1 {
        0 => first.clone(),
        1 => format!("{first}; and one more"),
        more => format!("{first}; and {more} more"),
    })
}

fn step_unfinished(told: &StepReport) -> Option<String> {
    let name = &told.step.instance;
    match &told.outcome {
        Outcome::Done => None,
        Outcome::Running { .. } => Some(format!("{name}: a step is in progress")),
        Outcome::Held => match &told.step.reason {
            Reason::Suspended { .. } | Reason::StoppedByOperator { .. } => None,
            Reason::Unreadable { diagnostics } if being_written(diagnostics) => {
                Some(format!("{name}: its manifest is being written"))
            }
            reason => Some(format!("{name}: {reason}")),
        },
        Outcome::Failed(failure) | Outcome::Waiting { last: failure, .. } => {
            Some(format!("{name}: {}", failure.message))
        }
    }
}

/// Nothing worse than a note, as of a file that was just saved.
pub fn being_written(diagnostics: &[Diagnostic]) -> bool {
    diagnostics
        .iter()
        .all(|diagnostic| diagnostic.severity == Severity::Note)
}
