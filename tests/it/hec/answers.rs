//! Every answer of the endpoint: status, code and text are Splunk's.

use std::fs;

use hyper::Method;

use super::{JOB, PREFIX, SUCCESS, TOKEN, events, setup, upload, with_token};
use crate::support::{Http, Upload, names_in, numbered, wait_until};

const HEALTHY: &str = "{\"text\":\"HEC is healthy\",\"code\":17}";
const UNHEALTHY: &str = "{\"text\":\"HEC is unhealthy, queues are full\",\"code\":18}";

/// Without a token.
fn bare(path: &str) -> Upload {
    Upload::of("{\"event\":1}").without_secret().to(path)
}

#[test]
fn a_wrong_token_is_answered_as_splunk_answers_it() {
    let authorized = |value: &str| bare(&format!("{PREFIX}/event")).header("authorization", value);
    for http in Http::BOTH {
        // One request per connection: an address with many wrong secrets is throttled.
        let daemon = setup().start();
        let mut count = 0;
        let connection = daemon.connect(http);
        for (upload, status, text) in [
            (bare(PREFIX), 401, "{\"text\":\"Token is required\",\"code\":2}"),
            (bare(JOB), 401, "{\"text\":\"Token is required\",\"code\":2}"),
            (
                bare(PREFIX).header("x-logpush-secret", TOKEN),
                401,
                "{\"text\":\"Token is required\",\"code\":2}",
            ),
            (bare(&format!("{PREFIX}/ack")), 401, "{\"text\":\"Token is required\",\"code\":2}"),
            (authorized(TOKEN), 401, "{\"text\":\"Invalid authorization\",\"code\":3}"),
            (
                authorized(&format!("Bearer {TOKEN}")),
                401,
                "{\"text\":\"Invalid authorization\",\"code\":3}",
            ),
            (authorized("Splunk other"), 403, "{\"text\":\"Invalid token\",\"code\":4}"),
            (
                authorized(&format!("Splunk {}", TOKEN.to_uppercase())),
                403,
                "{\"text\":\"Invalid token\",\"code\":4}",
            ),
            (
                bare(&format!("{PREFIX}/raw?token={TOKEN}")),
                400,
                "{\"text\":\"Query string authorization is not enabled\",\"code\":16}",
            ),
        ] {
            let answer = connection.send(upload);
            assert_eq!((answer.status, answer.text.as_str()), (status, text));
            assert_eq!(answer.headers["content-type"], "application/json");
            count += 1;
        }
        // user:TOKEN
        let basic = authorized("Basic dXNlcjowYjhhNGExZS10b2tlbi1vZi10aGUtdGVzdHM=");
        connection.send(basic).success();
        assert_eq!(daemon.count("logpushd_refused_total{reason=\"unauthorized\"}"), count);
        let log = daemon.wait_logs("refused", usize::try_from(count).unwrap());
        let why = |part: &str| log.iter().any(|line| line["why"].as_str().unwrap().contains(part));
        for part in ["Splunk%20TOKEN", "is neither", "secret_file", "in the query"] {
            assert!(why(part), "{part} {log:?}");
        }
        assert!(log.iter().all(|line| !line.to_string().contains(TOKEN)), "{log:?}");
        daemon.wait_file("out/splunk_hec.ndjson", b"{\"event\":1}\n");
        daemon.stop().exited_cleanly();
    }
}

#[test]
fn rejected_requests_are_answered_with_a_code() {
    let limits = "max_body_bytes = \"64KiB\"\nmax_record_bytes = \"64KiB\"";
    let daemon = setup().table("limits", limits).start();
    let large = events(1, 3000);
    for http in Http::BOTH {
        // One connection each: a connection whose body is rejected unread closes if the body takes
        // long.
        for (upload, status, start, detail) in [
            (upload("/event", ""), 400, "{\"text\":\"No data\",\"code\":5}", ""),
            (upload("/event", " \r\n"), 400, "{\"text\":\"No data\",\"code\":5}", ""),
            (upload("/raw", "\n\n").gzipped(), 400, "{\"text\":\"No data\",\"code\":5}", ""),
            (
                upload("/ack?channel=8e6ab7a7-9e32-4a7d-8a0c-6a3c0d1f5a31", "{\"acks\":[0]}"),
                400,
                "{\"text\":\"ACK is disabled\",\"code\":14}",
                "",
            ),
            (
                upload("/event", &large),
                413,
                "{\"text\":\"Payload Too Large\",\"code\":413,",
                "raise limits.max_body_bytes",
            ),
            (
                upload("/event", "{}").header("content-encoding", "br"),
                415,
                "{\"text\":\"Unsupported Media Type\",\"code\":415,",
                "gzip or identity",
            ),
            (
                upload("/mint", "{}"),
                404,
                "{\"text\":\"The requested URL was not found on this server.\",\"code\":404,",
                "/event, /raw",
            ),
            (
                upload("/", "{}"),
                404,
                "{\"text\":\"The requested URL was not found on this server.\",\"code\":404,",
                "",
            ),
        ] {
            let answer = daemon.send(http, upload);
            assert_eq!(answer.status, status, "{}", answer.text);
            assert!(answer.text.starts_with(start), "{}", answer.text);
            assert!(answer.text.contains(detail), "{}", answer.text);
        }
        for (path, method, allow) in [
            ("/event", Method::GET, "POST, PUT, OPTIONS"),
            ("/raw", Method::DELETE, "POST, PUT, OPTIONS"),
            ("/health", Method::POST, "GET, HEAD, OPTIONS"),
        ] {
            let answer = daemon.send(http, upload(path, "").method(&method));
            assert_eq!(answer.status, 405);
            assert_eq!(answer.headers["allow"], allow);
            assert!(answer.text.starts_with("{\"text\":\"Method Not Allowed\",\"code\":405,"));
        }
    }
    assert_eq!(names_in(&daemon.path("spool/batches")), [""; 0]);
    let stopped = daemon.stop().exited_cleanly();
    assert_eq!(names_in(&stopped.setup.path("out")), [""; 0]);
}

