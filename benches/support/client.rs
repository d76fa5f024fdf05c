//! Sends batches as Logpush does: TLS, one POST a batch, gzip, a secret in a header.

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
    Request, Response,
    body::{Bytes, Incoming},
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{daemon::SECRET, load::Load};

type Failure = Box<dyn Error + Send + Sync>;

/// What a connection speaks.
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

/// Where and how to send.
#[derive(Clone)]
pub(crate) struct Client {
    address: SocketAddr,
    protocol: Protocol,
    connector: TlsConnector,
}

impl Client {
    /// Trusts the certificate of `cert_file` and no other.
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

    /// Sends all batches over so many connections, one at a time on each; how long each waited for
    /// its 200, from the first byte of the request on.
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
            let request = self.request(&path, batch.wire.clone())?;
            let begun = Instant::now();
            let response = connection.send(request).await?;
            committed(response).await?;
            latencies.push(begun.elapsed());
        }
        Ok(latencies)
    }

    async fn connect(&self) -> Result<Connection, Failure> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from("localhost")?;
        let stream = TokioIo::new(self.connector.connect(name, stream).await?);
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

    fn request(&self, path: &str, wire: Bytes) -> Result<Request<Full<Bytes>>, Failure> {
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
            .header("x-logpush-secret", SECRET);
        Ok(request.body(Full::new(wire))?)
    }
}

enum Connection {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Connection {
    async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        match self {
            Self::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
            Self::Http2(sender) => sender.send_request(request).await,
        }
    }
}

/// Reads the answer to its end: it must be a 200 that says so.
async fn committed(mut response: Response<Incoming>) -> Result<(), Failure> {
    let mut text = Vec::new();
    while let Some(frame) = response.frame().await {
        if let Ok(data) = frame?.into_data() {
            text.extend_from_slice(&data);
        }
    }
    let text = String::from_utf8_lossy(&text);
    if response.status() == 200 && text.contains("\"committed\"") {
        Ok(())
    } else {
        Err(format!("answered {}: {text}", response.status()).into())
    }
}
