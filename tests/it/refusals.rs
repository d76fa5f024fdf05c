//! Every rejection of the contract: its status, its text, and that it leaves nothing on disk.

use std::{
    fs,
    io::{Read as _, Write as _},
    thread,
};

use hyper::Method;

use crate::support::{
    Answer, Daemon, Http, SECRET, Setup, Upload, gzip, names_in, numbered, wait_until,
};

/// Asserts that a rejected request left nothing, neither for sinks nor on disk.
#[track_caller]
fn nothing_is_left(daemon: Daemon) {
    assert_eq!(daemon.count("logpushd_spool_batches"), 0);
    wait_until("an empty spool", || names_in(&daemon.path("spool/batches")).is_empty());
    let setup = daemon.stop().exited_cleanly().setup;
    assert_eq!(names_in(&setup.path("spool/batches")), [""; 0]);
    assert_eq!(names_in(&setup.path("out")), [""; 0]);
    assert_eq!(names_in(&setup.path("quarantine")), ["bodies"]);
    assert_eq!(names_in(&setup.path("quarantine/bodies")), [""; 0]);
}

#[track_caller]
fn refused(daemon: &Daemon, reason: &str, count: u64) {
    let series = format!("logpushd_refused_total{{reason=\"{reason}\"}}");
    assert_eq!(daemon.count(&series), count, "{reason}");
}

/// Writes a request by hand and reads the whole answer.
fn raw(daemon: &Daemon, request: &[u8]) -> String {
    let mut stream = daemon.trust().raw(daemon.address, &[b"http/1.1"]).unwrap();
    stream.write_all(request).unwrap();
    stream.flush().unwrap();
    let mut answer = Vec::new();
    // However the connection ends: the bytes before its end count.
    stream.read_to_end(&mut answer).ok();
    String::from_utf8(answer).unwrap()
}

#[test]
fn a_wrong_or_missing_secret_is_answered_with_401_without_details() {
    let daemon = Setup::new().start();
    let record = || Upload::of("{\"a\":1}\n").gzipped();
    let mut count = 0;
    for http in Http::BOTH {
        let connection = daemon.connect(http);
        for upload in [
            record().without_secret(),
            record().secret("wrong"),
            record().secret(""),
            record().secret(SECRET.strip_prefix('a').unwrap()),
            record().secret(&format!("{SECRET}x")),
            record().secret(&SECRET.to_uppercase()),
            record().without_secret().header("authorization", SECRET),
            record().without_secret().to(&format!("/logpush/a?X-Logpush-Secret={SECRET}")),
        ] {
            let answer = connection.send(upload);
            assert_eq!((answer.status, answer.text.as_str()), (401, ""));
            count += 1;
        }
        // The connection stays usable, with the right secret right after a wrong one.
        assert_eq!(connection.send(Upload::of("test")).ok().0, "destination_check");
    }
    refused(&daemon, "unauthorized", count);
    let log = daemon.logged("refused");
    assert!(log.iter().all(|line| !line.to_string().contains(SECRET)), "{log:?}");
    nothing_is_left(daemon);
}

