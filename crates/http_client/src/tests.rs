//! Tests of the errors of a request, against misbehaving servers on loopback.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
};

use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tempfile::TempDir;

use super::*;

type Session = StreamOwned<ServerConnection, TcpStream>;

/// Starts a TLS server that handles each connection with `serve`. The directory contains its
/// certificate, `ca.pem`.
fn tls_server(
    alpn: &[&[u8]],
    serve: impl Fn(Session) + Send + Sync + 'static,
) -> (SocketAddr, TempDir) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("ca.pem"), certificate.pem()).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let config = Arc::new(config);
    let address = tcp_server(move |tcp| {
        let session = ServerConnection::new(Arc::clone(&config)).unwrap();
        serve(StreamOwned::new(session, tcp));
    });
    (address, dir)
}

fn tcp_server(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || listener.incoming().flatten().for_each(serve));
    address
}

fn request(address: SocketAddr, body: Vec<u8>) -> Request {
    Request {
        method: Method::POST,
        server: HostPort { host: "localhost".to_owned(), port: address.port() },
        path: "/x?a=b".to_owned(),
        headers: HeaderMap::new(),
        body: body.into(),
    }
}

fn client(dir: &TempDir) -> BlockingClient {
    let trust = tls::public(Some(&dir.path().join("ca.pem"))).unwrap();
    BlockingClient::new(Settings::new(trust)).unwrap()
}

/// The settings of a client that does not trust the servers of these tests.
fn distrusting() -> Settings {
    let mut settings = Settings::new(tls::public(None).unwrap());
    settings.connect_timeout = Duration::from_secs(1);
    settings
}

fn failure(settings: Settings, request: &Request) -> RequestError {
    BlockingClient::new(settings).unwrap().send(request).unwrap_err()
}

fn head(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).unwrap_or(0) == 0 {
            break;
        }
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

fn answer(stream: &mut impl Write, head: &str) {
    stream.write_all(format!("HTTP/1.1 {head}\r\n\r\n").as_bytes()).unwrap();
    stream.flush().unwrap();
}

#[test]
fn a_closed_port() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = failure(distrusting(), &request(address, Vec::new()));
    assert_eq!(
        (error.phase, error.kind),
        (Phase::Connect, Some(std::io::ErrorKind::ConnectionRefused))
    );
    let want = format!("connecting to localhost:{}: Connection refused", address.port());
    assert!(error.to_string().starts_with(&want), "{error}");
}

#[test]
fn a_name_that_does_not_exist() {
    let mut request = request(([127, 0, 0, 1], 1).into(), Vec::new());
    request.server.host = "no-such-name.invalid".to_owned();
    let error = failure(distrusting(), &request);
    assert_eq!(error.phase, Phase::Resolve, "{error}");
    assert!(error.to_string().starts_with("resolving no-such-name.invalid: "), "{error}");
    let by_step = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(steps::resolve(&request.server));
    assert_eq!(by_step.unwrap_err().to_string(), error.to_string());
}

#[test]
fn an_untrusted_certificate_and_a_port_without_tls() {
    let (address, _dir) = tls_server(&[], |mut stream| drop(head(&mut stream)));
    let mut settings = distrusting();
    settings.advice = Advice::OnServer;
    let error = failure(settings, &request(address, Vec::new()));
    assert_eq!(error.phase, Phase::Handshake, "{error}");
    let want = format!(
        "TLS handshake with localhost:{}: no trusted authority vouches for the certificate \
         (invalid peer certificate: UnknownIssuer): name the authority",
        address.port()
    );
    assert!(error.to_string().starts_with(&want), "{error}");

    let plain = tcp_server(|mut tcp| {
        drop(tcp.read(&mut [0; 1024]));
        answer(&mut tcp, "400 Bad Request\r\nConnection: close");
    });
    let error = failure(distrusting(), &request(plain, Vec::new()));
    assert_eq!(
        (error.phase, error.kind),
        (Phase::Handshake, Some(std::io::ErrorKind::InvalidData))
    );
    assert!(error.to_string().contains("does not speak TLS on this port"), "{error}");
    let closing = tcp_server(drop);
    let error = failure(distrusting(), &request(closing, Vec::new()));
    assert_eq!(error.phase, Phase::Handshake, "{error}");
}

