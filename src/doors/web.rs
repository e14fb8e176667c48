//! A GET over plain HTTP, bounded in time and size. Redirects are not followed, and nothing is reused: each call
//! is a connection of its own, as a new client's is.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, ToSocketAddrs};

/// The longest head of an answer that is read, in bytes.
const HEAD_MAX: usize = 16 << 10;

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// Nobody took the connection.
    #[error("no connection")]
    Refused(#[source] io::Error),
    /// What came is no HTTP, or broke off.
    #[error("no HTTP answer")]
    Broken(#[source] hyper::Error),
    /// Nothing came in time.
    #[error("no answer within {} ms", .0.as_millis())]
    Silent(Duration),
    /// The answer's body is too long, or broke off.
    #[error("the answer's body is longer than {0} bytes or broke off")]
    Body(usize),
    /// It cannot be asked for.
    #[error("no request can be made of it")]
    Request(#[source] hyper::http::Error),
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Get<'a> {
    /// The `Host` header.
    pub host: &'a str,
    /// The path with its query.
    pub path: &'a str,
    /// Further headers.
    pub headers: &'a [(&'static str, &'a str)],
    /// For connecting, asking and reading together.
    pub within: Duration,
    /// How much of the body is read; 0 reads none of it, so that an endless one is an answer too.
    pub body_max: usize,
}

/// Asks `peer`; the status and the body.
pub async fn get(peer: impl ToSocketAddrs, request: Get<'_>) -> Result<(u16, Bytes), WebError> {
    tokio::time::timeout(request.within, exchange(peer, request))
        .await
        .unwrap_or(Err(WebError::Silent(request.within)))
}

async fn exchange(peer: impl ToSocketAddrs, asked: Get<'_>) -> Result<(u16, Bytes), WebError> {
    let stream = TcpStream::connect(peer).await.map_err(WebError::Refused)?;
    over(stream, asked).await
}

/// Asks over a connection that is there; how long it may take is the caller's.
pub async fn over<S>(stream: S, asked: Get<'_>) -> Result<(u16, Bytes), WebError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut request = Request::get(asked.path)
        .header(HOST, asked.host)
        .header(CONNECTION, "close")
        .header(USER_AGENT, "instanced");
    for (name, value) in asked.headers {
        request = request.header(*name, *value);
    }
    let request = request
        .body(Empty::<Bytes>::new())
        .map_err(WebError::Request)?;
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(HEAD_MAX)
        .handshake(TokioIo::new(Bounded {
            stream,
            left: HEAD_MAX + 2 * asked.body_max,
        }))
        .await
        .map_err(WebError::Broken)?;
    let answer = async {
        let response: Response<_> = sender
            .send_request(request)
            .await
            .map_err(WebError::Broken)?;
        let status = response.status().as_u16();
        if asked.body_max == 0 {
            return Ok((status, Bytes::new()));
        }
        let body = Limited::new(response.into_body(), asked.body_max);
        let read = body.collect().await;
        Ok((
            status,
            read.map_err(|_| WebError::Body(asked.body_max))?.to_bytes(),
        ))
    };
    // The connection moves the bytes; it ends after the answer, or before it with the answer's error.
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        _ = connection => answer.await,
    }
}

/// A stream of which no more is read than an answer may have: a head, and a body with what chunks add. A peer that sends
/// interim answers for ever is cut off.
struct Bounded<S> {
    stream: S,
    left: usize,
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left == 0 {
            return Poll::Ready(Err(io::Error::other("the answer is too long")));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.left = self.left.saturating_sub(buffer.filled().len() - before);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;
