//! What a round did, as people read it: a line a step, what failed with its way out, and a sum.

use std::fmt::Write as _;

use super::plan::{commit, prune_notice, reason};
use super::step::{self, Kind};
use super::style::{Label, paint};
use super::words::took;
use crate::decisions::plan::Reason;
use crate::decisions::report::{Failure, FailureKind, Outcome, Report, StepReport};

/// The steps and the sum; diagnostics, notes and a failed round are told beside (`cli::reconcile`).
pub fn draw(report: &Report) -> String {
    let mut drawn = report.commit.as_ref().map(commit).unwrap_or_default();
    let width = step::name_width(report.steps.iter().map(|told| &told.step));
    for told in &report.steps {
        drawn += &line(told, width);
    }
    for failure in &report.routes {
        let _ = writeln!(drawn, "{}", paint(Label::Error, "✗ routes"));
        drawn += &indented(failure);
    }
    if let Some(notice) = blocked(report) {
        let _ = write!(drawn, "\n{notice}");
    }
    if !drawn.is_empty() && !drawn.ends_with("\n\n") {
        drawn.push('\n');
    }
    drawn + &summary(report) + "\n"
}

fn line(told: &StepReport, width: usize) -> String {
    let kind = Kind::of(&told.step);
    let generations = step::generations(&told.step);
    let (label, symbol, verb) = match told.outcome {
        Outcome::Done => (Label::Good, '✓', kind.participle()),
        Outcome::Held => (Label::Warning, '!', "held"),
        Outcome::Failed(_) => (Label::Error, '✗', kind.verb()),
        Outcome::Running { .. } => (Label::Warning, '…', kind.verb()),
        Outcome::Waiting { .. } => (Label::Error, '…', "waiting"),
    };
    let name = paint(
        Label::Subject,
        format!("{:width$}", told.step.instance.as_str()),
    );
    let mut line = format!(
        "{} {name}  {}",
        paint(label, symbol),
        paint(label, format!("{verb:8}"))
    );
    let what = match &told.outcome {
        Outcome::Done => {
            let why = paint(Label::Faint, reason(&told.step));
            format!("{generations}  in {}: {why}", took(told.millis))
        }
        Outcome::Failed(_) => {
            let kind = told.failure.map_or("failed", FailureKind::as_str);
            format!("{generations}  {kind} after {}", took(told.millis))
        }
        Outcome::Held => told.step.reason.to_string(),
        Outcome::Running { since } => {
            format!(
                "{generations}  in progress since {} UTC",
                since.strftime("%H:%M:%S")
            )
        }
        Outcome::Waiting { until, .. } => {
            format!(
                "to {} again at {} UTC",
                kind.verb(),
                until.strftime("%H:%M:%S")
            )
        }
    };
    let _ = writeln!(line, "  {what}");
    line + &detail(told)
}

/// What stands below a step's line.
fn detail(told: &StepReport) -> String {
    match &told.outcome {
        Outcome::Done | Outcome::Running { .. } => String::new(),
        Outcome::Failed(failure) => indented(failure),
        Outcome::Waiting { last, .. } => indented(last),
        Outcome::Held => match (
            &told.step.reason,
            told.step.reason.way_out(&told.step.instance),
        ) {
            // Told once, below all of them.
            (Reason::PruneBlocked { .. }, _) | (_, None) => String::new(),
            (_, Some(way)) => format!("    {}: {way}\n", paint(Label::Help, "way out")),
        },
    }
}

fn indented(failure: &Failure) -> String {
    let mut text = String::new();
    for line in failure.message.lines() {
        let _ = writeln!(text, "    {line}");
    }
    if let Some(help) = &failure.help {
        let _ = writeln!(text, "    {}: {help}", paint(Label::Help, "help"));
    }
    text
}

fn blocked(report: &Report) -> Option<String> {
    report
        .steps
        .iter()
        .find_map(|told| match &told.step.reason {
            Reason::PruneBlocked {
                id,
                removals,
                fleet,
                emptied,
            } if told.outcome == Outcome::Held => {
                Some(prune_notice(id, *removals, *fleet, *emptied))
            }
            _ => None,
        })
}

/// `Done: 1 created, 1 replaced, 1 failed, 2 held, 5 unchanged.`
pub fn summary(report: &Report) -> String {
    if report.steps.is_empty() && report.routes.is_empty() {
        return match report.unchanged {
            0 => "Nothing to do: there are no instances.".to_owned(),
            1 => "Nothing to do: the instance is as it should be.".to_owned(),
            n => format!("Nothing to do: all {n} instances are as they should be."),
        };
    }
    let mut parts: Vec<String> = Kind::ALL
        .iter()
        .map(|kind| {
            (
                count(report, |t| {
                    t.outcome == Outcome::Done && Kind::of(&t.step) == *kind
                }),
                kind.participle(),
            )
        })
        .chain([
            (
                count(report, |t| matches!(t.outcome, Outcome::Failed(_))),
                "failed",
            ),
            (
                count(report, |t| matches!(t.outcome, Outcome::Waiting { .. })),
                "waiting",
            ),
            (
                count(report, |t| matches!(t.outcome, Outcome::Running { .. })),
                "in progress",
            ),
            (count(report, |t| t.outcome == Outcome::Held), "held"),
            (report.routes.len(), "failed over routes"),
        ])
        .filter(|(number, _)| *number > 0)
        .map(|(number, what)| format!("{number} {what}"))
        .collect();
    if report.unchanged > 0 || parts.is_empty() {
        parts.push(format!("{} unchanged", report.unchanged));
    }
    let word = if report.has_failures() {
        paint(Label::Error, "Failed in part")
    } else {
        paint(Label::Good, "Done")
    };
    format!("{word}: {}.", parts.join(", "))
}

fn count(report: &Report, is_one: impl Fn(&StepReport) -> bool) -> usize {
    report.steps.iter().filter(|told| is_one(told)).count()
}
