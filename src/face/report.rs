//! What a round did, as people read it: a line a step, what failed with its way out, and a sum.

use super::plan::{commit, prune_notice, reason};
use super::step::{self, Kind};
use super::style::{Label, paint};
use super::text::Lines;
use super::words::{self, took};
use crate::decisions::plan::Reason;
use crate::decisions::report::{Failure, FailureKind, Outcome, Report, StepReport};
use crate::decisions::settled::{Reconciled, Unhealthy};

/// So many unhealthy instances are named.
const NAMED: usize = 20;

/// The steps, the instances that are not healthy, and the sum; diagnostics, notes and a failed round are told beside
/// (`cli::reconcile`).
pub fn draw(done: &Reconciled) -> Lines {
    let report = &done.report;
    let mut drawn = report.commit.as_ref().map(commit).unwrap_or_default();
    let width = step::name_width(report.steps.iter().map(|told| &told.step));
    for told in &report.steps {
        drawn += line(told, width);
    }
    for failure in &report.routes {
        drawn.line(format_args!("{}", paint(Label::Error, "✗ routes")));
        drawn += indented(failure);
    }
    if let Some(notice) = blocked(report) {
        drawn.blank();
        drawn += notice;
    }
    if !done.unhealthy.is_empty() {
        drawn.part();
        drawn += unhealthy(&done.unhealthy);
    }
    drawn.part();
    drawn.line(summary(done));
    drawn
}

/// A line for each, with the last line that it wrote.
fn unhealthy(all: &[Unhealthy]) -> Lines {
    let mut drawn = Lines::new();
    for one in all.iter().take(NAMED) {
        let mark = if one.starting {
            paint(Label::Changed, '…')
        } else {
            paint(Label::Error, '✗')
        };
        let name = paint(Label::Subject, &one.instance);
        drawn.line(format_args!("{mark} {name}: {}", one.reason));
        if let Some(line) = &one.last_line {
            drawn.line(format_args!(
                "    its last line: {}",
                paint(Label::Faint, line)
            ));
        }
    }
    if all.len() > NAMED {
        let more = all.len() - NAMED;
        drawn.line(format_args!(
            "  and {more} more: `instanced status` lists them"
        ));
    }
    drawn
}

fn line(told: &StepReport, width: usize) -> Lines {
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
    let line = format!(
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
    let mut drawn = Lines::from(format!("{line}  {what}"));
    drawn += detail(told);
    drawn
}

/// What stands below a step's line.
fn detail(told: &StepReport) -> Lines {
    match &told.outcome {
        Outcome::Done | Outcome::Running { .. } => Lines::new(),
        Outcome::Failed(failure) => indented(failure),
        Outcome::Waiting { last, .. } => indented(last),
        Outcome::Held => match (
            &told.step.reason,
            told.step.reason.way_out(&told.step.instance),
        ) {
            // Told once, below all of them.
            (Reason::PruneBlocked { .. }, _) | (_, None) => Lines::new(),
            (_, Some(way)) => format!("    {}: {way}", paint(Label::Help, "way out")).into(),
        },
    }
}

fn indented(failure: &Failure) -> Lines {
    let mut text = Lines::new();
    text.block("    ", &failure.message);
    if let Some(help) = &failure.help {
        text.line(format_args!("    {}: {help}", paint(Label::Help, "help")));
    }
    text
}

fn blocked(report: &Report) -> Option<Lines> {
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
pub fn summary(done: &Reconciled) -> String {
    let report = &done.report;
    let starting = done.unhealthy.iter().filter(|one| one.starting).count();
    let ill = done.unhealthy.len() - starting;
    if report.steps.is_empty() && report.routes.is_empty() && done.unhealthy.is_empty() {
        return no_changes(report.unchanged);
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
            (ill, "unhealthy"),
            (starting, "starting"),
        ])
        .filter(|(number, _)| *number > 0)
        .map(|(number, what)| format!("{number} {what}"))
        .collect();
    if report.unchanged > 0 || parts.is_empty() {
        parts.push(format!("{} unchanged", report.unchanged));
    }
    let word = if report.has_failures() {
        paint(Label::Error, "Failed in part")
    } else if ill > 0 {
        paint(Label::Error, "Unhealthy")
    } else if starting > 0 {
        paint(Label::Changed, "Starting")
    } else {
        paint(Label::Good, "Done")
    };
    format!("{word}: {}.", parts.join(", "))
}

/// What is said where there is nothing to do. It says nothing of health.
pub(super) fn no_changes(unchanged: usize) -> String {
    match unchanged {
        0 => "No changes. There are no instances.".to_owned(),
        number => format!(
            "No changes. {} up to date.",
            words::count(number, "instance")
        ),
    }
}

fn count(report: &Report, is_one: impl Fn(&StepReport) -> bool) -> usize {
    report.steps.iter().filter(|told| is_one(told)).count()
}
