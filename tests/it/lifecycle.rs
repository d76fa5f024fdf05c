//! Start, reload and shutdown under load, and what probes and scrapers see of them.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use rustix::process::Signal;
use rustls::version::TLS12;
use serde_json::Value;

use crate::support::{
    Connection, Daemon, Http, SECRET, Setup, Upload, names_in, small_records, tls::Pair, wait_until,
};

const METRICS: [&str; 14] = [
    r#"logpushd_batches_total{endpoint="main",outcome="committed"}"#,
    r#"logpushd_records_total{endpoint="main",dataset="http_requests"}"#,
    "logpushd_received_bytes_total",
    "logpushd_inflated_bytes_total",
    r#"logpushd_refused_total{reason="unauthorized"}"#,
    r#"logpushd_quarantined_records_total{reason="not_json"}"#,
    "logpushd_commit_seconds_count",
    "logpushd_spool_bytes",
    "logpushd_spool_batches",
    r#"logpushd_sink_delivered_records_total{sink="archive"}"#,
    r#"logpushd_sink_errors_total{sink="archive"}"#,
    r#"logpushd_sink_lag_seconds{sink="archive"}"#,
    r#"logpushd_last_batch_timestamp_seconds{dataset="http_requests"}"#,
    "logpushd_tls_certificate_expiry_timestamp_seconds",
];

#[test]
fn probes_and_metrics_report_the_state() {
    let daemon = Setup::new().start();
    assert_eq!(daemon.ask("/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(daemon.ask("/readyz"), (200, "ready\n".to_owned()));
    assert_eq!(daemon.ask("/nothing").0, 404);
    let (status, version) = daemon.ask("/version");
    let version: Value = serde_json::from_str(&version).unwrap();
    assert_eq!((status, &version["name"]), (200, &"logpushd".into()));
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));

    let records = small_records(7, 300);
    daemon.commit(&records);
    daemon.wait_file("out/http_requests.ndjson", &records);
    assert_eq!(daemon.send(Http::One, Upload::of(&records).secret("wrong")).status, 401);
    assert_eq!(daemon.send(Http::One, Upload::of("")).ok().0, "empty");
    let (status, text) = daemon.ask("/metrics");
    assert_eq!(status, 200);
    let missing: Vec<_> =
        METRICS.iter().filter(|series| !text.contains(&format!("\n{series} "))).collect();
    assert!(missing.is_empty(), "{missing:?} not in\n{text}");
    assert_eq!(daemon.count(METRICS[0]), 1);
    assert_eq!(daemon.count(METRICS[1]), 300);
    assert!(daemon.count(METRICS[2]) < records.len() as u64, "as sent");
    assert_eq!(daemon.count(METRICS[3]), records.len() as u64);
    assert_eq!(daemon.count(METRICS[4]), 1);
    assert_eq!(daemon.count(METRICS[6]), 1);
    daemon.wait_count(METRICS[9], |delivered| delivered == 300);
    daemon.wait_count(METRICS[8], |batches| batches == 0);
    assert_eq!(seconds(daemon.metric(METRICS[11])), 0);
    let now = Timestamp::now().as_second();
    let received = seconds(daemon.metric(METRICS[12]));
    assert!((now - received).abs() < 60);
    assert!(seconds(daemon.metric(METRICS[13])) > now);
}

#[expect(clippy::cast_possible_truncation, reason = "whole seconds are enough")]
fn seconds(value: f64) -> i64 {
    value as i64
}

#[test]
fn a_connection_is_reused() {
    let daemon = Setup::new().start();
    for http in Http::BOTH {
        let connection = daemon.connect(http);
        for _ in 0..5 {
            let records = small_records(8, 20);
            assert_eq!(connection.send(Upload::of(records).gzipped()).committed(), 20);
            // A rejection does not close it either, with or without a body.
            assert_eq!(connection.send(Upload::of("{}").secret("wrong")).status, 401);
            assert_eq!(connection.send(Upload::of("").to("/")).status, 404);
            assert_eq!(connection.send(Upload::of("{}").to("/")).status, 404);
        }
    }
}

#[track_caller]
fn reload(daemon: &Daemon) {
    let before = daemon.logged("reload").len();
    daemon.signal(Signal::HUP);
    wait_until("a word on the reload", || daemon.logged("reload").len() > before);
}

