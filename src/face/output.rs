//! The one writer: results go to stdout, what is said on the way to stderr. Nothing else of the program
//! writes to either, but the log. A value from outside controls no reader: see [`super::text`].

use std::fmt;
use std::io::{self, IsTerminal as _, Write};

use anstream::AutoStream;
use serde::Serialize;

use super::exit::Exit;
use super::style::{Label, paint};
use super::text::{Lines, neutral_json, without_controls};
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

    /// Writes results and what is said on the way to these streams.
    #[cfg(test)]
    pub fn with(format: Format, color: Color, [out, err]: [Box<dyn Write>; 2]) -> Self {
        Self {
            format,
            quiet: false,
            out: AutoStream::new(out, color.into()),
            err: AutoStream::new(err, color.into()),
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

    /// A result of one line.
    pub fn result(&mut self, line: impl fmt::Display) {
        self.lines(&Lines::from(line.to_string()));
    }

    /// A result of several lines.
    pub fn lines(&mut self, lines: &Lines) {
        let written = write_text(&mut self.out, lines.as_str());
        self.note(written);
    }

    /// A result in a format that has its own escapes: a script, XML, a page of the manual. Characters that control a
    /// terminal are neutral nevertheless.
    pub fn document(&mut self, text: &str) {
        let lines = text
            .split_inclusive('\n')
            .map(|line| match line.strip_suffix('\n') {
                Some(line) => without_controls(line).into_owned() + "\n",
                None => without_controls(line).into_owned(),
            });
        let written = write_text(&mut self.out, &lines.collect::<String>());
        self.note(written);
    }

    /// A line as an instance wrote it, when the person asks for exactly that.
    pub fn raw(&mut self, head: &str, line: &str) {
        let head = super::text::rendered(head);
        let written = write_text(&mut self.out, &format!("{head}{line}\n"));
        self.note(written);
    }

    /// A result for a program.
    pub fn json<T: Serialize>(&mut self, value: &T) {
        let written = serde_json::to_string_pretty(value)
            .map_err(io::Error::from)
            .and_then(|text| write_text(&mut self.out, &neutral_json(&text)));
        self.note(written);
    }

    /// A result for a program, one of many: a line.
    pub fn json_line<T: Serialize>(&mut self, value: &T) {
        let written = serde_json::to_string(value)
            .map_err(io::Error::from)
            .and_then(|text| write_text(&mut self.out, &neutral_json(&text)));
        self.note(written);
    }

    /// Whether results can be written, before something is made whose only copy is one.
    ///
    /// # Errors
    /// When an earlier result could not be written.
    pub fn check(&mut self) -> Result<(), Failure> {
        let written = self.out.flush();
        self.note(written);
        match &self.broken {
            None => Ok(()),
            Some(error) => Err(Failure {
                message: format!("cannot write the output: {error}"),
                help: None,
            }),
        }
    }

    /// Whether a person looks at the results as they are written.
    pub fn is_terminal(&self) -> bool {
        self.format == Format::Human && io::stdout().is_terminal()
    }

    /// Whether nobody reads any more.
    pub fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// The terminal as a screen to be drawn on; as it was before, once that is dropped.
    pub fn screen(&mut self) -> Screen<'_> {
        let mut stdout = io::stdout();
        let written = stdout
            .write_all(ENTER.as_bytes())
            .and_then(|()| stdout.flush());
        self.note(written);
        Screen { output: self }
    }

    /// Said on the way, in a line; not said when quiet, nor to a program.
    pub fn say(&mut self, line: impl fmt::Display) {
        self.say_lines(&Lines::from(line.to_string()));
    }

    /// Said on the way, in several lines; not said when quiet, nor to a program.
    pub fn say_lines(&mut self, lines: &Lines) {
        if !self.quiet && self.format == Format::Human {
            self.tell(lines);
        }
    }

    /// Said on the way, always: problems.
    pub fn tell(&mut self, lines: &Lines) {
        let written = write_text(&mut self.err, lines.as_str());
        self.note(written);
    }

    /// A problem for a program, in a line.
    pub fn tell_json(&mut self, value: &serde_json::Value) {
        let written = write_text(&mut self.err, &neutral_json(&value.to_string()));
        self.note(written);
    }

    /// A warning, in a line.
    pub fn warn(&mut self, text: impl fmt::Display) {
        let head = paint(Label::Warning, "warning");
        self.tell(&Lines::from(format!("{head}: {text}")));
    }

    /// A failure, with its help.
    pub fn fail(&mut self, failure: &Failure) {
        if self.is_json() {
            return self.tell_json(&serde_json::json!({ "error": failure }));
        }
        let mut lines = Lines::new();
        let head = format!("{}: ", paint(Label::Error, "error"));
        lines.block(head, &failure.message);
        if let Some(help) = &failure.help {
            lines.block(format!("{}: ", paint(Label::Help, " help")), help);
        }
        self.tell(&lines);
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

/// Another page of the terminal, without a cursor; and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[H";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// A terminal that is drawn on in place.
pub struct Screen<'o> {
    output: &'o mut Output,
}

impl Screen<'_> {
    /// Draws a frame, as far as the terminal has room: in place of the one before, without a moment of nothing.
    pub fn draw(&mut self, frame: &Lines) {
        let size = rustix::termios::tcgetwinsize(io::stdout()).ok();
        let (rows, columns) = size
            .filter(|size| size.ws_row > 0 && size.ws_col > 0)
            .map_or((24, 80), |size| (size.ws_row.into(), size.ws_col.into()));
        let mut lines: Vec<&str> = frame.as_str().lines().collect();
        let more = lines.len().saturating_sub(rows);
        let note = format!("… and {} more lines", more + 1);
        if more > 0 {
            lines.truncate(rows - 1);
            lines.push(&note);
        }
        let mut drawn = "\x1b[H".to_owned();
        for (number, line) in lines.iter().enumerate() {
            let end = if number + 1 < lines.len() { "\r\n" } else { "" };
            let line = cut(line, columns);
            let line = match self.output.out.current_choice() {
                anstream::ColorChoice::Never => anstream::adapter::strip_str(&line).to_string(),
                _ => line,
            };
            drawn += &line;
            drawn += "\x1b[K";
            drawn += end;
        }
        drawn += "\x1b[J";
        let mut stdout = io::stdout();
        let written = stdout
            .write_all(drawn.as_bytes())
            .and_then(|()| stdout.flush());
        self.output.note(written);
    }
}

impl Drop for Screen<'_> {
    fn drop(&mut self) {
        let mut stdout = io::stdout();
        let written = stdout
            .write_all(LEAVE.as_bytes())
            .and_then(|()| stdout.flush());
        self.output.note(written);
    }
}

/// The beginning of a line, so many characters of it that are seen; styles count for nothing.
fn cut(line: &str, columns: usize) -> String {
    let (mut kept, mut seen, mut in_style) = (String::new(), 0, false);
    for c in line.chars() {
        if c == '\x1b' {
            in_style = true;
        }
        if in_style {
            in_style = c != 'm';
        } else if seen == columns {
            // Styles that end beyond it still have to.
            continue;
        } else {
            seen += 1;
        }
        kept.push(c);
    }
    kept
}

fn write_text(stream: &mut dyn Write, text: &str) -> io::Result<()> {
    let end = if text.ends_with('\n') || text.is_empty() {
        ""
    } else {
        "\n"
    };
    stream.write_all(text.as_bytes())?;
    stream.write_all(end.as_bytes())?;
    stream.flush()
}
