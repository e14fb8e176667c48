//! The one writer: results go to stdout, what is said on the way to stderr. Nothing else of the program
//! writes to either, but the log.

use std::fmt;
use std::io::{self, Write};

use anstream::AutoStream;
use serde::Serialize;

use super::exit::Exit;
use super::style::{Label, paint};
use crate::decisions::report::Failure;

/// For whom results are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For a person.
    #[default]
    Human,
    /// For a program.
    Json,
    /// For a code scanner's dashboard; `validate` alone.
    Sarif,
    /// For a CI's list of tests; `validate` alone.
    Junit,
    /// For GitHub Actions; `validate` alone.
    Github,
    /// For a comment on a pull request; `diff` alone.
    Markdown,
}

/// Whether colours are used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Yes.
    Always,
    /// No.
    Never,
}

impl From<Color> for anstream::ColorChoice {
    fn from(color: Color) -> Self {
        match color {
            Color::Auto => Self::Auto,
            Color::Always => Self::Always,
            Color::Never => Self::Never,
        }
    }
}

/// The one writer.
pub struct Output {
    format: Format,
    quiet: bool,
    out: AutoStream<Box<dyn Write>>,
    err: AutoStream<Box<dyn Write>>,
    broken: Option<io::Error>,
}

impl Output {
    /// Writes to the process's own streams.
    pub fn standard(format: Format, color: Color, quiet: bool) -> Self {
        let choose = |raw: &dyn Fn() -> anstream::ColorChoice| match color {
            Color::Auto => raw(),
            fixed => fixed.into(),
        };
        let out = choose(&|| AutoStream::choice(&io::stdout()));
        let err = choose(&|| AutoStream::choice(&io::stderr()));
        Self {
            format,
            quiet,
            out: AutoStream::new(Box::new(io::stdout()), out),
            err: AutoStream::new(Box::new(io::stderr()), err),
            broken: None,
        }
    }

    /// For whom.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Whether what is told has colours.
    pub fn is_colored(&self) -> bool {
        !matches!(self.err.current_choice(), anstream::ColorChoice::Never)
    }

    /// Whether a program reads the results.
    pub fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// A result. Ends its last line.
    pub fn result(&mut self, text: impl fmt::Display) {
        let written = write_text(&mut self.out, &text);
        self.note(written);
    }

    /// A result for a program.
    pub fn json<T: Serialize>(&mut self, value: &T) {
        let written = serde_json::to_string_pretty(value)
            .map_err(io::Error::from)
            .and_then(|text| write_text(&mut self.out, &text));
        self.note(written);
    }

    /// Said on the way; not said when quiet, nor to a program.
    pub fn say(&mut self, text: impl fmt::Display) {
        if !self.quiet && self.format == Format::Human {
            self.tell(text);
        }
    }

    /// Said on the way, always: problems.
    pub fn tell(&mut self, text: impl fmt::Display) {
        let written = write_text(&mut self.err, &text);
        self.note(written);
    }

    /// A warning, in a line.
    pub fn warn(&mut self, text: impl fmt::Display) {
        self.tell(format_args!("{}: {text}", paint(Label::Warning, "warning")));
    }

    /// A failure, with its way out.
    pub fn fail(&mut self, failure: &Failure) {
        if self.is_json() {
            let text = serde_json::json!({ "error": failure }).to_string();
            self.tell(text);
            return;
        }
        self.tell(format_args!(
            "{}: {}",
            paint(Label::Error, "error"),
            failure.message
        ));
        if let Some(help) = &failure.help {
            self.tell(format_args!("{}: {help}", paint(Label::Help, " help")));
        }
    }

    /// How the program ends, now that everything is written: a result that could not be written is a
    /// failure. A reader that has seen enough (`| head`) is none.
    pub fn finish(mut self, exit: Exit) -> Exit {
        match self.broken.take() {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                self.fail(&Failure {
                    message: format!("cannot write the output: {error}"),
                    help: None,
                });
                Exit::Failed
            }
            _ => exit,
        }
    }

    fn note(&mut self, written: io::Result<()>) {
        if let Err(error) = written {
            self.broken.get_or_insert(error);
        }
    }
}

fn write_text(stream: &mut dyn Write, text: &dyn fmt::Display) -> io::Result<()> {
    let text = text.to_string();
    let end = if text.ends_with('\n') || text.is_empty() {
        ""
    } else {
        "\n"
    };
    stream.write_all(text.as_bytes())?;
    stream.write_all(end.as_bytes())?;
    stream.flush()
}
