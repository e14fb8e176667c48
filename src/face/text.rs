//! Text for a terminal, a log or a CI system. One rule for everything from outside: characters that control the reader
//! are shown, never sent.
//!
//! [`Lines`] is the only text of several lines that [`super::output::Output`] takes. Each call of [`Lines::line`] adds one
//! line, whatever is in its values; so a value can neither begin a line nor change how another is read.

use std::borrow::Cow;
use std::fmt::Display;
use std::ops::AddAssign;

use super::style::{self, is_token};
use crate::words::text::is_mark;

/// Whether a reader takes the character for a command: control characters, ends of lines, and those that reorder or hide
/// text. A tab is none.
pub fn is_control(c: char) -> bool {
    (c.is_control() && c != '\t')
        || matches!(c,
            // The direction of text. Noncharacters mark our styles.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            | '\u{fdd0}'..='\u{fdef}' | '\u{fffe}' | '\u{ffff}')
        || is_mark(c)
}

/// The text on one line, with every character that a reader takes for a command shown as an escape.
pub fn neutral(text: &str) -> Cow<'_, str> {
    match without_controls(text) {
        Cow::Borrowed(text) => without_marks(text),
        Cow::Owned(text) => Cow::Owned(without_marks(&text).into_owned()),
    }
}

/// The text on one line without control characters.
pub(super) fn without_controls(text: &str) -> Cow<'_, str> {
    if text.contains(is_control) {
        Cow::Owned(text.chars().fold(String::new(), escaped))
    } else {
        Cow::Borrowed(text)
    }
}

/// The text without the marks that begin commands of CI systems anywhere in a line: `##[name]` and `##vso[name]` (GitHub,
/// Azure), `##teamcity[name]`.
fn without_marks(text: &str) -> Cow<'_, str> {
    let is_name = |rest: &str| {
        rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric())
            .starts_with('[')
    };
    let mut marks = text.match_indices("##");
    if marks.any(|(at, mark)| is_name(&text[at + mark.len()..])) {
        Cow::Owned(text.replace("##", "#\\u{23}"))
    } else {
        Cow::Borrowed(text)
    }
}

fn escaped(mut text: String, c: char) -> String {
    match c {
        c if !is_control(c) => text.push(c),
        c @ '\0'..='\x1f' => text.extend(['^', char::from(c as u8 + 0x40)]),
        c => text.extend(c.escape_unicode()),
    }
    text
}

/// JSON that a terminal takes, too: what JSON leaves as it is, is escaped as JSON does.
pub fn neutral_json(json: &str) -> Cow<'_, str> {
    // A line's end is one of the layout; within a string JSON has escaped it. `##` begins commands of CI systems.
    let is_left = |c: char| is_control(c) && c != '\n';
    if !json.contains(is_left) && !json.contains("##") {
        return Cow::Borrowed(json);
    }
    let mut text = String::new();
    let mut units = [0; 2];
    for c in json.replace("##", "#\\u0023").chars() {
        if is_left(c) {
            let units = c.encode_utf16(&mut units).iter();
            text.extend(units.map(|unit| format!("\\u{unit:04x}")));
        } else {
            text.push(c);
        }
    }
    Cow::Owned(text)
}

/// A line of which no CI system takes anything for a command: `::name::` at its beginning is GitHub's.
fn without_commands(line: &str) -> Cow<'_, str> {
    let begins = |line: &str| {
        let plain = anstream::adapter::strip_str(line).to_string();
        plain.trim_start().starts_with("::")
    };
    if line.contains("::") && begins(line) {
        let line = line.replacen("::", "\\u{3a}:", 1);
        return Cow::Owned(without_marks(&line).into_owned());
    }
    without_marks(line)
}

/// A line with codes of styles, and nothing else that controls.
pub(super) fn neutral_styled(line: &str) -> Cow<'_, str> {
    let mut text = String::new();
    for (number, part) in line.split("\x1b[").enumerate() {
        let code = part.split_once('m').filter(|(code, _)| {
            number > 0
                && code
                    .bytes()
                    .all(|byte| byte.is_ascii_digit() || byte == b';')
        });
        match code {
            Some((code, rest)) => {
                text.extend(["\x1b[", code, "m"]);
                text += &neutral(rest);
            }
            None if number > 0 => text += &neutral(&format!("\x1b[{part}")),
            None => text += &neutral(part),
        }
    }
    Cow::Owned(text)
}

/// One line as it is written, without its end: neutral, with the codes of our styles.
pub(super) fn rendered(value: impl Display) -> String {
    let plain = value.to_string();
    // Most lines have neither a style nor anything that controls.
    if !plain.contains(is_control) {
        return without_commands(&plain).into_owned();
    }
    let mut text = String::new();
    let mut is_open = false;
    for c in plain.chars() {
        let code = if is_token(c) { style::code(c) } else { None };
        if let Some(code) = code {
            is_open = !style::is_end(c);
            text += &code;
        } else {
            text = escaped(text, c);
        }
    }
    if is_open {
        text += &style::end();
    }
    without_commands(&text).into_owned()
}

