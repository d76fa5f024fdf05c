//! Hostile clients get an answer or a closed connection, use little memory, and block no other
//! client.

use std::{
    fs,
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use crate::support::{Connection, Daemon, Http, Random, Setup, Upload, gzip, wait_until};

/// The peak memory that the daemon may use. A debug build needs more than a release.
const PEAK_KIB: u64 = 150 * 1024;

fn peak_kib(daemon: &Daemon) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line =
        status.lines().find(|line| line.starts_with("VmHWM:")).expect("the peak of the memory");
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Asserts that other clients are served at once.
#[track_caller]
fn serves_others(daemon: &Daemon) {
    for http in Http::BOTH {
        let started = Instant::now();
        assert_eq!(daemon.send(http, Upload::of("{\"good\":1}\n").gzipped()).committed(), 1);
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    }
}

#[track_caller]
fn exits_cleanly(daemon: Daemon) {
    let stopped = daemon.stop().exited_cleanly();
    assert!(!stopped.log.contains("panicked"), "{}", stopped.log);
}

#[test]
fn malicious_bodies_use_little_memory() {
    let limits = "max_inflated_bytes = \"48MiB\"\nmax_record_bytes = \"64KiB\"";
    let hec = "protocol = \"splunk_hec\"\nauth = \"none\"";
    let rows = "path = \"/rows/{dataset}\"\nauth = \"none\"\nformat = \"csv\"\nheader = true";
    let setup = Setup::new().table("limits", limits).table("endpoint.hec", hec);
    let daemon = setup.table("endpoint.rows", rows).start();
    let connection = daemon.connect(Http::Two);
    let send = |body: &[u8]| connection.send(Upload::of(body));

    let bomb = gzip(&vec![b' '; 64 << 20]);
    assert!(bomb.len() < 1 << 20);
    let answer = send(&bomb);
    assert_eq!(answer.status, 413, "{}", answer.text);
    assert!(answer.text.contains("limits.max_inflated_bytes"), "{}", answer.text);

    let nested = gzip(&bomb);
    let (status, _, quarantined) = send(&nested).ok();
    assert!(quarantined > 0, "{status}: the content is not a record");

    let (status, records, quarantined) = send(&gzip(&vec![b'x'; 40 << 20])).ok();
    assert_eq!(
        (status.as_str(), records, quarantined),
        ("quarantined", 0, 1),
        "a record over the limit"
    );

    assert_eq!(send(&gzip(&b"{}\n".repeat(300_000))).committed(), 300_000);
    assert_eq!(
        send(&gzip(b"{}\n").repeat(50_000)).committed(),
        50_000,
        "one gzip member per record"
    );
    let (_, records, quarantined) = send(&gzip(&b"x\n".repeat(50_000))).ok();
    assert_eq!((records, quarantined), (0, 50_000));

    let arrays = gzip(&[b"[]".repeat(2_000_000), b"[{\"event\":1}]".to_vec()].concat());
    let answer = connection.send(Upload::of(&arrays).to("/services/collector").without_secret());
    assert_eq!(answer.status, 200, "{}", answer.text);
    let result = answer.headers["x-logpushd-result"].to_str().unwrap();
    assert_eq!(result, "{\"status\":\"committed\",\"records\":1,\"quarantined\":0}");

    // Sixty gigabytes of records in two megabytes of rows.
    let rows = gzip(format!("{}\n{}", "x".repeat(60_000), "1\n".repeat(1_000_000)).as_bytes());
    let answer = connection.send(Upload::of(&rows).to("/rows/http_requests").without_secret());
    assert_eq!(answer.status, 413, "{}", answer.text);
    assert!(answer.text.contains("the records made of this body come to more"), "{}", answer.text);

    wait_until("all delivered", || daemon.count("logpushd_spool_batches") == 0);
    let peak = peak_kib(&daemon);
    assert!(peak < PEAK_KIB, "{peak} KiB at the peak");
    serves_others(&daemon);
    exits_cleanly(daemon);
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// An HTTP/2 frame.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [length[1], length[2], length[3], kind, flags];
    [&head[..], &stream.to_be_bytes(), payload].concat()
}

/// The headers of an upload without a secret, in HPACK.
fn head() -> Vec<u8> {
    let path = b"/logpush/http_requests";
    // POST, https; then a literal path and a literal authority.
    let mut block = vec![0x83, 0x87, 0x04, u8::try_from(path.len()).unwrap()];
    block.extend_from_slice(path);
    block.extend_from_slice(b"\x01\x01x");
    block
}

/// Sends frames until all are sent or the server closes the connection. Returns whether it closed.
fn attack(daemon: &Daemon, frames: impl Iterator<Item = Vec<u8>>) -> bool {
    let mut stream = daemon.trust().raw(daemon.address, &[b"h2"]).unwrap();
    stream.sock.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.sock.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let hello = [PREFACE, &frame(SETTINGS, 0, 0, b"")].concat();
    if stream.write_all(&hello).is_err() {
        return true;
    }
    for frame in frames {
        if stream.write_all(&frame).is_err() {
            return true;
        }
    }
    let mut piece = [0; 4096];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => {
                return !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
            }
        }
    }
}

#[test]
fn rapid_resets_close_only_the_connection() {
    let daemon = Setup::new().start();
    let resets = (0..20_000_u32).map(|number| {
        let stream = 2 * number + 1;
        let reset = frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
        [frame(HEADERS, END_HEADERS, stream, &head()), reset].concat()
    });
    assert!(attack(&daemon, resets), "the connection of an attacker stays open");
    serves_others(&daemon);
    assert!(peak_kib(&daemon) < PEAK_KIB);
    exits_cleanly(daemon);
}

