//! Sends batches as Logpush does: over TLS, one POST per batch, with gzip and a secret in a header.

use std::{
    error::Error,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, StatusCode,
    body::Bytes,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{daemon::SECRET, load::Load};

type Failure = Box<dyn Error + Send + Sync>;

/// The protocol of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

impl Protocol {
    fn alpn(self) -> Vec<u8> {
        match self {
            Self::Http1 => b"http/1.1".to_vec(),
            Self::Http2 => b"h2".to_vec(),
        }
    }
}

/// The address and protocol of a server.
#[derive(Clone)]
pub(crate) struct Client {
    address: SocketAddr,
    protocol: Protocol,
    connector: TlsConnector,
}

impl Client {
    /// Creates a client that trusts only the certificate in `cert_file`.
    pub(crate) fn new(
        address: SocketAddr,
        cert_file: &Path,
        protocol: Protocol,
    ) -> Result<Self, Failure> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(cert_file)?)?;
        let mut tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        tls.alpn_protocols = vec![protocol.alpn()];
        Ok(Self { address, protocol, connector: TlsConnector::from(Arc::new(tls)) })
    }

    /// Sends all batches over `connections` connections, one at a time on each. Returns the time
    /// from the first byte of each request to its 200.
    pub(crate) async fn send(
        self,
        load: Arc<Load>,
        connections: usize,
    ) -> Result<Vec<Duration>, Failure> {
        let next = Arc::new(AtomicUsize::new(0));
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..connections {
            let (client, load, next) = (self.clone(), Arc::clone(&load), Arc::clone(&next));
            tasks.spawn(async move { client.send_some(&load, &next).await });
        }
        let mut all = Vec::new();
        while let Some(latencies) = tasks.join_next().await {
            all.extend(latencies??);
        }
        Ok(all)
    }

    async fn send_some(&self, load: &Load, next: &AtomicUsize) -> Result<Vec<Duration>, Failure> {
        let mut connection = self.connect().await?;
        let mut latencies = Vec::new();
        while let Some(batch) = load.batches.get(next.fetch_add(1, Ordering::Relaxed)) {
            let path = format!("/logpush/{}", super::daemon::dataset(batch.dataset));
            let request = self.request(&path, batch.wire.clone(), SECRET)?;
            let begun = Instant::now();
            connection.send(request).await?.expect(200, "\"committed\"")?;
            latencies.push(begun.elapsed());
        }
        Ok(latencies)
    }

    pub(crate) async fn connect(&self) -> Result<Connection, Failure> {
        let stream = TokioIo::new(self.handshake().await?);
        Ok(match self.protocol {
            Protocol::Http1 => {
                let (sender, connection) = http1::handshake(stream).await?;
                tokio::spawn(connection);
                Connection::Http1(sender)
            }
            Protocol::Http2 => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
                tokio::spawn(connection);
                Connection::Http2(sender)
            }
        })
    }

    async fn handshake(&self) -> Result<TlsStream<TcpStream>, Failure> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from("localhost")?;
        Ok(self.connector.connect(name, stream).await?)
    }

    /// Begins a request in HTTP/1.1 on a new connection, and disconnects in the middle of the body.
    pub(crate) async fn hang_up(&self, path: &str) -> Result<(), Failure> {
        let mut config = ClientConfig::clone(self.connector.config());
        config.alpn_protocols = vec![Protocol::Http1.alpn()];
        let client = Self { connector: TlsConnector::from(Arc::new(config)), ..self.clone() };
        let mut stream = client.handshake().await?;
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nX-Logpush-Secret: {SECRET}\r\n\
             Content-Length: 100000\r\n\r\n{{\"a\":1}}\n",
        );
        stream.write_all(head.as_bytes()).await?;
        stream.flush().await?;
        Ok(())
    }

    /// Creates a request like those of Logpush.
    pub(crate) fn request(
        &self,
        path: &str,
        wire: Bytes,
        secret: &str,
    ) -> Result<Request<Full<Bytes>>, Failure> {
        let authority = format!("localhost:{}", self.address.port());
        let request = Request::post(match self.protocol {
            Protocol::Http1 => path.to_owned(),
            Protocol::Http2 => format!("https://{authority}{path}"),
        });
        let request = match self.protocol {
            Protocol::Http1 => request.header("host", authority),
            Protocol::Http2 => request,
        };
        let request = request
            .header("content-type", "text/plain; charset=utf-8")
            .header("content-encoding", "gzip")
            .header("x-logpush-secret", secret);
        Ok(request.body(Full::new(wire))?)
    }
}

/// An open connection.
pub(crate) enum Connection {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Connection {
    /// Sends a request and reads the whole answer.
    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Answer> {
        let mut response = match self {
            Self::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Self::Http2(sender) => sender.send_request(request).await?,
        };
        let mut text = Vec::new();
        while let Some(frame) = response.frame().await {
            if let Ok(data) = frame?.into_data() {
                text.extend_from_slice(&data);
            }
        }
        let text = String::from_utf8_lossy(&text).into_owned();
        Ok(Answer { status: response.status(), text })
    }
}

/// The answer to a request.
pub(crate) struct Answer {
    status: StatusCode,
    text: String,
}

impl Answer {
    /// Fails unless the status is `status` and the body contains `words`.
    pub(crate) fn expect(&self, status: u16, words: &str) -> Result<(), Failure> {
        if self.status == status && self.text.contains(words) {
            Ok(())
        } else {
            Err(format!("answered {}: {}", self.status, self.text).into())
        }
    }
}
