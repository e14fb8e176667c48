//! Diagnostics as the workflow commands of GitHub Actions: each becomes a note at its line of a pull request.

use std::fmt::Write as _;

use crate::face::text::neutral;
use crate::words::diagnostic::{Diagnostic, Severity};

/// A line for each.
pub fn render(diagnostics: &[Diagnostic]) -> String {
    let mut text = String::new();
    for diagnostic in diagnostics {
        let command = match diagnostic.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "notice",
        };
        let place = &diagnostic.place;
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "::{command} file={},line={},col={},endColumn={}",
            property(&place.path),
            place.line,
            place.column,
            place.column + place.width,
        );
        if !diagnostic.field.is_empty() {
            let _ = write!(text, ",title={}", property(&diagnostic.field));
        }
        let _ = writeln!(text, "::{}", data(&super::told(diagnostic)));
    }
    text
}

/// A command is a line: its ends of lines are escaped as GitHub reads them back, all else that controls is shown.
fn data(text: &str) -> String {
    let lines = text.split_inclusive(['\r', '\n']);
    let lines = lines.map(|line| match line.strip_suffix(['\r', '\n']) {
        Some(body) => neutral(body).into_owned() + &line[body.len()..],
        None => neutral(line).into_owned(),
    });
    let text: String = lines.collect();
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
