//! The webhook: a forge tells that there is something new, and the repository is asked at once.
//!
//! Nothing that it sends is believed or read, but that it knows the secret: GitHub's, Gitea's and Bitbucket's sign the
//! body with it, GitLab's and whatever else send it along.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use subtle::ConstantTimeEq as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::chain::failure;
use super::follow::Syncer;
use crate::decisions::report::Failure;
use crate::doors::files::read_text;
use crate::doors::sign::Code;
use crate::words::control::{PROBLEM_TYPE, Problem};

/// Where it is.
pub const PATH: &str = "/v1/sync";
/// Connections at a time; more of them wait.
const CONNECTIONS: usize = 32;
/// How long a request may take, and a connection be idle.
const REQUEST_MAX: Duration = Duration::from_secs(10);
/// GitHub sends no more than this, in bytes.
const BODY_MAX: usize = 25 << 20;
/// How long to rest when no connection can be accepted.
const ACCEPT_REST: Duration = Duration::from_millis(50);
/// Shorter secrets can be guessed, in bytes.
const SECRET_MIN: usize = 16;

/// The headers that hold a signature: the hexadecimal HMAC-SHA256 of the body, behind `sha256=`.
const SIGNATURES: [&str; 2] = ["x-hub-signature-256", "x-hub-signature"];
/// The header that holds the secret itself, of GitLab's.
const TOKEN: &str = "x-gitlab-token";

/// A bound webhook.
pub struct Webhook {
    listener: TcpListener,
    asked: Arc<Answerer>,
}

struct Answerer {
    secret_file: PathBuf,
    syncer: Syncer,
}

impl Webhook {
    /// Binds it. The secret is read anew for each request, so that it can be changed.
    ///
    /// # Errors
    /// When the address is taken, or the secret will not do.
    pub async fn bind(
        address: SocketAddr,
        secret_file: &Path,
        syncer: Syncer,
    ) -> Result<Self, Failure> {
        secret(secret_file)?;
        let listener = TcpListener::bind(address).await.map_err(|error| Failure {
            message: format!("cannot listen on {address} (`listen.admin`): {error}"),
            help: Some("give `listen.admin` an address that is free".to_owned()),
        })?;
        Ok(Self {
            listener,
            asked: Arc::new(Answerer {
                secret_file: secret_file.to_owned(),
                syncer,
            }),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    /// Answers until `shutdown`. What is under way then is broken off: a forge tries again.
    pub async fn serve(self, shutdown: CancellationToken) {
        let permits = Arc::new(Semaphore::new(CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            let next = async {
                let permit = Arc::clone(&permits).acquire_owned().await;
                (self.listener.accept().await, permit)
            };
            let (accepted, permit) = tokio::select! {
                next = next => next,
                Some(_) = connections.join_next() => continue,
                () = shutdown.cancelled() => return,
            };
            match accepted {
                Ok((stream, _)) => {
                    let asked = Arc::clone(&self.asked);
                    connections.spawn(async move {
                        let _permit = permit;
                        connection(stream, &asked).await;
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the webhook cannot accept a connection");
                    tokio::time::sleep(ACCEPT_REST).await;
                }
            }
        }
    }
}

async fn connection(stream: TcpStream, asked: &Answerer) {
    let service = service_fn(|request| async move {
        let answered = tokio::time::timeout(REQUEST_MAX, asked.answer(request)).await;
        let answered = answered
            .unwrap_or_else(|_| Err(Problem::too_slow("the request did not arrive in time")));
        Ok::<_, Infallible>(respond(answered))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a webhook's connection broke off");
    }
}

impl Answerer {
    async fn answer(&self, request: Request<Incoming>) -> Result<(), Problem> {
        let path = request.uri().path();
        if path != PATH {
            return Err(Problem::not_found(format!("there is no {path:?} here")));
        }
        if request.method() != Method::POST {
            let method = request.method();
            return Err(Problem::method(format!("{path} knows POST, not {method}")));
        }
        let secret = secret(&self.secret_file).map_err(|failure| {
            tracing::error!("the webhook's {}", failure.message);
            Problem::unavailable("the webhook's secret cannot be read")
        })?;
        let (head, body) = request.into_parts();
        let proof = Proof::of(&head.headers);
        if !proof.holds(secret.as_bytes(), body).await? {
            let detail = "neither a signature nor a token that fits the secret";
            return Err(Problem::unauthorized(detail).with_help(
                "give the forge what source.git.webhook.secret_file holds, as the webhook's secret",
            ));
        }
        tracing::info!("a webhook has the repository asked");
        self.syncer.poke();
        Ok(())
    }
}

/// What a request proves itself by.
enum Proof {
    /// The body, signed.
    Signature(Vec<u8>),
    /// The secret itself.
    Token(Vec<u8>),
    Nothing,
}

impl Proof {
    fn of(headers: &HeaderMap) -> Self {
        let bytes = |name: &str| headers.get(name).map(HeaderValue::as_bytes);
        let signed = SIGNATURES.iter().find_map(|name| bytes(name));
        if let Some(signed) = signed {
            let digits = signed.strip_prefix(b"sha256=");
            return digits
                .and_then(unhex)
                .map_or(Self::Nothing, Self::Signature);
        }
        let bearer = || bytes(AUTHORIZATION.as_str())?.strip_prefix(b"Bearer ");
        match bytes(TOKEN).or_else(bearer) {
            Some(token) => Self::Token(token.to_owned()),
            None => Self::Nothing,
        }
    }

    async fn holds(self, secret: &[u8], body: Incoming) -> Result<bool, Problem> {
        let signature = match self {
            Self::Nothing => return Ok(false),
            Self::Token(token) => return Ok(token.ct_eq(secret).into()),
            Self::Signature(signature) => signature,
        };
        let mut code = Code::new(secret);
        let (mut body, mut length) = (body, 0);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Problem::invalid("the body broke off"))?;
            let Some(data) = frame.data_ref() else {
                continue;
            };
            length += data.len();
            if length > BODY_MAX {
                let detail = format!("the body has at most {BODY_MAX} bytes");
                return Err(Problem::too_large(detail));
            }
            code.update(data);
        }
        Ok(code.is(&signature))
    }
}

fn unhex(digits: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pairs = digits.chunks(2).map(|pair| match *pair {
        [high, low] => u8::try_from(digit(high)? << 4 | digit(low)?).ok(),
        _ => None,
    });
    pairs.collect()
}

/// The secret, without the line's end that editors leave.
fn secret(file: &Path) -> Result<String, Failure> {
    let text = read_text(file).map_err(|error| failure(&error))?;
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.len() < SECRET_MIN {
        return Err(Failure {
            message: format!(
                "secret {} is shorter than {SECRET_MIN} bytes: it could be guessed",
                file.display()
            ),
            help: Some("make one: openssl rand -hex 32".to_owned()),
        });
    }
    Ok(secret.to_owned())
}

fn respond(answered: Result<(), Problem>) -> Response<Full<Bytes>> {
    let (status, media_type, text) = match answered {
        Ok(()) => (202, "application/json", r#"{"sync":"asked"}"#.to_owned()),
        Err(problem) => {
            let text = serde_json::to_string(&problem).unwrap_or_default();
            (problem.status, PROBLEM_TYPE, text)
        }
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let media_type = HeaderValue::from_static(media_type);
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    response
}
