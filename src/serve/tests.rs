//! Real sockets, real TLS, deadlines made short.

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
const PATIENT: Deadlines = Deadlines {
    handshake: NEVER,
    head: NEVER,
    first_request: NEVER,
    unverified: None,
    idle: NEVER,
    answer: NEVER,
    close: NEVER,
};
const SHORT: Duration = Duration::from_millis(30);

#[tokio::test]
async fn alpn_chooses_the_protocol() {
    let mut server =
        Server::start(
            PATIENT,
            |request, _| async move { answer(format!("{:?}", request.version())) },
        )
        .await;

    let (mut h2, _h2_driver) = http2(server.connect(&[b"h2", b"http/1.1"]).await).await;
    let (mut h1, _h1_driver) = http1(server.connect(&[b"http/1.1"]).await).await;
    let (mut old, _old_driver) = http1(server.connect(&[b"http/1.0"]).await).await;
    let (mut none, _none_driver) = http1(server.connect(&[]).await).await;
    let got = [
        text(h2.send_request(get()).await.unwrap()).await,
        text(h1.send_request(get()).await.unwrap()).await,
        text(old.send_request(get()).await.unwrap()).await,
        text(none.send_request(get()).await.unwrap()).await,
    ];
    assert_eq!(got, ["HTTP/2.0", "HTTP/1.1", "HTTP/1.1", "HTTP/1.1"]);

    drop((h2, h1, old, none));
    for _ in 0..4 {
        assert_eq!(server.end().await, ConnectionEnd::Closed);
    }
}

#[tokio::test]
async fn a_silent_client_stops_nobody() {
    let server = Server::start(PATIENT, |_, _| async { answer("served") }).await;
    let _silent = TcpStream::connect(server.address).await.unwrap();
    let (mut client, _driver) = http1(server.connect(&[]).await).await;
    assert_eq!(text(in_time(client.send_request(get())).await.unwrap()).await, "served");
}

#[tokio::test]
async fn a_silent_client_is_cut_at_the_deadline() {
    let deadlines = Deadlines { handshake: SHORT, ..PATIENT };
    let mut server = Server::start(deadlines, |_, _| async { answer("") }).await;
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    assert_eq!(in_time(silent.read(&mut [0; 8])).await.unwrap(), 0);
    assert_eq!(server.end().await, ConnectionEnd::HandshakeTimeout);
}

#[tokio::test]
async fn a_failed_handshake_is_reported() {
    let mut server = Server::start(PATIENT, |_, _| async { answer("") }).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await.unwrap();
    let mut answer = Vec::new();
    in_time(stream.read_to_end(&mut answer)).await.ok();
    assert!(!answer.starts_with(b"HTTP"), "{}", answer.escape_ascii());
    assert_eq!(server.end().await, ConnectionEnd::HandshakeFailed);
}

#[tokio::test]
async fn plain_http_is_told_to_use_https() {
    let mut server = Server::start(PATIENT, |_, _| async { answer("") }).await;
    for request in ["GET / HTTP/1.1\r\nhost: a\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "P"] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        in_time(stream.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{request:?}: {answer}");
        assert!(answer.contains("this port speaks HTTPS: use https://"), "{request:?}: {answer}");
        drop(stream);
        assert_eq!(server.end().await, ConnectionEnd::HandshakeFailed);
    }
}

#[tokio::test]
async fn a_demanded_client_certificate_is_insisted_on() {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "clients");
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["client".to_owned()]).unwrap();
    let signed = params.signed_by(&key, &authority).unwrap().der().clone();
    let stranger = params.self_signed(&key).unwrap().der().clone();

    let (config, certificate) = server_config(Some(&authority.pem()));
    let service = |_, _| async { answer("welcome") };
    let stop = CancellationToken::new();
    let mut server = Server::start_tls(config, certificate, PATIENT, service, stop).await;
    for client in [None, Some((stranger, &key))] {
        // In TLS 1.3 the client is done before the server has looked.
        let mut stream = server.connect_as(&[], client).await;
        assert!(in_time(stream.read(&mut [0; 8])).await.is_err());
        assert_eq!(server.end().await, ConnectionEnd::HandshakeFailed);
    }
    let (mut client, _driver) = http1(server.connect_as(&[], Some((signed, &key))).await).await;
    assert_eq!(text(client.send_request(get()).await.unwrap()).await, "welcome");
}

