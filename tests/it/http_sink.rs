//! Records are delivered to a collector over HTTP, whatever it answers.

use std::{fs, time::Duration};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{
    Daemon, Exit, Setup, closed_port,
    collector::{Collector, Received, ok, refusal},
    count_lines, finish, logpushd, names_in, numbered, wait_for, wait_until,
};

/// A daemon with the sink `collector`, which has these keys besides its URL.
fn setup(collector: &Collector, keys: &str) -> Setup {
    let url = collector.url("/in/{dataset}?from={endpoint}");
    Setup::new().table("sink.collector.http", &format!("url = \"{url}\"\n{keys}"))
}

fn lines(records: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(records).unwrap();
    text.lines().map(|line| format!("{line}\n")).collect()
}

#[track_caller]
fn same(collector: &Collector, records: &[u8]) {
    let (mut want, mut have) = (lines(records), collector.wait_lines(lines(records).len()));
    want.sort_unstable();
    have.sort_unstable();
    assert_eq!(have, want);
}

fn header<'a>(request: &'a Received, name: &str) -> Option<&'a str> {
    request.headers.get(name).map(|value| value.to_str().unwrap())
}

/// The lines of the quarantine.
fn dead_letters(daemon: &Daemon) -> Vec<Value> {
    let quarantine = daemon.path("quarantine");
    let names = names_in(&quarantine);
    let files = names.iter().filter(|name| name.starts_with("records-collector-"));
    let text: String =
        files.map(|name| fs::read_to_string(quarantine.join(name)).unwrap()).collect();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[test]
fn records_are_delivered_unchanged_with_a_deterministic_key() {
    let collector = Collector::start();
    let sink = |path: &str, keys: &str| {
        format!("url = \"{}\"\nin_flight = 1\n{keys}", collector.url(path))
    };
    let daemon = Setup::new()
        .table("sink.a.http", &sink("/a/{dataset}", ""))
        .table("sink.b.http", &sink("/b", "framing = \"array\"\ncompression = \"zstd\""))
        .table("sink.c.http", &sink("/c", "method = \"PUT\"\ncompression = \"none\""))
        .start();
    let records = numbered(1, 50);
    daemon.commit(&records);
    wait_until("a request of each sink", || collector.received().len() == 3);
    let digest = format!("{:.32}", blake3::hash(&records).to_hex());
    let digest = digest.as_str();
    for request in collector.received() {
        let id = header(&request, "idempotency-key").unwrap();
        assert!(id.starts_with(&format!("{digest}-1-")) && id.ends_with("-0"), "{id}");
        assert_eq!(header(&request, "logpushd-batch"), Some(digest));
        let (path, method, kind) = match request.path.as_str() {
            "/b" => ("/b", "POST", "application/json"),
            "/c" => ("/c", "PUT", "application/x-ndjson"),
            _ => ("/a/http_requests", "POST", "application/x-ndjson"),
        };
        assert_eq!((request.path.as_str(), request.method.as_str()), (path, method));
        assert_eq!(header(&request, "content-type"), Some(kind));
        if path == "/b" {
            let text = String::from_utf8(request.body).unwrap();
            let array = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap();
            let want = String::from_utf8(records.clone()).unwrap();
            assert_eq!(array, want.trim_end().replace("}\n{", "},{"));
        } else {
            assert_eq!(request.body, records);
        }
    }
    daemon.stop().exited_cleanly();
}

#[test]
fn retry_after_is_obeyed_and_the_same_request_is_sent_again() {
    let collector = Collector::start();
    let first = std::sync::atomic::AtomicBool::new(true);
    collector.answer_by(move |_| {
        if first.swap(false, std::sync::atomic::Ordering::Relaxed) {
            (503, vec![("retry-after", "2".to_owned())], "busy".to_owned())
        } else {
            ok()
        }
    });
    let daemon = setup(&collector, "").start();
    let records = numbered(1, 50);
    daemon.commit(&records);
    same(&collector, &records);
    let received = collector.received();
    assert_eq!(received.len(), 2);
    assert!(received[1].at - received[0].at >= Duration::from_secs(2));
    assert_eq!(header(&received[0], "idempotency-key"), header(&received[1], "idempotency-key"));
    assert_eq!(received[0].body, received[1].body);
    daemon.stop().exited_cleanly();
}

#[test]
fn an_upload_that_is_too_large_is_split() {
    let collector = Collector::start();
    collector.answer_by(|request| {
        if count_lines(&request.body) > 3 { refusal(413, "too large") } else { ok() }
    });
    let daemon = setup(&collector, "").start();
    let records = numbered(1, 50);
    daemon.commit(&records);
    same(&collector, &records);
    daemon.stop().exited_cleanly();
}

#[test]
fn a_killed_daemon_delivers_the_backlog_of_the_collector() {
    let (port, address) = closed_port();
    let url = format!("url = \"http://{address}/in\"");
    let daemon = Setup::new().table("sink.collector.http", &url).start();
    let mut records = daemon.commit_numbered(0..3, 20);
    daemon.wait_log("the sink failed");
    let daemon = daemon.kill().start();
    records.extend(daemon.commit_numbered(3..4, 20));
    drop(port);
    let collector = Collector::start_at(address);
    same(&collector, &records);
    daemon.stop().exited_cleanly();
}

#[test]
fn a_wrong_secret_is_reported_to_the_operator_and_loses_nothing() {
    let collector = Collector::start();
    collector.answer_by(|request| match header(request, "authorization") {
        Some("Bearer right-token") => ok(),
        other => refusal(401, &format!("not {other:?}")),
    });
    let keys = "secret_headers = { Authorization = \"token.txt\" }";
    let setup = setup(&collector, keys);
    setup.write("token.txt", "Bearer wrong-token\n");
    let daemon = setup.start();
    let records = numbered(1, 20);
    daemon.commit(&records);
    let required = "logpushd_sink_action_required{sink=\"collector\"}";
    daemon.wait_count(required, |value| value == 1);
    daemon.setup().write("token.txt", "Bearer right-token\n");
    let stopped = daemon.stop();
    assert!(!stopped.log.contains("wrong-token"), "{}", stopped.log);
    assert!(stopped.log.contains("answered 401 Unauthorized: not Some"), "{}", stopped.log);
    let daemon = stopped.exited_cleanly().start();
    same(&collector, &records);
    daemon.wait_count(required, |value| value == 0);
    daemon.stop().exited_cleanly();
}

#[test]
fn a_reload_changes_the_url_of_a_sink() {
    let (first, second) = (Collector::start(), Collector::start());
    let daemon = setup(&first, "").start();
    let records = numbered(1, 20);
    daemon.commit(&records);
    same(&first, &records);
    let url = format!("url = \"{}\"", second.url("/in"));
    daemon.setup().write_config_with(&[("sink.collector.http", Some(&url))]);
    daemon.signal(Signal::HUP);
    daemon.wait_log("reloaded");
    let records = numbered(2, 20);
    daemon.commit(&records);
    same(&second, &records);
    assert_eq!(first.received().len(), 1);
    daemon.stop().exited_cleanly();
}

#[test]
fn a_rejected_record_is_quarantined_once_and_replayed_to_its_sink() {
    let collector = Collector::start();
    collector.answer_by(|request| {
        let text = String::from_utf8_lossy(&request.body);
        if text.contains("\"bad\"") { refusal(400, "no field `bad` here") } else { ok() }
    });
    let daemon = setup(&collector, "").start();
    let good = numbered(1, 20);
    daemon.commit(&[&good[..], b"{\"bad\":1}\n"].concat());
    same(&collector, &good);
    let letters = wait_for("a dead letter", || {
        Some(dead_letters(&daemon)).filter(|letters| !letters.is_empty())
    });
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0]["sink"], "collector");
    assert!(letters[0]["reason"].as_str().unwrap().ends_with("no field `bad` here"), "{letters:?}");

    collector.answer_by(|_| ok());
    let archive = fs::read(daemon.path("out/http_requests.ndjson")).unwrap();
    let text = fs::read_to_string(daemon.setup().config()).unwrap();
    let real = format!("[server]\naddress = \"{}\"", daemon.address);
    let text = text.replace("[server]\naddress = \"127.0.0.1:0\"", &real);
    daemon.setup().write("replay.toml", text);
    let config = daemon.path("replay.toml");
    let replayed = finish(logpushd().args(["quarantine", "replay", "-c"]).arg(config));
    assert_eq!(replayed.exit, Exit::Code(0), "{}{}", replayed.stdout, replayed.stderr);
    same(&collector, &[&good[..], b"{\"bad\":1}\n"].concat());
    assert_eq!(fs::read(daemon.path("out/http_requests.ndjson")).unwrap(), archive);
    daemon.stop().exited_cleanly();
}

