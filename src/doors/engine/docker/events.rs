//! Waiting for the engine's events.
//!
//! A cursor is a time of the engine's clock in nanoseconds, written `seconds.nanoseconds`: the engine sends what
//! happened at it or later. The stream stays open between two waits, because an engine remembers only its last
//! 256 events (health checks among them); it is opened anew where it broke or does not stand at the cursor.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};

use bollard::errors::Error;
use bollard::models::{EventMessage, EventMessageTypeEnum as Kind};
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::{FutureExt as _, Stream, StreamExt as _};

use super::super::containers::{ReadContainers as _, Touched};
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
/// After which a reference may lead to another image, or to none.
const IMAGE_ACTIONS: [&str; 8] = [
    "pull", "load", "import", "build", "tag", "untag", "delete", "remove",
];

/// So often within a minute the health of one container wakes. One that flaps faster, as an image's own check can every
/// few milliseconds, would keep the daemon in rounds; what became of it is seen when a round is due anyway.
const HEALTH_MOST: usize = 12;
const MINUTE_NANOS: i64 = 60_000_000_000;

/// An open stream, and the place up to which it was read.
pub(super) struct Held {
    stream: Pin<Box<dyn Stream<Item = Result<EventMessage, Error>> + Send>>,
    place: i64,
    /// Whether containers that it told of are ours: events of networks carry no labels.
    ours: HashMap<String, bool>,
    /// When the health of containers woke within the last minute, by the engine's clock.
    health: HashMap<String, Vec<i64>>,
}

/// A stream in use. Dropped, it goes back for the next wait, also when the wait was cancelled.
struct Borrowed<'a> {
    slot: &'a Mutex<Option<Held>>,
    held: Option<Held>,
}

/// What an event means for who waits.
enum Concern {
    Nothing,
    /// A container that has the labels.
    Container(String),
    /// A container of which only its id is known.
    Perhaps(String),
    Images,
    /// A network was made or removed.
    Network(String),
}

/// Waits for a change after `cursor`.
pub(super) async fn changed(
    reader: &DockerReader,
    labels: &[(String, String)],
    cursor: &mut String,
) -> Result<Touched, EngineError> {
    let since = parse(cursor)?;
    let mut stream = Borrowed::take(reader, since);
    let mut touched = Touched::default();
    loop {
        let event = stream.next().await?;
        // The cursor moves only when the event is dealt with: a wait may be cancelled at any await.
        match stream.weigh(labels, &event) {
            Concern::Perhaps(id) => {
                // Gone again: its own events tell that.
                let found = reader.inspect(&id).await?;
                let ours = found.is_some_and(|found| has_all(&found.labels, labels));
                stream.note(id.clone(), ours);
                if ours {
                    touched.containers.insert(id);
                }
            }
            concern => add(&mut touched, concern),
        }
        if touched != Touched::default() {
            stream.gather_ready(labels, &mut touched);
        }
        if let Some(place) = stream.place() {
            *cursor = format(place);
        }
        if touched != Touched::default() {
            return Ok(touched);
        }
    }
}

fn add(touched: &mut Touched, concern: Concern) {
    match concern {
        Concern::Nothing => {}
        Concern::Container(id) | Concern::Perhaps(id) => {
            touched.containers.insert(id);
        }
        Concern::Images => touched.images = true,
        Concern::Network(name) => {
            touched.networks.insert(name);
        }
    }
}

