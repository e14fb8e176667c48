//! What a piece of text means, and how that looks. Nothing but this file knows a colour, and every output
//! reads well without one.
//!
//! A painted text carries tokens, not the terminal's codes: characters that Unicode keeps for a program's own use. The
//! writer makes codes of them after it has neutralised every code that came with a value.

use std::fmt;

use anstyle::{AnsiColor, Style};

/// What a piece of text means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// Wrong, or failed.
    Error,
    /// Worth a look, or held.
    Warning,
    /// The way out.
    Help,
    /// Done, or well.
    Good,
    /// Comes.
    Added,
    /// Goes.
    Removed,
    /// Becomes another.
    Changed,
    /// The head of a table or a section.
    Heading,
    /// What it is about: an instance's name, say.
    Subject,
    /// Something to type.
    Literal,
    /// Beside the point.
    Faint,
}

/// All of them: a label's place is its token.
const LABELS: [Label; 11] = [
    Label::Error,
    Label::Warning,
    Label::Help,
    Label::Good,
    Label::Added,
    Label::Removed,
    Label::Changed,
    Label::Heading,
    Label::Subject,
    Label::Literal,
    Label::Faint,
];

/// The colours of those who speak.
const VOICES: [AnsiColor; 6] = [
    AnsiColor::Cyan,
    AnsiColor::Green,
    AnsiColor::Magenta,
    AnsiColor::Yellow,
    AnsiColor::Blue,
    AnsiColor::Red,
];

/// The tokens: the end of a style, the labels, the voices.
const END: u32 = 0xfdd0;
const FIRST_LABEL: u32 = END + 1;
const FIRST_VOICE: u32 = FIRST_LABEL + 0xf;

fn token(number: u32) -> char {
    char::from_u32(number).unwrap_or_default()
}

/// Whether a character is a token of a style.
pub(super) fn is_token(c: char) -> bool {
    ('\u{fdd0}'..='\u{fdef}').contains(&c)
}

/// Whether a token ends a style.
pub(super) fn is_end(c: char) -> bool {
    u32::from(c) == END
}

/// The code that ends every style.
pub(super) fn end() -> String {
    format!("{:#}", Label::Error.style())
}

/// A token's code for a terminal.
pub(super) fn code(c: char) -> Option<String> {
    let number = u32::from(c);
    if is_end(c) {
        return Some(end());
    }
    let at = |first: u32| usize::try_from(number.checked_sub(first)?).ok();
    let label = at(FIRST_LABEL).and_then(|at| LABELS.get(at));
    let voice = at(FIRST_VOICE).and_then(|at| VOICES.get(at));
    let style = label.map(|label| label.style());
    let style = style.or_else(|| voice.map(|color| color.on_default()))?;
    Some(style.to_string())
}

/// Who speaks, where several do: each by a colour of its own, as far as there are enough.
pub fn paint_voice(number: usize, text: impl fmt::Display) -> impl fmt::Display {
    let voice = u32::try_from(number % VOICES.len()).unwrap_or(0);
    format!("{}{text}{}", token(FIRST_VOICE + voice), token(END))
}

impl Label {
    const fn style(self) -> Style {
        match self {
            Self::Error => AnsiColor::Red.on_default().bold(),
            Self::Warning => AnsiColor::Yellow.on_default().bold(),
            Self::Help => AnsiColor::Cyan.on_default().bold(),
            Self::Good | Self::Added => AnsiColor::Green.on_default(),
            Self::Removed => AnsiColor::Red.on_default(),
            Self::Changed => AnsiColor::Yellow.on_default(),
            Self::Heading => Style::new().bold().underline(),
            Self::Subject => Style::new().bold(),
            Self::Literal => AnsiColor::Cyan.on_default(),
            Self::Faint => Style::new().dimmed(),
        }
    }
}

/// A text with its meaning; displays with the tokens of its style.
#[derive(Debug, Clone, Copy)]
pub struct Painted<T>(Label, T);

/// Gives a text its meaning.
pub fn paint<T: fmt::Display>(label: Label, text: T) -> Painted<T> {
    Painted(label, text)
}

impl<T: fmt::Display> fmt::Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = LABELS.iter().position(|label| *label == self.0);
        let place = u32::try_from(place.unwrap_or(0)).unwrap_or(0);
        write!(f, "{}", token(FIRST_LABEL + place))?;
        self.1.fmt(f)?;
        write!(f, "{}", token(END))
    }
}

/// How the help texts look.
pub fn help_styles() -> clap::builder::Styles {
    clap::builder::Styles::styled()
        .header(Label::Heading.style())
        .usage(Label::Heading.style())
        .literal(Label::Literal.style())
        .error(Label::Error.style())
        .valid(Label::Help.style())
        .invalid(Label::Warning.style())
}
