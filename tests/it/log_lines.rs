//! What the log says of clients: enough for an operator, and nothing that a client can abuse.

use std::io::{Read as _, Write as _};

use crate::support::{Daemon, Http, Setup, Upload, gzip, wait_until};

/// Sends bytes over TLS, and waits until the other side has answered and closed.
fn send_raw(daemon: &Daemon, bytes: &[u8]) {
    let mut stream = daemon.trust().raw(daemon.address, &[b"http/1.1"]).unwrap();
    stream.write_all(bytes).unwrap();
    stream.flush().unwrap();
    stream.read_to_end(&mut Vec::new()).ok();
}

#[test]
fn a_client_cannot_make_a_line_long() {
    let daemon = Setup::new().start();
    let long = "M".repeat(60_000);
    for head in [
        format!("{long} /logpush/a HTTP/1.1\r\n"),
        format!("POST /{long} HTTP/1.1\r\n"),
        format!("POST /logpush/a HTTP/1.1\r\nx-logpush-secret: {long}\r\n"),
        format!("POST /logpush/a HTTP/1.1\r\ncontent-encoding: {long}\r\n"),
    ] {
        send_raw(&daemon, format!("{head}host: x\r\nconnection: close\r\n\r\n").as_bytes());
    }
    daemon.wait_logs("refused", 4);
    let stopped = daemon.stop().in_order();
    let longest = stopped.log.lines().map(str::len).max().unwrap();
    assert!(longest < 1024, "{longest}");
}

#[test]
fn a_flood_of_one_refusal_hides_no_other() {
    let daemon = Setup::new().start();
    let connection = daemon.connect(Http::Two);
    for _ in 0..200 {
        assert_eq!(connection.send(Upload::of("x").to("/nowhere")).status, 404);
    }
    assert_eq!(connection.send(Upload::of("x").secret("wrong")).status, 401);
    let upload = Upload::of(gzip(b"{}\n")).header("content-encoding", "br");
    assert_eq!(connection.send(upload).status, 415);

    let count = |reason: &str| {
        let lines = daemon.logged("refused");
        lines.iter().filter(|line| line["reason"] == reason).count()
    };
    wait_until("both refusals in the log", || {
        count("unauthorized") == 1 && count("unsupported_encoding") == 1
    });
    // How many there are depends on how long the flood took: ten in 10 s.
    assert!(count("not_found") < 200);
    let refused = &daemon.logged("refused")[0];
    assert_eq!((&refused["status"], &refused["length"]), (&404.into(), &1.into()));
    assert_eq!((&refused["path"], &refused["method"]), (&"/nowhere".into(), &"POST".into()));
}
