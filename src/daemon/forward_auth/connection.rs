//! What one connection needs: a question read from its headers, and the answer.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::Either;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, COOKIE, HeaderName, HeaderValue, ORIGIN};
use hyper::http::request::Parts;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::answer;
use super::counts::AuthCounts;
use super::life::{Life, Lived};
use super::limiter::Limiter;
use super::table::{EdgeTable, SharedTable};
use super::{HEAD_MAX, SharedTokens};
use crate::daemon::chain::chain;
use crate::daemon::tokens::TokensError;
use crate::decisions::access::{
    AccessPolicy, AuthRequest, Header, Pass, Reason, Refusal, SESSION_COOKIE, Verdict, Visitor,
    client, cookie, decide, other_cookies, without_ticket,
};
use crate::words::manifest::Auth;

/// Requests at a time on one connection of HTTP/2; Traefik has one connection for all it asks.
const STREAMS_MAX: u32 = 1_000;

static FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
static FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
static FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
static PURPOSE: HeaderName = HeaderName::from_static("sec-purpose");

/// What every connection needs.
pub(super) struct Shared {
    pub(super) policy: AccessPolicy,
    pub(super) table: SharedTable,
    pub(super) tokens: SharedTokens,
    pub(super) limiter: Limiter,
    pub(super) counts: Arc<AuthCounts>,
}

/// How a connection ends.
pub(super) type Ended = Result<(), Box<dyn std::error::Error + Send + Sync>>;

