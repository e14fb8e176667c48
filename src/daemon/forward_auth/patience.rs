//! A connection that is ended when its peer is too slow: a little patience while a request's head
//! arrives, more of it between two requests. hyper has one timeout for both.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// A stream whose reads fail with `TimedOut` when their time is up.
pub(super) struct Patient<S> {
    stream: S,
    head: Duration,
    idle: Duration,
    /// Set by the service whenever a whole head has arrived; taken back here.
    answered: Arc<AtomicBool>,
    /// Between two requests: nothing of the next one has arrived.
    is_idle: bool,
    deadline: Instant,
    /// Fires at the deadline or before it: a deadline that moves away is not worth a turn of the timer
    /// wheel on every request.
    timer: Pin<Box<Sleep>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Patient<S> {
    pub(super) fn new(
        stream: S,
        head: Duration,
        idle: Duration,
        answered: Arc<AtomicBool>,
    ) -> Self {
        let deadline = Instant::now() + head;
        let timer = Box::pin(sleep_until(deadline));
        Self {
            stream,
            head,
            idle,
            answered,
            is_idle: false,
            deadline,
            timer,
        }
    }

    /// Ready when the deadline has passed.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if self.timer.deadline() > self.deadline {
            self.timer.as_mut().reset(self.deadline);
        }
        loop {
            ready!(self.timer.as_mut().poll(cx));
            if Instant::now() >= self.deadline {
                return Poll::Ready(io::ErrorKind::TimedOut.into());
            }
            self.timer.as_mut().reset(self.deadline);
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.answered.swap(false, Ordering::Relaxed) {
            self.is_idle = true;
            self.deadline = Instant::now() + self.idle;
        }
        let before = buffer.filled().len();
        if let Poll::Ready(result) = Pin::new(&mut self.stream).poll_read(cx, buffer) {
            if self.is_idle && buffer.filled().len() > before {
                self.is_idle = false;
                self.deadline = Instant::now() + self.head;
            }
            return Poll::Ready(result);
        }
        self.poll_deadline(cx).map(Err)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(result) = Pin::new(&mut self.stream).poll_write(cx, bytes) {
            return Poll::Ready(result);
        }
        // A peer that does not read its answers waits for the deadline like one that sends nothing.
        self.poll_deadline(cx).map(Err)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(result) = Pin::new(&mut self.stream).poll_write_vectored(cx, slices) {
            return Poll::Ready(result);
        }
        self.poll_deadline(cx).map(Err)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