/// Neither an answer that refuses everything nor an answer of another program loses a record.
#[test]
fn an_answer_without_the_count_of_refused_records_is_reported() {
    let collector = Collector::start();
    collector.answer_by(|_| (200, Vec::new(), "<html>Please log in</html>".to_owned()));
    let daemon = setup(&collector, "refused_count = \"/failed\"").start();
    let records = numbered(1, 20);
    daemon.commit(&records);
    let required = "logpushd_sink_action_required{sink=\"collector\"}";
    daemon.wait_count(required, |value| value == 1);
    collector.answer_by(|_| (200, Vec::new(), "{\"failed\":0}".to_owned()));
    let stopped = daemon.stop();
    for part in ["200 OK: <html>Please log in</html>", "has to lead to a number: /failed does not"]
    {
        assert!(stopped.log.contains(part), "{part} not in {}", stopped.log);
    }
    let stopped = stopped.exited_cleanly();
    let daemon = stopped.start();
    wait_until("an accepted request", || collector.received().len() > 1);
    assert!(collector.received().iter().all(|request| request.body == records));
    daemon.wait_count(required, |value| value == 0);
    daemon.stop().exited_cleanly();
}

/// A list of failures can make an answer long.
#[test]
fn a_long_answer_with_refused_records_divides_the_request() {
    let collector = Collector::start();
    collector.answer_by(|request| {
        let is_long = count_lines(&request.body) > 50;
        let failures = "x".repeat(if is_long { 100_000 } else { 10 });
        (200, Vec::new(), format!("{{\"failures\":\"{failures}\",\"failed\":0}}"))
    });
    let daemon = setup(&collector, "refused_count = \"/failed\"").start();
    let records = numbered(1, 100);
    daemon.commit(&records);
    wait_until("two halves", || collector.received().len() == 3);
    let sizes: Vec<_> =
        collector.received().iter().map(|request| count_lines(&request.body)).collect();
    assert_eq!(sizes, [100, 50, 50]);
    daemon.stop().exited_cleanly();
}

