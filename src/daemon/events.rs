//! What happens, told to whoever listens on the control socket, as it happens.

use std::convert::Infallible;
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream;
use hyper::body::{Bytes, Frame};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::CancellationToken;

use crate::decisions::event::Event;

/// How many events a slow listener may be behind; it is told of those that it missed.
const BEHIND_MAX: usize = 1024;
/// How often a listener hears something, so that both ends notice when the other is gone.
const ALIVE: Duration = Duration::from_secs(15);

/// Tells events. Clones are one.
#[derive(Debug, Clone)]
pub struct Events {
    sender: broadcast::Sender<Event>,
    ended: CancellationToken,
}

impl Events {
    /// Streams end when `ended` is.
    pub fn new(ended: CancellationToken) -> Self {
        let (sender, _) = broadcast::channel(BEHIND_MAX);
        Self { sender, ended }
    }

    /// Tells whoever listens now.
    pub fn tell(&self, event: Event) {
        // Nobody has to listen.
        let _ = self.sender.send(event);
    }

    /// Events from now on, as server-sent events.
    pub fn listen(&self) -> impl Stream<Item = Result<Frame<Bytes>, Infallible>> + Send + use<> {
        let listener = (self.sender.subscribe(), self.ended.clone(), true);
        stream::unfold(listener, |(mut receiver, ended, begins)| async move {
            if begins {
                // A client sees at once that it is heard.
                return Some((
                    Ok(frame(": events from now on\n\n")),
                    (receiver, ended, false),
                ));
            }
            let text = tokio::select! {
                event = receiver.recv() => match event {
                    Ok(event) => drawn(&event),
                    Err(RecvError::Lagged(missed)) => {
                        format!("event: missed\ndata: {{\"missed\":{missed}}}\n\n")
                    }
                    Err(RecvError::Closed) => return None,
                },
                () = tokio::time::sleep(ALIVE) => ": nothing new\n\n".to_owned(),
                () = ended.cancelled() => return None,
            };
            Some((Ok(frame(&text)), (receiver, ended, false)))
        })
    }
}

/// JSON has no line ends of its own, so an event is one line of data.
fn drawn(event: &Event) -> String {
    let data = serde_json::to_string(event).unwrap_or_default();
    format!("event: {}\ndata: {data}\n\n", event.name())
}

fn frame(text: &str) -> Frame<Bytes> {
    Frame::data(Bytes::from(text.to_owned()))
}
