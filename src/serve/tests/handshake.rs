//! TLS handshakes and ALPN.

use super::*;

#[tokio::test]
async fn alpn_chooses_the_protocol() {
    let mut server = Server::start(NO_DEADLINES, |request, _| async move {
        answer(format!("{:?}", request.version()))
    })
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
async fn a_silent_client_delays_no_other_client() {
    let server = Server::start(NO_DEADLINES, |_, _| async { answer("served") }).await;
    let _silent = TcpStream::connect(server.address).await.unwrap();
    let (mut client, _driver) = http1(server.connect(&[]).await).await;
    assert_eq!(text(in_time(client.send_request(get())).await.unwrap()).await, "served");
}

#[tokio::test]
async fn a_failed_handshake_is_reported() {
    let mut server = Server::start(NO_DEADLINES, |_, _| async { answer("") }).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await.unwrap();
    let mut answer = Vec::new();
    in_time(stream.read_to_end(&mut answer)).await.ok();
    assert!(!answer.starts_with(b"HTTP"), "{}", answer.escape_ascii());
    assert_eq!(server.end().await, ConnectionEnd::HandshakeFailed);
}

#[tokio::test]
async fn plain_http_is_answered_with_advice_to_use_https() {
    let mut server = Server::start(NO_DEADLINES, |_, _| async { answer("") }).await;
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
async fn a_required_client_certificate_is_enforced() {
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
    let mut server = Server::start_tls(config, certificate, NO_DEADLINES, service, stop).await;
    for client in [None, Some((stranger, &key))] {
        // In TLS 1.3 the client completes the handshake before the server verifies the certificate.
        let mut stream = server.connect_as(&[], client).await;
        assert!(in_time(stream.read(&mut [0; 8])).await.is_err());
        assert_eq!(server.end().await, ConnectionEnd::HandshakeFailed);
    }
    let (mut client, _driver) = http1(server.connect_as(&[], Some((signed, &key))).await).await;
    assert_eq!(text(client.send_request(get()).await.unwrap()).await, "welcome");
}