#[test]
fn a_channel_is_accepted_and_not_required() {
    let daemon = setup().start();
    let channel = "8e6ab7a7-9e32-4a7d-8a0c-6a3c0d1f5a31";
    for path in ["/raw", "/event"] {
        for upload in [
            upload(path, "{\"event\":1}"),
            upload(&format!("{path}?channel={channel}"), "{\"event\":1}"),
            upload(path, "{\"event\":1}").header("x-splunk-request-channel", channel),
            upload(path, "{\"event\":1}").header("x-splunk-request-channel", "no guid"),
            upload(path, "{\"event\":1}").method(&Method::PUT),
        ] {
            daemon.send(Http::Two, upload).success();
        }
    }
    daemon.wait_file("out/splunk_hec.ndjson", &b"{\"event\":1}\n".repeat(10));
    daemon.stop().exited_cleanly();
}

#[test]
fn health_and_methods_need_no_token() {
    let daemon = setup().start();
    for http in Http::BOTH {
        let connection = daemon.connect(http);
        for path in ["/health", "/health/1.0", "/health?ack=true"] {
            let ask = || Upload::of("").without_secret().to(&format!("{PREFIX}{path}"));
            let answer = connection.send(ask().method(&Method::GET));
            assert_eq!((answer.status, answer.text.as_str()), (200, HEALTHY), "{path}");
            let answer = connection.send(ask().method(&Method::HEAD));
            assert_eq!((answer.status, answer.text.as_str()), (200, ""), "{path}");
        }
        // The request of Docker's logging driver before it starts a container.
        let ask = bare(&format!("{PREFIX}/event/1.0")).method(&Method::OPTIONS);
        let answer = connection.send(ask);
        assert_eq!((answer.status, answer.text.as_str()), (200, ""));
        assert_eq!(answer.headers["allow"], "POST, PUT, OPTIONS");
    }
    daemon.stop().exited_cleanly();
}

#[test]
fn a_disallowed_address_gets_no_other_answer() {
    let keys = "protocol = \"splunk_hec\"\nsecret_file = \"tokens.txt\"\n\
                allow_from = [\"192.0.2.0/24\"]";
    let daemon = setup().table("endpoint.hec", keys).start();
    for upload in [
        upload("/event", "{\"event\":1}"),
        bare(PREFIX),
        upload("/health", "").method(&Method::GET),
        upload("/event", "").method(&Method::OPTIONS),
    ] {
        let answer = daemon.send(Http::Two, upload);
        assert_eq!(answer.status, 403);
        assert!(
            answer.text.starts_with("{\"text\":\"Forbidden\",\"code\":403,"),
            "{}",
            answer.text
        );
    }
    daemon.stop().exited_cleanly();
}

#[test]
fn a_full_spool_is_reported_as_busy_and_unhealthy_until_the_sink_recovers() {
    let setup = setup().table("spool", "dir = \"spool\"\nmax_bytes = \"256KiB\"");
    // A file has replaced the sink's directory.
    setup.write("out", "in the way");
    let daemon = setup.start();
    let health = || {
        let ask = bare(&format!("{PREFIX}/health")).method(&Method::GET);
        let answer = daemon.send(Http::One, ask);
        (answer.status, answer.text)
    };
    assert_eq!(health(), (200, HEALTHY.to_owned()));
    let mut delivered = Vec::new();
    let answer = (0..50).find_map(|seed| {
        let records = numbered(seed, 500);
        // Of unknown length, so that the spool fills completely.
        let (slow, feed) = Upload::fed(None);
        assert!(feed.push(&records));
        drop(feed);
        let answer = daemon.send(Http::Two, with_token(slow.to(JOB)));
        if answer.status == 503 {
            return Some(answer);
        }
        assert_eq!(answer.text, SUCCESS);
        delivered.extend(records);
        None
    });
    let answer = answer.expect("it fills");
    assert!(answer.headers.contains_key("retry-after"));
    assert!(answer.text.starts_with("{\"text\":\"Server is busy\",\"code\":9,"), "{}", answer.text);
    assert!(answer.text.contains("spool.max_bytes"), "{}", answer.text);
    assert_eq!(health(), (503, UNHEALTHY.to_owned()));

    fs::remove_file(daemon.path("out")).unwrap();
    daemon.wait_file("out/splunk_hec.ndjson", &delivered);
    wait_until("healthy again", || health().0 == 200);
    daemon.send(Http::Two, upload("/raw", "{\"a\":1}\n")).success();
    daemon.stop().exited_cleanly();
}
