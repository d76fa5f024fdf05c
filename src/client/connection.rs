//! One connection to a server, step by step: resolve, connect, handshake, and then requests.

use std::{fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request as HttpRequest, Uri,
    body::Incoming,
    client::conn::{http1, http2},
    header::{HOST, HeaderValue},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{Answer, Request};
use crate::{
    config::HostPort,
    tls::{self, Advice},
};

/// As long as Cloudflare waits for each of the two (cloudflare-docs PR 32514).
const CONNECT: Duration = Duration::from_secs(5);
const HANDSHAKE: Duration = Duration::from_secs(5);

/// A resolver that has no answer by then has none.
const RESOLVE: Duration = Duration::from_secs(5);

/// From the first byte of a request to the last of its answer.
const EXCHANGE: Duration = Duration::from_secs(5 * 60);

/// Of an answer's body this much is of interest.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// What is done for a request, in order.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// The name's addresses.
    Resolve,
    /// TCP.
    Connect,
    /// TLS, with the check of the certificate.
    Handshake,
    /// HTTP.
    Exchange,
}

impl Step {
    /// As in "connecting to HOST: why".
    fn gerund(self) -> &'static str {
        match self {
            Self::Resolve => "resolving",
            Self::Connect => "connecting to",
            Self::Handshake => "TLS handshake with",
            Self::Exchange => "talking to",
        }
    }
}

/// Why there is no answer: the step, the server and the cause.
#[derive(Debug)]
pub struct ClientError {
    /// Which step failed.
    pub step: Step,
    /// What failed, without the step and the server.
    pub cause: String,
    /// What the system, or a deadline, said: [`io::ErrorKind::TimedOut`] is one of ours.
    pub kind: Option<io::ErrorKind>,
    server: String,
}

impl ClientError {
    pub(super) fn new(
        step: Step,
        server: &(impl fmt::Display + ?Sized),
        cause: &dyn fmt::Display,
    ) -> Self {
        Self { step, cause: cause.to_string(), kind: None, server: server.to_string() }
    }

    /// A deadline that passed.
    pub fn late(step: Step, server: &impl fmt::Display, limit: Duration) -> Self {
        let cause = format_args!("no answer within {} s", limit.as_secs());
        Self::new(step, server, &cause).of(Some(io::ErrorKind::TimedOut))
    }

    fn of(self, kind: Option<io::ErrorKind>) -> Self {
        Self { kind, ..self }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.step.gerund(), self.server, self.cause)
    }
}

impl std::error::Error for ClientError {}

/// Which addresses a server has; at least one.
///
/// # Errors
/// There is no such name, or nobody answers for it.
pub async fn resolve(server: &HostPort) -> Result<Vec<SocketAddr>, ClientError> {
    let failed = |cause: &dyn fmt::Display| ClientError::new(Step::Resolve, &server.host, cause);
    let found = timeout(RESOLVE, lookup_host((server.host.as_str(), server.port)))
        .await
        .map_err(|_| ClientError::late(Step::Resolve, &server.host, RESOLVE))?
        .map_err(|error| failed(&error))?;
    let addresses: Vec<_> = found.collect();
    if addresses.is_empty() { Err(failed(&"the name has no address")) } else { Ok(addresses) }
}

/// Connects to one address.
///
/// # Errors
/// It is refused, or does not come about within 5 s.
pub async fn connect(address: SocketAddr) -> Result<TcpStream, ClientError> {
    let failed =
        |error: io::Error| ClientError::new(Step::Connect, &address, &error).of(Some(error.kind()));
    let stream = timeout(CONNECT, TcpStream::connect(address))
        .await
        .map_err(|_| ClientError::late(Step::Connect, &address, CONNECT))?
        .map_err(failed)?;
    // Heads and small bodies must not wait for each other.
    stream.set_nodelay(true).map_err(failed)?;
    Ok(stream)
}

/// Does the TLS handshake, for the server's name.
///
/// # Errors
/// The certificate is not to be trusted, the two find no common ground, or it does not come about
/// within 5 s.
pub async fn handshake(
    server: &HostPort,
    stream: TcpStream,
    tls: Arc<ClientConfig>,
) -> Result<TlsStream<TcpStream>, ClientError> {
    let failed = |cause: &dyn fmt::Display| ClientError::new(Step::Handshake, server, cause);
    let name = ServerName::try_from(server.host.clone()).map_err(|error| failed(&error))?;
    timeout(HANDSHAKE, TlsConnector::from(tls).connect(name, stream))
        .await
        .map_err(|_| ClientError::late(Step::Handshake, server, HANDSHAKE))?
        .map_err(|error| failed(&tls::explain_io(&error, Advice::None)).of(Some(error.kind())))
}

/// A connection that HTTP is spoken on, as ALPN decided.
#[derive(Debug)]
pub struct Connection {
    server: HostPort,
    sender: Sender,
}

#[derive(Debug)]
enum Sender {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

impl Connection {
    /// As [`Self::open_after`], with nothing before the handshake.
    ///
    /// # Errors
    /// The same.
    pub async fn open(server: &HostPort, tls: Arc<ClientConfig>) -> Result<Self, ClientError> {
        Self::open_after(b"", server, tls).await
    }

