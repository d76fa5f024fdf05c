//! A small HTTPS client for the commands: HTTP/1.1, one connection, one request at a time, and a
//! deadline on everything.

use std::{fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    HeaderMap, Method, Request, StatusCode,
    body::Incoming,
    client::conn::http1::{self, SendRequest},
    header::{HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    net::TcpStream,
    runtime::{Builder, Runtime},
    time::{sleep, timeout},
};
use tokio_rustls::TlsConnector;

/// As long as Cloudflare waits for each of the two.
const CONNECT: Duration = Duration::from_secs(5);
const HANDSHAKE: Duration = Duration::from_secs(5);

/// From the first byte of a request to the last of its answer.
const EXCHANGE: Duration = Duration::from_secs(5 * 60);

/// Of an answer's body this much is of interest.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// A client of one server.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    tls: Arc<ClientConfig>,
    runtime: Runtime,
    connection: Option<SendRequest<Full<Bytes>>>,
}

/// What the server said.
#[derive(Clone, Debug)]
pub struct Answer {
    /// How it went.
    pub status: StatusCode,
    /// The body, or its beginning.
    pub text: String,
}

/// Why there is no answer: the step, the address and the cause.
#[derive(Debug)]
pub struct ClientError(String);

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ClientError {}

impl Client {
    /// A client of the server at `address`, whose IP address is also the name that its certificate
    /// is asked for. Nothing is sent yet.
    ///
    /// # Errors
    /// The system does not give what a runtime needs.
    pub fn new(address: SocketAddr, tls: ClientConfig) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Self { address, tls: Arc::new(tls), runtime, connection: None })
    }

    /// Connects, if there is no connection.
    pub fn connect(&mut self) -> Result<(), ClientError> {
        if self.connection.as_ref().is_none_or(SendRequest::is_closed) {
            let connecting = connect(self.address, Arc::clone(&self.tls));
            self.connection = Some(self.runtime.block_on(connecting)?);
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

    /// Posts `body` to `path`. A connection that the server has closed meanwhile, as it may at any
    /// time between two requests, is replaced once: the request must bear being sent twice.
    pub fn post(
        &mut self,
        path: &str,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<Answer, ClientError> {
        let is_fresh = self.connection.is_none();
        match self.try_post(path, headers, body) {
            Err(_) if !is_fresh => {
                self.connection = None;
                self.try_post(path, headers, body)
            }
            outcome => outcome,
        }
    }

    fn try_post(
        &mut self,
        path: &str,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<Answer, ClientError> {
        self.connect()?;
        let address = self.address;
        let failed = |what: &dyn fmt::Display| ClientError(format!("posting to {address}: {what}"));
        let host = HeaderValue::from_str(&address.to_string()).map_err(|error| failed(&error))?;
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(HOST, host)
            .body(Full::new(body.clone()))
            .map_err(|error| failed(&error))?;
        request.headers_mut().extend(headers.clone());
        let Some(connection) = &mut self.connection else { return Err(failed(&"not connected")) };
        let exchange = self.runtime.block_on(async {
            timeout(EXCHANGE, async {
                connection.ready().await?;
                let (head, mut body) = connection.send_request(request).await?.into_parts();
                let text = read_text(&mut body).await?;
                Ok::<_, hyper::Error>(Answer { status: head.status, text })
            })
            .await
        });
        match exchange {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(failed(&causes(&error))),
            Err(_) => Err(failed(&format_args!("no answer within {} seconds", EXCHANGE.as_secs()))),
        }
    }
}

async fn connect(
    address: SocketAddr,
    tls: Arc<ClientConfig>,
) -> Result<SendRequest<Full<Bytes>>, ClientError> {
    let failed =
        |step: &str, what: &dyn fmt::Display| ClientError(format!("{step} {address}: {what}"));
    let late = |step: &str, limit: Duration| {
        ClientError(format!("{step} {address}: it did not come about in {} s", limit.as_secs()))
    };
    let stream = timeout(CONNECT, TcpStream::connect(address))
        .await
        .map_err(|_| late("connecting to", CONNECT))?
        .map_err(|error| failed("connecting to", &error))?;
    // Heads and small bodies must not wait for each other.
    stream.set_nodelay(true).map_err(|error| failed("connecting to", &error))?;
    let name = ServerName::from(address.ip());
    let stream = timeout(HANDSHAKE, TlsConnector::from(tls).connect(name, stream))
        .await
        .map_err(|_| late("TLS handshake with", HANDSHAKE))?
        .map_err(|error| failed("TLS handshake with", &error))?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| failed("talking to", &causes(&error)))?;
    // Its errors come out of the request that they end.
    tokio::spawn(connection);
    Ok(sender)
}

async fn read_text(body: &mut Incoming) -> Result<String, hyper::Error> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await.transpose()? {
        if let Some(data) = frame.data_ref().filter(|_| bytes.len() < MAX_ANSWER_BYTES) {
            bytes.extend_from_slice(data);
        }
    }
    bytes.truncate(MAX_ANSWER_BYTES);
    Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}

/// An error and what is behind it: hyper's own text stops short of the cause.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
