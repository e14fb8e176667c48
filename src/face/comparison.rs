//! What a change of the files would do, as people read it: in a terminal, and as a comment on a pull request.

use std::fmt::Write as _;

use anstream::adapter::strip_str;

use super::diff;
use super::style::{Label, paint};
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
pub fn draw(comparison: &Comparison) -> String {
    let width = comparison
        .differences
        .iter()
        .map(|d| d.instance.as_str().len());
    let width = width.max().unwrap_or(0);
    let mut drawn = String::new();
    for difference in &comparison.differences {
        let (symbol, verb, label) = said(difference.effect);
        let name = format!("{:width$}", difference.instance.as_str());
        let _ = write!(
            drawn,
            "{} {}  {}",
            paint(label, symbol),
            paint(Label::Subject, name),
            paint(label, verb)
        );
        if difference.ends_sessions {
            let _ = write!(drawn, "  {}", paint(Label::Warning, "(sessions end)"));
        }
        drawn += "\n";
        drawn += &detail(difference, comparison);
        drawn += "\n";
    }
    drawn + &summary(comparison) + "\n"
}

fn detail(difference: &Difference, comparison: &Comparison) -> String {
    let name = &difference.instance;
    let new = format!("{name} ({})", comparison.head);
    match &difference.spec {
        Some(spec) => diff::of_new(spec, &new, false),
        None if difference.changes.is_empty() => String::new(),
        None => {
            let old = format!("{name} ({})", comparison.base);
            diff::of_changes(&difference.changes, &old, &new)
        }
    }
}

/// `git:… → git:…: 1 added, 2 replaced; sessions end on 2; 5 unchanged.`
fn summary(comparison: &Comparison) -> String {
    let Comparison {
        base,
        head,
        differences,
        unchanged,
        prune_blocked,
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
    if *prune_blocked {
        text += "\nThese removals wait until somebody confirms them: instanced reconcile --confirm-prune ID";
    }
    text
}

/// For a comment on a pull request.
pub fn markdown(comparison: &Comparison) -> String {
    let mut text = String::from("### What this does to the fleet\n\n");
    text += &plain(&summary(comparison));
    text += "\n";
    if comparison.differences.is_empty() {
        return text;
    }
    text += "\n| | instance | effect | sessions |\n|---|---|---|---|\n";
    for difference in &comparison.differences {
        let (symbol, verb, _) = said(difference.effect);
        let ends = if difference.ends_sessions { "end" } else { "" };
        let _ = writeln!(
            text,
            "| `{symbol}` | `{}` | {verb} | {ends} |",
            difference.instance
        );
    }
    for difference in &comparison.differences {
        let detail = plain(&detail(difference, comparison));
        if detail.is_empty() {
            continue;
        }
        // Longer than any row of backticks within, so that nothing ends it early.
        let fence = "`".repeat(longest_row(&detail, '`').max(2) + 1);
        let _ = write!(
            text,
            "\n<details><summary>{}</summary>\n\n{fence}diff\n{detail}{fence}\n\n</details>\n",
            difference.instance
        );
    }
    text
}

fn plain(text: &str) -> String {
    strip_str(text).to_string()
}

fn longest_row(text: &str, of: char) -> usize {
    let rows = text.split(|c| c != of).map(str::len);
    rows.max().unwrap_or(0)
}
