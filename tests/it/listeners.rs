//! The behavior of the listeners before the first request.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Instant,
};

use crate::support::{DEADLINE, Exit, Setup, finish, free_port, logpushd, require};

#[test]
fn ipv4_and_ipv6_wildcards_share_a_port() {
    if !require::has(&[&require::IPV6]) {
        return;
    }
    for list in ["[\"0.0.0.0:PORT\", \"[::]:PORT\"]", "[\"[::]:PORT\", \"127.0.0.1:PORT\"]"] {
        let port = free_port();
        let list = list.replace("PORT", &port.to_string());
        let daemon = Setup::new().table("server", &format!("address = {list}")).start();
        for ip in ["127.0.0.1", "::1"] {
            let tcp = TcpStream::connect(SocketAddr::new(ip.parse().unwrap(), port)).unwrap();
            let mut tls = daemon.trust().over(tcp).unwrap();
            tls.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
            let mut start = [0; 12];
            tls.read_exact(&mut start).unwrap();
            assert_eq!(&start, b"HTTP/1.1 404", "{ip} of {list}");
        }
        daemon.stop().exited_cleanly();
    }
}

#[test]
fn a_port_used_twice_by_the_daemon_is_reported_as_such() {
    let port = free_port();
    let setup = Setup::new()
        .table("server", &format!("address = \"0.0.0.0:{port}\""))
        .table("admin", &format!("address = \"127.0.0.1:{port}\""));
    setup.write_config();
    let run = finish(logpushd().args(["run", "-c"]).arg(setup.config()));
    assert_eq!(run.exit, Exit::Code(69));
    let own = format!("logpushd itself listens on 0.0.0.0:{port}");
    assert!(run.stderr.contains(&own), "{}", run.stderr);
}

#[test]
fn plain_http_on_the_tls_port_is_answered_and_logged() {
    let daemon = Setup::new().start();
    let mut tcp = TcpStream::connect(daemon.address).unwrap();
    tcp.set_read_timeout(Some(DEADLINE)).unwrap();
    tcp.write_all(b"POST /logpush/a HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}").unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("this port speaks HTTPS: use https://"), "{answer}");
    let error = daemon.wait_log("tls handshake failed")["error"].as_str().unwrap().to_owned();
    assert!(error.starts_with("plain HTTP arrived"), "{error}");
    daemon.wait_count("logpushd_refused_total{reason=\"tls_handshake\"}", |count| count == 1);
    daemon.stop().exited_cleanly();
}

#[test]
fn silent_clients_of_the_admin_listener_neither_delay_probes_nor_fill_the_log() {
    let daemon = Setup::new().start();
    let started = Instant::now();
    let held: Vec<_> = (0..400)
        .map(|_| {
            let mut tcp = TcpStream::connect(daemon.admin).unwrap();
            tcp.write_all(b"GET /readyz HTTP/1.1\r\nhost: loc").unwrap();
            tcp
        })
        .collect();
    assert_eq!(daemon.ask("/readyz"), (200, "ready\n".to_owned()));
    let lines = daemon.logged("connection limit of this listener reached").len() as u64;
    assert!(lines <= 1 + started.elapsed().as_secs() / 10, "{lines}");
    drop(held);
    daemon.stop().exited_cleanly();
}
