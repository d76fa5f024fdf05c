//! An HTTP client over TLS that behaves like Cloudflare, and can also misbehave.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, LazyLock},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::{
    HeaderMap, Method, Request, Response,
    body::{Body, Frame, Incoming, SizeHint},
    client::conn::{http1, http2},
    header::{CONTENT_ENCODING, HOST},
    http::request,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConnection, StreamOwned,
    pki_types::{CertificateDer, ServerName},
};
use serde_json::Value;
use tokio::{
    net::TcpStream,
    runtime::{Builder, Runtime},
    sync::{Mutex, mpsc},
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{records::gzip, setup::SECRET, tls, wait::DEADLINE};

/// Drives the connections of all tests, so that the tests themselves may block.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
});

/// The version of HTTP.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Http {
    One,
    Two,
}

impl Http {
    pub(crate) const BOTH: [Self; 2] = [Self::One, Self::Two];

    fn alpn(self) -> &'static [u8] {
        match self {
            Self::One => b"http/1.1",
            Self::Two => b"h2",
        }
    }
}

/// A connection. Clones share it: over HTTP/2 they send at the same time.
#[derive(Clone)]
pub(crate) struct Connection {
    sender: Sender,
    authority: String,
    patience: Duration,
    /// The certificate that the server presented.
    pub(crate) certificate: CertificateDer<'static>,
}

#[derive(Clone)]
enum Sender {
    One(Arc<Mutex<http1::SendRequest<Outgoing>>>),
    Two(http2::SendRequest<Outgoing>),
}

impl Connection {
    pub(crate) fn open(address: SocketAddr, tls: tls::Client, http: Http) -> Result<Self, String> {
        RUNTIME.block_on(async {
            let connecting = Self::connect(address, tls, http);
            timeout(DEADLINE, connecting).await.map_err(|_| "no connection in time".to_owned())?
        })
    }

    async fn connect(address: SocketAddr, tls: tls::Client, http: Http) -> Result<Self, String> {
        let text = |error: &dyn std::error::Error| error.to_string();
        let tcp = TcpStream::connect(address).await.map_err(|error| text(&error))?;
        tcp.set_nodelay(true).map_err(|error| text(&error))?;
        let name = ServerName::from(address.ip());
        let connector = TlsConnector::from(tls.config(&[http.alpn()]));
        let stream = connector.connect(name, tcp).await.map_err(|error| text(&error))?;
        let session = stream.get_ref().1;
        assert_eq!(session.alpn_protocol(), Some(http.alpn()));
        let certificate = session.peer_certificates().unwrap()[0].clone().into_owned();
        let io = TokioIo::new(stream);
        let sender = match http {
            Http::One => {
                let (sender, driver) = http1::handshake(io).await.map_err(|error| text(&error))?;
                tokio::spawn(driver);
                Sender::One(Arc::new(Mutex::new(sender)))
            }
            Http::Two => {
                let (sender, driver) = http2::Builder::new(TokioExecutor::new())
                    .handshake(io)
                    .await
                    .map_err(|error| text(&error))?;
                tokio::spawn(driver);
                Sender::Two(sender)
            }
        };
        Ok(Self { sender, authority: address.to_string(), patience: DEADLINE, certificate })
    }

    /// Waits longer for answers than the daemon waits for bodies.
    pub(crate) fn patient(mut self) -> Self {
        self.patience = 3 * DEADLINE;
        self
    }

    /// Sends a batch and waits for the answer.
    #[track_caller]
    pub(crate) fn send(&self, upload: Upload) -> Answer {
        self.try_send(upload).expect("an answer")
    }

    /// As [`Connection::send`], for when the daemon may be killed meanwhile.
    pub(crate) fn try_send(&self, upload: Upload) -> Result<Answer, String> {
        RUNTIME.block_on(async {
            let exchange = self.exchange(upload);
            timeout(self.patience, exchange).await.map_err(|_| "no answer in time".to_owned())?
        })
    }

    async fn exchange(&self, upload: Upload) -> Result<Answer, String> {
        let Upload { head, path, body, .. } = upload;
        let authority = &self.authority;
        let response = match &self.sender {
            Sender::One(sender) => {
                let request = head.uri(path).header(HOST, authority).body(body).unwrap();
                let mut sender = sender.lock().await;
                sender.ready().await.map_err(|error| format!("closed: {error}"))?;
                sender.send_request(request).await
            }
            Sender::Two(sender) => {
                let uri = format!("https://{authority}{path}");
                let mut sender = sender.clone();
                sender.ready().await.map_err(|error| format!("closed: {error}"))?;
                sender.send_request(head.uri(uri).body(body).unwrap()).await
            }
        };
        Answer::read(response.map_err(|error| format!("{error:?}"))?).await
    }
}

/// A request to be sent.
pub(crate) struct Upload {
    head: request::Builder,
    path: String,
    body: Outgoing,
}

impl Upload {
    /// By default: POST to `/logpush/http_requests` with the right secret, not gzipped.
    pub(crate) fn of(body: impl AsRef<[u8]>) -> Self {
        Self::with(Outgoing::Whole(Some(Bytes::copy_from_slice(body.as_ref()))))
    }

