//! A certificate is obtained, renewed and stored. A failure keeps the existing certificate.

mod pebble;

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    sync::Arc,
};

use jiff::Timestamp;
use logpushd::tls::{self, inspect::Certificate};
use rustix::process::Signal;
use rustls::{
    ClientConnection, StreamOwned,
    pki_types::{CertificateDer, ServerName},
};

use self::pebble::{Options, Pebble};
use crate::support::{
    DEADLINE, Daemon, Exit, SECRET, Setup, finish, free_port, logpushd, names_in,
    tls::{Authority, Client},
    wait_for, wait_until,
};

const ASKING: &str = "asking for a certificate";
const IN_USE: &str = "a new certificate is in use";
const FAILURES: &str = "logpushd_acme_failures_total";
const DOMAINS: &str = "\"logs.example.test\", \"also.example.test\"";

type Stream = StreamOwned<ClientConnection, TcpStream>;

fn setup(pebble: &Pebble, port: u16) -> Setup {
    Setup::new()
        .table("server", &format!("address = \"127.0.0.1:{port}\""))
        .table("server.tls", "min_version = \"1.2\"")
        .table("server.tls.acme", &pebble.keys(DOMAINS))
}

fn connect(
    address: SocketAddr,
    name: &str,
    client: &Client,
    alpn: &[&[u8]],
) -> std::io::Result<Stream> {
    let mut tcp = TcpStream::connect(address)?;
    tcp.set_read_timeout(Some(DEADLINE))?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut session = ClientConnection::new(client.config(alpn), name).unwrap();
    while session.is_handshaking() {
        session.complete_io(&mut tcp)?;
    }
    Ok(StreamOwned::new(session, tcp))
}

/// The chain that the daemon presents for a name, if it can be trusted.
fn chain(daemon: &Daemon, name: &str) -> Option<Vec<CertificateDer<'static>>> {
    let client = Client::trusting(&daemon.path("root.pem"));
    let stream = connect(daemon.address, name, &client, &[b"http/1.1"]).ok()?;
    let chain = stream.conn.peer_certificates()?;
    Some(chain.iter().map(|certificate| certificate.clone().into_owned()).collect())
}

/// The certificate that the daemon presents for a name, also after it expired.
fn shown(daemon: &Daemon, name: &str) -> Certificate {
    let (client, seen) = tls::observing(tls::public_trust(None).unwrap()).unwrap();
    let mut tcp = TcpStream::connect(daemon.address).unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut session = ClientConnection::new(Arc::new(client), name).unwrap();
    while session.is_handshaking() {
        session.complete_io(&mut tcp).unwrap();
    }
    Certificate::parse(&seen.take().unwrap().chain[0]).unwrap()
}

fn push(stream: &mut Stream) -> String {
    let request = format!(
        "POST /logpush/a HTTP/1.1\r\nhost: x\r\nx-logpush-secret: {SECRET}\r\ncontent-length: 8\r\n\r\n{{\"a\":1}}\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"}\n") {
        stream.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    String::from_utf8(answer).unwrap()
}

fn wait_ready(daemon: &Daemon) {
    wait_for("a certificate", || (daemon.ask("/readyz").0 == 200).then_some(()));
}

fn kept(daemon: &Daemon) -> PathBuf {
    let names = names_in(&daemon.path("acme"));
    let name = names.iter().find(|name| name.starts_with("logs.example.test-"));
    daemon.path("acme").join(name.unwrap_or_else(|| panic!("{names:?}")))
}

