//! Waiting for the engine's events.
//!
//! A cursor is a time of the engine's clock in nanoseconds, written `seconds.nanoseconds`: the engine sends what
//! happened at it or later. The stream stays open between two waits, because an engine remembers only its last
//! 256 events (health checks among them); it is opened anew where it broke or does not stand at the cursor.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};

use bollard::errors::Error;
use bollard::models::{EventMessage, EventMessageTypeEnum as Kind};
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::{FutureExt as _, Stream, StreamExt as _};

use super::super::{EngineError, ErrorClass};
use super::DockerReader;
use super::error::{READ_LIMIT, call, classify};

const OPERATION: &str = "wait for events";

/// What wakes. Health checks run by `exec_create`, `exec_start` and `exec_die`: noise, like `top` and `attach`.
/// The engine matches by prefix (`health_status: healthy`); the last words of some lines are Podman's.
const ACTIONS: [&str; 17] = [
    "create",
    "start",
    "restart",
    "die",
    "died",
    "stop",
    "kill",
    "oom",
    "pause",
    "unpause",
    "rename",
    "update",
    "destroy",
    "remove",
    "health_status",
    "connect",
    "disconnect",
];

/// An open stream, and the place up to which it was read.
pub(super) struct Held {
    stream: Pin<Box<dyn Stream<Item = Result<EventMessage, Error>> + Send>>,
    place: i64,
}

/// A stream in use. Dropped, it goes back for the next wait, also when the wait was cancelled.
struct Borrowed<'a> {
    slot: &'a Mutex<Option<Held>>,
    held: Option<Held>,
}

/// Waits for a change of a container with all of `labels` after `cursor`.
pub(super) async fn changed(
    reader: &DockerReader,
    labels: &[(String, String)],
    cursor: &mut Option<String>,
) -> Result<(), EngineError> {
    let since = match cursor.as_deref() {
        Some(text) => parse(text)?,
        None => now(reader).await?,
    };
    *cursor = Some(format(since));
    let mut stream = Borrowed::take(reader, since);
    loop {
        let event = stream.next().await?;
        // The cursor moves only when the event is dealt with: a wait may be cancelled at any await.
        let concerned = concerns(reader, labels, &event).await?;
        if concerned {
            stream.skip_ready();
        }
        *cursor = stream.place().map(format);
        if concerned {
            return Ok(());
        }
    }
}

impl<'a> Borrowed<'a> {
    fn take(reader: &'a DockerReader, since: i64) -> Self {
        let slot = &*reader.events;
        let held = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        let held = held
            .filter(|held| held.place == since)
            .unwrap_or_else(|| open(reader, since));
        Self {
            slot,
            held: Some(held),
        }
    }

    async fn next(&mut self) -> Result<EventMessage, EngineError> {
        let ended = || EngineError::new(OPERATION, ErrorClass::Away, "the engine ended the stream");
        let held = self.held.as_mut().ok_or_else(ended)?;
        let error = match held.stream.next().await {
            Some(Ok(event)) => {
                held.advance(&event);
                return Ok(event);
            }
            Some(Err(error)) => classify(OPERATION, &error),
            None => ended(),
        };
        self.held = None;
        Err(error)
    }

    /// Reads what is there already: a burst of events is one wake.
    fn skip_ready(&mut self) {
        let Some(held) = self.held.as_mut() else {
            return;
        };
        // A broken stream ends this too, and is told by the next wait.
        while let Some(Some(Ok(event))) = held.stream.next().now_or_never() {
            held.advance(&event);
        }
    }

    fn place(&self) -> Option<i64> {
        self.held.as_ref().map(|held| held.place)
    }
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = self.held.take();
    }
}

impl Held {
    /// Events may come slightly out of order; the place only moves on.
    fn advance(&mut self, event: &EventMessage) {
        let seconds = || {
            event
                .time
                .map(|seconds| seconds.saturating_mul(1_000_000_000))
        };
        if let Some(time) = event.time_nano.or_else(seconds) {
            self.place = self.place.max(time.saturating_add(1));
        }
    }
}

