//! One daemon takes the place of another: the socket and the store go over, and no client is refused.

use std::io;
use std::net::TcpListener;
use std::time::Duration;

use crate::daemon::site::Site;
use crate::decisions::report::Failure;
use crate::doors::handover::{Offer, Other, Word};

/// How long the daemon before may take to end its round and close its store.
const CLOSING: Duration = Duration::from_secs(30);
/// How long the next daemon may take until it serves.
const TAKING_OVER: Duration = Duration::from_secs(30);
/// How long the daemon before may take to answer what it had accepted.
const DRAINING: Duration = Duration::from_secs(10);

/// The daemon whose place is taken.
pub(super) struct Before {
    other: Other,
    pub(super) socket: Option<TcpListener>,
}

impl Before {
    /// Has it hand over its socket, and close its store. None where none runs.
    pub(super) async fn find(site: &Site) -> Result<Option<Self>, Failure> {
        let told = |error: io::Error| broken(&error.to_string());
        let Some(mut other) = Other::find(&site.state).await.map_err(told)? else {
            tracing::info!("no daemon runs here: nothing to take over");
            return Ok(None);
        };
        let socket = within(CLOSING, other.take()).await.map_err(told)?;
        within(CLOSING, other.hear(Word::Closed))
            .await
            .map_err(told)?;
        let socket = Some(socket);
        Ok(Some(Self { other, socket }))
    }

    /// Tells it that this one accepts, and waits until it does no more: what was revoked from now on is revoked.
    pub(super) async fn release(mut self) {
        let released = async {
            self.other.say(Word::Serving).await?;
            self.other.hear(Word::Drained).await
        };
        if let Err(error) = within(DRAINING, released).await {
            tracing::warn!(%error, "the daemon before did not say that it has ended");
        }
    }
}

pub(super) fn broken(why: &str) -> Failure {
    Failure {
        message: format!("cannot take over from the daemon that runs: {why}"),
        help: Some("stop it, then start this one without --take-over".to_owned()),
    }
}

/// The next daemon has its way to the store.
pub(super) async fn hand_over(mut next: Other) -> io::Result<Other> {
    next.say(Word::Closed).await?;
    within(TAKING_OVER, next.hear(Word::Serving)).await?;
    Ok(next)
}

async fn within<T>(most: Duration, future: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(most, future)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// The next daemon that asks, with the listening socket in its hands.
pub(super) async fn given(offer: &Offer, socket: std::os::fd::BorrowedFd<'_>) -> io::Result<Other> {
    let next = offer.asked().await?;
    next.give(socket).await?;
    Ok(next)
}