#[test]
fn the_first_certificate_is_obtained_stored_and_reused_while_the_directory_is_down() {
    let Some(mut pebble) = Pebble::new() else { return };
    let port = free_port();
    // Some requests are retried.
    pebble.start(Options { bad_nonces: 15, ..Options::new(port) });
    // The validation request presents no client certificate.
    let ours = Authority::new();
    let setup = setup(&pebble, port).table("server.tls", "client_ca_file = \"ca.pem\"");
    setup.write("ca.pem", ours.pem());
    pebble.write_root(&setup.path("root.pem"));
    let validated = finish(logpushd().args(["validate", "-c"]).arg(setup.write_config()));
    assert_eq!(validated.exit, Exit::Code(0), "{validated:?}");
    assert!(
        validated.stderr.contains("an ACME directory validates names on port 443"),
        "{validated:?}"
    );

    let daemon = setup.start();
    wait_ready(&daemon);
    let client = Client::trusting(&daemon.path("root.pem")).presenting(&ours.sign());
    for name in ["logs.example.test", "also.example.test"] {
        let mut stream = connect(daemon.address, name, &client, &[b"http/1.1"]).unwrap();
        assert!(push(&mut stream).contains("\"committed\""));
    }
    let mode = |path: &PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&daemon.path("acme")), 0o700);
    assert_eq!(names_in(&daemon.path("acme")).len(), 2);
    for name in names_in(&daemon.path("acme")) {
        assert_eq!(mode(&daemon.path("acme").join(name)), 0o600);
    }
    let before = fs::read(kept(&daemon)).unwrap();

    pebble.stop();
    let daemon = daemon.stop().exited_cleanly().start();
    assert_eq!(daemon.ask("/readyz"), (200, "ready\n".to_owned()), "at once");
    let mut stream = connect(daemon.address, "logs.example.test", &client, &[b"http/1.1"]).unwrap();
    assert!(push(&mut stream).contains("\"committed\""));
    assert!(daemon.logged(ASKING).is_empty());
    assert_eq!(fs::read(kept(&daemon)).unwrap(), before);
    daemon.stop().exited_cleanly();
}

#[test]
fn handshakes_fail_until_the_directory_is_back_and_issues_a_certificate() {
    let Some(mut pebble) = Pebble::new() else { return };
    let port = free_port();
    let daemon = setup(&pebble, port).start();
    daemon.wait_count(FAILURES, |count| count > 0);
    // Each retry is logged.
    wait_until("the reason", || {
        let (status, why) = daemon.ask("/readyz");
        assert_eq!(status, 503);
        ["no certificate yet: connecting to 127.0.0.1:", "refused", "retrying in "]
            .iter()
            .all(|part| why.contains(part))
    });
    daemon.setup().write("root.pem", Authority::new().pem());
    let client = Client::trusting(&daemon.path("root.pem"));
    for alpn in [&[&b"http/1.1"[..]][..], &[b"acme-tls/1"]] {
        let error = connect(daemon.address, "logs.example.test", &client, alpn).unwrap_err();
        assert!(error.to_string().contains("alert"), "{error}");
    }
    assert!(daemon.logged("no certificate: ").len() < 4, "it waits between attempts");

    pebble.start(Options::new(port));
    pebble.write_root(&daemon.path("root.pem"));
    wait_ready(&daemon);
    let chain = chain(&daemon, "logs.example.test").unwrap();
    assert_eq!(chain.len(), 2, "with the intermediate");
    daemon.stop().exited_cleanly();
}

