//! A proxy between the daemon and the internet: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` of the daemon's
//! environment, in capitals or small letters.

use std::io;

use hyper::Uri;
use hyper::header::HeaderValue;
use hyper_util::client::proxy::matcher::Matcher;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::HEAD_MAX;

/// The proxy for one target.
#[derive(Clone)]
pub(super) struct Proxy {
    host: String,
    port: u16,
    /// The proxy's scheme, where only plain HTTP is spoken to a proxy.
    unsupported: Option<String>,
    /// The header's value for the proxy; a secret.
    pub(super) authorization: Option<HeaderValue>,
}

impl Proxy {
    /// The proxy that these variables name for a target.
    pub(super) fn of(variables: &Matcher, target: &Uri) -> Option<Self> {
        let found = variables.intercept(target)?;
        let uri = found.uri();
        let scheme = uri.scheme_str().unwrap_or("http");
        Some(Self {
            host: uri.host()?.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(80),
            unsupported: (scheme != "http").then(|| scheme.to_owned()),
            authorization: found.basic_auth().cloned(),
        })
    }

    /// Connects to the proxy.
    pub(super) async fn connect(&self) -> io::Result<TcpStream> {
        if let Some(scheme) = &self.unsupported {
            let why = format!("a proxy with {scheme}:// is not supported; name one with http://");
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        }
        TcpStream::connect((self.host.as_str(), self.port)).await
    }

    /// Connects to `authority`, a host with its port, through the proxy.
    pub(super) async fn tunnel(&self, authority: &str) -> io::Result<TcpStream> {
        let mut stream = self.connect().await?;
        let mut request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n");
        let mut bytes = std::mem::take(&mut request).into_bytes();
        if let Some(authorization) = &self.authorization {
            bytes.extend(b"Proxy-Authorization: ");
            bytes.extend(authorization.as_bytes());
            bytes.extend(b"\r\n");
        }
        bytes.extend(b"\r\n");
        stream.write_all(&bytes).await?;
        // Byte by byte: what follows the head is the target's.
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if head.len() == HEAD_MAX {
                return Err(refused("the proxy's answer is too long"));
            }
            head.push(stream.read_u8().await?);
        }
        let line = String::from_utf8_lossy(&head);
        let status = line.split(' ').nth(1).unwrap_or_default();
        match status.parse::<u16>() {
            Ok(200..300) => Ok(stream),
            Ok(407) => Err(refused("the proxy asks for a user and a password (407)")),
            Ok(status) => Err(refused(&format!("the proxy answers with status {status}"))),
            Err(_) => Err(refused("the proxy does not answer with HTTP")),
        }
    }
}

fn refused(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionRefused, why)
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Proxy({}:{})", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::TcpListener;

    use super::super::{PostError, Poster, Target};
    use super::*;

    /// Answers one connection with `answer`; what came first is returned.
    async fn proxy(answer: &'static str) -> (u16, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(head).unwrap()
        });
        (port, heard)
    }

    fn poster(url: &str, variables: &Matcher) -> Poster {
        let target = Target::parse(url).unwrap();
        let within = Duration::from_secs(10);
        Poster::new(target, None, within)
            .unwrap()
            .through(variables)
    }

    #[tokio::test]
    async fn plain_http_goes_to_the_proxy_with_its_whole_address() {
        let (port, heard) = proxy("HTTP/1.1 204 No Content\r\n\r\n").await;
        let variables = Matcher::builder()
            .http(format!("http://ada:word@127.0.0.1:{port}"))
            .build();
        let poster = poster("http://hooks.example.com/T0?x=1", &variables);
        poster.post(&[], "{}").await.unwrap();
        let heard = heard.await.unwrap().to_lowercase();
        assert!(
            heard.starts_with("post http://hooks.example.com/t0?x=1 http/1.1\r\n"),
            "{heard}"
        );
        assert!(heard.contains("\r\nhost: hooks.example.com\r\n"), "{heard}");
        assert!(
            heard.contains("\r\nproxy-authorization: basic ywrhondvcmq=\r\n"),
            "{heard}"
        );
    }

    #[tokio::test]
    async fn https_goes_through_a_tunnel_and_a_refusal_names_the_proxy() {
        let (port, heard) = proxy("HTTP/1.1 407 Who\r\nContent-Length: 0\r\n\r\n").await;
        let variables = Matcher::builder()
            .all(format!("http://127.0.0.1:{port}"))
            .build();
        let target = Target::parse("https://hooks.example.com/T0").unwrap();
        let found = Proxy::of(&variables, &target.uri()).unwrap();
        let error = found.tunnel(&target.with_port()).await.unwrap_err();
        assert!(error.to_string().contains("407"), "{error}");
        let heard = heard.await.unwrap();
        assert!(
            heard.starts_with("CONNECT hooks.example.com:443 HTTP/1.1\r\n"),
            "{heard}"
        );
        assert!(!format!("{found:?}").contains("word"));
    }

    #[tokio::test]
    async fn what_follows_the_proxys_answer_is_the_targets() {
        let (port, _heard) = proxy("HTTP/1.1 200 OK\r\n\r\nhello").await;
        let variables = Matcher::builder()
            .all(format!("http://127.0.0.1:{port}"))
            .build();
        let found = Proxy::of(&variables, &"https://x.example".parse().unwrap()).unwrap();
        let mut stream = found.tunnel("x.example:443").await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "hello");
    }

    #[tokio::test]
    async fn no_proxy_is_honoured_and_other_kinds_are_refused() {
        let variables = Matcher::builder()
            .all("http://127.0.0.1:1")
            .no("example.com,10.0.0.0/8")
            .build();
        let of = |url: &str| Proxy::of(&variables, &url.parse().unwrap()).is_some();
        assert!(
            !of("https://hooks.example.com/") && !of("http://10.1.2.3/") && of("http://x.example/")
        );
        let socks = Matcher::builder().all("socks5://127.0.0.1:1").build();
        let error = poster("http://x.example/", &socks)
            .post(&[], "{}")
            .await
            .unwrap_err();
        let PostError::Refused(why) = error else {
            panic!("{error}");
        };
        assert!(why.to_string().contains("socks5"), "{why}");
    }
}