impl Shared {
    pub(super) async fn serve_http1<S>(
        self: &Arc<Self>,
        stream: S,
        peer: SocketAddr,
        life: Arc<Life>,
    ) -> Ended
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let stream = Lived::new(stream, Arc::clone(&life));
        let service = service_fn(|request| {
            life.answered();
            self.answer(peer, request)
        });
        let connection = http1::Builder::new()
            .max_buf_size(HEAD_MAX)
            .max_header_size(HEAD_MAX)
            // hyper's own would also end idle connections; `Life` tells the two apart.
            .header_read_timeout(None)
            // An answer is one small piece: to gather pieces costs more than it saves.
            .writev(false)
            // Nobody reads it: Traefik takes the headers it was told from a 204, and gives what a client sees its own.
            .auto_date_header(false)
            .keep_alive(self.policy.trusts(peer.ip()))
            .serve_connection(TokioIo::new(stream), service);
        Ok(life.watch(connection).await?)
    }

    pub(super) async fn serve_http2<S>(
        self: &Arc<Self>,
        stream: S,
        peer: SocketAddr,
        life: Arc<Life>,
    ) -> Ended
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        life.multiplexed();
        let stream = Lived::new(stream, Arc::clone(&life));
        let shared = Arc::clone(self);
        let service = service_fn(move |request| {
            let shared = Arc::clone(&shared);
            async move { shared.answer(peer, request).await }
        });
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(u32::try_from(HEAD_MAX).unwrap_or(u32::MAX))
            .auto_date_header(false)
            .serve_connection(TokioIo::new(stream), service);
        Ok(life.watch(connection).await?)
    }

    fn answer(
        self: &Arc<Self>,
        peer: SocketAddr,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<Full<Bytes>>, Infallible>> + use<> {
        let sample = self.counts.begin();
        let now = coarse_now();
        let (head, _) = request.into_parts();
        let table = self.table.load();
        let response = match self.judge(peer, &head, table.as_deref(), now) {
            (Verdict::Allow(pass), Some(table)) => {
                self.counts.count_allowed();
                let instance = table.pass(pass, now.as_second());
                if pass.auth == Auth::Ticket {
                    let cookies = other_cookies(values(&head, &COOKIE), SESSION_COOKIE);
                    answer::allow_with_cookies(instance, cookies)
                } else {
                    answer::allow(instance, head.headers)
                }
            }
            (Verdict::Redeem(pass), Some(table)) => {
                let redeeming = self.redeem(pass, table, &head, now);
                return Either::Right(Box::pin(async move { Ok(redeeming.await) }));
            }
            (Verdict::Redirect(_), _) => match target(&head) {
                Some(target) => answer::redirect(&target, None, now),
                None => self.refuse(Reason::Malformed.into(), None, peer, head),
            },
            (Verdict::Refuse(refusal), table) => self.refuse(refusal, table, peer, head),
            // Without a table nobody passes.
            (_, None) => self.refuse(Reason::Unready.into(), None, peer, head),
        };
        self.counts.end(sample);
        Either::Left(std::future::ready(Ok(response)))
    }

    fn judge<'t>(
        &self,
        peer: SocketAddr,
        head: &Parts,
        table: Option<&'t EdgeTable>,
        now: jiff::Timestamp,
    ) -> (Verdict<'t>, Option<&'t EdgeTable>) {
        let header = |name: &HeaderName| Header::of(values(head, name));
        let visitor = || Visitor {
            session: cookie(values(head, &COOKIE), SESSION_COOKIE),
            method: header(&FORWARDED_METHOD),
            scheme: header(&FORWARDED_PROTO),
            destination: header(&FETCH_DEST),
            purpose: header(&PURPOSE),
        };
        let asked = AuthRequest {
            peer: peer.ip(),
            method: head.method.as_str(),
            path: head.uri.path(),
            authorization: header(&AUTHORIZATION),
            forwarded_host: header(&FORWARDED_HOST),
            forwarded_uri: header(&FORWARDED_URI),
            origin: header(&ORIGIN),
            visitor: &visitor,
        };
        let access = table.map(EdgeTable::access);
        (decide(&self.policy, access, &asked, now), table)
    }

    fn refuse(
        &self,
        refusal: Refusal,
        table: Option<&EdgeTable>,
        peer: SocketAddr,
        head: Parts,
    ) -> Response<Full<Bytes>> {
        let (refusal, wait) = if refusal.reason.is_guess() {
            self.limit(refusal, peer, &head)
        } else {
            (refusal, None)
        };
        let Refusal {
            reason, to_person, ..
        } = refusal;
        self.counts.count_refused(reason);
        if let Some(table) = table {
            table.count(refusal);
        }
        tracing::debug!(reason = reason.as_str(), path = head.uri.path(), "refused");
        answer::refuse(reason, wait, to_person, head.headers)
    }

    /// A wrong token counts against whoever sent it. Where there were too many, the answer says so instead.
    fn limit(
        &self,
        refusal: Refusal,
        peer: SocketAddr,
        head: &Parts,
    ) -> (Refusal, Option<Duration>) {
        let forwarded_for = values(head, &FORWARDED_FOR);
        let address = client::address(&self.policy, peer.ip(), forwarded_for);
        let guess = self.limiter.guess(client::origin_of_guesses(address));
        self.counts.set_guessing(self.limiter.clients());
        match guess {
            Ok(()) => (refusal, None),
            Err(wait) => {
                let reason = Reason::Limited;
                (Refusal { reason, ..refusal }, Some(wait))
            }
        }
    }

    /// The ticket is used up in the store, on disk, before the session is told.
    fn redeem(
        self: &Arc<Self>,
        pass: Pass<'_>,
        table: &EdgeTable,
        head: &Parts,
        now: jiff::Timestamp,
    ) -> impl Future<Output = Response<Full<Bytes>>> + use<> {
        let (tokens, ticket) = (
            self.tokens.load_full(),
            table.ticket(pass).map(str::to_owned),
        );
        let target = target(head);
        let shared = Arc::clone(self);
        async move {
            let refuse = |reason: Reason| {
                shared.counts.count_refused(reason);
                answer::refuse(reason, None, true, HeaderMap::new())
            };
            let Some(target) = target else {
                return refuse(Reason::Malformed);
            };
            let (Some(tokens), Some(ticket)) = (tokens, ticket) else {
                return refuse(Reason::Unready);
            };
            let redeemed = tokio::task::spawn_blocking(move || tokens.redeem(&ticket, now)).await;
            match redeemed {
                Ok(Ok((record, token))) => {
                    shared.counts.count_redeemed();
                    answer::redirect(&target, Some((&record, &token)), now)
                }
                Ok(Err(TokensError::Spent(_) | TokensError::Unknown(_))) => {
                    refuse(Reason::WrongToken)
                }
                Ok(Err(error)) => {
                    tracing::error!("a ticket was not redeemed: {}", chain(&error));
                    refuse(Reason::Unready)
                }
                Err(_) => refuse(Reason::Unready),
            }
        }
    }
}

/// The time of day, a few milliseconds late at most: it decides over expiries, and is a third of the price.
fn coarse_now() -> jiff::Timestamp {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    let nanos = i32::try_from(now.tv_nsec).unwrap_or_default();
    jiff::Timestamp::new(now.tv_sec, nanos).unwrap_or_else(|_| jiff::Timestamp::now())
}

fn target(head: &Parts) -> Option<String> {
    match Header::of(values(head, &FORWARDED_URI)) {
        Header::Once(uri) => without_ticket(uri),
        Header::Absent | Header::Repeated => None,
    }
}

fn values<'h>(
    head: &'h Parts,
    name: &HeaderName,
) -> impl DoubleEndedIterator<Item = &'h [u8]> + use<'h> {
    head.headers.get_all(name).iter().map(HeaderValue::as_bytes)
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared(…)")
    }
}