#[tokio::test]
async fn a_connection_without_a_request_is_closed() {
    let deadlines = Deadlines { first_request: SHORT, ..PATIENT };
    let mut server = Server::start(deadlines, |_, _| async { answer("") }).await;
    let mut h1 = server.connect(&[]).await;
    assert_eq!(in_time(h1.read(&mut [0; 8])).await.unwrap(), 0);
    assert_eq!(server.end().await, ConnectionEnd::Idle);

    let (_client, h2_driver) = http2(server.connect(&[b"h2"]).await).await;
    in_time(h2_driver).await.unwrap().unwrap();
    assert_eq!(server.end().await, ConnectionEnd::Idle);
}

#[tokio::test]
async fn a_connection_is_idle_only_between_requests() {
    let deadlines = Deadlines { idle: SHORT, first_request: SHORT, ..PATIENT };
    let mut server = Server::start(deadlines, |_, _| async {
        // A request that takes longer than idling may.
        sleep(SHORT * 5).await;
        answer("slow")
    })
    .await;
    let (mut h1, h1_driver) = http1(server.connect(&[]).await).await;
    let response = h1.send_request(get()).await.unwrap();
    assert!(!response.headers().contains_key(header::CONNECTION), "closed under a request");
    assert_eq!(text(response).await, "slow");
    in_time(h1_driver).await.unwrap().unwrap();
    assert_eq!(server.end().await, ConnectionEnd::Idle);

    let (mut h2, h2_driver) = http2(server.connect(&[b"h2"]).await).await;
    assert_eq!(text(h2.send_request(get()).await.unwrap()).await, "slow");
    in_time(h2_driver).await.unwrap().unwrap();
    assert_eq!(server.end().await, ConnectionEnd::Idle);
}

#[tokio::test]
async fn half_a_head_is_cut() {
    use tokio::io::AsyncWriteExt as _;

    let deadlines = Deadlines { head: SHORT, ..PATIENT };
    let mut server = Server::start(deadlines, |_, _| async { answer("") }).await;
    let mut stream = server.connect(&[]).await;
    stream.write_all(b"POST / HTTP/1.1\r\nhost: ").await.unwrap();
    assert_eq!(server.end().await, ConnectionEnd::Idle);
}

#[tokio::test]
async fn a_graceful_stop_lets_the_running_request_finish() {
    let stop = CancellationToken::new();
    let (started, mut starts) = mpsc::channel(2);
    let service = {
        let stop = stop.clone();
        move |_, _| {
            let (stop, started) = (stop.clone(), started.clone());
            async move {
                started.send(()).await.unwrap();
                stop.cancelled().await;
                answer("finished")
            }
        }
    };
    let mut server = Server::start_with(PATIENT, service, stop.clone()).await;
    let (mut h1, h1_driver) = http1(server.connect(&[]).await).await;
    let (mut h2, h2_driver) = http2(server.connect(&[b"h2"]).await).await;
    let h1_response = tokio::spawn(h1.send_request(get()));
    let h2_response = tokio::spawn(h2.send_request(get()));
    starts.recv().await.unwrap();
    starts.recv().await.unwrap();

    stop.cancel();
    let response = h1_response.await.unwrap().unwrap();
    assert_eq!(response.headers().get(header::CONNECTION).unwrap(), "close");
    assert_eq!(text(response).await, "finished");
    let response = h2_response.await.unwrap().unwrap();
    assert_eq!(response.version(), Version::HTTP_2);
    assert_eq!(text(response).await, "finished");

    in_time(h1_driver).await.unwrap().unwrap();
    in_time(h2_driver).await.unwrap().unwrap();
    for _ in 0..2 {
        assert_eq!(server.end().await, ConnectionEnd::Stopped);
    }
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_handshake_or_a_deaf_peer() {
    let stop = CancellationToken::new();
    let deadlines = Deadlines { close: SHORT, ..PATIENT };
    let service = |_, _| async { answer("") };
    let mut server = Server::start_with(deadlines, service, stop.clone()).await;
    let _silent = TcpStream::connect(server.address).await.unwrap();
    // Agreed on HTTP/2, and then never a word of it.
    let _deaf = server.connect(&[b"h2"]).await;
    stop.cancel();
    for _ in 0..2 {
        assert_eq!(server.end().await, ConnectionEnd::Stopped);
    }
}

#[test]
fn mapped_addresses_become_ipv4() {
    let table = [
        ("[::ffff:192.0.2.1]:9", "192.0.2.1:9"),
        ("192.0.2.1:9", "192.0.2.1:9"),
        ("[2001:db8::1]:9", "[2001:db8::1]:9"),
    ];
    for (peer, expected) in table {
        assert_eq!(arrival::canonical(peer.parse().unwrap()), expected.parse().unwrap());
    }
}

/// Always the same.
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

/// Accepts, serves each connection in a task, reports how each ended.
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

    /// How the next connection to end has ended.
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

/// What does not happen must fail the test, not hang it.
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
