//! How long connections last: a little patience while a request's head arrives, more of it between two requests. hyper
//! has one timeout for both, and a timer for each connection.
//!
//! What happens on a connection is noted without a look at a clock, in ticks of whoever watches over all of them; that
//! one looks once a tick, and ends those whose time is up. So patience costs a request two plain stores.

use std::collections::HashMap;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use futures_util::task::AtomicWaker;
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

use super::Limits;

/// A limit is kept to within a fifth of it, or a second.
const TICKS_A_LIMIT: u32 = 5;
/// How long the first request of a connection may be under way when all shall end.
const FIRST_REQUEST: Duration = Duration::from_secs(1);
const TICK_LEAST: Duration = Duration::from_millis(10);
const TICK_MOST: Duration = Duration::from_secs(1);

/// One connection, as whoever watches over all of them sees it.
#[derive(Debug)]
pub(super) struct Life {
    /// The tick that it is.
    now: Arc<AtomicU32>,
    /// The tick of the last turn: a head began, or a request was answered.
    since: AtomicU32,
    /// Nothing of a next request has arrived.
    is_idle: AtomicBool,
    /// Several requests at a time: there is no telling which of them a byte belongs to.
    is_multiplexed: AtomicBool,
    /// It has had a request.
    was_asked: AtomicBool,
    /// Its peer is a trusted proxy.
    is_trusted: bool,
    /// How many were accepted before it.
    accepted: u64,
    is_closing: AtomicBool,
    /// Also if it had no request yet.
    must_close: AtomicBool,
    waker: AtomicWaker,
}

impl Life {
    fn begin(now: &Arc<AtomicU32>, is_trusted: bool, accepted: u64) -> Self {
        Self {
            since: AtomicU32::new(now.load(Ordering::Relaxed)),
            now: Arc::clone(now),
            is_idle: AtomicBool::new(false),
            is_multiplexed: AtomicBool::new(false),
            was_asked: AtomicBool::new(false),
            is_trusted,
            accepted,
            is_closing: AtomicBool::new(false),
            must_close: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        }
    }

    /// From now on several requests are on it at a time.
    pub(super) fn multiplexed(&self) {
        self.is_multiplexed.store(true, Ordering::Relaxed);
        // A client of HTTP/2 is told of the end before it sends into it, whenever that is.
        self.answered();
    }

    /// A request was answered.
    pub(super) fn answered(&self) {
        self.is_idle.store(true, Ordering::Relaxed);
        self.was_asked.store(true, Ordering::Relaxed);
        self.turn();
    }

    fn bytes_came(&self) {
        if self.is_multiplexed.load(Ordering::Relaxed) {
            self.turn();
        } else if self.is_idle.load(Ordering::Relaxed) {
            self.is_idle.store(false, Ordering::Relaxed);
            self.turn();
        }
    }

    fn turn(&self) {
        let now = self.now.load(Ordering::Relaxed);
        self.since.store(now, Ordering::Relaxed);
    }

    /// Runs a connection of this life to its end.
    pub(super) async fn watch<C: GracefulConnection>(&self, connection: C) -> Result<(), C::Error> {
        let mut connection = pin!(connection);
        let mut known: Option<Waker> = None;
        let mut is_told = false;
        std::future::poll_fn(|cx| {
            if !known
                .as_ref()
                .is_some_and(|known| known.will_wake(cx.waker()))
            {
                self.waker.register(cx.waker());
                known = Some(cx.waker().clone());
            }
            loop {
                if !is_told && self.closes() {
                    is_told = true;
                    connection.as_mut().graceful_shutdown();
                }
                let polled = connection.as_mut().poll(cx);
                // Answered the first one just now, and shall close: it is told at once.
                if polled.is_ready() || is_told || !self.closes() {
                    return polled;
                }
            }
        })
        .await
    }

    /// A connection that was just opened has its first request under way, and its client would not send it again: it
    /// is answered first.
    fn closes(&self) -> bool {
        self.is_closing.load(Ordering::Acquire)
            && (self.was_asked.load(Ordering::Relaxed) || self.must_close.load(Ordering::Relaxed))
    }

    fn close(&self, at_once: bool) {
        self.must_close.store(at_once, Ordering::Relaxed);
        self.is_closing.store(true, Ordering::Release);
        self.waker.wake();
    }
}

/// A stream that tells its life when bytes come.
pub(super) struct Lived<S> {
    stream: S,
    life: Arc<Life>,
}