fn has_all(found: &BTreeMap<String, String>, labels: &[(String, String)]) -> bool {
    labels
        .iter()
        .all(|(key, value)| found.get(key) == Some(value))
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

    /// Reads what is there already: a burst of events is one wake. Nobody is asked about any of it, so a
    /// container of which only the id is known counts as touched.
    fn gather_ready(&mut self, labels: &[(String, String)], touched: &mut Touched) {
        // A broken stream ends this too, and is told by the next wait.
        while let Some(held) = self.held.as_mut()
            && let Some(Some(Ok(event))) = held.stream.next().now_or_never()
        {
            held.advance(&event);
            add(touched, self.weigh(labels, &event));
        }
    }

    fn note(&mut self, container: String, ours: bool) {
        if let Some(held) = self.held.as_mut() {
            held.ours.insert(container, ours);
        }
    }

    /// What an event is about, by what it says itself and what was learnt before.
    fn weigh(&mut self, labels: &[(String, String)], event: &EventMessage) -> Concern {
        let empty = HashMap::new();
        let actor = event.actor.as_ref();
        let attributes = actor
            .and_then(|actor| actor.attributes.as_ref())
            .unwrap_or(&empty);
        let id = actor.and_then(|actor| actor.id.clone());
        let action = event.action.as_deref().unwrap_or_default();
        let is_any = |known: &[&str]| known.iter().any(|known| action.starts_with(known));
        match event.typ {
            Some(Kind::CONTAINER) => {
                let Some(id) = id.filter(|_| is_any(&ACTIONS)) else {
                    return Concern::Nothing;
                };
                let ours = labels
                    .iter()
                    .all(|(key, value)| attributes.get(key) == Some(value));
                if let Some(held) = self.held.as_mut() {
                    if matches!(action, "destroy" | "remove") {
                        held.ours.remove(&id);
                        held.health.remove(&id);
                    } else {
                        held.ours.insert(id.clone(), ours);
                    }
                    if ours && action.starts_with("health_status") && held.flaps(&id) {
                        return Concern::Nothing;
                    }
                }
                if ours {
                    Concern::Container(id)
                } else {
                    Concern::Nothing
                }
            }
            Some(Kind::NETWORK) => {
                let named = || attributes.get("name").cloned().or(id).unwrap_or_default();
                match attributes.get("container") {
                    None if is_any(&["create", "destroy", "remove"]) => Concern::Network(named()),
                    None => Concern::Nothing,
                    Some(container) => {
                        let known = self.held.as_ref().and_then(|held| held.ours.get(container));
                        match known {
                            Some(true) => Concern::Container(container.clone()),
                            Some(false) => Concern::Nothing,
                            None => Concern::Perhaps(container.clone()),
                        }
                    }
                }
            }
            Some(Kind::IMAGE) if is_any(&IMAGE_ACTIONS) => Concern::Images,
            _ => Concern::Nothing,
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
    /// Notes that the health of a container changes now. Whether that was so too often lately to wake anybody.
    fn flaps(&mut self, container: &str) -> bool {
        let now = self.place;
        let woke = self.health.entry(container.to_owned()).or_default();
        woke.retain(|time| now.saturating_sub(*time) < MINUTE_NANOS);
        let flaps = woke.len() >= HEALTH_MOST;
        if !flaps {
            woke.push(now);
        }
        flaps
    }

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
        ("type", vec!["container", "network", "image"]),
        ("event", [&ACTIONS[..], &IMAGE_ACTIONS].concat()),
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
        ours: HashMap::new(),
        health: HashMap::new(),
    }
}

/// The engine's clock; it may be another machine's.
pub(super) async fn now(reader: &DockerReader) -> Result<String, EngineError> {
    let operation = || "ask for the engine's time".to_owned();
    let info = call(operation, READ_LIMIT, reader.client.info()).await?;
    let told = info
        .system_time
        .and_then(|text| text.parse::<jiff::Timestamp>().ok());
    let nanos = told.unwrap_or_else(jiff::Timestamp::now).as_nanosecond();
    Ok(format(i64::try_from(nanos).unwrap_or(i64::MAX)))
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

    fn held(place: i64) -> Held {
        Held {
            stream: Box::pin(futures_util::stream::empty()),
            place,
            ours: HashMap::new(),
            health: HashMap::new(),
        }
    }

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
    fn health_that_flaps_wakes_a_few_times_a_minute() {
        let mut held = held(0);
        let mut woke = 0;
        // Each half second, for two minutes.
        for _ in 0..240 {
            held.place += 500_000_000;
            woke += usize::from(!held.flaps("a"));
        }
        assert_eq!(woke, 2 * HEALTH_MOST);
        assert!(!held.flaps("b"), "another one's health is its own");
    }

    #[test]
    fn a_place_never_goes_back() {
        let mut held = held(100);
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
