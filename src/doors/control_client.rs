//! A running daemon, as other processes on its host reach it: over its control socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio_util::task::AbortOnDropHandle;

use crate::words::control::{Problem, SOCKET};

/// The largest answer that is read, in bytes.
const ANSWER_MAX: usize = 64 << 20;
/// How long an answer may take, unless the caller knows better.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why a daemon gave no answer, or not the one asked for.
#[derive(Debug, thiserror::Error)]
pub enum ControlClientError {
    /// There is a socket, but it cannot be used.
    #[error("cannot reach the daemon at {}", path.display())]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The daemon went away in the middle.
    #[error("the daemon at {} broke off", path.display())]
    BrokeOff {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: hyper::Error,
    },
    /// The daemon is there and silent.
    #[error("the daemon at {} did not answer {method} {request} within {} s", path.display(), patience.as_secs())]
    Silent {
        /// The socket.
        path: PathBuf,
        /// How it was asked.
        method: Method,
        /// What for.
        request: String,
        /// How long.
        patience: Duration,
    },
    /// What came is no answer of ours: another version's, or another program's.
    #[error("the daemon at {} answered {status} with something that is not understood", path.display())]
    Strange {
        /// The socket.
        path: PathBuf,
        /// The HTTP status.
        status: u16,
    },
    /// A path that cannot be asked for.
    #[error("{request:?} is no path of the control API")]
    Path {
        /// The path.
        request: String,
        /// Why not.
        source: hyper::http::Error,
    },
    /// The daemon said no.
    #[error("the daemon refused: {0}")]
    Refused(Problem),
}

type Sender = hyper::client::conn::http1::SendRequest<Full<Bytes>>;
type Connected = hyper::client::conn::http1::Connection<TokioIo<UnixStream>, Full<Bytes>>;

/// A running daemon.
#[derive(Debug, Clone)]
pub struct ControlClient {
    path: PathBuf,
    patience: Duration,
}

/// Whether a socket is not there, or left behind by a daemon that was killed.
pub(super) fn nobody_listens(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
    )
}

impl ControlClient {
    /// The daemon of this state directory; `None` when none listens.
    pub async fn connect(state: &Path) -> Result<Option<Self>, ControlClientError> {
        let client = Self {
            path: state.join(SOCKET),
            patience: PATIENCE,
        };
        match client.open().await {
            Ok(_) => Ok(Some(client)),
            Err(error) if nobody_listens(&error) => Ok(None),
            Err(source) => Err(ControlClientError::Unreachable {
                path: client.path,
                source,
            }),
        }
    }

    /// With another patience, for what takes longer: a round, say.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Asks for what is at `path`.
    pub async fn get(&self, path: &str) -> Result<Value, ControlClientError> {
        self.ask(Method::GET, path, None).await
    }

    /// Asks for something to be done.
    pub async fn post<T: serde::Serialize>(
        &self,
        path: &str,
        body: &T,
    ) -> Result<Value, ControlClientError> {
        let body = serde_json::to_vec(body).map_err(|error| {
            ControlClientError::Refused(Problem::invalid(format!("the request: {error}")))
        })?;
        self.ask(Method::POST, path, Some(body)).await
    }

    /// Asks for what comes line by line, for as long as it comes.
    pub async fn lines(&self, path: &str) -> Result<Lines, ControlClientError> {
        let request = request(Method::GET, path, None)?;
        let asked = async {
            let (mut sender, connection) = self.handshake().await?;
            // It moves the bytes for as long as somebody reads them.
            let connection = AbortOnDropHandle::new(tokio::spawn(async move {
                let _ = connection.await;
            }));
            let response = sender
                .send_request(request)
                .await
                .map_err(|source| self.broke_off(source))?;
            if !response.status().is_success() {
                return Err(self.refused(response).await);
            }
            Ok(Lines {
                client: self.clone(),
                body: response.into_body(),
                rest: Vec::new(),
                _connection: connection,
            })
        };
        tokio::time::timeout(self.patience, asked)
            .await
            .unwrap_or_else(|_| Err(self.silent(Method::GET, path)))
    }

