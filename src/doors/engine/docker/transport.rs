//! Requests over a unix socket, and what answers say of who gives them.
//!
//! Whatever only reads goes over connections that are kept: a connection costs an engine as much as a third of an
//! inspect. Whatever changes something has a connection of its own, so that none is sent twice or to nobody.
//!
//! bollard hands out no header of an answer, and `Server` is what tells Docker from others that speak its API without
//! a call more. Over TCP bollard has its own way, and who answers there is not known.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bollard::errors::Error;
use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker as Client, body_full};
use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HOST, HeaderMap, HeaderValue, SERVER};
use hyper::http::uri::{PathAndQuery, Uri};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

/// A name for the other end of a socket, which has none.
const ANY_HOST: &str = "localhost";
/// How many connections are kept: as many as containers are looked at beside each other.
const KEPT_MOST: usize = 16;
/// For how long, when nobody needs them.
const KEPT_FOR: Duration = Duration::from_secs(10);

/// Who answered last. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Speaker(Arc<Mutex<Option<HeaderValue>>>);

impl Speaker {
    /// What it says of itself, if it is Docker: `Docker/20.10.24 (linux)`. Podman says `Libpod/5.2.0 (linux)`.
    pub(super) fn docker(&self) -> Option<String> {
        let said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let said = said.as_ref()?.to_str().ok()?;
        said.starts_with("Docker/").then(|| said.to_owned())
    }

    fn hear(&self, headers: &HeaderMap) {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if said.as_ref() != headers.get(SERVER) {
            *said = headers.get(SERVER).cloned();
        }
    }
}

/// A client of whoever listens on a socket. `limit` is how long an answer may take to begin, in seconds.
pub(super) fn unix(path: &Path, limit: u64, speaker: &Speaker) -> Result<Client, Error> {
    let (path, speaker) = (Arc::<Path>::from(path), speaker.clone());
    let kept = Kept::default();
    let transport = move |request: BollardRequest| {
        let (path, speaker, kept) = (Arc::clone(&path), speaker.clone(), kept.clone());
        async move {
            let nothing = || body_full(Bytes::new());
            let response = send(&path, &kept, request, nothing).await?;
            speaker.hear(response.headers());
            Ok(response)
        }
    };
    let address = Some(format!("http://{ANY_HOST}"));
    Client::connect_with_custom_transport(transport, address, limit, API_DEFAULT_VERSION)
}

/// A connection between two requests, and since when.
type Idle<B> = (SendRequest<B>, Instant);

/// Those that are kept, the one used last at the end.
struct Kept<B>(Arc<Mutex<Vec<Idle<B>>>>);

impl<B> Default for Kept<B> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<B> Clone for Kept<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<B: Body + Send + 'static> Kept<B> {
    fn all(&self) -> MutexGuard<'_, Vec<Idle<B>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One that still stands, as far as can be told from this end.
    fn take(&self) -> Option<SendRequest<B>> {
        let mut all = self.all();
        all.retain(|(sender, since)| sender.is_ready() && since.elapsed() < KEPT_FOR);
        all.pop().map(|(sender, _)| sender)
    }

    /// Keeps one as soon as its answer has been read to the end.
    fn keep(&self, mut sender: SendRequest<B>) {
        let kept = self.clone();
        tokio::spawn(async move {
            if sender.ready().await.is_ok() {
                let mut all = kept.all();
                if all.len() < KEPT_MOST {
                    all.push((sender, Instant::now()));
                }
            }
        });
    }
}