impl<S> Lived<S> {
    pub(super) fn new(stream: S, life: Arc<Life>) -> Self {
        // A handshake before it had a limit of its own.
        life.turn();
        Self { stream, life }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lived<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.life.bytes_came();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Lived<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Beats at an interval, from a thread of its own. A timer of the runtime's would be armed and disarmed around every
/// wait for a request, and that costs more than the whole answer.
pub(super) struct Pulse(Arc<Notify>);

impl Pulse {
    /// Beats until it is dropped.
    pub(super) fn every(interval: Duration) -> io::Result<Self> {
        let beat = Arc::new(Notify::new());
        let heard = Arc::downgrade(&beat);
        let beats = move || {
            loop {
                thread::sleep(interval);
                match heard.upgrade() {
                    Some(beat) => beat.notify_one(),
                    None => return,
                }
            }
        };
        thread::Builder::new()
            .name("edge-pulse".to_owned())
            .spawn(beats)?;
        Ok(Self(beat))
    }

    /// Returns at the next beat, or at once if one was missed.
    pub(super) async fn beat(&self) {
        self.0.notified().await;
    }
}

/// All connections.
pub(super) struct Connections {
    tasks: JoinSet<()>,
    lives: HashMap<Id, (AbortHandle, Arc<Life>)>,
    accepted: u64,
    now: Arc<AtomicU32>,
    tick: Duration,
    limits: Limits,
}

impl Connections {
    pub(super) fn new(limits: Limits) -> Self {
        let shortest = limits.head.min(limits.idle);
        Self {
            tasks: JoinSet::new(),
            lives: HashMap::new(),
            accepted: 0,
            now: Arc::default(),
            tick: (shortest / TICKS_A_LIMIT).clamp(TICK_LEAST, TICK_MOST),
            limits,
        }
    }

    /// How often [`tick`](Self::tick) is due.
    pub(super) fn every(&self) -> Duration {
        self.tick
    }

    pub(super) fn spawn<F>(&mut self, is_trusted: bool, connection: impl FnOnce(Arc<Life>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let life = Arc::new(Life::begin(&self.now, is_trusted, self.accepted));
        self.accepted += 1;
        let handle = self.tasks.spawn(connection(Arc::clone(&life)));
        self.lives.insert(handle.id(), (handle, life));
    }

    /// Whether there is no room for one more.
    pub(super) fn is_full(&self) -> bool {
        self.lives.len() >= self.limits.connections
    }

    /// Closes the connection that is missed least, and waits until its socket is closed: one of a peer that is no
    /// trusted proxy, else one that has asked nothing, else the one that is idle for longest; of those alike, the
    /// first to come. An answer takes no time, so a question in flight is lost only where nothing else is left.
    /// Returns false where there is none.
    pub(super) async fn make_room(&mut self) -> bool {
        let now = self.now.load(Ordering::Relaxed);
        let rank = |life: &Life| {
            let class = match (life.is_trusted, life.was_asked.load(Ordering::Relaxed)) {
                (false, _) => 0,
                (true, false) => 1,
                (true, true) if life.is_idle.load(Ordering::Relaxed) => 2,
                (true, true) => 3,
            };
            let lasted = now.wrapping_sub(life.since.load(Ordering::Relaxed));
            // Many come within one tick, and the latest of them is the one that is about to ask.
            (class, std::cmp::Reverse(lasted), life.accepted)
        };
        let victim = self.lives.iter().min_by_key(|(_, (_, life))| rank(life));
        let Some((id, handle)) = victim.map(|(id, (handle, _))| (*id, handle.clone())) else {
            return false;
        };
        handle.abort();
        while self.lives.contains_key(&id) {
            self.next_end().await;
        }
        true
    }

    /// Waits until one has ended; says whether its time was up. Never, while there is none.
    pub(super) async fn next_end(&mut self) -> bool {
        match self.tasks.join_next_with_id().await {
            Some(ended) => self.forget(&ended),
            None => std::future::pending().await,
        }
    }

    fn forget(&mut self, ended: &Result<(Id, ()), JoinError>) -> bool {
        let (id, was_cut) = match ended {
            Ok((id, ())) => (*id, false),
            Err(error) => (error.id(), error.is_cancelled()),
        };
        self.lives.remove(&id);
        was_cut
    }

    /// A tick has passed: ends the connections whose time is up.
    pub(super) fn tick(&mut self) {
        let now = self.now.load(Ordering::Relaxed).wrapping_add(1);
        self.now.store(now, Ordering::Relaxed);
        let ticks = |limit: Duration| limit.as_nanos().div_ceil(self.tick.as_nanos());
        let (head, idle) = (ticks(self.limits.head), ticks(self.limits.idle));
        for (handle, life) in self.lives.values() {
            let limit = if life.is_idle.load(Ordering::Relaxed) {
                idle
            } else {
                head
            };
            let lasted = now.wrapping_sub(life.since.load(Ordering::Relaxed));
            // It began somewhere within its first tick.
            if u128::from(lasted) > limit {
                handle.abort();
            }
        }
    }

    /// Lets those that are answering finish, and ends the others. Returns how many had to be cut off.
    pub(super) async fn drain(mut self) -> usize {
        let most = self.limits.drain;
        for (at_once, patience) in [(false, FIRST_REQUEST.min(most)), (true, most)] {
            for (_, life) in self.lives.values() {
                life.close(at_once);
            }
            let drained = async {
                while let Some(ended) = self.tasks.join_next_with_id().await {
                    self.forget(&ended);
                }
            };
            // Who is not done by then is told once more, and cut off below.
            let _ = tokio::time::timeout(patience, drained).await;
        }
        let left = self.tasks.len();
        self.tasks.shutdown().await;
        left
    }
}
