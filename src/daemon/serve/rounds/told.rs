//! What of a report is news: logged and sent as events once.

use std::collections::BTreeSet;

use super::Rounds;
use crate::daemon::round;
use crate::decisions::event;
use crate::decisions::plan::Reason;
use crate::decisions::report::{Failure, Missing, Outcome, Report};
use crate::decisions::source::being_written;
use crate::words::diagnostic::Severity;

impl Rounds {
    /// Logs what is new in a report.
    pub(super) fn tell(&mut self, report: &Report) {
        let mut now_told = BTreeSet::new();
        let mut news = report.clone();
        news.steps.retain(|step| match &step.outcome {
            Outcome::Held if is_being_written(&step.step.reason) => false,
            Outcome::Held => {
                let key = format!("{} {}", step.step.instance, step.step.reason);
                let new = !self.told.contains(&key);
                now_told.insert(key);
                new
            }
            Outcome::Running { since } => {
                let key = format!("{} in progress {since}", step.step.instance);
                let new = !self.told.contains(&key);
                now_told.insert(key);
                new
            }
            Outcome::Done | Outcome::Failed(_) | Outcome::Waiting { .. } => true,
        });
        if is_settling(report) {
            // The next round is due as soon as it has settled.
            news.aborted = None;
        } else if let Some(failure) = &report.aborted {
            if self.told.contains(&failure.message) {
                news.aborted = None;
            }
            now_told.insert(failure.message.clone());
        }
        let issue = report.commit_issue.as_ref().map(ToString::to_string);
        for note in report.notes.iter().chain(&issue) {
            if !self.told.contains(note) {
                tracing::warn!("{note}");
            }
            now_told.insert(note.clone());
        }
        for Failure { message, help } in &report.routes {
            if !self.told.contains(message) {
                tracing::error!(help = help.as_deref(), "{message}");
            }
            now_told.insert(message.clone());
        }
        for diagnostic in &report.diagnostics {
            let text = diagnostic.to_string();
            if !self.told.contains(&text) {
                let revision = report.revision.as_str();
                match diagnostic.severity {
                    Severity::Error => tracing::error!(revision, "{text}"),
                    Severity::Warning => tracing::warn!(revision, "{text}"),
                    Severity::Note => tracing::debug!(revision, "{text}"),
                }
            }
            now_told.insert(text);
        }
        self.told = now_told;
        round::log(&news);
        for event in event::of_round(report, &news, jiff::Timestamp::now()) {
            self.events.tell(event);
        }
    }
}

/// Held for a moment, as every file is that was just saved.
fn is_being_written(reason: &Reason) -> bool {
    matches!(reason, Reason::Unreadable { diagnostics } if being_written(diagnostics))
}

/// Broken off for a `fleet.yaml` that was just saved, and for nothing else.
fn is_settling(report: &Report) -> bool {
    report.aborted_by == Some(Missing::Source)
        && !report.diagnostics.is_empty()
        && being_written(&report.diagnostics)
}