#[test]
fn deadlines_are_named() {
    let (address, dir) = tls_server(&[], |mut stream| {
        head(&mut stream);
        drop(stream.read(&mut [0; 1]));
    });
    let limit = Duration::from_secs(1);
    let error = client(&dir).send_within(&request(address, Vec::new()), limit).unwrap_err();
    assert!(error.is_late() && error.phase == Phase::Exchange, "{error:?}");
    let want = format!("talking to localhost:{}: no answer within 1 s", address.port());
    assert_eq!(error.to_string(), want);

    // A listener with a full backlog: the system does not answer another connection.
    let full = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&full, 0).unwrap();
    let address = full.local_addr().unwrap();
    let timeout = Duration::from_millis(200);
    let connect = || TcpStream::connect_timeout(&address, timeout);
    let _waiting: Vec<_> = std::iter::from_fn(|| connect().ok()).collect();
    let error = failure(distrusting(), &request(address, Vec::new()));
    assert!(error.is_late() && error.phase == Phase::Connect, "{error:?}");
    let want = format!("connecting to localhost:{}: no answer within 1 s", address.port());
    assert_eq!(error.to_string(), want);

    // A server that accepts the connection and sends nothing.
    let mute = tcp_server(|mut tcp| {
        drop(tcp.read_to_end(&mut Vec::new()));
    });
    let error = failure(distrusting(), &request(mute, Vec::new()));
    assert!(error.is_late() && error.phase == Phase::Connect, "{error:?}");
    let want = format!("connecting to localhost:{}: no answer within 1 s", mute.port());
    assert_eq!(error.to_string(), want);
}

#[test]
fn a_connection_that_ends_without_an_answer() {
    let (address, dir) = tls_server(&[], |mut stream| {
        head(&mut stream);
    });
    let error = client(&dir).send(&request(address, Vec::new())).unwrap_err();
    assert_eq!(error.phase, Phase::Exchange, "{error:?}");
    let want = format!("talking to localhost:{}: ", address.port());
    let text = error.to_string();
    assert!(text.starts_with(&want) && !text.contains("http"), "{text}");
    assert!(text.contains("no TLS close_notify") || text.contains("closed"), "{text}");
}

/// The client receives the answer of a server that refuses a request by its head and closes the
/// connection.
#[test]
fn an_early_answer_is_received_while_the_body_is_sent() {
    let (received, is_received) = std::sync::mpsc::sync_channel(8);
    let is_received = std::sync::Mutex::new(is_received);
    let (address, dir) = tls_server(&[], move |mut stream| {
        head(&mut stream);
        answer(
            &mut stream,
            "413 Payload Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig",
        );
        // The body is not read, however long the client tries to write it.
        is_received.lock().unwrap().recv().unwrap();
    });
    let body = request(address, vec![0; 64 << 20]);
    let response = client(&dir).send_within(&body, Duration::from_secs(10)).unwrap();
    received.send(()).unwrap();
    assert_eq!((response.status.as_u16(), response.text.as_str()), (413, "big"));
}

/// The server receives two requests on one connection and closes it. The third request uses a new
/// connection.
#[test]
fn a_connection_is_reused_and_replaced() {
    let (seen, heads) = std::sync::mpsc::sync_channel(8);
    let seen = std::sync::Mutex::new(seen);
    let (address, dir) = tls_server(&[b"http/1.1"], move |mut stream| {
        let seen = seen.lock().unwrap();
        for request in 1..=2 {
            let head = head(&mut stream);
            let mut body = [0; 4];
            if stream.read_exact(&mut body).is_err() {
                break;
            }
            seen.send((request, head)).unwrap();
            answer(&mut stream, "302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0");
        }
    });
    let mut client = client(&dir);
    for _ in 0..3 {
        let response = client.send(&request(address, b"body".to_vec())).unwrap();
        assert_eq!(response.status.as_u16(), 302, "a redirect is not followed");
    }
    let seen: Vec<_> = heads.try_iter().collect();
    assert_eq!(seen.iter().map(|(request, _)| *request).collect::<Vec<_>>(), [1, 2, 1]);
    let want = format!(
        "POST /x?a=b HTTP/1.1\r\nuser-agent: {USER_AGENT}\r\naccept: */*\r\n\
         host: localhost:{}\r\ncontent-length: 4\r\n\r\n",
        address.port()
    );
    let sorted = |head: &str| {
        let mut lines: Vec<_> = head.split("\r\n").map(str::to_owned).collect();
        lines.sort();
        lines
    };
    for (_, head) in seen {
        assert_eq!(sorted(&head), sorted(&want));
    }
}