    /// A body that is written while it is sent. `length` is its declared length.
    pub(crate) fn fed(length: Option<u64>) -> (Self, Feed) {
        let (feed, pieces) = mpsc::channel(16);
        (Self::with(Outgoing::Fed { pieces, left: length }), Feed(feed))
    }

    fn with(body: Outgoing) -> Self {
        let head = Request::builder().method(Method::POST);
        Self { head, path: "/logpush/http_requests".to_owned(), body }.secret(SECRET)
    }

    /// Compresses the body with gzip and sets the header.
    pub(crate) fn gzipped(mut self) -> Self {
        if let Outgoing::Whole(Some(body)) = &mut self.body {
            *body = gzip(body).into();
        }
        self.header(CONTENT_ENCODING.as_str(), "gzip")
    }

    pub(crate) fn to(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    pub(crate) fn method(mut self, method: &Method) -> Self {
        self.head = self.head.method(method);
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.head = self.head.header(name, value);
        self
    }

    /// Sends this instead of the right secret.
    pub(crate) fn secret(mut self, secret: &str) -> Self {
        let headers = self.head.headers_mut().unwrap();
        headers.insert("x-logpush-secret", secret.parse().unwrap());
        self
    }

    pub(crate) fn without_secret(mut self) -> Self {
        self.head.headers_mut().unwrap().remove("x-logpush-secret");
        self
    }
}

/// The writing end of a body that is sent as it is written.
pub(crate) struct Feed(mpsc::Sender<Bytes>);

impl Feed {
    /// Whether the connection still accepts data.
    pub(crate) fn push(&self, piece: &[u8]) -> bool {
        let piece = Bytes::copy_from_slice(piece);
        RUNTIME.block_on(self.0.send(piece)).is_ok()
    }
}

/// A body to be sent.
enum Outgoing {
    Whole(Option<Bytes>),
    Fed { pieces: mpsc::Receiver<Bytes>, left: Option<u64> },
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(bytes) => {
                Poll::Ready(bytes.take().filter(|b| !b.is_empty()).map(|b| Ok(Frame::data(b))))
            }
            Self::Fed { pieces, left } => pieces.poll_recv(context).map(|piece| {
                let piece = piece?;
                if let Some(left) = left {
                    *left -= piece.len() as u64;
                }
                Some(Ok(Frame::data(piece)))
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Self::Fed { left, .. } => *left == Some(0),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64))
            }
            Self::Fed { left: Some(left), .. } => SizeHint::with_exact(*left),
            Self::Fed { left: None, .. } => SizeHint::default(),
        }
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    async fn read(response: Response<Incoming>) -> Result<Self, String> {
        let (head, mut body) = response.into_parts();
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| format!("{error:?}"))?;
            bytes.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        }
        let text = String::from_utf8(bytes).expect("answers are UTF-8");
        Ok(Self { status: head.status.as_u16(), headers: head.headers, text })
    }

    /// Asserts status 200, and returns the text.
    #[track_caller]
    pub(crate) fn ok(&self) -> (String, u64, u64) {
        assert_eq!(self.status, 200, "{}", self.text);
        assert_eq!(self.headers["content-type"], "application/json");
        let answer: Value = serde_json::from_str(&self.text).unwrap();
        let status = answer["status"].as_str().unwrap().to_owned();
        (status, answer["records"].as_u64().unwrap(), answer["quarantined"].as_u64().unwrap())
    }

    /// Asserts that the whole batch is committed, and returns the number of its records.
    #[track_caller]
    pub(crate) fn committed(&self) -> u64 {
        let (status, records, quarantined) = self.ok();
        assert_eq!((status.as_str(), quarantined), ("committed", 0), "{}", self.text);
        records
    }
}

/// A TLS stream for tests that write HTTP/1.1 themselves.
pub(crate) type RawStream = StreamOwned<ClientConnection, std::net::TcpStream>;

impl tls::Client {
    /// Connects and completes the handshake.
    pub(crate) fn raw(&self, address: SocketAddr, alpn: &[&[u8]]) -> std::io::Result<RawStream> {
        let tcp = std::net::TcpStream::connect(address)?;
        self.handshake(tcp, ServerName::from(address.ip()), alpn)
    }

    /// Speaks HTTP/1.1 to `localhost` over an open connection.
    pub(crate) fn over(&self, tcp: std::net::TcpStream) -> std::io::Result<RawStream> {
        self.handshake(tcp, ServerName::try_from("localhost").unwrap(), &[b"http/1.1"])
    }

    fn handshake(
        &self,
        mut tcp: std::net::TcpStream,
        name: ServerName<'static>,
        alpn: &[&[u8]],
    ) -> std::io::Result<RawStream> {
        tcp.set_read_timeout(Some(DEADLINE))?;
        tcp.set_nodelay(true)?;
        let mut session = ClientConnection::new(self.config(alpn), name).expect("a session");
        while session.is_handshaking() {
            session.complete_io(&mut tcp)?;
        }
        Ok(StreamOwned::new(session, tcp))
    }
}
