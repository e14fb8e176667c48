//! What a change of the files would do, as people read it: in a terminal, and as a comment on a pull request.

use std::fmt::Write as _;

use super::diff;
use super::style::{Label, paint};
use super::text::Lines;
use super::words::count;
use crate::decisions::compare::{Comparison, Difference, Effect};

/// What an effect is called, and how it is marked.
fn said(effect: Effect) -> (char, &'static str, Label) {
    match effect {
        Effect::Added => ('+', "added", Label::Added),
        Effect::Replaced => ('~', "replaced", Label::Changed),
        Effect::InPlace => ('≈', "updated in place", Label::Changed),
        Effect::Started => ('▶', "started", Label::Added),
        Effect::Stopped => ('■', "stopped", Label::Changed),
        Effect::Nothing => ('·', "no container touched", Label::Faint),
        Effect::Removed => ('-', "removed", Label::Removed),
        Effect::Kept => ('!', "kept, it is protected", Label::Warning),
        Effect::Held => ('!', "held, its manifest cannot be used", Label::Warning),
    }
}

/// For a terminal: a line and a unified diff for each instance, and a line that sums it up.
pub fn draw(comparison: &Comparison) -> Lines {
    let width = comparison
        .differences
        .iter()
        .map(|d| d.instance.as_str().len());
    let width = width.max().unwrap_or(0);
    let mut drawn = Lines::new();
    for difference in &comparison.differences {
        let (symbol, verb, label) = said(difference.effect);
        let name = format!("{:width$}", difference.instance.as_str());
        let ends = if difference.ends_sessions {
            format!("  {}", paint(Label::Warning, "(sessions end)"))
        } else {
            String::new()
        };
        drawn.line(format_args!(
            "{} {}  {}{ends}",
            paint(label, symbol),
            paint(Label::Subject, name),
            paint(label, verb)
        ));
        drawn += detail(difference, comparison);
        drawn.blank();
    }
    drawn.line(summary(comparison, &comparison.base, &comparison.head));
    drawn += blocked(comparison);
    drawn
}

fn detail(difference: &Difference, comparison: &Comparison) -> Lines {
    let name = &difference.instance;
    let new = format!("{name} ({})", comparison.head);
    match &difference.spec {
        Some(spec) => diff::of_new(spec, &new, false),
        None if difference.changes.is_empty() => Lines::new(),
        None => {
            let old = format!("{name} ({})", comparison.base);
            diff::of_changes(&difference.changes, &old, &new)
        }
    }
}

/// `git:… → git:…: 1 added, 2 replaced; sessions end on 2; 5 unchanged.`
fn summary(comparison: &Comparison, base: &str, head: &str) -> String {
    let Comparison {
        differences,
        unchanged,
        ..
    } = comparison;
    if differences.is_empty() {
        return format!(
            "{base} → {head}: the same for all {}.",
            count(*unchanged, "instance")
        );
    }
    let mut effects: Vec<Effect> = differences.iter().map(|d| d.effect).collect();
    effects.sort();
    let mut parts: Vec<String> = Vec::new();
    for group in effects.chunk_by(|a, b| a == b) {
        parts.push(format!("{} {}", group.len(), said(group[0]).1));
    }
    let mut text = format!("{base} → {head}: {}", parts.join(", "));
    let ends = differences.iter().filter(|d| d.ends_sessions).count();
    if ends > 0 {
        let _ = write!(text, "; sessions end on {}", count(ends, "instance"));
    }
    let _ = write!(text, "; {unchanged} unchanged.");
    text
}

/// How blocked removals are let through.
fn blocked(comparison: &Comparison) -> Lines {
    if !comparison.prune_blocked {
        return Lines::new();
    }
    let command = "instanced reconcile --confirm-prune ID";
    let told = format!("These removals wait until somebody confirms them: {command}");
    Lines::from(told)
}

/// For a comment on a pull request. What comes from the manifests or git is in code: in a span or a fence that it cannot
/// end.
pub fn markdown(comparison: &Comparison) -> Lines {
    let mut text = Lines::new();
    text.line("### What this does to the fleet");
    text.blank();
    let (base, head) = (code(&comparison.base), code(&comparison.head));
    text.line(summary(comparison, &base, &head));
    text += blocked(comparison);
    if comparison.differences.is_empty() {
        return text;
    }
    text.blank();
    text.line("| | instance | effect | sessions |");
    text.line("|---|---|---|---|");
    for difference in &comparison.differences {
        let (symbol, verb, _) = said(difference.effect);
        let ends = if difference.ends_sessions { "end" } else { "" };
        let name = &difference.instance;
        text.line(format_args!("| `{symbol}` | `{name}` | {verb} | {ends} |"));
    }
    for difference in &comparison.differences {
        let detail = detail(difference, comparison).plain();
        if detail.is_empty() {
            continue;
        }
        // Longer than any row of backticks within, so that nothing ends it early.
        let fence = "`".repeat(longest_row(&detail, '`').max(2) + 1);
        text.blank();
        let name = &difference.instance;
        text.line(format_args!("<details><summary>{name}</summary>"));
        text.blank();
        text.line(format_args!("{fence}diff"));
        detail.lines().for_each(|line| text.line(line));
        text.line(fence);
        text.blank();
        text.line("</details>");
    }
    text
}

/// A text as a span of code. A pipe would end a table's cell.
fn code(text: &str) -> String {
    let fence = "`".repeat(longest_row(text, '`') + 1);
    let space = if text.contains('`') { " " } else { "" };
    format!("{fence}{space}{}{space}{fence}", text.replace('|', "¦"))
}

fn longest_row(text: &str, of: char) -> usize {
    let rows = text.split(|c| c != of).map(str::len);
    rows.max().unwrap_or(0)
}
