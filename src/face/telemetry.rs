//! The log: to stderr, as lines for a person on a terminal and as JSON otherwise.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use super::text::{neutral, neutral_json, neutral_styled};

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verbosity {
    /// How often `-v` was given.
    pub verbose: u8,
    /// Whether `-q` was.
    pub quiet: bool,
    /// Whether the log is what one watches: `serve`.
    pub is_daemon: bool,
}

impl Verbosity {
    fn level(self) -> LevelFilter {
        let usual: u8 = if self.is_daemon { 3 } else { 2 };
        match usual
            .saturating_add(self.verbose)
            .saturating_sub(u8::from(self.quiet))
        {
            0 | 1 => LevelFilter::ERROR,
            2 => LevelFilter::WARN,
            3 => LevelFilter::INFO,
            4 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        }
    }

    /// Our own modules at their level; the libraries' chatter only when it is bad.
    fn targets(self) -> Targets {
        let level = self.level();
        let others = if self.verbose > 2 {
            level
        } else {
            level.min(LevelFilter::WARN)
        };
        Targets::new()
            .with_default(others)
            .with_target("instanced", level)
    }
}

/// Whether a person reads the log as it is written; else every line of it is JSON.
pub fn is_for_people() -> bool {
    io::stderr().is_terminal()
}

/// Starts the log. To be called once.
///
/// # Errors
/// When a log has been started before.
pub fn start(verbosity: Verbosity, colors: bool) -> Result<(), TryInitError> {
    let layer = if is_for_people() {
        lines(io::stderr, colors).boxed()
    } else {
        json(io::stderr).boxed()
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(verbosity.targets()))
        .try_init()
}

/// The log for people, an event on each line.
pub fn lines<S, W>(writer: W, colors: bool) -> impl Layer<S>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let escape = if colors { neutral_styled } else { neutral };
    tracing_subscriber::fmt::layer()
        .with_writer(Neutral { writer, escape })
        .with_target(false)
        .with_ansi(colors)
}

/// The log as JSON, an object on each line.
pub fn json<S, W>(writer: W) -> impl Layer<S>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    tracing_subscriber::fmt::layer()
        .with_writer(Neutral {
            writer,
            escape: neutral_json,
        })
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
}

/// Writes events of which no value controls a terminal or begins a line.
struct Neutral<M> {
    writer: M,
    escape: fn(&str) -> Cow<'_, str>,
}

/// The writer of one event.
struct NeutralEvent<W> {
    writer: W,
    escape: fn(&str) -> Cow<'_, str>,
}

impl<'w, M: MakeWriter<'w>> MakeWriter<'w> for Neutral<M> {
    type Writer = NeutralEvent<M::Writer>;

    fn make_writer(&'w self) -> Self::Writer {
        NeutralEvent {
            writer: self.writer.make_writer(),
            escape: self.escape,
        }
    }
}

impl<W: Write> Write for NeutralEvent<W> {
    /// An event comes in one piece: its last end of a line is its own.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let (line, end) = match text.strip_suffix('\n') {
            Some(line) => (line, "\n"),
            None => (&*text, ""),
        };
        let line = (self.escape)(line).into_owned() + end;
        self.writer.write_all(line.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::face::tests::hostile::{HOSTILE, Written, assert_neutral};

    fn level(verbose: u8, quiet: bool, is_daemon: bool) -> LevelFilter {
        Verbosity {
            verbose,
            quiet,
            is_daemon,
        }
        .level()
    }

    #[test]
    fn a_command_logs_warnings_and_the_daemon_what_it_does() {
        assert_eq!(level(0, false, false), LevelFilter::WARN);
        assert_eq!(level(0, false, true), LevelFilter::INFO);
        assert_eq!(level(0, true, false), LevelFilter::ERROR);
        assert_eq!(level(1, false, true), LevelFilter::DEBUG);
        assert_eq!(level(255, true, true), LevelFilter::TRACE);
    }

    #[test]
    fn libraries_stay_silent_below_a_warning() {
        let targets = Verbosity {
            verbose: 2,
            quiet: false,
            is_daemon: true,
        }
        .targets();
        assert!(targets.would_enable("instanced::daemon", &tracing::Level::TRACE));
        assert!(!targets.would_enable("bollard::docker", &tracing::Level::INFO));
        assert!(targets.would_enable("sled", &tracing::Level::WARN));
    }

    #[test]
    fn the_log_as_lines_and_as_json() {
        let as_json = Written::default();
        let writer = as_json.clone();
        let log = json(move || writer.clone());
        let as_lines = Written::default();
        let writer = as_lines.clone();
        let lines = lines(move || writer.clone(), false);
        let subscriber = tracing_subscriber::registry().with(log).with(lines);
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("round", manifest = HOSTILE);
            let _entered = span.enter();
            tracing::warn!(path = HOSTILE, error = %HOSTILE, debug = ?HOSTILE, "{HOSTILE}");
        });
        let (json, text) = (as_json.text(), as_lines.text());
        assert_neutral(&json, "the log as JSON");
        assert_neutral(&text, "the log as lines");
        assert_eq!(
            (json.lines().count(), text.lines().count()),
            (1, 1),
            "{json}{text}"
        );
        let said: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(said["path"], HOSTILE);
    }
}
