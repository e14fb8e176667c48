//! A plan, as people read it: a line and a unified diff a step, and a line that sums it up.

use std::fmt::Write as _;

use serde_json::Value;

use super::diff;
use super::report::no_changes;
use super::step::{self, Kind};
use super::style::{Label, paint};
use super::text::Lines;
use super::words::count;
use crate::decisions::change::Change;
use crate::decisions::plan::{Action, Plan, Reason, Step};
use crate::decisions::reason::confirm_command;
use crate::words::commit::Commit;
use crate::words::name::InstanceName;

/// How many changes fit into a step's line; more are counted.
const CHANGES_IN_LINE: usize = 2;
/// The longest value that is shown in a step's line, in characters.
const VALUE_IN_LINE: usize = 32;

/// How a plan is drawn.
pub struct PlanView<'v> {
    /// What a person calls an instance's manifest.
    pub manifest_of: &'v dyn Fn(&InstanceName) -> String,
    /// Whether every field of a new instance is shown, not the telling ones alone.
    pub whole: bool,
}

impl PlanView<'_> {
    /// The whole plan.
    pub fn draw(&self, plan: &Plan) -> Lines {
        let mut drawn = plan.commit.as_ref().map(commit).unwrap_or_default();
        let width = step::name_width(plan.steps.iter());
        for step in &plan.steps {
            let detail = self.detail(step);
            let is_block = !detail.is_empty();
            if is_block {
                drawn.part();
            }
            drawn.line(head(step, width));
            drawn += detail;
            if is_block {
                drawn.part();
            }
        }
        drawn.part();
        if let Some(notice) = blocked(plan) {
            drawn += notice;
            drawn.part();
        }
        drawn.line(summary(plan));
        drawn
    }

    /// What stands below a step's line.
    fn detail(&self, step: &Step) -> Lines {
        let manifest = (self.manifest_of)(&step.instance);
        let name = &step.instance;
        match &step.action {
            Action::Create { spec, .. } => {
                let title = format!("{name} ({manifest})");
                diff::of_new(spec, &title, self.whole)
            }
            Action::Replace { .. } | Action::Update { .. } if !step.changes.is_empty() => {
                let old = format!("{name} ({})", step::before(step));
                diff::of_changes(&step.changes, &old, &format!("{name} ({manifest})"))
            }
            Action::Held => match way_out(step) {
                Some(way) => format!("    {}: {way}", paint(Label::Help, "way out")).into(),
                None => Lines::new(),
            },
            _ => Lines::new(),
        }
    }
}

/// What a plan or a report is of.
pub(super) fn commit(commit: &Commit) -> Lines {
    let mut drawn = Lines::new();
    drawn.line(paint(Label::Faint, commit));
    drawn.blank();
    drawn
}

/// A blocked prune's way out is told once, below all of them.
fn way_out(step: &Step) -> Option<String> {
    match step.reason {
        Reason::PruneBlocked { .. } => None,
        _ => step.reason.way_out(&step.instance),
    }
}

/// `~ alice  replace  g3 → g4  (sessions end): changed resources.memory 1GiB → 2GiB`.
fn head(step: &Step, width: usize) -> String {
    let kind = Kind::of(step);
    let name = paint(Label::Subject, format!("{:width$}", step.instance.as_str()));
    let symbol = paint(kind.label(), kind.symbol());
    let verb = paint(kind.label(), format!("{:7}", kind.verb()));
    let mut head = format!("{symbol} {name}  {verb}");
    let generations = step::generations(step);
    if !generations.is_empty() {
        let _ = write!(head, "  {generations}");
    }
    if step.ends_sessions {
        let _ = write!(head, "  {}", paint(Label::Warning, "(sessions end)"));
    }
    let separator = if generations.is_empty() { "  " } else { ": " };
    head + separator + &reason(step)
}

/// Why a step is, with the fields that changed where they are few.
pub(super) fn reason(step: &Step) -> String {
    let fields = &step.changes;
    match step.reason {
        Reason::Changed | Reason::Drifted if fields.is_empty() => step.reason.to_string(),
        Reason::Changed | Reason::Drifted => {
            let what = match step.reason {
                Reason::Drifted => "changed by hand",
                _ => "changed",
            };
            if fields.len() > CHANGES_IN_LINE {
                return format!("{what} {}", count(fields.len(), "field"));
            }
            let told: Vec<String> = fields.iter().map(in_line).collect();
            format!("{what} {}", told.join(", "))
        }
        _ => step.reason.to_string(),
    }
}

/// `resources.memory 1GiB → 2GiB`, or the field alone where a side is no short scalar.
fn in_line(change: &Change) -> String {
    if change.field.starts_with("secrets.") {
        let field = change.field.split(".print").next().unwrap_or(&change.field);
        return field.to_owned();
    }
    match (scalar(change.old.as_ref()), scalar(change.new.as_ref())) {
        (Some(old), Some(new)) => format!("{} {old} → {new}", change.field),
        _ => change.field.clone(),
    }
}

fn scalar(value: Option<&Value>) -> Option<String> {
    let text = match value {
        None | Some(Value::Null) => "(none)".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(_) | Value::Object(_)) => return None,
        Some(other) => other.to_string(),
    };
    let fits = text.chars().count() <= VALUE_IN_LINE && !text.contains(char::is_control);
    fits.then_some(text)
}

/// The removals that wait for a person's word, and how it is given.
fn blocked(plan: &Plan) -> Option<Lines> {
    plan.steps.iter().find_map(|step| match &step.reason {
        Reason::PruneBlocked {
            id,
            removals,
            fleet,
            emptied,
        } => Some(prune_notice(id, *removals, *fleet, *emptied)),
        _ => None,
    })
}

/// Says that a prune is blocked and how it is let through.
pub fn prune_notice(id: &str, removals: usize, fleet: usize, emptied: bool) -> Lines {
    let why = if emptied {
        "the source names no instance at all".to_owned()
    } else {
        format!("{removals} of {fleet} instances would be gone within ten minutes")
    };
    let mut drawn = Lines::new();
    let head = paint(Label::Warning, "prune blocked");
    drawn.line(format_args!("{head}: {why}, so none is removed."));
    drawn.line("  If that is right, confirm exactly these removals with:");
    drawn.blank();
    let command = paint(Label::Literal, confirm_command(id));
    drawn.line(format_args!("    {command}"));
    drawn
}

/// `Plan: 1 to create, 1 to replace, 0 to remove, 2 held, 5 unchanged.`
pub fn summary(plan: &Plan) -> String {
    if plan.steps.is_empty() {
        return no_changes(plan.unchanged);
    }
    let number = |kind| {
        plan.steps
            .iter()
            .filter(|step| Kind::of(step) == kind)
            .count()
    };
    let mut parts = Vec::new();
    for kind in Kind::ALL {
        let always = matches!(kind, Kind::Create | Kind::Replace | Kind::Remove);
        match (number(kind), kind) {
            (0, _) if !always => {}
            (n, Kind::Held) => parts.push(format!("{n} held")),
            (n, _) => parts.push(format!("{n} to {}", kind.verb())),
        }
    }
    format!(
        "{}: {}, {} unchanged.",
        paint(Label::Subject, "Plan"),
        parts.join(", "),
        plan.unchanged
    )
}