/// `nothing` makes an empty body.
async fn send<B>(
    path: &Path,
    kept: &Kept<B>,
    mut request: Request<B>,
    nothing: impl Fn() -> B,
) -> Result<Response<Incoming>, Error>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let target = request.uri().path_and_query().cloned();
    *request.uri_mut() = Uri::from(target.unwrap_or_else(|| PathAndQuery::from_static("/")));
    let host = HeaderValue::from_static(ANY_HOST);
    request.headers_mut().insert(HOST, host);
    let reads = request.method() == Method::GET && request.body().is_end_stream();
    if reads && let Some(mut sender) = kept.take() {
        let mut again = Request::new(nothing());
        *again.uri_mut() = request.uri().clone();
        *again.headers_mut() = request.headers().clone();
        match sender.send_request(request).await {
            Ok(response) => {
                kept.keep(sender);
                return Ok(response);
            }
            // The engine closed it meanwhile: it may be a new one by now.
            Err(error) if error.is_canceled() || error.is_incomplete_message() => request = again,
            Err(error) => return Err(error.into()),
        }
    }
    let stream = UnixStream::connect(path).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // What goes wrong with it, the answer or its body tells.
    tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    if reads {
        kept.keep(sender);
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use bollard::query_parameters::StopContainerOptions;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixListener;

    use super::*;

    /// What an engine does with one connection.
    #[derive(Clone, Copy)]
    struct Manners {
        /// So many requests are answered.
        answers: usize,
        /// Whether one more is read, and not answered, before it is closed.
        reads_on: bool,
    }

    const PATIENT: Manners = Manners {
        answers: usize::MAX,
        reads_on: false,
    };

    /// An engine that has these manners, one after the other, and then is patient. The methods of the requests of
    /// each connection.
    struct Engine {
        dir: tempfile::TempDir,
        heard: Arc<Mutex<Vec<Vec<String>>>>,
    }

    impl Engine {
        fn start(manners: &'static [Manners]) -> Self {
            let dir = tempfile::tempdir().expect("a directory");
            let listener = UnixListener::bind(dir.path().join("socket")).expect("a socket");
            let heard = Arc::<Mutex<Vec<Vec<String>>>>::default();
            let all = Arc::clone(&heard);
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let mut heard = all.lock().expect("no test panics with it");
                    let number = heard.len();
                    heard.push(Vec::new());
                    let manners = manners.get(number).copied().unwrap_or(PATIENT);
                    tokio::spawn(serve(stream, manners, number, Arc::clone(&all)));
                }
            });
            Self { dir, heard }
        }

        fn client(&self) -> Client {
            let path = self.dir.path().join("socket");
            unix(&path, 5, &Speaker::default()).expect("a client")
        }

        fn heard(&self) -> Vec<Vec<String>> {
            self.heard.lock().expect("no test panics with it").clone()
        }
    }

    async fn serve(
        mut stream: UnixStream,
        manners: Manners,
        number: usize,
        heard: Arc<Mutex<Vec<Vec<String>>>>,
    ) {
        let mut answered = 0;
        while answered < manners.answers || manners.reads_on {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => request.push(byte),
                    Err(_) => return,
                }
            }
            let request = String::from_utf8(request).expect("it is text");
            let method = request.split(' ').next().unwrap_or_default().to_owned();
            heard.lock().expect("no test panics with it")[number].push(method);
            if answered == manners.answers {
                return;
            }
            let answer = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nOK");
            answer.await.expect("somebody reads");
            answered += 1;
        }
    }

    async fn ping(client: &Client) {
        assert_eq!(client.ping().await.expect("an answer"), "OK");
        // Let the connection be kept.
        tokio::task::yield_now().await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    #[tokio::test]
    async fn what_only_reads_shares_a_connection_and_what_changes_has_its_own() {
        let engine = Engine::start(&[]);
        let client = engine.client();
        for _ in 0..3 {
            ping(&client).await;
        }
        for _ in 0..2 {
            let stopped = client.stop_container("a", None::<StopContainerOptions>);
            stopped.await.expect("an answer");
        }
        ping(&client).await;
        assert_eq!(engine.heard(), [vec!["GET"; 4], vec!["POST"], vec!["POST"]]);
    }

    #[tokio::test]
    async fn a_connection_that_was_closed_is_not_used_again() {
        let engine = Engine::start(&[Manners {
            answers: 1,
            reads_on: false,
        }]);
        let client = engine.client();
        ping(&client).await;
        ping(&client).await;
        assert_eq!(engine.heard(), [["GET"], ["GET"]]);
    }

    #[tokio::test]
    async fn a_connection_that_is_closed_over_a_question_has_it_asked_again() {
        let engine = Engine::start(&[Manners {
            answers: 1,
            reads_on: true,
        }]);
        let client = engine.client();
        ping(&client).await;
        ping(&client).await;
        assert_eq!(engine.heard(), [vec!["GET", "GET"], vec!["GET"]]);
    }

    #[tokio::test]
    async fn two_at_a_time_have_two_connections_and_both_are_kept() {
        let engine = Engine::start(&[]);
        let client = engine.client();
        for _ in 0..3 {
            tokio::join!(ping(&client), ping(&client));
        }
        let heard = engine.heard();
        assert_eq!(heard.len(), 2, "{heard:?}");
        assert_eq!(heard.concat().len(), 6);
    }

    #[test]
    fn only_docker_is_docker() {
        let speaker = Speaker::default();
        assert_eq!(speaker.docker(), None, "nobody said anything yet");
        for (server, is_docker) in [
            (Some("Docker/20.10.24+dfsg1 (linux)"), true),
            (Some("Libpod/5.2.0 (linux)"), false),
            (Some("nginx"), false),
            (None, false),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(server) = server {
                headers.insert(SERVER, HeaderValue::from_static(server));
            }
            speaker.hear(&headers);
            let docker = server.filter(|_| is_docker);
            assert_eq!(speaker.docker().as_deref(), docker, "{server:?}");
        }
    }
}