fn open(reader: &DockerReader, since: i64) -> Held {
    // No filter by label: events of networks carry no label of the container.
    let filters = HashMap::from([
        ("type", vec!["container", "network"]),
        ("event", ACTIONS.to_vec()),
    ]);
    let options = EventsOptionsBuilder::default()
        .since(&format(since))
        .filters(&filters)
        .build();
    // The limit is for the answer's beginning: the stream itself may be silent for ever.
    let client = reader.client.clone().with_timeout(READ_LIMIT);
    Held {
        stream: Box::pin(client.events(Some(options))),
        place: since,
    }
}

/// Whether an event is about a container with all of these labels.
async fn concerns(
    reader: &DockerReader,
    labels: &[(String, String)],
    event: &EventMessage,
) -> Result<bool, EngineError> {
    let empty = HashMap::new();
    let attributes = event
        .actor
        .as_ref()
        .and_then(|actor| actor.attributes.as_ref())
        .unwrap_or(&empty);
    match event.typ {
        Some(Kind::CONTAINER) => {
            let action = event.action.as_deref().unwrap_or_default();
            let wakes = ACTIONS.iter().any(|known| action.starts_with(known));
            Ok(wakes
                && labels
                    .iter()
                    .all(|(key, value)| attributes.get(key) == Some(value)))
        }
        Some(Kind::NETWORK) => {
            let Some(container) = attributes.get("container") else {
                return Ok(false);
            };
            // Gone again: its own events tell that.
            let Some(found) = reader.inspect(container.clone()).await? else {
                return Ok(false);
            };
            Ok(labels
                .iter()
                .all(|(key, value)| found.labels.get(key) == Some(value)))
        }
        _ => Ok(false),
    }
}

/// The engine's clock; it may be another machine's.
async fn now(reader: &DockerReader) -> Result<i64, EngineError> {
    let operation = || "ask for the engine's time".to_owned();
    let info = call(operation, READ_LIMIT, reader.client.info()).await?;
    let told = info
        .system_time
        .and_then(|text| text.parse::<jiff::Timestamp>().ok());
    Ok(
        i64::try_from(told.unwrap_or_else(jiff::Timestamp::now).as_nanosecond())
            .unwrap_or(i64::MAX),
    )
}

fn format(nanos: i64) -> String {
    format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}

fn parse(cursor: &str) -> Result<i64, EngineError> {
    let nanos = cursor.split_once('.').and_then(|(seconds, nanos)| {
        let nanos: i64 = (nanos.len() == 9).then(|| nanos.parse().ok())??;
        seconds
            .parse::<i64>()
            .ok()?
            .checked_mul(1_000_000_000)?
            .checked_add(nanos)
    });
    nanos.ok_or_else(|| {
        let detail = format!("`{cursor}` is no cursor of ours");
        EngineError::new(OPERATION, ErrorClass::Permanent, detail)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_keeps_its_nanoseconds() {
        let nanos = 1_763_672_000_000_000_007;
        assert_eq!(format(nanos), "1763672000.000000007");
        assert_eq!(parse(&format(nanos)).expect("ours"), nanos);
        for foreign in ["", "1763672000", "1.2", "x.000000000"] {
            assert!(parse(foreign).is_err(), "{foreign}");
        }
    }

    #[test]
    fn a_place_never_goes_back() {
        let mut held = Held {
            stream: Box::pin(futures_util::stream::empty()),
            place: 100,
        };
        held.advance(&EventMessage {
            time_nano: Some(50),
            ..EventMessage::default()
        });
        assert_eq!(held.place, 100);
        held.advance(&EventMessage {
            time_nano: Some(100),
            ..EventMessage::default()
        });
        assert_eq!(held.place, 101);
    }
}
