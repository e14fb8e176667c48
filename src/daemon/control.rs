//! The control API's server: the unix socket over which the command line, and whoever else may, asks the
//! daemon. It reads requests and writes answers; what they mean is [`Operations`].
//!
//! Bodies are JSON, refusals [`Problem`]s (RFC 9457). Answers may hold secrets (a new token, a VNC
//! password), so none of them is logged or may be cached.

use std::convert::Infallible;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use serde_json::Value;
use tokio::net::unix::UCred;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::events::Events;
use crate::words::control::{AskReconcile, AskTicket, IssueToken, Problem, RotateToken, SOCKET};
use crate::words::name::InstanceName;
use crate::words::overrides::Order;

mod router;

/// Connections at a time; more of them wait.
const CONNECTIONS: usize = 64;
/// From a connection to a request's whole head, and between two requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long open requests may go on at the end.
const DRAIN: Duration = Duration::from_secs(5);
/// How long to rest when no connection can be accepted, for want of file descriptors say.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// What became of a request.
pub type Outcome = Result<Value, Problem>;

/// What the daemon does when asked. One method for each path and method of the API.
///
/// When the asker goes away, the future is dropped at its next await. What must be finished then, such as
/// a round, runs in a task of the daemon's own, and the method waits for it.
pub trait Operations: Send + Sync + 'static {
    /// `GET /health`: whether the daemon lives and is ready, and why not.
    fn health(&self) -> impl Future<Output = Outcome> + Send;

    /// `GET /v1/tokens`: all tokens, or those of `?instance=`.
    fn tokens(&self, instance: Option<InstanceName>) -> impl Future<Output = Outcome> + Send;

    /// `POST /v1/tokens`: a new token; the answer is the only place that ever holds its plain text.
    fn issue_token(&self, asked: IssueToken) -> impl Future<Output = Outcome> + Send;

    /// `DELETE /v1/tokens/{id}`: revokes a token.
    fn revoke_token(&self, id: String) -> impl Future<Output = Outcome> + Send;

    /// `POST /v1/tokens/{id}/rotate`: a new token in place of this one, which goes on for a while; the answer is
    /// the only place that ever holds the new one's plain text.
    fn rotate_token(&self, id: String, asked: RotateToken) -> impl Future<Output = Outcome> + Send;

    /// `POST /v1/instances/{name}/tickets`: a ticket for a session in a browser; the answer is the only place
    /// that ever holds its plain text.
    fn issue_ticket(
        &self,
        name: InstanceName,
        asked: AskTicket,
    ) -> impl Future<Output = Outcome> + Send;

    /// `POST /v1/reconcile`: one round, and its report.
    fn reconcile(&self, asked: AskReconcile) -> impl Future<Output = Outcome> + Send;

    /// `POST /v1/instances/{name}/{restart,recreate,stop,start,suspend,resume}`: the report of the round
    /// that it led to.
    fn order(&self, name: InstanceName, order: Order) -> impl Future<Output = Outcome> + Send;

    /// `GET /v1/plan`: what the next round would do.
    fn plan(&self) -> impl Future<Output = Outcome> + Send;

    /// `GET /v1/source`: at which revision the fleet is, how far behind, and why.
    fn source(&self) -> impl Future<Output = Outcome> + Send;

    /// `POST /v1/sync`: has a repository asked for news, and tells how the fleet stands to it then.
    fn sync(&self) -> impl Future<Output = Outcome> + Send;

    /// `GET /metrics`: figures for Prometheus.
    fn metrics(&self) -> impl Future<Output = Result<String, Problem>> + Send;

    /// `GET /v1/events`: what happens from now on, as server-sent events.
    fn events(&self) -> Events;

    /// `GET /v1/snapshot`: what a dry run elsewhere must know.
    fn snapshot(&self) -> impl Future<Output = Outcome> + Send;

    /// `GET /v1/instances`: all of them, in short.
    fn instances(&self) -> impl Future<Output = Outcome> + Send;

    /// `GET /v1/instances/{name}`: one in full.
    fn instance(&self, name: InstanceName) -> impl Future<Output = Outcome> + Send;

    /// `GET /v1/instances/{name}/vnc-password`: for whoever shall see the screen; with that for looking alone.
    fn vnc_password(&self, name: InstanceName) -> impl Future<Output = Outcome> + Send;
}