#[test]
fn validate_reports_invalid_settings_of_an_http_sink() {
    for (keys, expected) in [
        ("url = \"collector.example.com\"", "is not an http:// or https:// URL"),
        ("url = \"https://a:hidden@b.example/\"", "a user name or a password"),
        (
            "url = \"https://b.example/\"\nsecret_headers = { Authorization = \"missing.txt\" }",
            "cannot use secret file",
        ),
        (
            "url = \"https://b.example/\"\nheaders = { Authorization = \"x\" }",
            "this file must not contain secrets",
        ),
        ("url = \"https://b.example/{secret}\"", "`{secret}` in `url` has no value"),
        ("url = \"https://{secret}.example/\"", "contains a placeholder in its host"),
        (
            "url = \"https://b.example/\"\nurl_secret_file = \"secrets.txt\"",
            "`sink.collector.http.url_secret_file` has no effect",
        ),
        ("url = \"https://b.example/\"\nrefused_count = \"failed\"", "is not a JSON pointer"),
    ] {
        let setup = Setup::new().table("sink.collector.http", keys);
        setup.write_config();
        let finished = finish(logpushd().args(["validate", "-c"]).arg(setup.config()));
        assert_eq!(finished.exit, Exit::Code(78), "{keys}\n{}", finished.stderr);
        assert!(finished.stderr.contains(expected), "{keys}\n{}", finished.stderr);
    }
}