#[test]
fn a_reload_loads_a_new_certificate_and_keeps_connections() {
    let daemon = Setup::new().start();
    let record = || Upload::of("{\"a\":1}\n").gzipped();
    let old: Vec<Connection> = Http::BOTH.map(|http| daemon.connect(http)).into();
    let expiry = "logpushd_tls_certificate_expiry_timestamp_seconds";
    let first_expiry = daemon.count(expiry);

    let next = Pair::self_signed();
    daemon.setup().write("fullchain.pem", &next.cert);
    daemon.setup().write("privkey.pem", &next.key);
    reload(&daemon);
    for http in Http::BOTH {
        let connection = daemon.connect(http);
        assert_eq!(connection.certificate, next.der());
        assert_eq!(connection.send(record()).committed(), 1);
    }
    for connection in &old {
        assert_ne!(connection.certificate, next.der());
        assert_eq!(connection.send(record()).committed(), 1);
    }
    assert_ne!(daemon.count(expiry), first_expiry);

    // A key that does not match is reported, and changes nothing.
    daemon.setup().write("privkey.pem", Pair::self_signed().key);
    reload(&daemon);
    let complaint = daemon.wait_log("reload: the configuration stays as it was: server.tls: ");
    assert!(complaint["message"].as_str().unwrap().contains("does not belong"), "{complaint}");
    assert_eq!(daemon.connect(Http::Two).certificate, next.der());
    daemon.stop().exited_cleanly();
}

#[test]
fn a_reload_loads_new_secrets() {
    let daemon = Setup::new().start();
    let connection = daemon.connect(Http::Two);
    let status = |secret: &str| connection.send(Upload::of("test").secret(secret)).status;
    assert_eq!((status(SECRET), status("next")), (200, 401));

    daemon.setup().write("secrets.txt", format!("next\n{SECRET}\n"));
    assert_eq!(status("next"), 401, "not before the reload");
    reload(&daemon);
    assert_eq!((status(SECRET), status("next")), (200, 200));

    daemon.setup().write("secrets.txt", "next\n");
    reload(&daemon);
    assert_eq!((status(SECRET), status("next")), (401, 200));
    assert!(!daemon.log().iter().any(|line| line.to_string().contains("next")));
    daemon.stop().exited_cleanly();
}

#[test]
fn a_reload_changes_the_log_level() {
    let daemon = Setup::new().start();
    let fail_handshake = || {
        let mut stream = TcpStream::connect(daemon.address).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        // It ends when the daemon has closed it.
        stream.read_to_end(&mut Vec::new()).ok();
    };
    let failures = "logpushd_refused_total{reason=\"tls_handshake\"}";
    fail_handshake();
    daemon.wait_count(failures, |count| count == 1);
    daemon.wait_log("tls handshake failed");
    assert!(daemon.logged("connection ended").is_empty());

    let text = fs::read_to_string(daemon.setup().config()).unwrap();
    let text = text.replace("format = \"json\"", "format = \"json\"\nlevel = \"debug\"");
    daemon.setup().write("logpushd.toml", text);
    reload(&daemon);
    fail_handshake();
    daemon.wait_log("connection ended");
    assert!(daemon.logged("reload: ").is_empty(), "all of it was taken over");
    daemon.stop().exited_cleanly();
}

#[test]
fn an_invalid_configuration_changes_nothing() {
    let daemon = Setup::new().start();
    let good = fs::read_to_string(daemon.setup().config()).unwrap();
    daemon.setup().write("logpushd.toml", format!("{good}\n[sink]\nnonsense = \n"));
    daemon.setup().write("secrets.txt", "next\n");
    reload(&daemon);
    let complaint = daemon.wait_log("reload: the configuration stays as it was");
    assert!(complaint["message"].as_str().unwrap().contains("logpushd.toml:"), "{complaint}");
    assert_eq!(daemon.send(Http::One, Upload::of("test")).status, 200);
    assert_eq!(daemon.send(Http::One, Upload::of("test").secret("next")).status, 401);

    // Settings that cannot change under load are reported to need a restart.
    let text = good.replace("dir = \"spool\"", "dir = \"another\"");
    daemon.setup().write("logpushd.toml", text);
    reload(&daemon);
    daemon.wait_log("reload: needs a restart: spool.dir");
    daemon.wait_log("reloaded");
    assert_eq!(daemon.send(Http::One, Upload::of("test").secret("next")).status, 200);
    daemon.stop().exited_cleanly();
}

