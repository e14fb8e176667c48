//! `listen.admin`: the control API over TCP, for whoever shows an admin token. Whether the daemon lives, anybody may
//! ask; its figures, without a token, only from this host.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use hyper::header::{AUTHORIZATION, HOST, HeaderValue};
use hyper::{HeaderMap, Method, Request};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::Operations;
use super::server::{self, Accept, Gate};
use crate::daemon::webhook::{self, Webhook};
use crate::decisions::access::Header;
use crate::decisions::admission::{self, Denied, Needs};
use crate::words::config::AdminToken;
use crate::words::control::Problem;

/// Why `listen.admin` cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Someone else does.
    #[error(
        "{address} (`listen.admin`) is in use by another process; stop it, or set another address there"
    )]
    InUse {
        /// Where it should listen.
        address: SocketAddr,
        /// The system's words.
        source: io::Error,
    },
    /// Anything else.
    #[error("cannot listen on {address} (`listen.admin`)")]
    Listen {
        /// Where it should listen.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
}

/// The bound listener.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
    keys: Arc<Keys>,
}

/// What lets a request in.
#[derive(Debug)]
pub(super) struct Keys {
    tokens: Vec<AdminToken>,
    webhook: Option<Webhook>,
    /// Names of this listener, beside addresses and `localhost`.
    hosts: Vec<String>,
    /// Only processes of this host can ask.
    near: bool,
}

impl Admin {
    /// Binds it.
    ///
    /// # Errors
    /// When the address is taken, or cannot be had.
    pub async fn bind(
        address: SocketAddr,
        hosts: &[String],
        tokens: &[AdminToken],
        webhook: Option<Webhook>,
    ) -> Result<Self, AdminError> {
        let bound = TcpListener::bind(address).await;
        let listener = bound.map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => AdminError::InUse { address, source },
            _ => AdminError::Listen { address, source },
        })?;
        let keys = Keys {
            tokens: tokens.to_vec(),
            webhook,
            hosts: hosts.to_vec(),
            near: address.ip().is_loopback(),
        };
        Ok(Self {
            listener,
            keys: Arc::new(keys),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    /// Answers until `shutdown`, then lets the requests in flight finish for a moment.
    pub async fn serve<O: Operations>(self, operations: Arc<O>, shutdown: CancellationToken) {
        server::serve(self, operations, shutdown).await;
    }
}

impl Accept for Admin {
    type Stream = TcpStream;

    const NAME: &'static str = "`listen.admin`";

    async fn accept(&self) -> io::Result<(TcpStream, Gate)> {
        let (stream, _) = self.listener.accept().await?;
        // An error here costs a little time, nothing else.
        let _ = stream.set_nodelay(true);
        Ok((stream, Gate::Keys(Arc::clone(&self.keys))))
    }
}

impl Keys {
    /// Whether a request is admitted that needs this much.
    pub(super) fn admits(&self, needs: Needs, headers: &HeaderMap) -> Result<(), Problem> {
        let values = headers.get_all(AUTHORIZATION);
        let authorization = Header::of(values.iter().map(HeaderValue::as_bytes));
        let today = jiff::Timestamp::now()
            .to_zoned(jiff::tz::TimeZone::UTC)
            .date();
        let admitted = admission::admit(&self.tokens, needs, self.near, authorization, today);
        admitted.map_err(|denied| {
            let detail = denied.to_string();
            match denied {
                Denied::NoToken if self.tokens.is_empty() => Problem::unauthorized(detail)
                    .with_help("name one under `control.tokens` in instanced.yaml; or use the control socket"),
                Denied::NoToken | Denied::WrongToken => Problem::unauthorized(detail),
                Denied::ReadOnly => Problem::forbidden(detail),
            }
        })
    }

    /// Whether a request names this listener. With a token the name does not matter: no page that was pointed here
    /// has one.
    pub(super) fn knows_host(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let values = headers.get_all(HOST);
        let host = Header::of(values.iter().map(HeaderValue::as_bytes));
        if admission::is_own_host(host, &self.hosts) || self.admits(Needs::Read, headers).is_ok() {
            return Ok(());
        }
        let problem = Problem::misdirected("the request names a host that this listener is not");
        Err(problem.with_help(
            "ask by IP address or as localhost, name the host under `listen.admin_hosts` in \
             instanced.yaml, or send an admin token",
        ))
    }

    /// The webhook, where this request calls it: not with an admin token.
    pub(super) fn webhook_for<B>(&self, request: &Request<B>) -> Option<&Webhook> {
        let webhook = self.webhook.as_ref()?;
        let is_call = request.uri().path() == webhook::PATH && request.method() == Method::POST;
        let is_call = is_call && self.admits(Needs::Full, request.headers()).is_err();
        is_call.then_some(webhook)
    }
}
