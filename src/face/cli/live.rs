//! A view that is drawn anew in place, until Ctrl-C.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::decisions::report::Failure;
use crate::face::exit::Exit;
use crate::face::output::Output;
use crate::face::style::{Label, paint};
use crate::face::text::Lines;
use crate::face::words::second;

/// Shows what `look` sees, every so often. What fails is shown in its place, and tried again.
pub(super) async fn watch(
    title: &str,
    every: Duration,
    out: &mut Output,
    mut look: impl AsyncFnMut() -> Result<Lines, Failure>,
) -> Result<Exit, Failure> {
    if !out.is_terminal() {
        return Err(Failure {
            message: "there is no terminal to draw in".to_owned(),
            help: Some(
                "leave --watch away; a program asks with --format json, or listens to the control API's /v1/events"
                    .to_owned(),
            ),
        });
    }
    let listening = |kind| {
        signal(kind).map_err(|error| Failure {
            message: format!("cannot listen for signals: {error}"),
            help: None,
        })
    };
    let (mut interrupted, mut ended) = (
        listening(SignalKind::interrupt())?,
        listening(SignalKind::terminate())?,
    );
    let mut screen = out.screen();
    let mut ticks = tokio::time::interval(every);
    loop {
        let frame = async {
            ticks.tick().await;
            look().await
        };
        let seen = tokio::select! {
            seen = frame => seen,
            _ = interrupted.recv() => return Ok(Exit::Done),
            _ = ended.recv() => return Ok(Exit::Done),
        };
        let now = jiff::Timestamp::now();
        let head = format!(
            "{title}, every {} s, {}; Ctrl-C ends it",
            every.as_secs_f64(),
            second(now)
        );
        let body = match seen {
            Ok(body) => body,
            Err(failure) => {
                let mut lines = Lines::new();
                lines.block(
                    format!("{}: ", paint(Label::Error, "error")),
                    &failure.message,
                );
                failure.help.iter().for_each(|help| lines.block("", help));
                lines
            }
        };
        let mut frame = Lines::from(paint(Label::Faint, head).to_string());
        frame.blank();
        frame += body;
        screen.draw(&frame);
    }
}