#[test]
fn uploads_in_progress_finish_before_shutdown() {
    for http in Http::BOTH {
        let daemon = Setup::new().start();
        let records = small_records(9, 3000);
        let connection = daemon.connect(http);
        let (upload, feed) = Upload::fed(Some(records.len() as u64));
        let (half, rest) = records.split_at(records.len() / 2);
        thread::scope(|scope| {
            let answer = scope.spawn(|| connection.send(upload));
            assert!(feed.push(half));
            wait_until("the half of it", || !names_in(&daemon.path("spool/batches")).is_empty());
            daemon.signal(Signal::TERM);
            wait_until("draining", || daemon.ask("/readyz").0 == 503);
            wait_until("a closed door", || TcpStream::connect(daemon.address).is_err());
            assert_eq!(daemon.ask("/healthz").0, 200);
            assert!(feed.push(rest));
            assert_eq!(answer.join().unwrap().committed(), 3000, "{http:?}");
        });
        let stopped = daemon.end().exited_cleanly();
        assert!(!stopped.log.contains("cut off"), "idle connections hold nothing up");
        assert_eq!(stopped.file("out/http_requests.ndjson"), records);
        assert!(stopped.log.contains("\"stopped\""), "{}", stopped.log);
    }
}

#[test]
fn sigint_also_shuts_down() {
    let daemon = Setup::new().start();
    daemon.commit(b"{\"a\":1}\n");
    daemon.signal(Signal::INT);
    assert_eq!(daemon.end().exited_cleanly().file("out/http_requests.ndjson"), b"{\"a\":1}\n");
}

#[test]
fn a_batch_is_committed_even_if_its_sender_disconnects() {
    let daemon = Setup::new().start();
    let mut all = Vec::new();
    for round in 0..10 {
        let records = small_records(round, 200);
        let head = format!(
            "POST /logpush/http_requests HTTP/1.1\r\nhost: x\r\nx-logpush-secret: {SECRET}\r\ncontent-length: {}\r\n\r\n",
            records.len()
        );
        // In TLS 1.3 a ticket would stay unread here, and a close then be a reset, on which the
        // daemon's kernel discards received data.
        let client = daemon.trust().speaking(&[&TLS12]);
        let mut stream = client.raw(daemon.address, &[b"http/1.1"]).unwrap();
        stream.write_all(&[head.as_bytes(), &records].concat()).unwrap();
        stream.flush().unwrap();
        if round % 2 == 0 {
            // A clean close.
            stream.conn.send_close_notify();
            stream.flush().unwrap();
            stream.sock.shutdown(Shutdown::Write).unwrap();
        }
        drop(stream);
        all.extend(records);
        daemon.wait_file("out/http_requests.ndjson", &all);
    }
    daemon.stop().exited_cleanly();
}

/// The daemon's deadline for a handshake: a client that waited for a silent one would wait that
/// long.
const HANDSHAKE: Duration = Duration::from_secs(10);

#[test]
fn silent_clients_delay_nobody() {
    let daemon = Setup::new().start();
    let silent = || {
        let connect = |_| TcpStream::connect(daemon.address).unwrap();
        let mut silent: Vec<_> = (0..20).map(connect).collect();
        for stream in &mut silent[10..] {
            // The start of a handshake.
            stream.write_all(b"\x16\x03\x01\x02\x00\x01").unwrap();
        }
        silent
    };
    let started = Instant::now();
    let first = silent();
    for http in Http::BOTH {
        assert_eq!(daemon.send(http, Upload::of("{\"a\":1}\n")).committed(), 1);
    }
    assert!(started.elapsed() < HANDSHAKE, "{:?}", started.elapsed());
    drop(first);
    daemon.wait_count("logpushd_connections", |open| open == 0);
    // New connections, since the deadline of a handshake starts with the connection, as this clock
    // does.
    let stopping = Instant::now();
    let second = silent();
    daemon.wait_count("logpushd_connections", |open| open == 20);
    daemon.stop().exited_cleanly();
    assert!(stopping.elapsed() < HANDSHAKE, "nor does a stop wait for them");
    drop(second);
}
