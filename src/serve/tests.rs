//! Tests with real sockets, real TLS and short deadlines.

mod deadlines;
mod handshake;
mod stop;
mod uploads;

use std::net::Ipv4Addr;

use http_body_util::{BodyExt as _, Empty, Full};
use hyper::{
    Version,
    client::conn::{http1, http2},
    header,
};
use hyper_util::rt::TokioExecutor;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName},
};
use tempfile::TempDir;
use tokio::{io::AsyncReadExt as _, net::TcpListener, sync::mpsc, task::JoinHandle};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::*;
use crate::{
    config::{Tls as TlsConfig, TlsVersion},
    tls,
};

/// Longer than any test takes.
const NEVER: Duration = Duration::from_secs(3600);
const NO_DEADLINES: Deadlines = Deadlines {
    handshake: NEVER,
    head: NEVER,
    first_request: NEVER,
    unverified: None,
    idle: NEVER,
    answer: NEVER,
    close: NEVER,
};
const SHORT: Duration = Duration::from_millis(30);

/// A configuration that never changes.
struct Fixed(Arc<ServerConfig>, watch::Sender<()>);

impl Tls for Fixed {
    fn choose(&self, _hello: &ClientHello<'_>) -> Option<Arc<ServerConfig>> {
        Some(Arc::clone(&self.0))
    }

    fn replaced(&self) -> watch::Receiver<()> {
        self.1.subscribe()
    }

    fn accepts_client(&self, _chain: &[CertificateDer<'_>]) -> bool {
        true
    }
}

/// Accepts connections, serves each in a task, and reports how each ended.
struct Server {
    address: SocketAddr,
    certificate: CertificateDer<'static>,
    ends: mpsc::Receiver<ConnectionEnd>,
}

impl Server {
    async fn start<S, F>(deadlines: Deadlines, service: S) -> Self
    where
        S: Fn(Request<Incoming>, Client) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        Self::start_with(deadlines, service, CancellationToken::new()).await
    }

    async fn start_with<S, F>(deadlines: Deadlines, service: S, stop: CancellationToken) -> Self
    where
        S: Fn(Request<Incoming>, Client) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        let (config, certificate) = server_config(None);
        Self::start_tls(config, certificate, deadlines, service, stop).await
    }

    async fn start_tls<S, F>(
        config: Arc<ServerConfig>,
        certificate: CertificateDer<'static>,
        deadlines: Deadlines,
        service: S,
        stop: CancellationToken,
    ) -> Self
    where
        S: Fn(Request<Incoming>, Client) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (ended, ends) = mpsc::channel(16);
        tokio::spawn(async move {
            loop {
                let (stream, peer) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let (config, service) = (Arc::clone(&config), service.clone());
                let (stop, ended) = (stop.clone(), ended.clone());
                tokio::spawn(async move {
                    let tls = &Fixed(config, watch::Sender::new(()));
                    let activity = Activity::new(peer, None);
                    let end = encrypted(
                        (stream, Instant::now() + deadlines.handshake),
                        activity,
                        tls,
                        service,
                        stop,
                        deadlines,
                    )
                    .await;
                    ended.send(end).await.unwrap();
                });
            }
        });
        Self { address, certificate, ends }
    }

    /// Waits until a connection ends, and returns how.
    async fn end(&mut self) -> ConnectionEnd {
        in_time(self.ends.recv()).await.unwrap()
    }

    async fn connect(&self, protocols: &[&[u8]]) -> TlsStream<TcpStream> {
        self.connect_as(protocols, None).await
    }

    async fn connect_as(
        &self,
        protocols: &[&[u8]],
        client: Option<(CertificateDer<'static>, &KeyPair)>,
    ) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match client {
            Some((certificate, key)) => {
                let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
                builder.with_client_auth_cert(vec![certificate], key).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
    }
}

fn server_config(client_ca: Option<&str>) -> (Arc<ServerConfig>, CertificateDer<'static>) {
    let dir = TempDir::new().unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let tls = TlsConfig {
        cert_file: dir.path().join("cert.pem"),
        key_file: dir.path().join("key.pem"),
        self_signed: false,
        acme: None,
        client_ca_file: client_ca.map(|_| dir.path().join("ca.pem")),
        min_version: TlsVersion::V1_2,
    };
    if let (Some(path), Some(pem)) = (&tls.client_ca_file, client_ca) {
        std::fs::write(path, pem).unwrap();
    }
    std::fs::write(&tls.cert_file, certificate.pem()).unwrap();
    std::fs::write(&tls.key_file, key.serialize_pem()).unwrap();
    (tls::load(&tls).unwrap().config, certificate.der().clone())
}

/// Waits with a timeout, so that a missing event fails the test.
async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(10), future).await.expect("took too long")
}

type Driver = JoinHandle<hyper::Result<()>>;

async fn http1(stream: TlsStream<TcpStream>) -> (http1::SendRequest<Empty<Bytes>>, Driver) {
    let (client, driver) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    (client, tokio::spawn(driver))
}

async fn http2(stream: TlsStream<TcpStream>) -> (http2::SendRequest<Empty<Bytes>>, Driver) {
    let io = TokioIo::new(stream);
    let (client, driver) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    (client, tokio::spawn(driver))
}

fn get() -> Request<Empty<Bytes>> {
    Request::get("https://localhost/").header(header::HOST, "localhost").body(Empty::new()).unwrap()
}

fn answer(text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    Response::new(Full::new(text.into()))
}

async fn text(response: Response<Incoming>) -> String {
    let mut body = response.into_body();
    let mut text = Vec::new();
    while let Some(frame) = body.frame().await {
        text.extend_from_slice(&frame.unwrap().into_data().unwrap());
    }
    String::from_utf8(text).unwrap()
}
