//! A blocking client, for the commands.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::runtime::{Builder, Runtime};

use crate::{Client, HostPort, Phase, Request, RequestError, Response, Settings, steps};

/// A [`Client`] with its own runtime.
#[derive(Debug)]
pub struct BlockingClient {
    client: Client,
    runtime: Runtime,
    /// Whether the next request may reuse a connection.
    may_reuse: bool,
}

impl BlockingClient {
    /// Builds a client. It connects with the first request.
    ///
    /// # Errors
    /// The runtime or the client cannot be created.
    pub fn new(settings: Settings) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let client = Client::new(settings).map_err(io::Error::other)?;
        Ok(Self { client, runtime, may_reuse: false })
    }

    /// Connects to a server, completes the TLS handshake, and closes the connection.
    ///
    /// # Errors
    /// The step that failed, and the cause.
    pub fn probe(&self, server: &HostPort) -> Result<(), RequestError> {
        let tls = Arc::new(self.client.settings.tls.clone());
        self.runtime.block_on(steps::open(server, b"", tls)).map(drop)
    }

    /// Sends a request. A server may close a connection at any time between two requests, so a request
    /// that gets no response on a reused connection is retried: it must be safe to send twice.
    ///
    /// # Errors
    /// The response is incomplete or late. A response with an error status is not an error.
    pub fn send(&mut self, request: &Request) -> Result<Response, RequestError> {
        self.send_within(request, Duration::MAX)
    }

    /// Sends a request as [`Self::send`] does, within `limit`.
    ///
    /// # Errors
    /// See [`Self::send`].
    pub fn send_within(
        &mut self,
        request: &Request,
        limit: Duration,
    ) -> Result<Response, RequestError> {
        let start = Instant::now();
        let Self { client, runtime, may_reuse } = self;
        let result = match runtime.block_on(client.send_within(request, limit)) {
            // A timeout is not retried: the server has the request, and the connection is open.
            Err(error) if *may_reuse && error.phase == Phase::Exchange && !error.is_late() => {
                let left = limit.saturating_sub(start.elapsed());
                runtime.block_on(client.send_within(request, left))
            }
            result => result,
        };
        *may_reuse = result.is_ok();
        result
    }
}
