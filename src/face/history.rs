//! What was done to an instance, as people read it: newest last, as a log is read.

use super::style::{Label, paint};
use super::text::Lines;
use super::words::{second, took};
use crate::words::act::Cause;
use crate::words::history::{Entry, EntryResult};

/// One line an entry, and below it what failed and which commit asked for it.
pub fn draw(entries: &[Entry]) -> Lines {
    let mut drawn = Lines::new();
    for entry in entries {
        let action = match entry.generation {
            Some(generation) => format!("{} g{generation}", entry.action),
            None => entry.action.clone(),
        };
        let (label, word) = match &entry.result {
            EntryResult::Done => (Label::Good, "done"),
            EntryResult::Failed { .. } => (Label::Error, "failed"),
            EntryResult::Unknown => (Label::Warning, "unknown"),
        };
        let millis = entry.millis.map(took).unwrap_or_default();
        let why = if entry.reason.is_empty() {
            cause(entry.cause).to_owned()
        } else {
            entry.reason.clone()
        };
        drawn.line(format_args!(
            "{}  {action:<12}  {}{}  {millis:>6}  {why}",
            paint(Label::Faint, second(entry.at)),
            paint(label, word),
            " ".repeat(7 - word.len())
        ));
        let mut below = |text: String| {
            drawn.line(format_args!("{:22}{}", "", paint(Label::Faint, text)));
        };
        if let EntryResult::Failed { failure } = &entry.result
            && !failure.is_empty()
        {
            failure.lines().for_each(|line| below(line.to_owned()));
        }
        match &entry.commit {
            Some(commit) => below(commit.to_string()),
            None if !entry.revision.is_empty() => below(format!("revision {}", entry.revision)),
            None => {}
        }
    }
    drawn
}

/// What was behind it, where no reason was written down.
fn cause(cause: Cause) -> &'static str {
    match cause {
        Cause::Desired => "what is desired changed",
        Cause::Image => "its image changed",
        Cause::Outside => "something from outside",
        Cause::Health => "it was not well",
        Cause::Operator => "an operator asked for it",
    }
}
