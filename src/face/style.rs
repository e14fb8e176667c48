//! What a piece of text means, and how that looks. Nothing but this file knows a colour, and every output
//! reads well without one.

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

/// Who speaks, where several do: each by a colour of its own, as far as there are enough.
pub fn paint_voice(number: usize, text: impl fmt::Display) -> impl fmt::Display {
    const VOICES: [AnsiColor; 6] = [
        AnsiColor::Cyan,
        AnsiColor::Green,
        AnsiColor::Magenta,
        AnsiColor::Yellow,
        AnsiColor::Blue,
        AnsiColor::Red,
    ];
    let style = VOICES[number % VOICES.len()].on_default();
    format!("{style}{text}{style:#}")
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

/// A text with its meaning; displays with the codes for its colour, which the writer takes away again where
/// none are wanted.
#[derive(Debug, Clone, Copy)]
pub struct Painted<T>(Label, T);

/// Gives a text its meaning.
pub fn paint<T: fmt::Display>(label: Label, text: T) -> Painted<T> {
    Painted(label, text)
}

impl<T: fmt::Display> fmt::Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let style = self.0.style();
        write!(f, "{style}")?;
        self.1.fmt(f)?;
        write!(f, "{style:#}")
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
