//! Draws diagnostics as a good compiler does: the place, the line with the place underlined, what is wrong
//! and the way out.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::style::{Label, paint};
use super::text::{Lines, neutral};
use super::words::count;
use crate::words::diagnostic::{Diagnostic, Place};
use crate::words::lines;

pub mod github;
pub mod junit;
pub mod sarif;

/// A longer line is not shown: it fits no screen, and to draw it once for each mistake on it takes its time.
const SHOWN_MAX: usize = 1000;

/// Draws all of them, and a line that counts them. `read` gives the text of a file, where it can.
pub fn draw(diagnostics: &[Diagnostic], read: impl Fn(&str) -> Option<String>) -> Lines {
    if diagnostics.is_empty() {
        return Lines::new();
    }
    let mut texts: BTreeMap<&str, Option<String>> = BTreeMap::new();
    let mut drawn = Lines::new();
    for diagnostic in diagnostics {
        let path = diagnostic.place.path.as_str();
        let text = texts.entry(path).or_insert_with(|| read(path)).as_deref();
        drawn += draw_one(diagnostic, text);
        drawn.blank();
    }
    drawn.line(summary(diagnostics));
    drawn
}

/// `2 errors, 1 warning in 3 files`.
pub fn summary(diagnostics: &[Diagnostic]) -> String {
    let errors = diagnostics.iter().filter(|d| d.is_error()).count();
    let warnings = diagnostics.len() - errors;
    let files: BTreeSet<&str> = diagnostics.iter().map(|d| d.place.path.as_str()).collect();
    let mut parts = Vec::new();
    if errors > 0 {
        parts.push(paint(Label::Error, count(errors, "error")).to_string());
    }
    if warnings > 0 {
        parts.push(paint(Label::Warning, count(warnings, "warning")).to_string());
    }
    format!("{} in {}", parts.join(", "), count(files.len(), "file"))
}

fn draw_one(diagnostic: &Diagnostic, text: Option<&str>) -> Lines {
    let level = if diagnostic.is_error() {
        Level::ERROR
    } else {
        Level::WARNING
    };
    let message = sentence(diagnostic);
    let place = &diagnostic.place;
    let shown = text.and_then(|text| excerpt(place, text));
    let Some((line, span)) = shown else {
        return one_line(diagnostic);
    };
    let help = diagnostic.help.as_deref().map(neutral);
    // The line's text alone is handed over, so that a long file is not walked once a diagnostic.
    let snippet = Snippet::source(line)
        .path(neutral(&place.path).into_owned())
        .line_start(place.line)
        .annotation(AnnotationKind::Primary.span(span));
    let mut group: Group<'_> = level.primary_title(message).element(snippet);
    if let Some(help) = &help {
        group = group.element(Level::HELP.message(help.as_ref()));
    }
    Lines::of_drawn(&Renderer::styled().render(&[group]))
}

/// What is wrong and the way out, as plain text.
fn told(diagnostic: &Diagnostic) -> String {
    match &diagnostic.help {
        Some(help) => format!("{} ({help})", sentence(diagnostic)),
        None => sentence(diagnostic),
    }
}

/// `resources.memory: is no size`, or the message alone where it concerns the whole file.
fn sentence(diagnostic: &Diagnostic) -> String {
    if diagnostic.field.is_empty() {
        return neutral(&diagnostic.message).into_owned();
    }
    neutral(&format!("{}: {}", diagnostic.field, diagnostic.message)).into_owned()
}

fn one_line(diagnostic: &Diagnostic) -> Lines {
    let level = if diagnostic.is_error() {
        paint(Label::Error, "error")
    } else {
        paint(Label::Warning, "warning")
    };
    let place = &diagnostic.place;
    // What concerns a whole file has no line of its own.
    let place = if diagnostic.field.is_empty() && (place.line, place.column) == (1, 1) {
        place.path.clone()
    } else {
        place.to_string()
    };
    let mut line = Lines::from(format!("{level}: {place}: {}", sentence(diagnostic)));
    if let Some(help) = &diagnostic.help {
        line.block(format!("{}: ", paint(Label::Help, " help")), help);
    }
    line
}

/// The line of a place, and where on it the place is, in bytes. `None` when the text has no such line: it
/// is empty, or has changed since it was read.
fn excerpt<'t>(place: &Place, text: &'t str) -> Option<(&'t str, Range<usize>)> {
    let line = lines::of(text).nth(place.line.checked_sub(1)?)?;
    let line = if place.line == 1 {
        line.trim_start_matches('\u{feff}')
    } else {
        line
    };
    if line.trim().is_empty() || line.len() > SHOWN_MAX {
        return None;
    }
    let byte_of = |column: usize| {
        line.char_indices()
            .nth(column)
            .map_or(line.len(), |(at, _)| at)
    };
    let start = place.column.checked_sub(1)?;
    if start > line.chars().count() {
        return None;
    }
    Some((
        line,
        byte_of(start)..byte_of(start.saturating_add(place.width.max(1))),
    ))
}
