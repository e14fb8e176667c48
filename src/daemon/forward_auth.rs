//! The `ForwardAuth` listener: Traefik asks it before every guarded request (`FORWARD_AUTH.md`).
//!
//! It turns a request into an [`AuthRequest`], a [`Verdict`] into a response, and does nothing between:
//! no I/O, no lock, no await and no allocation of its own where a bearer passes, so that it answers while a round
//! runs or the engine is away. Only a ticket that becomes a session waits, for the store. What is slow, broken or too
//! much is cut off. No log line holds a token or an `Authorization` value.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::full::Pressure;
use super::tokens::Tokens;
use crate::decisions::access::AccessPolicy;
use crate::doors::tls::Acceptor;

mod answer;
mod connection;
mod counts;
mod life;
mod limiter;
mod table;

use connection::Shared;
pub use counts::{AuthCounts, DURATIONS, InstanceCounts};
use life::{Connections, Life, Pulse};
use limiter::Limiter;
pub use table::{EdgeTable, SharedTable};

/// How many connections may wait to be accepted; the kernel has the last word (`net.core.somaxconn`).
const BACKLOG: u32 = 4096;
/// What a request's head may take, in bytes. Traefik's own limit is higher, but it only forwards what
/// `authRequestHeaders` lists.
const HEAD_MAX: usize = 64 << 10;
/// How long to rest when no connection can be accepted, for want of file descriptors say.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// Where tickets become sessions; empty while the store is another process's.
pub type SharedTokens = Arc<ArcSwapOption<Tokens>>;

/// Why the listener cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ForwardAuthError {
    /// Someone else does.
    #[error(
        "{address} (`listen.auth`) is in use by another process; stop it, or set another address for \
         `listen.auth` and `traefik.auth_url`"
    )]
    InUse {
        /// Where it should listen.
        address: SocketAddr,
        /// The system's words.
        source: io::Error,
    },
    /// Anything else.
    #[error("cannot listen on {address} (`listen.auth`)")]
    Listen {
        /// Where it should listen.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
}

/// Binds the listener's socket.
pub fn bind(address: SocketAddr) -> Result<TcpListener, ForwardAuthError> {
    let listen = || {
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listen().map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ForwardAuthError::InUse { address, source },
        _ => ForwardAuthError::Listen { address, source },
    })
}

/// What one client may take of the listener.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at a time. One more takes the place of the one that is missed least.
    pub connections: usize,
    /// Connections of other peers at a time; more of them are closed.
    pub untrusted_connections: usize,
    /// From a request's first byte to the end of its head, and from a connection to its first byte.
    pub head: Duration,
    /// Between two requests. Traefik closes idle connections after 90 s and should be first.
    pub idle: Duration,
    /// How long open connections may go on at the end.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 2048,
            untrusted_connections: 32,
            head: Duration::from_secs(5),
            idle: Duration::from_secs(120),
            drain: Duration::from_secs(5),
        }
    }
}

/// The listener, to be served on a bound socket.
#[derive(Debug)]
pub struct ForwardAuth {
    shared: Arc<Shared>,
    limits: Limits,
    tls: Option<Acceptor>,
}

impl ForwardAuth {
    /// A listener that answers from `table`, whatever it holds at the time, and counts into `counts`.
    pub fn new(policy: AccessPolicy, table: SharedTable, counts: Arc<AuthCounts>) -> Self {
        let shared = Shared {
            policy,
            table,
            tokens: SharedTokens::default(),
            limiter: Limiter::default(),
            counts,
        };
        Self {
            shared: Arc::new(shared),
            limits: Limits::default(),
            tls: None,
        }
    }

    /// Where tickets become sessions, once something is put there.
    pub fn tokens(&self) -> SharedTokens {
        Arc::clone(&self.shared.tokens)
    }

    /// Over TLS, and HTTP/2 where the peer speaks it.
    #[must_use]
    pub fn with_tls(mut self, tls: Option<Acceptor>) -> Self {
        self.tls = tls;
        self
    }

    /// With other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Answers until `shutdown`, then lets the requests in flight finish.
    ///
    /// # Errors
    /// When it has no thread to watch over connections.
    pub async fn serve(self, listener: TcpListener, shutdown: CancellationToken) -> io::Result<()> {
        let untrusted = Arc::new(Semaphore::new(self.limits.untrusted_connections));
        let mut connections = Connections::new(self.limits);
        let mut pressure = Pressure::on("listen.auth");
        let mut has_failed = false;
        let pulse = Pulse::every(connections.every())?;
        loop {
            let accepted = tokio::select! {
                next = listener.accept() => next,
                was_cut = connections.next_end() => {
                    if was_cut {
                        self.shared.counts.count_broken();
                        tracing::debug!("an auth connection was too slow, and cut off");
                    }
                    continue;
                }
                () = pulse.beat() => {
                    connections.tick();
                    continue;
                }
                () = shutdown.cancelled() => break,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    pressure.failed(&error);
                    // Mostly for want of file descriptors: an idle connection has one.
                    if std::mem::replace(&mut has_failed, true) || !connections.make_room().await {
                        tokio::time::sleep(ACCEPT_REST).await;
                    }
                    continue;
                }
            };
            has_failed = false;
            self.shared.counts.count_connection();
            let is_trusted = self.shared.policy.trusts(peer.ip());
            let permit = if is_trusted {
                None
            } else {
                self.shared.counts.tell_untrusted(peer.ip());
                let Ok(permit) = Arc::clone(&untrusted).try_acquire_owned() else {
                    continue;
                };
                Some(permit)
            };
            if connections.is_full() && connections.make_room().await {
                pressure.evicted();
            }
            let permitted = |life| self.connection(stream, peer, permit, life);
            connections.spawn(is_trusted, permitted);
        }
        drop(listener);
        let left = connections.drain().await;
        if left > 0 {
            tracing::warn!(open = left, "closed auth connections that did not end");
        }
        Ok(())
    }

    /// One connection, from its first request to its end.
    fn connection(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        permit: Option<OwnedSemaphorePermit>,
        life: Arc<Life>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let shared = Arc::clone(&self.shared);
        let handshake = self.limits.head;
        let tls = self.tls.clone();
        async move {
            let _permit = permit;
            // Answers are single small packets; an error here costs a little time, nothing else.
            let _ = stream.set_nodelay(true);
            let ended = match tls {
                None => shared.serve_http1(stream, peer, life).await,
                Some(tls) => match tokio::time::timeout(handshake, tls.accept(stream)).await {
                    Err(_) => Err("no TLS handshake in time".into()),
                    Ok(Err(error)) => Err(error.into()),
                    Ok(Ok((stream, true))) => shared.serve_http2(stream, peer, life).await,
                    Ok(Ok((stream, false))) => shared.serve_http1(stream, peer, life).await,
                },
            };
            if let Err(error) = ended {
                shared.counts.count_broken();
                tracing::debug!(%peer, %error, "an auth connection broke off");
            }
        }
    }
}