    /// Asks for something to go.
    pub async fn delete(&self, path: &str) -> Result<Value, ControlClientError> {
        self.ask(Method::DELETE, path, None).await
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Value, ControlClientError> {
        let request = request(method.clone(), path, body)?;
        tokio::time::timeout(self.patience, self.exchange(request))
            .await
            .unwrap_or_else(|_| Err(self.silent(method, path)))
    }

    async fn handshake(&self) -> Result<(Sender, Connected), ControlClientError> {
        let stream = self
            .open()
            .await
            .map_err(|source| ControlClientError::Unreachable {
                path: self.path.clone(),
                source,
            })?;
        hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|source| self.broke_off(source))
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Value, ControlClientError> {
        let (mut sender, connection) = self.handshake().await?;
        let answer = async {
            let response = sender
                .send_request(request)
                .await
                .map_err(|source| self.broke_off(source))?;
            self.read(response).await
        };
        // The connection moves the bytes; it ends after the answer, or before it with the answer's error.
        let mut answer = std::pin::pin!(answer);
        tokio::select! {
            answer = &mut answer => answer,
            _ = connection => answer.await,
        }
    }

    async fn read(&self, response: Response<Incoming>) -> Result<Value, ControlClientError> {
        let status = response.status();
        if !status.is_success() {
            return Err(self.refused(response).await);
        }
        let strange = || self.strange(status.as_u16());
        let body = Limited::new(response.into_body(), ANSWER_MAX)
            .collect()
            .await;
        let bytes = body.map_err(|_| strange())?.to_bytes();
        serde_json::from_slice(&bytes).map_err(|_| strange())
    }

    /// The problem that a refusal holds.
    async fn refused(&self, response: Response<Incoming>) -> ControlClientError {
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), ANSWER_MAX)
            .collect()
            .await;
        let problem = body.ok().map(http_body_util::Collected::to_bytes);
        match problem.and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
            Some(problem) => ControlClientError::Refused(problem),
            None => self.strange(status),
        }
    }

    fn broke_off(&self, source: hyper::Error) -> ControlClientError {
        let path = self.path.clone();
        ControlClientError::BrokeOff { path, source }
    }

    fn strange(&self, status: u16) -> ControlClientError {
        let path = self.path.clone();
        ControlClientError::Strange { path, status }
    }

    fn silent(&self, method: Method, request: &str) -> ControlClientError {
        ControlClientError::Silent {
            path: self.path.clone(),
            method,
            request: request.to_owned(),
            patience: self.patience,
        }
    }

    async fn open(&self) -> io::Result<UnixStream> {
        UnixStream::connect(&self.path).await
    }
}

fn request(
    method: Method,
    path: &str,
    body: Option<Vec<u8>>,
) -> Result<Request<Full<Bytes>>, ControlClientError> {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, "instanced");
    if body.is_some() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    request
        .body(Full::new(Bytes::from(body.unwrap_or_default())))
        .map_err(|source| ControlClientError::Path {
            request: path.to_owned(),
            source,
        })
}

/// What comes line by line.
pub struct Lines {
    client: ControlClient,
    body: Incoming,
    rest: Vec<u8>,
    _connection: AbortOnDropHandle<()>,
}

impl Lines {
    /// The next line; `None` at the end. Nothing is lost when it is dropped before that.
    ///
    /// # Errors
    /// What broke it off: the last line says so, or the daemon went away.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ControlClientError> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                if let Ok(line) = serde_json::from_slice(&line) {
                    return Ok(Some(line));
                }
                return Err(match serde_json::from_slice(&line) {
                    Ok(problem) => ControlClientError::Refused(problem),
                    Err(_) => self.client.strange(200),
                });
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(source)) => return Err(self.client.broke_off(source)),
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.rest.extend_from_slice(data);
                    }
                }
            }
            if self.rest.len() > ANSWER_MAX {
                return Err(self.client.strange(200));
            }
        }
    }
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lines(…)")
    }
}
