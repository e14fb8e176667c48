//! The `ForwardAuth` listener on a thread of its own: whatever rounds, git or the store do, it answers.
//!
//! It stays when the daemon behind it changes: a session of the daemon fills its table and ends, and the
//! next one, of this process or of another, goes on with the same socket.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::thread;

use tokio_util::sync::CancellationToken;

use super::chain::failure;
use super::forward_auth::{self, AuthCounts, ForwardAuth, SharedTable, SharedTokens};
use super::site::Site;
use super::tokens::Tokens;
use crate::decisions::access::AccessPolicy;
use crate::decisions::report::Failure;
use crate::doors::store;
use crate::doors::tls::{Acceptor, Authority};

/// The listener, and what it answers from.
pub struct Edge {
    listener: TcpListener,
    address: SocketAddr,
    policy: AccessPolicy,
    tls: Option<Acceptor>,
    table: SharedTable,
    counts: Arc<AuthCounts>,
    open: Option<Open>,
}

/// While it answers.
struct Open {
    tokens: SharedTokens,
    stop: CancellationToken,
    ended: CancellationToken,
}

impl Edge {
    /// Listens, but answers nobody yet: who connects waits. `handed` is the socket of the daemon before, or the
    /// service manager's.
    pub fn new(site: &Site, handed: Option<TcpListener>) -> Result<Self, Failure> {
        let config = &site.config;
        let wanted = config.listen.auth;
        let handed = handed.filter(|socket| {
            let same = socket.local_addr().is_ok_and(|address| {
                // Port 0 is whichever the system gave.
                let any_port = wanted.port() == 0 && address.ip() == wanted.ip();
                any_port || address == wanted
            });
            if !same {
                tracing::info!(
                    "the socket that was handed over is not `listen.auth`, {wanted}: not used"
                );
            }
            same
        });
        let listener = if let Some(listener) = handed {
            // A service manager's socket blocks.
            let set = listener.set_nonblocking(true);
            set.map_err(|error| failure(&error))?;
            listener
        } else {
            let bound = forward_auth::bind(wanted).map_err(|error| failure(&error))?;
            bound.into_std().map_err(|error| failure(&error))?
        };
        let address = listener.local_addr().unwrap_or(wanted);
        Ok(Self {
            listener,
            address,
            policy: AccessPolicy::new(&config.trusted_proxies, &config.origins),
            tls: tls(site)?,
            table: SharedTable::default(),
            counts: Arc::default(),
            open: None,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The socket, to be handed on.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// The table that it answers from.
    pub fn table(&self) -> SharedTable {
        Arc::clone(&self.table)
    }

    /// What was answered so far.
    pub fn counts(&self) -> Arc<AuthCounts> {
        Arc::clone(&self.counts)
    }

    /// Answers from now on, if it does not already.
    pub fn open(&mut self) -> Result<(), Failure> {
        if self.open.is_some() {
            return Ok(());
        }
        let auth = ForwardAuth::new(
            self.policy.clone(),
            Arc::clone(&self.table),
            Arc::clone(&self.counts),
        )
        .with_tls(self.tls.clone());
        let tokens = auth.tokens();
        let (stop, ended) = (CancellationToken::new(), CancellationToken::new());
        let started = self.listener.try_clone().and_then(|listener| {
            let (stop, ended) = (stop.clone(), ended.clone().drop_guard());
            thread::Builder::new()
                .name("edge".to_owned())
                .spawn(move || {
                    if let Err(error) = answer(auth, listener, stop) {
                        tracing::error!(%error, "the auth listener ended");
                    }
                    drop(ended);
                })
        });
        started.map_err(|error| failure(&error))?;
        self.open = Some(Open {
            tokens,
            stop,
            ended,
        });
        Ok(())
    }

    /// Tickets become sessions there, or nowhere: while the store is another's.
    pub fn redeem_at(&self, tokens: Option<Arc<Tokens>>) {
        if let Some(open) = &self.open {
            open.tokens.store(tokens);
        }
    }

    /// Cancelled when it has ended, which it never does on its own unless something broke.
    pub fn ended(&self) -> CancellationToken {
        let open = self.open.as_ref();
        open.map_or_else(CancellationToken::new, |open| open.ended.clone())
    }

    /// Accepts no more, and answers what was accepted.
    pub async fn close(mut self) {
        if let Some(open) = self.open.take() {
            open.stop.cancel();
            // Its own patience is limited.
            open.ended.cancelled().await;
        }
    }
}

/// The listener's thread.
fn answer(auth: ForwardAuth, listener: TcpListener, stop: CancellationToken) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        // For tickets that become sessions.
        .max_blocking_threads(2)
        .build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        auth.serve(listener, stop).await
    })
}

/// TLS, where Traefik has a file to read the authority from.
fn tls(site: &Site) -> Result<Option<Acceptor>, Failure> {
    let traefik = &site.config.traefik;
    let Some(file) = &traefik.auth_ca else {
        return Ok(None);
    };
    let mut names = vec![site.config.listen.auth.ip().to_string()];
    let host = traefik.auth_url.as_deref().and_then(host_of);
    names.extend(host.filter(|host| *host != names[0]).map(str::to_owned));
    // The first thing that a daemon keeps, and a key: nobody else may write there.
    store::prepare(&site.state).map_err(|error| failure(&error))?;
    let made = Authority::open(&site.state).and_then(|authority| {
        authority.hand_out(file)?;
        authority.acceptor(&names)
    });
    made.map(Some).map_err(|error| failure(&error))
}

/// The host of a URL, without brackets and port.
fn host_of(url: &str) -> Option<&str> {
    let authority = url.split_once("://")?.1.split('/').next()?;
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next()?,
        None => authority.split(':').next()?,
    };
    (!host.is_empty()).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_for_the_host_that_traefik_asks() {
        for (url, host) in [
            ("https://10.0.0.1:9180/auth", Some("10.0.0.1")),
            ("https://auth.internal/auth", Some("auth.internal")),
            ("https://[::1]:9180/auth", Some("::1")),
            ("https://", None),
            ("nothing", None),
        ] {
            assert_eq!(host_of(url), host, "{url}");
        }
    }
}