/// Why the control socket cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Another daemon answers there.
    #[error("a daemon already answers at {}", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// A socket that nobody answers could not be told from one that is in use.
    #[error("cannot tell whether a daemon answers at {}", path.display())]
    Probe {
        /// The socket.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The socket could not be made.
    #[error("cannot {operation} {}", path.display())]
    Socket {
        /// What was tried.
        operation: &'static str,
        /// The socket.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// The bound control socket; its file goes when this does.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ControlSocket {
    /// Binds `<state>/control.sock`, mode 0660. The state directory is there, and nobody else's. A socket
    /// left behind by a daemon that was killed is replaced, one that answers is not.
    pub async fn bind(state: &Path) -> Result<Self, ControlError> {
        let path = state.join(SOCKET);
        let failed = |operation, source| ControlError::Socket {
            operation,
            path: path.clone(),
            source,
        };
        match UnixStream::connect(&path).await {
            Ok(_) => return Err(ControlError::InUse { path }),
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound => {}
                // Whatever else stands there is refused, too; it is left alone, and binding fails.
                io::ErrorKind::ConnectionRefused if is_socket(&path) => {
                    fs::remove_file(&path).map_err(|e| failed("remove the stale", e))?;
                }
                _ => {
                    return Err(ControlError::Probe {
                        path,
                        source: error,
                    });
                }
            },
        }
        let listener = UnixListener::bind(&path).map_err(|e| failed("make the socket", e))?;
        fs::set_permissions(&path, Permissions::from_mode(0o660))
            .map_err(|e| failed("set the mode of", e))?;
        Ok(Self { listener, path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Answers until `shutdown`, then lets the requests in flight finish for a moment.
    pub async fn serve<O: Operations>(self, operations: Arc<O>, shutdown: CancellationToken) {
        let permits = Arc::new(Semaphore::new(CONNECTIONS));
        let graceful = GracefulShutdown::new();
        let mut connections = JoinSet::new();
        loop {
            let next = async {
                let permit = Arc::clone(&permits).acquire_owned().await;
                let (stream, _) = self.listener.accept().await?;
                Ok::<_, io::Error>((stream, permit.map_err(io::Error::other)?))
            };
            let accepted = tokio::select! {
                next = next => next,
                Some(_) = connections.join_next() => continue,
                () = shutdown.cancelled() => break,
            };
            match accepted {
                Ok((stream, permit)) => {
                    let operations = Arc::clone(&operations);
                    connections.spawn(connection(stream, operations, permit, graceful.watcher()));
                }
                Err(error) => {
                    tracing::warn!(%error, "the control socket cannot accept a connection");
                    tokio::time::sleep(ACCEPT_REST).await;
                }
            }
        }
        drop(self);
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
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // What stays behind is replaced by the next daemon.
        let _ = fs::remove_file(&self.path);
    }
}

async fn connection<O: Operations>(
    stream: UnixStream,
    operations: Arc<O>,
    permit: OwnedSemaphorePermit,
    watcher: Watcher,
) {
    let _permit = permit;
    let peer = stream.peer_cred();
    let may = peer.as_ref().is_ok_and(is_allowed);
    if !may {
        tracing::warn!(
            ?peer,
            "someone else's process connected to the control socket"
        );
    }
    let operations = &*operations;
    let service = service_fn(move |request| async move {
        let response = if may {
            router::respond(operations, request).await
        } else {
            let detail = "only root and the daemon's own user may use the control socket";
            router::refusal(&Problem::forbidden(detail))
        };
        Ok::<_, Infallible>(response)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a control connection broke off");
    }
}

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
}

/// The file's mode lets in whom it shall; this also holds when someone changed the mode.
fn is_allowed(peer: &UCred) -> bool {
    peer.uid() == 0 || peer.uid() == rustix::process::geteuid().as_raw()
}