#[test]
fn endless_headers_close_only_the_connection() {
    let daemon = Setup::new().start();
    // A literal header with a name of one byte and a value of 100, repeated.
    let header = [&[0x00, 0x01, b'a', 100][..], &[b'x'; 100]].concat();
    let block = header.repeat(100);
    let first = frame(HEADERS, 0, 1, &head());
    let more = (0..5000).map(|_| frame(CONTINUATION, 0, 1, &block));
    assert!(attack(&daemon, [first].into_iter().chain(more)), "the connection stays open");
    let empty = (0..50_000).map(|_| frame(CONTINUATION, 0, 1, b""));
    assert!(attack(&daemon, [frame(HEADERS, 0, 1, &head())].into_iter().chain(empty)));
    serves_others(&daemon);
    assert!(peak_kib(&daemon) < PEAK_KIB);
    exits_cleanly(daemon);
}

#[test]
fn connections_that_send_garbage_are_closed() {
    let daemon = Setup::new().start();
    let mut random = Random::new(12);
    for round in 0..20 {
        let garbage: Vec<u8> = (0..4096).flat_map(|_| random.next().to_le_bytes()).collect();
        if round % 2 == 0 {
            let mut stream = TcpStream::connect(daemon.address).unwrap();
            // The connection may be closed before everything is sent.
            stream.write_all(&garbage).ok();
        } else {
            let alpn: &[u8] = if round % 4 == 1 { b"h2" } else { b"http/1.1" };
            let mut stream = daemon.trust().raw(daemon.address, &[alpn]).unwrap();
            stream.write_all(&garbage).ok();
            stream.flush().ok();
        }
    }
    serves_others(&daemon);
    exits_cleanly(daemon);
}

#[test]
fn silent_clients_delay_no_other_client() {
    let daemon = Setup::new().start();
    let client = daemon.trust();
    let silent: Vec<_> = (0..80)
        .map(|number| {
            if number % 2 == 0 {
                return client.raw(daemon.address, &[b"h2"]).unwrap();
            }
            // Some of them start a request, slowly.
            let mut stream = client.raw(daemon.address, &[b"http/1.1"]).unwrap();
            stream.write_all(b"POST /logpush/http_requests HTTP/1.1\r\nho").unwrap();
            stream
        })
        .collect();
    serves_others(&daemon);
    drop(silent);
    exits_cleanly(daemon);
}

#[test]
fn a_client_with_wrong_secrets_is_throttled_alone() {
    let daemon = Setup::new().start();
    let client = daemon.connect(Http::Two);
    thread::scope(|scope| {
        for number in 0..12 {
            let client = client.clone();
            scope.spawn(move || {
                let upload = Upload::of("{}").secret(&format!("wrong-{number}"));
                assert_eq!(client.send(upload).status, 401);
            });
        }
        let unauthorized = r#"logpushd_refused_total{reason="unauthorized"}"#;
        daemon.wait_count(unauthorized, |failed| failed >= 12);
        let started = Instant::now();
        let good = daemon.connect(Http::One);
        for _ in 0..5 {
            assert_eq!(good.send(Upload::of("{\"good\":1}\n")).committed(), 1);
        }
        // A wrong secret now takes 5 s: these would take 25 if they were delayed.
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    });
    let started = Instant::now();
    assert_eq!(client.send(Upload::of("{}").secret("one more")).status, 401);
    assert!(started.elapsed() >= Duration::from_secs(4), "{:?}", started.elapsed());
    exits_cleanly(daemon);
}

#[test]
fn a_wrong_secret_from_a_throttled_address_closes_the_connection() {
    let daemon = Setup::new().start();
    let statuses = |client: &Connection, count: usize| -> Vec<u16> {
        thread::scope(|scope| {
            let upload = |number| {
                let upload = Upload::of("{}").secret(&format!("wrong-{number}"));
                client.try_send(upload).map_or(0, |answer| answer.status)
            };
            let uploads: Vec<_> = (0..count).map(|n| scope.spawn(move || upload(n))).collect();
            uploads.into_iter().map(|upload| upload.join().unwrap()).collect()
        })
    };
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(statuses(&daemon.connect(Http::Two), 8), [401; 8]));
        }
    });
    // From now on a connection closes with its first wrong secret, and the rest of its data is
    // ignored.
    let started = Instant::now();
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let statuses = statuses(&daemon.connect(Http::Two), 12);
                let of = |status: u16| statuses.iter().filter(|s| **s == status).count();
                assert_eq!((of(401), of(401) + of(503) + of(0)), (1, 12), "{statuses:?}");
            });
        }
    });
    assert!(started.elapsed() >= Duration::from_secs(5), "{:?}", started.elapsed());
    let unauthorized = r#"logpushd_refused_total{reason="unauthorized"}"#;
    assert_eq!(daemon.count(unauthorized), 35);
    let series = r#"logpushd_endpoint_refused_total{endpoint="main",reason="unauthorized"}"#;
    assert_eq!(daemon.count(series), 35);

    // The same address with the right secret is served at once, and its connection stays open after
    // a wrong one.
    let started = Instant::now();
    let good = daemon.connect(Http::Two);
    for _ in 0..5 {
        assert_eq!(good.send(Upload::of("{\"good\":1}\n")).committed(), 1);
    }
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    assert_eq!(good.send(Upload::of("{}").secret("one more")).status, 401);
    assert_eq!(good.send(Upload::of("{\"good\":1}\n")).committed(), 1);
    exits_cleanly(daemon);
}