/// Lines of text for a person. Values in them are neutral.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use]
pub struct Lines(String);

impl Lines {
    /// No line.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a line.
    pub fn line(&mut self, line: impl Display) {
        self.0 += &rendered(line);
        self.0.push('\n');
    }

    /// Adds an empty line.
    pub fn blank(&mut self) {
        self.0.push('\n');
    }

    /// Adds an empty line between two blocks, and none before the first.
    pub fn part(&mut self) {
        if !self.0.is_empty() && !self.0.ends_with("\n\n") {
            self.blank();
        }
    }

    /// Adds a text that may have several lines: the first behind `head`, each further one below it and marked as a part
    /// of the text.
    pub fn block(&mut self, head: impl Display, text: &str) {
        let mut lines = text.lines();
        self.line(format_args!("{head}{}", lines.next().unwrap_or_default()));
        for line in lines {
            self.line(format_args!("    | {line}"));
        }
    }

    /// Adds these lines, each behind an indent.
    pub fn indented(&mut self, indent: &str, lines: &Self) {
        for line in lines.0.lines() {
            self.0 += indent;
            self.0 += line;
            self.0.push('\n');
        }
    }

    /// What another program of ours has drawn, with codes of styles. Its values are neutral already.
    pub(super) fn of_drawn(drawn: &str) -> Self {
        let mut lines = Self::new();
        for line in drawn.lines() {
            lines.0 += &without_commands(line);
            lines.blank();
        }
        lines
    }

    /// What clap says of a command line. It quotes arguments.
    pub(super) fn of_clap(told: &clap::builder::StyledStr) -> Self {
        let mut lines = Self::new();
        for line in told.ansi().to_string().lines() {
            lines.0 += &without_commands(&neutral_styled(line));
            lines.blank();
        }
        lines
    }

    /// Whether there is no line.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text with the codes of styles.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text without styles.
    pub fn plain(&self) -> String {
        anstream::adapter::strip_str(&self.0).to_string()
    }
}

impl AddAssign for Lines {
    fn add_assign(&mut self, other: Self) {
        self.0 += &other.0;
    }
}

/// One line.
impl From<String> for Lines {
    fn from(line: String) -> Self {
        let mut lines = Self::new();
        lines.line(line);
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::face::style::{Label, paint};

    #[test]
    fn what_would_steer_a_reader_is_shown_instead() {
        for (text, shown) in [
            ("tab\tand ü", "tab\tand ü"),
            ("\x1b]0;title\x07\r\n", "^[]0;title^G^M^J"),
            ("\u{9b}2J\x7f", r"\u{9b}2J\u{7f}"),
            (
                "\u{202e}x\u{2066}\u{200f}\u{61c}\u{2028}",
                r"\u{202e}x\u{2066}\u{200f}\u{61c}\u{2028}",
            ),
            ("\u{feff}\u{e0041}\u{fdd1}", r"\u{feff}\u{e0041}\u{fdd1}"),
        ] {
            assert_eq!(neutral(text), shown);
        }
    }

    #[test]
    fn a_value_makes_no_line_and_no_style() {
        let mut lines = Lines::new();
        lines.line(format_args!(
            "{} {}",
            paint(Label::Good, "a\nb"),
            "c\n\x1b[8md\n"
        ));
        lines.block("why: ", "one\r\ntwo\x1b[2J\n::error::three");
        let shown = "a^Jb c^J^[[8md^J\nwhy: one\n    | two^[[2J\n    | ::error::three\n";
        assert_eq!(lines.plain(), shown);
        assert!(lines.as_str().starts_with("\x1b["));
    }

    #[test]
    fn no_line_is_a_command_of_a_ci_system() {
        for (line, shown) in [
            ("  ::error::x", r"  \u{3a}:error::x"),
            ("std::fmt ## heading", "std::fmt ## heading"),
            ("a ##[add-mask]x", r"a #\u{23}[add-mask]x"),
            ("##vso[task.setvariable]", r"#\u{23}vso[task.setvariable]"),
        ] {
            assert_eq!(rendered(line), shown);
        }
        let painted = rendered(paint(Label::Good, "::warning::x"));
        assert!(painted.contains(r"\u{3a}:warning"), "{painted}");
    }

    #[test]
    fn json_says_the_same_and_controls_nobody() {
        let said = serde_json::json!({ "a\u{9b}": "\n\x7f\u{202e}\u{e0041}##[x]" });
        let text = serde_json::to_string_pretty(&said).unwrap();
        let told = neutral_json(&text);
        assert!(!told.contains(|c| is_control(c) && c != '\n'), "{told}");
        assert!(!told.contains("##"), "{told}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&told).unwrap(),
            said
        );
    }
}
