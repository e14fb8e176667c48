//! Requests over a unix socket, each on a connection of its own, and what answers say of who gives them.
//!
//! bollard hands out no header of an answer, and `Server` is what tells Docker from others that speak its API without
//! a call more. Over TCP bollard has its own way, and who answers there is not known.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bollard::errors::Error;
use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker as Client};
use hyper::Response;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderMap, HeaderValue, SERVER};
use hyper::http::uri::{PathAndQuery, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

/// A name for the other end of a socket, which has none.
const ANY_HOST: &str = "localhost";

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
    let transport = move |request: BollardRequest| {
        let (path, speaker) = (Arc::clone(&path), speaker.clone());
        async move {
            let response = send(&path, request).await?;
            speaker.hear(response.headers());
            Ok(response)
        }
    };
    let address = Some(format!("http://{ANY_HOST}"));
    Client::connect_with_custom_transport(transport, address, limit, API_DEFAULT_VERSION)
}

async fn send(path: &Path, mut request: BollardRequest) -> Result<Response<Incoming>, Error> {
    let stream = UnixStream::connect(path).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // What goes wrong with it, the answer or its body tells. It ends with them.
    tokio::spawn(connection);
    let target = request.uri().path_and_query().cloned();
    *request.uri_mut() = Uri::from(target.unwrap_or_else(|| PathAndQuery::from_static("/")));
    let host = HeaderValue::from_static(ANY_HOST);
    request.headers_mut().insert(HOST, host);
    Ok(sender.send_request(request).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

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
