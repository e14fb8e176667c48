//! A POST of a small text, over HTTP or HTTPS, bounded in time. Redirects are not followed, what is answered is not read,
//! and each is a connection of its own. The proxy that the environment names is between, where it names one.

use std::io;
use std::path::Path;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{
    CONNECTION, CONTENT_TYPE, HOST, HeaderMap, PROXY_AUTHORIZATION, RETRY_AFTER, USER_AGENT,
};
use hyper::{Request, Uri};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::tls::{Connector, TlsError};
use proxy::Proxy;

mod proxy;

/// The longest head of an answer that is read, in bytes.
const HEAD_MAX: usize = 16 << 10;

/// Where something is posted to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    secure: bool,
    host: String,
    port: u16,
    authority: String,
    path: String,
}

impl Target {
    /// Reads an address.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence.
    pub fn parse(url: &str) -> Result<Self, &'static str> {
        let uri: Uri = url.parse().map_err(|_| "is no address")?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err("begins with neither https:// nor http://"),
        };
        let authority = uri.authority().ok_or("names no host")?;
        if authority.as_str().contains('@') {
            return Err("holds a user or password, which is not sent");
        }
        let host = authority.host().trim_matches(['[', ']']);
        if host.is_empty() {
            return Err("names no host");
        }
        let own = if secure { 443 } else { 80 };
        Ok(Self {
            secure,
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(own),
            authority: authority.to_string(),
            path: uri
                .path_and_query()
                .map_or("/", |path| path.as_str())
                .to_owned(),
        })
    }

    /// Its whole address.
    fn uri(&self) -> Uri {
        let address = format!("{}{}", self.shown(), self.path);
        address.parse().expect("it was read from an address")
    }

    /// Its host with the port, as a proxy is asked for it.
    fn with_port(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        }
    }

    /// Whether it proves who it is.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// It without its path, which may be as good as a password.
    pub fn shown(&self) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://{}", self.authority)
    }
}

/// Why something was not taken.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// Nobody took the connection.
    #[error("no connection")]
    Refused(#[source] io::Error),
    /// Whoever took it did not prove to be the one.
    #[error("no TLS")]
    Tls(#[source] io::Error),
    /// What came is no HTTP, or broke off.
    #[error("no HTTP answer")]
    Broken(#[source] hyper::Error),
    /// Nothing came in time.
    #[error("no answer within {} s", .0.as_secs())]
    Silent(Duration),
    /// It was refused.
    #[error("status {status}")]
    Status {
        /// The answer's status.
        status: u16,
        /// How long to wait, where the answer says so.
        retry_after: Option<Duration>,
    },
    /// It cannot be sent.
    #[error("no request can be made of it")]
    Request(#[source] hyper::http::Error),
}

/// Posts to one target.
#[derive(Debug, Clone)]
pub struct Poster {
    target: Target,
    tls: Option<Connector>,
    proxy: Option<Proxy>,
    within: Duration,
}

impl Poster {
    /// To a target, whose certificate an authority in `ca_file` has signed, or one whom the host trusts. `within` is for
    /// connecting, sending and the answer's head together.
    ///
    /// # Errors
    /// When there is no authority to trust.
    pub fn new(target: Target, ca_file: Option<&Path>, within: Duration) -> Result<Self, TlsError> {
        let tls = target.secure.then(|| Connector::new(ca_file)).transpose()?;
        let poster = Self {
            target,
            tls,
            proxy: None,
            within,
        };
        Ok(poster.through(&Matcher::from_env()))
    }

    /// The same through the proxy that these variables name for the target.
    fn through(mut self, variables: &Matcher) -> Self {
        self.proxy = Proxy::of(variables, &self.target.uri());
        self
    }

    /// Where it posts to.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Posts a JSON text. Whatever is not a status of the two hundreds is an error.
    pub async fn post(&self, headers: &[(&str, &str)], body: &str) -> Result<(), PostError> {
        // A proxy is asked for the whole address, unless it only passes bytes on.
        let plain = self.proxy.as_ref().filter(|_| self.tls.is_none());
        let mut request = match plain {
            Some(_) => Request::post(self.target.uri()),
            None => Request::post(self.target.path.as_str()),
        };
        if let Some(authorization) = plain.and_then(|proxy| proxy.authorization.as_ref()) {
            request = request.header(PROXY_AUTHORIZATION, authorization);
        }
        request = request
            .header(HOST, self.target.authority.as_str())
            .header(CONNECTION, "close")
            .header(USER_AGENT, concat!("instanced/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = Full::new(Bytes::copy_from_slice(body.as_bytes()));
        let request = request.body(body).map_err(PostError::Request)?;
        tokio::time::timeout(self.within, self.exchange(request))
            .await
            .unwrap_or(Err(PostError::Silent(self.within)))
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<(), PostError> {
        let Target { host, port, .. } = &self.target;
        let connected = match (&self.proxy, &self.tls) {
            (None, _) => TcpStream::connect((host.as_str(), *port)).await,
            (Some(proxy), Some(_)) => proxy.tunnel(&self.target.with_port()).await,
            (Some(proxy), None) => proxy.connect().await,
        };
        let stream = connected.map_err(PostError::Refused)?;
        match &self.tls {
            Some(tls) => {
                let stream = tls.connect(host, stream).await.map_err(PostError::Tls)?;
                send(stream, request).await
            }
            None => send(stream, request).await,
        }
    }
}

async fn send<S>(stream: S, request: Request<Full<Bytes>>) -> Result<(), PostError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(HEAD_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(PostError::Broken)?;
    let answer = sender.send_request(request);
    // The connection moves the bytes; it ends after the answer, or before it with the answer's error.
    let mut answer = std::pin::pin!(answer);
    let answer = tokio::select! {
        answer = &mut answer => answer,
        _ = connection => answer.await,
    };
    let answer = answer.map_err(PostError::Broken)?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    Err(PostError::Status {
        status: status.as_u16(),
        retry_after: retry_after(answer.headers()),
    })
}

/// In seconds; a date is not read.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers
        .get(RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_and_shown_without_its_path() {
        let target = Target::parse("https://hooks.example.com/T0/secret?x=1").unwrap();
        assert_eq!(target.shown(), "https://hooks.example.com");
        assert_eq!((target.port, target.path.as_str()), (443, "/T0/secret?x=1"));
        let target = Target::parse("http://[::1]:8080").unwrap();
        assert_eq!((target.host.as_str(), target.port), ("::1", 8080));
        assert_eq!(
            (target.shown().as_str(), target.path.as_str()),
            ("http://[::1]:8080", "/")
        );
        for (url, why) in [
            ("hooks.example.com", "neither"),
            ("/var/run/hook", "neither"),
            ("ftp://hooks.example.com", "neither"),
            ("https://me:word@hooks.example.com/", "password"),
            ("https://", "no address"),
            ("not an address", "no address"),
        ] {
            let told = Target::parse(url).unwrap_err();
            assert!(told.contains(why), "{url}: {told}");
        }
    }
}
