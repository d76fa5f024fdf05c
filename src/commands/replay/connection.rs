//! A connection to the daemon: HTTP/1.1 over TLS, one request at a time.
//!
//! `reqwest` cannot be used: the daemon may expect a PROXY protocol header, which precedes the TLS
//! handshake.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{HeaderMap, Request, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::{
    runtime::{Builder, Runtime},
    time::{sleep, timeout},
};

use crate::{
    http_client::{Phase, RequestError, Response, steps},
    network::HostPort,
};

/// The timeout of a request and its response.
const EXCHANGE: Duration = Duration::from_secs(5 * 60);

type Sender = http1::SendRequest<Full<Bytes>>;

/// A connection that reconnects after the daemon has closed it.
pub(super) struct Connection {
    server: HostPort,
    tls: Arc<ClientConfig>,
    preface: &'static [u8],
    runtime: Runtime,
    sender: Option<Sender>,
}

impl Connection {
    /// Creates a connection without opening it. `preface` is sent before the TLS handshake.
    pub(super) fn new(
        server: HostPort,
        tls: ClientConfig,
        preface: &'static [u8],
    ) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Self { server, tls: Arc::new(tls), preface, runtime, sender: None })
    }

    /// Connects, unless the connection is open.
    pub(super) fn open(&mut self) -> Result<(), RequestError> {
        if self.sender.as_ref().is_none_or(Sender::is_closed) {
            let Self { server, tls, preface, runtime, sender } = self;
            *sender = Some(runtime.block_on(open(server, tls, preface))?);
        }
        Ok(())
    }

    /// Waits, then reconnects if the daemon has closed the connection.
    pub(super) fn pause(&mut self, pause: Duration) -> Result<(), RequestError> {
        self.runtime.block_on(async { sleep(pause).await });
        self.open()
    }

    /// Sends a request and reads the response. Reconnects once if the daemon has closed the
    /// connection, which it may do at any time between two requests.
    pub(super) fn post(
        &mut self,
        path: &str,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<Response, RequestError> {
        let is_fresh = self.sender.is_none();
        match self.try_post(path, headers, body) {
            // After a timeout the connection was open, so the daemon may have the request.
            Err(error) if !is_fresh && !error.is_late() => self.try_post(path, headers, body),
            outcome => outcome,
        }
    }

    fn try_post(
        &mut self,
        path: &str,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<Response, RequestError> {
        let Self { server, tls, preface, runtime, sender } = self;
        // Stored again below, if the exchange succeeds.
        let open_sender = sender.take().filter(|sender| !sender.is_closed());
        let exchange = async {
            let mut sender = match open_sender {
                Some(sender) => sender,
                None => open(server, tls, preface).await?,
            };
            let exchange = exchange(&mut sender, request(server, path, headers, body)?);
            let late = |_| RequestError::late(Phase::Exchange, server, EXCHANGE);
            let response = timeout(EXCHANGE, exchange).await.map_err(late)?;
            Ok((sender, response.map_err(|error| RequestError::of_exchange(server, &error))?))
        };
        let (open, response) = runtime.block_on(exchange)?;
        *sender = Some(open);
        Ok(response)
    }
}

async fn open(
    server: &HostPort,
    tls: &Arc<ClientConfig>,
    preface: &[u8],
) -> Result<Sender, RequestError> {
    let stream = steps::open(server, preface, Arc::clone(tls)).await?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| RequestError::of_exchange(server, &error))?;
    // The request that an error ends returns it.
    tokio::spawn(connection);
    Ok(sender)
}

fn request(
    server: &HostPort,
    path: &str,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Request<Full<Bytes>>, RequestError> {
    let request = Request::post(path).header(HOST, server.to_string());
    let mut request = request
        .body(Full::new(body.clone()))
        .map_err(|error| RequestError::of_exchange(server, &error))?;
    request.headers_mut().extend(headers.clone());
    Ok(request)
}

async fn exchange(
    sender: &mut Sender,
    request: Request<Full<Bytes>>,
) -> Result<Response, hyper::Error> {
    sender.ready().await?;
    let (head, mut body) = sender.send_request(request).await?.into_parts();
    let mut bytes = Vec::new();
    // The daemon's answers are short.
    while let Some(frame) = body.frame().await.transpose()? {
        if let Some(data) = frame.data_ref() {
            bytes.extend_from_slice(data);
        }
    }
    let text = String::from_utf8_lossy(&bytes).trim_end().to_owned();
    Ok(Response { status: head.status, headers: head.headers, text })
}
