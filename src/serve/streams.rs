//! Runs the requests of an HTTP/2 connection in the connection's own task.
//!
//! In a task of its own, a request could run while the connection writes: the head of its answer
//! would then be sent before the body is queued. curl stops an upload when it has the head of a
//! refusal. It ends the stream earlier than `Content-Length` announced, which h2 must answer with a
//! reset, and a reset discards the body that is still queued. In the connection's task, head and
//! body are queued between two writes.

use std::{
    mem,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use hyper::rt::Executor;

type Stream = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Takes the requests that hyper wants to run.
#[derive(Clone, Default)]
pub(super) struct Opened(Arc<Mutex<Vec<Stream>>>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Opened {
    fn execute(&self, stream: F) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Box::pin(stream));
    }
}

/// Requests that are in progress.
pub(super) struct Streams {
    opened: Opened,
    running: FuturesUnordered<Stream>,
}

impl Streams {
    pub(super) fn new(opened: Opened) -> Self {
        Self { opened, running: FuturesUnordered::new() }
    }

    /// Runs all requests as far as they get. Poll it after the connection, which opens them and is
    /// woken by their answers.
    pub(super) fn run(&mut self, context: &mut Context<'_>) {
        let opened = &self.opened.0;
        self.running.extend(mem::take(&mut *opened.lock().unwrap_or_else(PoisonError::into_inner)));
        while let Poll::Ready(Some(())) = self.running.poll_next_unpin(context) {}
    }
}
