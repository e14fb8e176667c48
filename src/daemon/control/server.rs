//! Connections and who is on them: the same for the socket and for `listen.admin`.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::HeaderMap;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use super::Operations;
use super::admin::Keys;
use super::router::{self, Answer};
use super::slots::{Slot, Slots};
use crate::daemon::full::Pressure;
use crate::decisions::admission::Needs;
use crate::words::control::Problem;

/// From a connection to a request's whole head, and between two requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long open requests may go on at the end.
const DRAIN: Duration = Duration::from_secs(5);
/// How long to rest when no connection can be accepted, for want of file descriptors say.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// Where connections come from.
pub(super) trait Accept: Send + Sync {
    /// What is read from and written to.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// What it is called in the log.
    const NAME: &'static str;

    /// The next connection, and what whoever is on it may do.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Gate)>> + Send;
}

/// What whoever is on a connection may do.
#[derive(Debug, Clone)]
pub(super) enum Gate {
    /// Everything.
    Open,
    /// Nothing, for this reason.
    Closed(Problem),
    /// What a token with each request says.
    Keys(Arc<Keys>),
}

impl Gate {
    /// Whether a request is admitted that needs this much.
    pub(super) fn admits(&self, needs: Needs, headers: &HeaderMap) -> Result<(), Problem> {
        match self {
            Self::Open => Ok(()),
            Self::Closed(problem) => Err(problem.clone()),
            Self::Keys(keys) => keys.admits(needs, headers),
        }
    }

    /// Whether a request names this listener, not a name that somebody else has pointed at it.
    pub(super) fn knows_host<B>(&self, request: &Request<B>) -> Result<(), Problem> {
        match self {
            Self::Open | Self::Closed(_) => Ok(()),
            Self::Keys(keys) => keys.knows_host(request.headers()),
        }
    }
}

/// Answers until `shutdown`, then lets the requests in flight finish for a moment. What is bound goes at the beginning
/// of the end.
pub(super) async fn serve<A: Accept, O: Operations>(
    bound: A,
    operations: Arc<O>,
    shutdown: CancellationToken,
) {
    let graceful = GracefulShutdown::new();
    let mut connections = Slots::default();
    let mut pressure = Pressure::on(A::NAME);
    loop {
        let accepted = tokio::select! {
            next = bound.accept() => next,
            true = connections.next_end() => continue,
            () = shutdown.cancelled() => break,
        };
        match accepted {
            Ok((stream, gate)) => {
                if connections.make_room().await {
                    pressure.evicted();
                }
                let operations = Arc::clone(&operations);
                let watcher = graceful.watcher();
                connections.spawn(|slot| connection(stream, gate, operations, slot, watcher));
            }
            Err(error) => {
                pressure.failed(&error);
                tokio::time::sleep(ACCEPT_REST).await;
            }
        }
    }
    drop(bound);
    if tokio::time::timeout(DRAIN, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!(
            open = connections.len(),
            "ending control requests that did not finish"
        );
    }
    connections.shutdown().await;
}

async fn connection<S, O: Operations>(
    stream: S,
    gate: Gate,
    operations: Arc<O>,
    slot: Arc<Slot>,
    watcher: Watcher,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (operations, gate, slot) = (&*operations, &gate, &slot);
    let service = service_fn(move |request| async move {
        let busy = slot.begin();
        let answered = if slot.is_reserved {
            router::respond_while_busy(operations, gate, request).await
        } else {
            answer(operations, gate, request).await
        };
        Ok::<_, Infallible>(answered.map(|body| busy.until_sent(body)))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a control connection broke off");
    }
}

/// A forge that calls a webhook has its own way to prove itself.
async fn answer<O: Operations>(
    operations: &O,
    gate: &Gate,
    request: Request<Incoming>,
) -> Response<Answer> {
    if let Gate::Keys(keys) = gate
        && let Some(webhook) = keys.webhook_for(&request)
    {
        return router::webhook(webhook.answer(request).await);
    }
    if let Err(problem) = gate.knows_host(&request) {
        return router::refusal(&problem);
    }
    router::respond(operations, gate, request).await
}
