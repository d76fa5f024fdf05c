//! Servers that cannot be reached, or do not speak TLS.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
};

use super::{Call, FAILED, server::Server};
use crate::support::{Setup, closed_port, wait_until};

#[test]
fn a_closed_port_is_reported_as_connection_refused() {
    let (_socket, address) = closed_port();
    let destination = format!("https://{address}/logs");
    assert_eq!(Call::default().check("closed_port", &destination, address), FAILED);
}

#[test]
fn a_server_that_accepts_no_connection_is_reported_as_a_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // From now on one connection waits to be accepted, and the kernel does not answer another one.
    rustix::net::listen(&listener, 0).unwrap();
    let mut waiting = Vec::new();
    wait_until("a full backlog", || {
        let patience = std::time::Duration::from_millis(300);
        let stream = TcpStream::connect_timeout(&address, patience);
        let is_full = stream.is_err();
        waiting.extend(stream);
        is_full
    });
    let destination = format!("https://{address}/logs");
    assert_eq!(Call::default().check("no_connection", &destination, address), FAILED);
}

#[test]
fn a_server_that_never_completes_the_handshake_is_reported_as_a_timeout() {
    let server = Server::tcp(|mut tcp, _| tcp.read_to_end(&mut Vec::new()).map(drop));
    let destination = format!("https://{}/logs", server.address);
    assert_eq!(Call::default().check("no_handshake", &destination, server.address), FAILED);
}

#[test]
fn a_server_without_tls_is_distinguished_from_one_that_closes_the_connection() {
    let plain = Server::tcp(|mut tcp, _| {
        let _hello = tcp.read(&mut [0; 4096])?;
        tcp.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    });
    let destination = format!("https://{}/logs", plain.address);
    assert_eq!(Call::default().check("plain_http", &destination, plain.address), FAILED);

    let other = Server::tcp(|mut tcp, _| {
        tcp.write_all(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n")?;
        tcp.read(&mut [0; 4096]).map(drop)
    });
    let destination = format!("https://{}/logs", other.address);
    assert_eq!(Call::default().check("not_tls", &destination, other.address), FAILED);

    let closing = Server::tcp(|mut tcp, _| tcp.read(&mut [0; 4096]).map(drop));
    let destination = format!("https://{}/logs", closing.address);
    assert_eq!(Call::default().check("hang_up", &destination, closing.address), FAILED);
}

#[test]
fn a_name_without_an_address_is_reported() {
    let (report, exit) = Call::default().run("https://nothing.invalid/logs");
    assert_eq!(exit, FAILED);
    let finding = super::finding(&report, "resolve");
    assert_eq!(finding["outcome"], "fail");
    let words = finding["cloudflare"].as_str().unwrap();
    assert!(words.starts_with("dial tcp: lookup nothing.invalid: "), "{words}");
}

#[test]
fn a_server_that_requires_a_client_certificate_is_reported() {
    let setup = Setup::new()
        .table("server.tls", "self_signed = true\nclient_ca_file = \"ca.pem\"")
        .table("endpoint.main", "path = \"/logpush/{dataset}\"");
    setup.write("ca.pem", crate::support::tls::Authority::new().pem());
    let daemon = setup.start();
    let ca = daemon.path("fullchain.pem");
    let destination = format!("https://{}/logpush/http_requests", daemon.address);
    let (report, exit) = Call::trusting(&ca).run(&destination);
    assert_eq!(exit, FAILED);
    let finding = super::finding(&report, "check");
    assert_eq!(finding["cloudflare"], "remote error: tls: certificate required", "{finding}");
    let advice = finding["advice"].as_str().unwrap();
    assert!(advice.contains("server.tls.client_ca_file"), "{advice}");
}