#[test]
fn a_disallowed_address_is_answered_with_403() {
    let endpoint = |networks: &str| {
        let keys = "path = \"/logpush/{dataset}\"\nsecret_file = \"secrets.txt\"";
        Setup::new().table("endpoint.main", &format!("{keys}\nallow_from = [{networks}]")).start()
    };
    let daemon = endpoint(r#""192.0.2.0/24", "2001:db8::/32""#);
    for http in Http::BOTH {
        // The right secret does not help.
        let answer = daemon.send(http, Upload::of("{\"a\":1}\n"));
        assert_eq!(answer.status, 403);
        assert!(answer.text.contains("allow_from"), "{}", answer.text);
    }
    refused(&daemon, "forbidden", 2);
    nothing_is_left(daemon);

    let daemon = endpoint(r#""192.0.2.0/24", "127.0.0.1""#);
    daemon.commit(b"{\"a\":1}\n");
}

#[test]
fn an_unknown_path_is_answered_with_404_and_another_method_with_405() {
    let daemon = Setup::new().start();
    for http in Http::BOTH {
        let connection = daemon.connect(http);
        for path in ["/", "/logpush", "/logpush/", "/logpush/A", "/logpush/a/b", "/logpush/%61"] {
            let answer = connection.send(Upload::of("{\"a\":1}\n").gzipped().to(path));
            assert_eq!(answer.status, 404, "{path}");
            assert!(answer.text.contains("endpoint"), "{}", answer.text);
        }
        for method in [Method::GET, Method::DELETE, Method::PATCH, Method::OPTIONS, Method::HEAD] {
            let answer = connection.send(Upload::of("").method(&method));
            assert_eq!(answer.status, 405, "{method}");
            assert_eq!(answer.headers["allow"], "POST, PUT", "{method}");
        }
    }
    refused(&daemon, "not_found", 12);
    refused(&daemon, "method_not_allowed", 10);
    nothing_is_left(daemon);
}

#[test]
fn an_encoding_other_than_gzip_is_answered_with_415() {
    let daemon = Setup::new().start();
    for http in Http::BOTH {
        let connection = daemon.connect(http);
        for encoding in ["br", "zstd", "deflate", "gzip, gzip", "gzip,br", "identity, gzip", "*"] {
            let upload = Upload::of(gzip(b"{\"a\":1}\n")).header("content-encoding", encoding);
            let answer = connection.send(upload);
            assert_eq!(answer.status, 415, "{encoding}");
            assert!(answer.text.contains("gzip or identity"), "{}", answer.text);
        }
    }
    refused(&daemon, "unsupported_encoding", 14);
    nothing_is_left(daemon);
}

#[test]
fn a_malformed_request_is_answered_with_400() {
    let daemon = Setup::new().start();
    let head = format!(
        "POST /logpush/a HTTP/1.1\r\nhost: x\r\nx-logpush-secret: {SECRET}\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    for body in ["zz\r\n{\"a\":1}\n\r\n0\r\n\r\n", "8\r\n{\"a\":1}\nno line end\r\n0\r\n\r\n"] {
        let answer = raw(&daemon, format!("{head}{body}").as_bytes());
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.contains("malformed request"), "{answer}");
    }
    refused(&daemon, "malformed", 2);
    for request in [&b"nonsense\r\n\r\n"[..], b"POST / HTTP/1.1\r\nhost x\r\n\r\n"] {
        let answer = raw(&daemon, request);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    nothing_is_left(daemon);
}

#[test]
fn an_incomplete_body_leaves_nothing_on_disk() {
    let daemon = Setup::new().start();
    let head = format!(
        "POST /logpush/a HTTP/1.1\r\nhost: x\r\nx-logpush-secret: {SECRET}\r\ncontent-length: 1000000\r\n\r\n"
    );
    let mut stream = daemon.trust().raw(daemon.address, &[b"http/1.1"]).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&b"{\"a\":1}\n".repeat(60_000)).unwrap();
    stream.flush().unwrap();
    wait_until("a file that grows", || !names_in(&daemon.path("spool/batches")).is_empty());
    drop(stream);
    daemon.wait_count("logpushd_refused_total{reason=\"disconnected\"}", |count| count == 1);
    nothing_is_left(daemon);
}

const LIMITS: &str = r#"
max_body_bytes = "64KiB"
max_inflated_bytes = "1MiB"
max_record_bytes = "64KiB"
max_in_flight_bytes = "64KiB"
"#;

#[track_caller]
fn too_large(answer: &Answer, key: &str, value: &str) {
    assert_eq!(answer.status, 413, "{}", answer.text);
    for part in [key, value, "raise"] {
        assert!(answer.text.contains(part), "{part:?} not in {:?}", answer.text);
    }
}

#[test]
fn a_body_over_a_limit_is_answered_with_413_and_the_key() {
    let daemon = Setup::new().table("limits", LIMITS).start();
    let key = "limits.max_body_bytes";
    for http in Http::BOTH {
        let connection = daemon.connect(http);
        // Declared, and rejected before a byte of it is sent.
        let (upload, unfed) = Upload::fed(Some(65_537));
        let answer = connection.send(upload);
        too_large(&answer, key, "65536 (64 KiB)");
        assert!(answer.text.contains("65537"), "{}", answer.text);
        drop(unfed);

        // Not declared: rejected when the length is known.
        let connection = daemon.connect(http);
        let (upload, feed) = Upload::fed(None);
        thread::scope(|scope| {
            scope.spawn(move || {
                let piece = b"{\"a\":1}\n".repeat(1024);
                while feed.push(&piece) {}
            });
            too_large(&connection.send(upload), key, "65536 (64 KiB)");
        });

        // Small on the wire, large when decompressed.
        let bomb = gzip(&b"{\"a\":1}\n".repeat(1 << 18));
        assert!(bomb.len() < 64 << 10);
        let connection = daemon.connect(http);
        let answer = connection.send(Upload::of(bomb).header("content-encoding", "gzip"));
        too_large(&answer, "limits.max_inflated_bytes", "1048576 (1 MiB)");
    }
    refused(&daemon, "too_large", 6);
    nothing_is_left(daemon);
}

#[test]
fn expect_100_continue_is_answered_whether_the_sender_waits_or_not() {
    let daemon = Setup::new().table("limits", LIMITS).start();
    let body = vec![b'x'; 3 << 20];
    let head = format!(
        "POST /logpush/http_requests HTTP/1.1\r\nhost: x\r\nx-logpush-secret: {SECRET}\r\n\
         expect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    // Its next bytes on this connection would be read as the body.
    let answer = raw(&daemon, head.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");

    for _ in 0..5 {
        let mut stream = daemon.trust().raw(daemon.address, &[b"http/1.1"]).unwrap();
        stream.write_all(&[head.as_bytes(), &body].concat()).unwrap();
        stream.flush().unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 413");
    }
    refused(&daemon, "too_large", 6);
    nothing_is_left(daemon);
}

#[test]
fn a_body_just_within_the_limits_is_accepted() {
    let daemon = Setup::new().table("limits", LIMITS).start();
    let body = b"{\"a\":1}\n".repeat(8192);
    assert_eq!(body.len(), 65_536);
    let answer = daemon.send(Http::One, Upload::of(&body));
    assert_eq!(answer.committed(), 8192);
    let inflated = b"{\"a\":1}\n".repeat(1 << 17);
    assert_eq!(inflated.len(), 1 << 20);
    daemon.commit(&inflated);
    daemon.wait_file("out/http_requests.ndjson", &[body, inflated].concat());
}

#[test]
fn uploads_over_the_memory_budget_are_answered_with_503_until_others_finish() {
    let daemon = Setup::new().table("limits", LIMITS).start();
    let connection = daemon.connect(Http::Two);
    let body = b"{\"a\":1}\n".repeat(8192);
    let (upload, feed) = Upload::fed(Some(65_536));
    thread::scope(|scope| {
        let first = scope.spawn(|| connection.send(upload));
        assert!(feed.push(&body[..8]));
        let small = || Upload::of("{\"b\":2}\n").to("/logpush/other");
        // The first body has arrived when some of it has: it takes the budget first.
        daemon.wait_count("logpushd_received_bytes_total", |bytes| bytes >= 8);
        assert_eq!(daemon.send(Http::One, small()).status, 503);
        let answer = connection.send(small());
        assert_eq!(answer.status, 503);
        assert!(answer.headers.contains_key("retry-after"));
        assert!(answer.text.contains("limits.max_in_flight_bytes = 64 KiB"), "{}", answer.text);
        assert!(feed.push(&body[8..]));
        assert_eq!(first.join().unwrap().committed(), 8192);
        assert_eq!(connection.send(small()).committed(), 1);
    });
}

#[test]
fn a_full_spool_is_answered_with_503_and_not_ready_until_the_sink_recovers() {
    let daemon = Setup::new().table("spool", "dir = \"spool\"\nmax_bytes = \"256KiB\"");
    // A file has replaced the sink's directory.
    daemon.write("out", "in the way");
    let daemon = daemon.start();
    assert_eq!(daemon.ask("/readyz"), (200, "ready\n".to_owned()));
    assert_eq!(daemon.count("logpushd_ready"), 1);
    assert_eq!(daemon.count("logpushd_spool_room_bytes"), 256 << 10);
    let mut delivered = Vec::new();
    for batch in 0.. {
        // Of unknown length, so that the spool fills completely.
        let records = numbered(batch, 500);
        let (upload, feed) = Upload::fed(None);
        assert!(feed.push(&records));
        drop(feed);
        let answer = daemon.send(Http::Two, upload);
        if answer.status == 503 {
            break;
        }
        assert_eq!(answer.committed(), 500);
        delivered.extend(records);
        assert!(batch < 50, "the spool does not fill");
    }
    for http in Http::BOTH {
        let answer = daemon.send(http, Upload::of("{\"a\":1}\n").gzipped());
        assert_eq!(answer.status, 503);
        let after: u64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=60).contains(&after));
        assert!(answer.text.contains("spool.max_bytes"), "{}", answer.text);
    }
    let (status, why) = daemon.ask("/readyz");
    assert_eq!(status, 503);
    assert!(why.contains("spool.max_bytes"), "{why}");
    assert_eq!(daemon.ask("/healthz").0, 200, "/healthz still answers");
    assert_eq!(daemon.count("logpushd_ready"), 0);
    assert_eq!(daemon.count("logpushd_spool_room_bytes"), 0);
    daemon.wait_count("logpushd_sink_errors_total{sink=\"archive\"}", |errors| errors >= 1);

    fs::remove_file(daemon.path("out")).unwrap();
    daemon.wait_file("out/http_requests.ndjson", &delivered);
    wait_until("ready again", || daemon.ask("/readyz").0 == 200);
    assert_eq!(daemon.count("logpushd_ready"), 1);
    daemon.commit(b"{\"a\":1}\n");
    delivered.extend(b"{\"a\":1}\n");
    daemon.wait_file("out/http_requests.ndjson", &delivered);
    wait_until("an empty spool", || names_in(&daemon.path("spool/batches")).is_empty());
    daemon.stop().exited_cleanly();
}
