//! Tables without lines, as `docker ps` and `kubectl get` draw them.

use std::fmt::Display;

use comfy_table::{ContentArrangement, Table, presets};

use super::style::{Label, paint};
use super::text::{Lines, neutral};

/// A table of these columns. `mark` may give a row's text in one column a meaning; the columns up to that
/// one must hold ASCII, so that its place is known.
pub fn draw(
    heads: &[&str],
    rows: &[Vec<String>],
    marked: usize,
    mark: impl Fn(usize) -> Option<Label>,
) -> Lines {
    let neutral = |cell: &String| neutral(cell).into_owned();
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| row.iter().map(neutral).collect())
        .collect();
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(heads.iter().copied());
    for row in &rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let start = (0..marked)
        .map(|column| column_width(heads, &rows, column) + 2)
        .sum::<usize>();
    let mut drawn = Lines::new();
    for (number, line) in table.lines().enumerate() {
        let line = line.trim_end();
        let line = match number.checked_sub(1) {
            None => paint(Label::Heading, line).to_string(),
            Some(row) => match mark(row) {
                Some(label) => painted_at(line, start, rows[row][marked].len(), label),
                None => line.to_owned(),
            },
        };
        drawn.line(line);
    }
    drawn
}

/// `key  value` lines, the values below each other. Empty values are left out.
pub fn pairs<V: Display>(pairs: &[(&str, V)]) -> Lines {
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(key, value)| (key, value.to_string()))
        .collect();
    let told = || pairs.iter().filter(|(_, value)| !value.is_empty());
    let width = told().map(|(key, _)| key.len()).max().unwrap_or(0);
    let mut drawn = Lines::new();
    for (key, value) in told() {
        drawn.line(format_args!(
            "{}  {value}",
            paint(Label::Faint, format!("{key:width$}"))
        ));
    }
    drawn
}

fn column_width(heads: &[&str], rows: &[Vec<String>], column: usize) -> usize {
    let cells = rows.iter().map(|row| row[column].len());
    cells.chain([heads[column].len()]).max().unwrap_or(0)
}

fn painted_at(line: &str, start: usize, length: usize, label: Label) -> String {
    match (
        line.get(..start),
        line.get(start..start + length),
        line.get(start + length..),
    ) {
        (Some(before), Some(text), Some(after)) => format!("{before}{}{after}", paint(label, text)),
        _ => line.to_owned(),
    }
}