#[test]
fn a_certificate_is_renewed_with_a_new_key_and_served_while_the_directory_is_down() {
    let Some(mut pebble) = Pebble::new() else { return };
    let port = free_port();
    let options = Options { validity_seconds: 20, ..Options::new(port) };
    pebble.start(options);
    let setup = setup(&pebble, port);
    pebble.write_root(&setup.path("root.pem"));
    let daemon = setup.start();
    wait_ready(&daemon);
    let key = |daemon: &Daemon| {
        let pem = fs::read_to_string(kept(daemon)).unwrap();
        pem.split_once("PRIVATE KEY").unwrap().1.to_owned()
    };
    // On a slow machine it may have been renewed. None came meanwhile, and none is on its way.
    let (number, first, first_key) = wait_for("a certificate that is not renewed at once", || {
        let number = daemon.logged(IN_USE).len();
        let first = (number, shown(&daemon, "logs.example.test"), key(&daemon));
        [ASKING, IN_USE].iter().all(|what| daemon.logged(what).len() == number).then_some(first)
    });
    let client = Client::trusting(&daemon.path("root.pem"));
    let mut old = connect(daemon.address, "logs.example.test", &client, &[b"http/1.1"]).unwrap();

    daemon.wait_logs(IN_USE, number + 1);
    assert!(chain(&daemon, "logs.example.test").is_some(), "to be trusted");
    assert!(push(&mut old).contains("\"committed\""), "connections stay");
    assert_eq!(daemon.count(FAILURES), 0);
    pebble.stop();
    let asked = &daemon.logged(ASKING)[number]["timestamp"];
    let asked: Timestamp = asked.as_str().unwrap().parse().unwrap();
    let left = first.not_after - asked.as_second();
    assert!(left <= 8, "{left} s are left, expected a third of 20 s");
    let second = shown(&daemon, "logs.example.test");
    assert_ne!(first, second);
    assert_ne!(first_key, key(&daemon));

    // The directory does not answer the next renewal.
    let complaint = daemon.wait_log("no certificate: ");
    assert_eq!(complaint["level"], "WARN", "{complaint}");
    assert_eq!(shown(&daemon, "logs.example.test"), second);
    assert_eq!(daemon.ask("/readyz").0, 200);
    let used = daemon.logged(IN_USE).len();
    pebble.start(options);
    pebble.write_root(&daemon.path("root.pem"));
    daemon.wait_logs(IN_USE, used + 1);
    assert!(chain(&daemon, "logs.example.test").is_some());
    daemon.stop().exited_cleanly();
}

#[test]
fn no_certificate_is_ordered_that_could_not_be_stored() {
    let Some(mut pebble) = Pebble::new() else { return };
    let port = free_port();
    pebble.start(Options::new(port));
    let setup = setup(&pebble, port);
    setup.write("acme", "no directory");
    let daemon = setup.start();
    let complaint = daemon.wait_log("no certificate: cannot store the certificate in ");
    assert_eq!(complaint["level"], "ERROR", "{complaint}");
    assert!(daemon.ask("/readyz").1.contains("make server.tls.acme.cache_dir writable"));
    assert!(!pebble.log().contains("GET /dir "), "a certificate was ordered: {}", pebble.log());

    fs::remove_file(daemon.path("acme")).unwrap();
    daemon.signal(Signal::HUP);
    wait_ready(&daemon);
    assert!(pebble.log().contains("GET /dir "));
    daemon.stop().exited_cleanly();
}

#[test]
fn a_name_that_resolves_elsewhere_is_reported_with_the_error_of_the_directory() {
    let Some(mut pebble) = Pebble::new() else { return };
    let port = free_port();
    pebble.start(Options::new(free_port()));
    let daemon = setup(&pebble, port).start();
    let complaint = daemon.wait_log("no certificate: ");
    let text = complaint["message"].as_str().unwrap();
    for part in [
        " for also.example.test: \"",
        " for logs.example.test: \"",
        "connect to 127.0.0.1:",
        "the firewall must let port 443 through to server.address",
        "a reload retries at once",
    ] {
        assert!(text.contains(part), "{part:?} not in {text}");
    }
    assert!(daemon.ask("/readyz").1.contains("no certificate yet: 127.0.0.1:"));
    assert_eq!(daemon.count(FAILURES), 1, "the next attempt is minutes away");

    // Repaired. The directory has forgotten the account.
    pebble.start(Options::new(port));
    pebble.write_root(&daemon.path("root.pem"));
    daemon.signal(Signal::HUP);
    wait_ready(&daemon);
    let first = chain(&daemon, "logs.example.test").unwrap();

    // Another name needs another certificate. The old one stays until the new one is issued.
    let keys = pebble.keys("\"new.example.test\"");
    let text = fs::read_to_string(daemon.setup().config()).unwrap();
    daemon.setup().write("logpushd.toml", text.replace(&pebble.keys(DOMAINS), &keys));
    daemon.signal(Signal::HUP);
    daemon.wait_logs("reloaded", 2);
    assert_eq!(daemon.ask("/readyz").0, 200);
    wait_until("the new name", || chain(&daemon, "new.example.test").is_some());
    assert!(chain(&daemon, "logs.example.test").is_none());
    assert_eq!(names_in(&daemon.path("acme")).len(), 3);
    assert_eq!(first.len(), 2);
    daemon.stop().exited_cleanly();
}
