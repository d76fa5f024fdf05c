//! A client for threads that may wait: the commands.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::runtime::{Builder, Runtime};

use crate::{Client, HostPort, Phase, Request, RequestError, Response, Settings, steps};

/// A [`Client`] with a runtime of its own.
#[derive(Debug)]
pub struct BlockingClient {
    client: Client,
    runtime: Runtime,
    /// Whether the next request may go over a connection that was in use.
    is_used: bool,
}

impl BlockingClient {
    /// Nothing is sent yet.
    ///
    /// # Errors
    /// The system does not give what a runtime needs.
    pub fn new(settings: Settings) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let client = Client::new(settings).map_err(io::Error::other)?;
        Ok(Self { client, runtime, is_used: false })
    }

    /// Connects to a server up to the end of the TLS handshake, and closes the connection.
    ///
    /// # Errors
    /// The first step that failed, and how.
    pub fn probe(&self, server: &HostPort) -> Result<(), RequestError> {
        let tls = Arc::new(self.client.settings.tls.clone());
        self.runtime.block_on(steps::open(server, b"", tls)).map(drop)
    }

    /// Sends a request. A server may close a connection at any time between two requests, so a request
    /// that gets no response on a used connection is retried: it must be safe to send it twice.
    ///
    /// # Errors
    /// There is no whole response in time. Whatever the server answers is no error.
    pub fn send(&mut self, request: &Request) -> Result<Response, RequestError> {
        self.send_within(request, Duration::MAX)
    }

    /// The same, within `limit`.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn send_within(
        &mut self,
        request: &Request,
        limit: Duration,
    ) -> Result<Response, RequestError> {
        let begun = Instant::now();
        let Self { client, runtime, is_used } = self;
        let outcome = match runtime.block_on(client.send_within(request, limit)) {
            // A server that does not answer has not closed anything, and has the request.
            Err(error) if *is_used && error.phase == Phase::Exchange && !error.is_late() => {
                let left = limit.saturating_sub(begun.elapsed());
                runtime.block_on(client.send_within(request, left))
            }
            outcome => outcome,
        };
        *is_used = outcome.is_ok();
        outcome
    }
}
