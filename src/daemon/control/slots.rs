//! The connections of one listener. An idle one makes room for a new one, and health is answered while all others are
//! busy: nobody who only holds connections keeps a probe out.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::task::{AbortHandle, Id, JoinSet};

use super::router::Answer;

/// Connections at a time. Beyond it the one that is idle for longest is closed.
pub(super) const CONNECTIONS: usize = 64;
/// More connections, on which health alone is answered, while all others are in the midst of an answer.
pub(super) const RESERVED: usize = 16;

/// One connection, as its listener sees it.
#[derive(Debug)]
pub(super) struct Slot {
    /// Health alone is answered on it.
    pub(super) is_reserved: bool,
    /// Requests that are being answered.
    busy: AtomicUsize,
    /// When the connection came or its last answer ended, in turns of the listener's.
    since: AtomicU64,
    turns: Arc<AtomicU64>,
}

impl Slot {
    /// A request has begun. It ends with the answer's body.
    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        self.busy.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }

    fn turn(&self) {
        let turn = self.turns.fetch_add(1, Ordering::Relaxed);
        self.since.store(turn, Ordering::Relaxed);
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Busy(Arc<Slot>);

impl Busy {
    /// Goes on until the body has been sent.
    pub(super) fn until_sent(self, body: Answer) -> Answer {
        Answer::new(Sending { body, _busy: self })
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.turn();
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A body, and that its request goes on.
struct Sending {
    body: Answer,
    _busy: Busy,
}

impl Body for Sending {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// All connections of a listener.
#[derive(Default)]
pub(super) struct Slots {
    tasks: JoinSet<()>,
    known: HashMap<Id, (AbortHandle, Arc<Slot>)>,
    turns: Arc<AtomicU64>,
}

impl Slots {
    /// Makes room for one more. Says whether an idle connection had to go for it.
    pub(super) async fn make_room(&mut self) -> bool {
        let is_full = self.count(false) >= CONNECTIONS;
        let idle = is_full.then(|| self.longest(|slot| !slot.is_reserved && is_idle(slot)));
        let victim = idle.flatten().or_else(|| {
            // The reserve turns over: what is answered there takes no time.
            let reserve_is_full = is_full && self.count(true) >= RESERVED;
            reserve_is_full
                .then(|| self.longest(|slot| slot.is_reserved))
                .flatten()
        });
        let Some(victim) = victim else {
            return false;
        };
        victim.abort();
        // Its socket is closed before another one is accepted.
        while self.known.contains_key(&victim.id()) && self.next_end().await {}
        true
    }

    fn count(&self, is_reserved: bool) -> usize {
        let slots = self.known.values();
        slots.filter(|(_, s)| s.is_reserved == is_reserved).count()
    }

    fn longest(&self, concerns: impl Fn(&Slot) -> bool) -> Option<AbortHandle> {
        let slots = self.known.values().filter(|(_, slot)| concerns(slot));
        let longest = slots.min_by_key(|(_, slot)| slot.since.load(Ordering::Relaxed));
        longest.map(|(handle, _)| handle.clone())
    }

    /// Runs a connection, in the reserve while there is no other room.
    pub(super) fn spawn<F>(&mut self, connection: impl FnOnce(Arc<Slot>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let slot = Arc::new(Slot {
            is_reserved: self.count(false) >= CONNECTIONS,
            busy: AtomicUsize::new(0),
            since: AtomicU64::new(0),
            turns: Arc::clone(&self.turns),
        });
        slot.turn();
        let handle = self.tasks.spawn(connection(Arc::clone(&slot)));
        self.known.insert(handle.id(), (handle, slot));
    }

    /// Waits until one has ended; false when there is none.
    pub(super) async fn next_end(&mut self) -> bool {
        let Some(ended) = self.tasks.join_next_with_id().await else {
            return false;
        };
        let id = match ended {
            Ok((id, ())) => id,
            Err(error) => error.id(),
        };
        self.known.remove(&id);
        true
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    pub(super) async fn shutdown(&mut self) {
        self.tasks.shutdown().await;
    }
}

fn is_idle(slot: &Slot) -> bool {
    slot.busy.load(Ordering::Relaxed) == 0
}
