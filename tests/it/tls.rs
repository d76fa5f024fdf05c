//! Who may connect, with which TLS version and which certificate.

use std::{
    io::{Read as _, Write as _},
    thread,
};

use rustix::process::Signal;
use rustls::{
    ProtocolVersion, SupportedProtocolVersion,
    version::{TLS12, TLS13},
};

use crate::support::{
    Connection, Daemon, Http, SECRET, Setup, Upload,
    tls::{Authority, Client, Pair},
    wait_until,
};

/// Does a handshake and one request by hand: with TLS 1.3 a server rejects a client's certificate
/// only after the client considers itself connected.
fn exchange(
    daemon: &Daemon,
    client: &Client,
    alpn: &[&[u8]],
) -> Result<(ProtocolVersion, String), String> {
    let mut stream = client.raw(daemon.address, alpn).map_err(|error| error.to_string())?;
    let version = stream.conn.protocol_version().unwrap();
    let request = format!(
        "POST /logpush/a HTTP/1.1\r\nhost: x\r\nx-logpush-secret: {SECRET}\r\ncontent-length: 4\r\nconnection: close\r\n\r\ntest"
    );
    stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
    let mut answer = Vec::new();
    let outcome = stream.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).unwrap();
    match outcome {
        Ok(_) => Ok((version, answer)),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn alpn_selects_http_2_if_offered() {
    let daemon = Setup::new().start();
    for (offered, chosen) in [
        (&[&b"h2"[..], b"http/1.1"][..], Some(&b"h2"[..])),
        (&[b"http/1.1", b"h2"], Some(b"h2")),
        (&[b"h2"], Some(b"h2")),
        (&[b"http/1.1"], Some(b"http/1.1")),
        (&[], None),
    ] {
        let stream = daemon.trust().raw(daemon.address, offered).unwrap();
        assert_eq!(stream.conn.alpn_protocol(), chosen, "{offered:?}");
    }
    // A client without ALPN is served HTTP/1.1.
    let (_, answer) = exchange(&daemon, &daemon.trust(), &[]).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[test]
fn tls_versions_from_the_minimum_on_are_accepted() {
    const V1_2: &[&SupportedProtocolVersion] = &[&TLS12];
    const V1_3: &[&SupportedProtocolVersion] = &[&TLS13];
    let both = Setup::new().start();
    let newest =
        Setup::new().table("server.tls", "self_signed = true\nmin_version = \"1.3\"").start();
    for (daemon, versions, want) in [
        (&both, V1_2, Some(ProtocolVersion::TLSv1_2)),
        (&both, V1_3, Some(ProtocolVersion::TLSv1_3)),
        (&newest, V1_3, Some(ProtocolVersion::TLSv1_3)),
        (&newest, V1_2, None),
    ] {
        let client = daemon.trust().speaking(versions);
        let spoken = exchange(daemon, &client, &[b"http/1.1"]).ok().map(|(version, answer)| {
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            version
        });
        assert_eq!(spoken, want);
    }
    newest.wait_count("logpushd_refused_total{reason=\"tls_handshake\"}", |count| count == 1);
}

#[test]
fn with_client_ca_file_only_clients_with_its_certificates_are_accepted() {
    let (ours, others) = (Authority::new(), Authority::new());
    let setup = Setup::new()
        .table("server.tls", "self_signed = true\nclient_ca_file = \"ca.pem\"")
        // The certificate is sufficient proof.
        .table("endpoint.main", "path = \"/logpush/{dataset}\"");
    setup.write("ca.pem", ours.pem());
    let daemon = setup.start();
    for versions in [&[&TLS12][..], &[&TLS13]] {
        let client = daemon.trust().speaking(versions);
        let alpn: &[&[u8]] = &[b"http/1.1"];
        assert!(exchange(&daemon, &client, alpn).is_err(), "no certificate");
        let stranger = client.clone().presenting(&others.sign());
        assert!(exchange(&daemon, &stranger, alpn).is_err(), "a certificate of another authority");
        let self_signed = client.clone().presenting(&Pair::self_signed());
        assert!(exchange(&daemon, &self_signed, alpn).is_err(), "a self-signed certificate");
        let (_, answer) = exchange(&daemon, &client.presenting(&ours.sign()), alpn).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    let client = daemon.trust().presenting(&ours.sign());
    for http in Http::BOTH {
        let connection = Connection::open(daemon.address, client.clone(), http).unwrap();
        assert_eq!(connection.send(Upload::of("{\"a\":1}\n").without_secret()).committed(), 1);
    }
    daemon.wait_count("logpushd_refused_total{reason=\"tls_handshake\"}", |count| count == 6);
}

#[test]
fn a_connection_closes_when_the_ca_of_its_client_is_removed() {
    let (old, new) = (Authority::new(), Authority::new());
    let setup = Setup::new()
        .table("server.tls", "self_signed = true\nclient_ca_file = \"ca.pem\"")
        .table("endpoint.main", "path = \"/logpush/{dataset}\"");
    setup.write("ca.pem", old.pem() + &new.pem());
    let daemon = setup.start();
    let open = |authority: &Authority, http| {
        let client = daemon.trust().presenting(&authority.sign());
        Connection::open(daemon.address, client, http).unwrap()
    };
    let batch = || Upload::of("{\"a\":1}\n").without_secret();
    let removed: Vec<_> = Http::BOTH.map(|http| open(&old, http)).into();
    let kept: Vec<_> = Http::BOTH.map(|http| open(&new, http)).into();
    for connection in removed.iter().chain(&kept) {
        assert_eq!(connection.send(batch()).committed(), 1);
    }
    // One has a request in progress.
    let busy = open(&old, Http::Two);
    let (upload, feed) = Upload::fed(None);
    thread::scope(|scope| {
        let under_way = scope.spawn(|| busy.send(upload.without_secret()).committed());
        assert!(feed.push(b"{\"b\":1}\n"));
        daemon.wait_count("logpushd_received_bytes_total", |bytes| bytes >= 40);

        daemon.setup().write("ca.pem", new.pem());
        daemon.signal(Signal::HUP);
        daemon.wait_logs("closing a connection: its client certificate is no longer accepted", 3);
        for connection in &removed {
            wait_until("the end of a connection", || {
                connection.try_send(batch()).map_or(true, |answer| answer.status == 503)
            });
        }
        for connection in &kept {
            assert_eq!(connection.send(batch()).committed(), 1);
        }
        drop(feed);
        assert_eq!(under_way.join().unwrap(), 1);
    });
    daemon.stop().exited_cleanly();
}

#[test]
fn a_removed_secret_is_rejected_on_an_open_connection() {
    let daemon = Setup::new().start();
    let kept: Vec<_> = Http::BOTH.map(|http| daemon.connect(http)).into();
    for connection in &kept {
        assert_eq!(connection.send(Upload::of("{\"a\":1}\n")).committed(), 1);
    }
    daemon.setup().write("secrets.txt", "another-secret-of-the-tests");
    daemon.signal(Signal::HUP);
    daemon.wait_log("reloaded");
    for connection in &kept {
        assert_eq!(connection.send(Upload::of("{\"a\":2}\n")).status, 401);
    }
    daemon.stop().exited_cleanly();
}