    /// All steps up to the first request. `preface` is sent before the handshake. Of several addresses the first that can be connected to.
    ///
    /// # Errors
    /// The step that failed; of several addresses what the last one said.
    pub async fn open_after(
        preface: &[u8],
        server: &HostPort,
        tls: Arc<ClientConfig>,
    ) -> Result<Self, ClientError> {
        let mut outcome = Err(ClientError::new(Step::Resolve, server, &"no address"));
        for address in resolve(server).await? {
            outcome = connect(address).await;
            if outcome.is_ok() {
                break;
            }
        }
        let mut stream = outcome?;
        stream.write_all(preface).await.map_err(|error| {
            ClientError::new(Step::Handshake, server, &error).of(Some(error.kind()))
        })?;
        let stream = handshake(server, stream, tls).await?;
        Self::speak(server, stream).await
    }

    /// Begins with HTTP.
    ///
    /// # Errors
    /// The server does not speak what it agreed to.
    pub async fn speak(
        server: &HostPort,
        stream: TlsStream<TcpStream>,
    ) -> Result<Self, ClientError> {
        let failed = |error: hyper::Error| {
            ClientError::new(Step::Exchange, server, &causes(&error)).of(io_kind(&error))
        };
        let speaks_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let io = TokioIo::new(stream);
        // A connection's errors come out of the request that they end.
        let sender = if speaks_h2 {
            let (sender, connection) =
                http2::handshake(TokioExecutor::new(), io).await.map_err(failed)?;
            tokio::spawn(connection);
            Sender::Two(sender)
        } else {
            let (sender, connection) = http1::handshake(io).await.map_err(failed)?;
            tokio::spawn(connection);
            Sender::One(sender)
        };
        Ok(Self { server: server.clone(), sender })
    }

    /// No further request can be sent.
    pub fn is_closed(&self) -> bool {
        match &self.sender {
            Sender::One(sender) => sender.is_closed(),
            Sender::Two(sender) => sender.is_closed(),
        }
    }

    /// Whether it is HTTP/2.
    pub fn is_h2(&self) -> bool {
        matches!(self.sender, Sender::Two(_))
    }

    /// Sends a request and reads the answer.
    ///
    /// # Errors
    /// There is no whole answer within five minutes.
    pub async fn exchange(&mut self, request: &Request) -> Result<Answer, ClientError> {
        let server = self.server.clone();
        let failed = |cause: &dyn fmt::Display| ClientError::new(Step::Exchange, &server, cause);
        let request = self.http(request).map_err(|error| failed(&error))?;
        let exchange = async {
            let response = match &mut self.sender {
                Sender::One(sender) => {
                    sender.ready().await?;
                    sender.send_request(request).await?
                }
                Sender::Two(sender) => {
                    sender.ready().await?;
                    sender.send_request(request).await?
                }
            };
            let (head, mut body) = response.into_parts();
            let text = read_text(&mut body).await?;
            Ok::<_, hyper::Error>(Answer { status: head.status, headers: head.headers, text })
        };
        timeout(EXCHANGE, exchange)
            .await
            .map_err(|_| ClientError::late(Step::Exchange, &server, EXCHANGE))?
            .map_err(|error| failed(&causes(&error)).of(io_kind(&error)))
    }

    /// HTTP/2 has the server's name in the address, HTTP/1.1 in a header.
    fn http(&self, request: &Request) -> Result<HttpRequest<Full<Bytes>>, hyper::http::Error> {
        let authority = match self.server.port {
            443 => self.server.to_string().trim_end_matches(":443").to_owned(),
            _ => self.server.to_string(),
        };
        let uri = Uri::builder().scheme("https").authority(authority.as_str());
        let uri = uri.path_and_query(request.path.as_str()).build()?;
        let uri = if self.is_h2() { uri } else { request.path.parse()? };
        let mut http = HttpRequest::builder()
            .method(request.method.clone())
            .uri(uri)
            .body(Full::new(request.body.clone()))?;
        http.headers_mut().extend(request.headers.clone());
        if !self.is_h2() {
            http.headers_mut().insert(HOST, HeaderValue::from_str(&authority)?);
        }
        Ok(http)
    }
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

/// What the system said, if it was the system that failed.
fn io_kind(error: &(dyn std::error::Error + 'static)) -> Option<io::ErrorKind> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(error.kind());
        }
        next = error.source();
    }
    None
}

/// The text of an error. That of rustls for a connection that was cut off is a link to its manual, and is
/// replaced.
fn in_words(error: &dyn std::error::Error) -> String {
    let text = error.to_string();
    if text.contains("without sending TLS close_notify") {
        return "the other side closed it without an answer (no TLS close_notify)".to_owned();
    }
    text
}

/// An error and what is behind it: hyper's own text stops short of the cause.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = in_words(error);
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {}", in_words(error));
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_is_cut_off_is_no_link_to_a_manual() {
        let cut = "peer closed connection without sending TLS close_notify: https://docs.rs/rustls";
        let cut = io::Error::new(io::ErrorKind::UnexpectedEof, cut);
        assert_eq!(
            causes(&cut),
            "the other side closed it without an answer (no TLS close_notify)"
        );
    }
}
