//! An HTTPS client for the commands: one connection, one request at a time, and a deadline on
//! everything. HTTP/2 where the server offers it and the TLS configuration asks for it.
//!
//! The steps of [`connection`] stand alone, for who wants to see which of them fails.

pub mod connection;

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use hyper::{HeaderMap, Method, StatusCode};
use rustls::ClientConfig;
use tokio::{
    runtime::{Builder, Runtime},
    time::{sleep, timeout},
};

use self::connection::Connection;
pub use self::connection::{ClientError, Step};
use crate::config::HostPort;

/// A client of one server.
#[derive(Debug)]
pub struct Client {
    server: HostPort,
    tls: Arc<ClientConfig>,
    preface: &'static [u8],
    runtime: Runtime,
    connection: Option<Connection>,
}

/// What is asked of a server.
#[derive(Clone, Debug)]
pub struct Request {
    /// How.
    pub method: Method,
    /// The path, and the query if there is one.
    pub path: String,
    /// All but `Host` and `Content-Length`.
    pub headers: HeaderMap,
    /// May be empty.
    pub body: Bytes,
}

/// What the server said.
#[derive(Clone, Debug)]
pub struct Answer {
    /// How it went.
    pub status: StatusCode,
    /// What stands above the body.
    pub headers: HeaderMap,
    /// The body, or its beginning.
    pub text: String,
}

impl Client {
    /// A client of `server`, whose certificate is asked for that name. Nothing is sent yet.
    ///
    /// # Errors
    /// The system does not give what a runtime needs.
    pub fn new(server: HostPort, tls: ClientConfig) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Self { server, tls: Arc::new(tls), preface: b"", runtime, connection: None })
    }

    /// Sends this at the beginning of each connection, before the TLS handshake.
    #[must_use]
    pub fn with_preface(self, preface: &'static [u8]) -> Self {
        Self { preface, ..self }
    }

    /// Connects, if there is no connection.
    ///
    /// # Errors
    /// The first step that failed, and how.
    pub fn connect(&mut self) -> Result<(), ClientError> {
        if self.connection.as_ref().is_none_or(Connection::is_closed) {
            let tls = Arc::clone(&self.tls);
            let opening = Connection::open_after(self.preface, &self.server, tls);
            self.connection = Some(self.runtime.block_on(opening)?);
        }
        Ok(())
    }

    /// Lets some time pass, and connects again if the server has closed the connection meanwhile.
    ///
    /// # Errors
    /// It is no longer there.
    pub fn rest(&mut self, pause: Duration) -> Result<(), ClientError> {
        self.runtime.block_on(async { sleep(pause).await });
        self.connect()
    }

    /// Sends a request. A connection that the server has closed meanwhile, as it may at any time
    /// between two requests, is replaced once: the request must bear being sent twice.
    ///
    /// # Errors
    /// The first step that failed, and how. Whatever the server answers is no error.
    pub fn send(&mut self, request: &Request) -> Result<Answer, ClientError> {
        self.send_within(request, Duration::MAX)
    }

    /// The same, from the first step to the end of the answer, within a time.
    ///
    /// # Errors
    /// As [`Self::send`], or the time has passed.
    pub fn send_within(
        &mut self,
        request: &Request,
        limit: Duration,
    ) -> Result<Answer, ClientError> {
        let begun = Instant::now();
        let is_fresh = self.connection.is_none();
        match self.try_send(request, limit) {
            // A server that does not answer has not closed anything, and has the request.
            Err(error) if !is_fresh && error.kind != Some(io::ErrorKind::TimedOut) => {
                self.try_send(request, limit.saturating_sub(begun.elapsed()))
            }
            outcome => outcome,
        }
    }

    fn try_send(&mut self, request: &Request, limit: Duration) -> Result<Answer, ClientError> {
        let Self { server, tls, preface, runtime, connection } = self;
        // Put back only if it bears another request.
        let open = connection.take().filter(|open| !open.is_closed());
        let exchange = async {
            let mut open = match open {
                Some(open) => open,
                None => Connection::open_after(preface, server, Arc::clone(tls)).await?,
            };
            let answer = open.exchange(request).await?;
            Ok((open, answer))
        };
        let outcome = runtime.block_on(async { timeout(limit, exchange).await });
        let (open, answer) =
            outcome.unwrap_or_else(|_| Err(ClientError::late(Step::Exchange, server, limit)))?;
        *connection = Some(open);
        Ok(answer)
    }
}
