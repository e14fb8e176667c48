//! A daemon may die at every await.

use std::pin::Pin;
use std::task::{Context, Poll};

/// A future that dies after so many polls.
pub(super) struct Mortal<F> {
    pub(super) left: Option<usize>,
    pub(super) future: Pin<Box<F>>,
}

impl<F: Future> Future for Mortal<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.left {
            Some(0) => return Poll::Ready(None),
            Some(left) => *left -= 1,
            None => {}
        }
        self.future.as_mut().poll(context).map(Some)
    }
}
