//! The `ForwardAuth` listener: Traefik asks it before every guarded request (`FORWARD_AUTH.md`).
//!
//! It turns a request into an [`AuthRequest`], a [`Verdict`] into a response, and does nothing between:
//! no I/O, no lock and no await, so that it answers while a round runs or the engine is away. What is
//! slow, broken or too much is cut off. No log line holds a token or an `Authorization` value.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue, ORIGIN};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::decisions::access::{AccessPolicy, AccessTable, AuthRequest, Header, Verdict, decide};

mod answer;
mod counts;
mod patience;

pub use counts::AuthCounts;
use patience::Patient;

/// How many connections may wait to be accepted; the kernel has the last word (`net.core.somaxconn`).
const BACKLOG: u32 = 4096;
/// What a request's head may take, in bytes. Traefik's own limit is higher, but it only forwards what
/// `authRequestHeaders` lists.
const HEAD_MAX: usize = 64 << 10;
/// How long to rest when no connection can be accepted, for want of file descriptors say.
const ACCEPT_REST: Duration = Duration::from_millis(50);

const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");

/// The table that verdicts are made from; empty as long as it is not known who may pass, and when that
/// can no longer be told.
pub type SharedTable = Arc<ArcSwapOption<AccessTable>>;

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
    /// Connections of trusted peers at a time; more of them wait.
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
}

/// What every connection needs.
#[derive(Debug)]
struct Shared {
    policy: AccessPolicy,
    table: SharedTable,
    counts: Arc<AuthCounts>,
}

impl ForwardAuth {
    /// A listener that answers from `table`, whatever it holds at the time.
    pub fn new(policy: AccessPolicy, table: SharedTable) -> Self {
        let shared = Shared {
            policy,
            table,
            counts: Arc::default(),
        };
        Self {
            shared: Arc::new(shared),
            limits: Limits::default(),
        }
    }

    /// With other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// What was answered so far.
    pub fn counts(&self) -> Arc<AuthCounts> {
        Arc::clone(&self.shared.counts)
    }

    /// Answers until `shutdown`, then lets the requests in flight finish.
    pub async fn serve(self, listener: TcpListener, shutdown: CancellationToken) {
        let trusted = Arc::new(Semaphore::new(self.limits.connections));
        let untrusted = Arc::new(Semaphore::new(self.limits.untrusted_connections));
        let graceful = GracefulShutdown::new();
        let mut connections = JoinSet::new();
        loop {
            // Taken before a connection is: beyond the limit they wait in the backlog.
            let next = async {
                let permit = Arc::clone(&trusted).acquire_owned().await;
                let (stream, peer) = listener.accept().await?;
                Ok::<_, io::Error>((stream, peer, permit.map_err(io::Error::other)?))
            };
            let accepted = tokio::select! {
                next = next => next,
                Some(_) = connections.join_next() => continue,
                () = shutdown.cancelled() => break,
            };
            let (stream, peer, permit) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "the auth listener cannot accept a connection");
                    tokio::time::sleep(ACCEPT_REST).await;
                    continue;
                }
            };
            self.shared.counts.count_connection();
            let permit = if self.shared.policy.trusts(peer.ip()) {
                permit
            } else {
                self.shared.counts.tell_untrusted(peer.ip());
                let Ok(permit) = Arc::clone(&untrusted).try_acquire_owned() else {
                    continue;
                };
                permit
            };
            connections.spawn(self.connection(stream, peer, permit, graceful.watcher()));
        }
        drop(listener);
        if tokio::time::timeout(self.limits.drain, graceful.shutdown())
            .await
            .is_err()
        {
            tracing::warn!(
                open = connections.len(),
                "closing auth connections that did not end"
            );
        }
        connections.shutdown().await;
    }

    /// One connection, from its first request to its end.
    fn connection(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        permit: OwnedSemaphorePermit,
        watcher: Watcher,
    ) -> impl Future<Output = ()> + Send + 'static {
        let shared = Arc::clone(&self.shared);
        let Limits { head, idle, .. } = self.limits;
        async move {
            let _permit = permit;
            // Answers are single small packets; an error here costs a little time, nothing else.
            let _ = stream.set_nodelay(true);
            let answered = Arc::new(AtomicBool::new(false));
            let io = TokioIo::new(Patient::new(stream, head, idle, Arc::clone(&answered)));
            let service = service_fn(|request| {
                answered.store(true, Ordering::Relaxed);
                std::future::ready(Ok::<_, Infallible>(shared.answer(peer, &request)))
            });
            let connection = http1::Builder::new()
                .max_buf_size(HEAD_MAX)
                .max_header_size(HEAD_MAX)
                // hyper's own would also end idle connections; `Patient` tells the two apart.
                .header_read_timeout(None)
                .keep_alive(shared.policy.trusts(peer.ip()))
                .serve_connection(io, service);
            if let Err(error) = watcher.watch(connection).await {
                shared.counts.count_broken();
                tracing::debug!(%peer, %error, "an auth connection broke off");
            }
        }
    }
}

impl Shared {
    fn answer(&self, peer: SocketAddr, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let header = |name: &HeaderName| {
            Header::of(
                request
                    .headers()
                    .get_all(name)
                    .iter()
                    .map(HeaderValue::as_bytes),
            )
        };
        let asked = AuthRequest {
            peer: peer.ip(),
            method: request.method().as_str(),
            path: request.uri().path(),
            authorization: header(&AUTHORIZATION),
            forwarded_host: header(&FORWARDED_HOST),
            forwarded_uri: header(&FORWARDED_URI),
            origin: header(&ORIGIN),
        };
        let table = self.table.load();
        let verdict = decide(
            &self.policy,
            table.as_deref(),
            &asked,
            jiff::Timestamp::now(),
        );
        self.counts.count(verdict);
        match verdict {
            Verdict::Allow(instance) => answer::allow(instance),
            Verdict::Challenge(reason) | Verdict::Deny(reason) => {
                tracing::debug!(reason = reason.as_str(), path = asked.path, "refused");
                answer::refuse(reason)
            }
        }
    }
}
