//! Records are delivered as log records by OTLP over HTTP.

use std::{
    collections::BTreeSet,
    fs,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use serde_json::Value;
use sinks::otlp::proto::{ExportLogsPartialSuccess, ExportLogsServiceResponse, Status};

use crate::support::{
    Daemon, Exit, Http, Setup, Upload,
    collector::{Collector, ok, refusal},
    finish, logpushd, names_in, numbered,
    otlp::{Log, Rotel, body, logs, protobuf},
    samples::all_datasets,
    wait_for, wait_until,
};

/// A daemon with the sink `otel`, which has these keys besides its URL.
fn setup(url: &str, keys: &str) -> Setup {
    Setup::new().table("sink.otel.otlp", &format!("url = \"{url}\"\n{keys}"))
}

/// The log records that the collector accepted.
fn accepted(collector: &Collector) -> Vec<Log> {
    collector.taken().iter().flat_map(logs).collect()
}

#[track_caller]
fn wait_logs(collector: &Collector, count: usize) -> Vec<Log> {
    wait_for(&format!("{count} log records"), || {
        Some(accepted(collector)).filter(|logs| logs.len() >= count)
    })
}

/// The records that are in quarantine.
fn dead_letters(daemon: &Daemon) -> Vec<Value> {
    let quarantine = daemon.path("quarantine");
    let names = names_in(&quarantine);
    let files = names.iter().filter(|name| name.starts_with("records-otel-"));
    let text: String =
        files.map(|name| fs::read_to_string(quarantine.join(name)).unwrap()).collect();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn partial_success(rejected: i64, message: &str) -> ExportLogsServiceResponse {
    let partial = ExportLogsPartialSuccess {
        rejected_log_records: rejected,
        error_message: message.to_owned(),
    };
    ExportLogsServiceResponse { partial_success: Some(partial) }
}

#[test]
fn every_value_of_every_dataset_arrives_unchanged() {
    let collector = Collector::start();
    let daemon = Setup::new()
        .table("sink.map.otlp", &format!("url = \"{}\"", collector.url("/map")))
        .table(
            "sink.text.otlp",
            &format!(
                "url = \"{}\"\nbody = \"string\"\ncompression = \"none\"",
                collector.url("/text/v1/logs?a={dataset}")
            ),
        )
        .start();
    let (mut maps, mut texts) = (Vec::new(), Vec::new());
    for (dataset, lines) in all_datasets() {
        let upload = Upload::of(&lines).to(&format!("/logpush/{dataset}"));
        assert_eq!(daemon.send(Http::Two, upload).ok().2, 0, "{dataset}");
        for line in String::from_utf8(lines).unwrap().lines().filter(|line| !line.is_empty()) {
            maps.push((dataset.clone(), body(line)));
            texts.push((dataset.clone(), line.trim().to_owned()));
        }
    }
    let logs = wait_logs(&collector, maps.len() + texts.len());
    let uids: BTreeSet<_> = logs.iter().map(|log| log.uid.clone()).collect();
    assert_eq!(uids.len(), maps.len(), "both sinks have the same identities");
    for (path, mut expected) in [("/map/v1/logs", maps), ("/text/v1/logs?a=", texts)] {
        let requests =
            collector.taken().into_iter().filter(|request| request.path.starts_with(path));
        let logs = requests.flat_map(|request| crate::support::otlp::logs(&request));
        let mut bodies: Vec<_> = logs.map(|log| (log.event, log.body)).collect();
        bodies.sort();
        expected.sort();
        assert_eq!(bodies, expected);
    }
    daemon.stop().exited_cleanly();
}

#[test]
fn a_log_record_has_its_time_severity_and_origin() {
    let collector = Collector::start();
    let keys = "resource = { \"service.name\" = \"{endpoint}\", \"zone\" = \"example.com\" }\n\
        headers = { X-Scope-OrgID = \"acme\" }\nsecret_headers = { api-key = \"key.txt\" }";
    let setup = setup(&collector.url(""), keys);
    setup.write("key.txt", "a-secret-key\n");
    let daemon = setup.start();
    let records = b"{\"EdgeStartTimestamp\":1700000000123456789,\"EdgeResponseStatus\":403}\n{}\n";
    daemon.commit(records);
    let logs = wait_logs(&collector, 2);
    assert_eq!((logs[0].time, logs[1].time), (1_700_000_000_123_456_789, 0));
    // CEF has 4 for this status.
    assert_eq!((logs[0].severity, logs[1].severity), (13, 0));
    assert_eq!(logs[0].observed, logs[1].observed);
    assert!(logs[0].observed > 1_700_000_000_123_456_789);
    let digest = format!("{:.32}", blake3::hash(records).to_hex());
    let expected = [
        ("service.name", "main"),
        ("zone", "example.com"),
        ("logpushd.dataset", "http_requests"),
        ("logpushd.endpoint", "main"),
        ("logpushd.batch", &digest),
    ];
    let expected = expected.map(|(name, text)| (name.to_owned(), text.to_owned()));
    assert_eq!(logs[0].attributes, expected);
    let request = &collector.received()[0];
    assert_eq!(request.path, "/v1/logs");
    assert_eq!(request.headers["x-scope-orgid"], "acme");
    assert_eq!(request.headers["api-key"], "a-secret-key");
    assert_eq!(request.headers["content-encoding"], "gzip");
    daemon.stop().exited_cleanly();
}

#[test]
fn a_throttled_request_is_repeated_unchanged() {
    let collector = Collector::start();
    let count = AtomicU64::new(0);
    collector.answer_by(move |_| match count.fetch_add(1, Relaxed) {
        0 => (429, vec![("retry-after", "1".to_owned())], String::new()),
        1 => protobuf(503, &Status { message: "the queue is full".to_owned() }),
        _ => ok(),
    });
    let daemon = setup(&collector.url(""), "").start();
    daemon.commit(&numbered(1, 30));
    wait_logs(&collector, 30);
    let received = collector.received();
    assert_eq!(received.len(), 3);
    assert!(received[1].at - received[0].at >= Duration::from_secs(1));
    assert!(received.iter().all(|request| request.body == received[0].body));
    let stopped = daemon.stop();
    assert!(stopped.log.contains("503 Service Unavailable: the queue is full"), "{}", stopped.log);
    stopped.exited_cleanly();
}

#[test]
fn a_partial_success_is_counted_and_not_repeated() {
    let collector = Collector::start();
    collector.answer_by(|_| protobuf(200, &partial_success(3, "too old")));
    let daemon = setup(&collector.url(""), "").start();
    daemon.commit(&numbered(1, 30));
    daemon.wait_count("logpushd_sink_discarded_records_total{sink=\"otel\"}", |count| count == 3);
    let line = daemon.wait_log("the target has discarded records without naming them");
    assert_eq!(line["records"], 3, "{line}");
    let why = line["why"].as_str().unwrap();
    assert!(why.ends_with("200 OK: 3 of 30 records rejected: too old"), "{why}");
    // A warning without rejected records.
    collector.answer_by(|_| protobuf(200, &partial_success(0, "deprecated")));
    daemon.commit(&numbered(2, 30));
    wait_logs(&collector, 60);
    wait_until("an empty spool", || names_in(&daemon.path("spool/batches")).is_empty());
    assert_eq!(collector.received().len(), 2);
    assert_eq!(daemon.count("logpushd_sink_discarded_records_total{sink=\"otel\"}"), 3);
    assert!(dead_letters(&daemon).is_empty());
    daemon.stop().exited_cleanly();
}

#[test]
fn records_that_are_all_rejected_are_in_quarantine() {
    let collector = Collector::start();
    collector.answer_by(|request| {
        let count = i64::try_from(logs(request).len()).unwrap();
        if count < 5 { protobuf(200, &partial_success(count, "no such field")) } else { ok() }
    });
    let daemon = setup(&collector.url(""), "").start();
    daemon.commit(&numbered(1, 3));
    daemon.commit(&numbered(2, 30));
    let letters = wait_for("dead letters", || {
        Some(dead_letters(&daemon)).filter(|letters| letters.len() == 3)
    });
    let reason = letters[0]["reason"].as_str().unwrap();
    assert!(reason.ends_with("3 of 3 records rejected: no such field"), "{reason}");
    wait_until("an empty spool", || names_in(&daemon.path("spool/batches")).is_empty());
    assert_eq!(daemon.count("logpushd_sink_discarded_records_total{sink=\"otel\"}"), 0);
    daemon.stop().exited_cleanly();
}

#[test]
fn a_record_that_the_server_cannot_read_is_alone_in_quarantine() {
    let collector = Collector::start();
    collector.answer_by(|request| {
        if logs(request).iter().any(|log| log.body.contains("bad")) {
            protobuf(400, &Status { message: "cannot read `bad`".to_owned() })
        } else {
            ok()
        }
    });
    let daemon = setup(&collector.url(""), "").start();
    daemon.commit(&[&numbered(1, 20)[..], b"{\"bad\":1}\n", &numbered(2, 20)].concat());
    let logs = wait_logs(&collector, 40);
    let uids: BTreeSet<_> = logs.iter().map(|log| &log.uid).collect();
    assert_eq!(uids.len(), 40);
    let letters = wait_for("a dead letter", || {
        Some(dead_letters(&daemon)).filter(|letters| !letters.is_empty())
    });
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0]["record"], "{\"bad\":1}");
    let reason = letters[0]["reason"].as_str().unwrap();
    assert!(reason.ends_with("400 Bad Request: cannot read `bad`"), "{reason}");
    daemon.stop().exited_cleanly();
}

#[test]
fn another_kind_of_server_is_reported_to_the_operator() {
    let collector = Collector::start();
    let count = AtomicU64::new(0);
    collector.answer_by(move |_| match count.fetch_add(1, Relaxed) {
        0 => (200, vec![("content-type", "text/html".to_owned())], "<html>".to_owned()),
        _ => ok(),
    });
    let daemon = setup(&collector.url(""), "").start();
    daemon.commit(&numbered(1, 5));
    daemon.wait_count("logpushd_sink_action_required{sink=\"otel\"}", |value| value == 1);
    let stopped = daemon.stop();
    assert!(stopped.log.contains("the body is not that of OTLP"), "{}", stopped.log);
    let daemon = stopped.exited_cleanly().start();
    wait_until("all records", || {
        let logs = accepted(&collector);
        logs.iter().map(|log| &log.uid).collect::<BTreeSet<_>>().len() == 5 && logs.len() > 5
    });
    daemon.stop().exited_cleanly();
}

#[test]
fn a_probe_writes_no_record() {
    let collector = Collector::start();
    let setup = setup(&collector.url("/{dataset}"), "datasets = [\"dns_logs\"]");
    setup.write_config();
    let probe = || finish(logpushd().args(["validate", "--probe", "-c"]).arg(setup.config()));
    let probed = probe();
    assert_eq!(probed.exit, Exit::Code(0), "{}", probed.stderr);
    let url = collector.url("/dns_logs/v1/logs");
    assert!(probed.stdout.contains(&format!("{url} accepts logs")), "{}", probed.stdout);
    assert!(accepted(&collector).is_empty());
    assert_eq!(collector.received().len(), 1);
    collector.answer_by(|_| refusal(404, "no such page"));
    let probed = probe();
    assert_eq!(probed.exit, Exit::Code(69), "{}", probed.stderr);
    assert!(probed.stdout.contains("a server for OTLP over HTTP"), "{}", probed.stdout);
}

#[test]
fn rotel_receives_records_across_kills() {
    let Some(mut rotel) = Rotel::start() else { return };
    let setup = setup(&format!("http://{}", rotel.address), "timeout = \"5s\"");
    setup.write_config();
    let probed = finish(logpushd().args(["validate", "--probe", "-c"]).arg(setup.config()));
    assert_eq!(probed.exit, Exit::Code(0), "{}{}", probed.stdout, probed.stderr);
    let daemon = setup.start();
    let mut expected = Vec::new();
    for (dataset, lines) in all_datasets() {
        daemon.send(Http::Two, Upload::of(&lines).to(&format!("/logpush/{dataset}"))).committed();
        expected.extend(String::from_utf8(lines).unwrap().lines().filter_map(Rotel::body));
    }
    assert!(expected.len() > 40, "{}", expected.len());
    rotel.kill();
    let more = daemon.commit_numbered(0..3, 20);
    expected.extend(String::from_utf8(more).unwrap().lines().filter_map(Rotel::body));
    let daemon = daemon.kill().start();
    rotel.restart();
    wait_until("an empty spool", || names_in(&daemon.path("spool/batches")).is_empty());
    wait_until("all records in the log of Rotel", || {
        let log = rotel.log();
        expected.iter().all(|body| log.contains(body))
    });
    daemon.stop().exited_cleanly();
}

#[test]
fn validate_reports_invalid_settings_of_an_otlp_sink() {
    for (keys, expected) in [
        ("url = \"otel.example.com:4318\"", "is not an http:// or https:// URL"),
        ("url = \"https://b.example\"\nbody = \"json\"", "valid values are \"map\", \"string\""),
        (
            "url = \"https://b.example\"\nresource = { zone = \"{ClientIP}\" }",
            "the value of `zone` contains an unknown placeholder",
        ),
        (
            "url = \"https://b.example\"\nheaders = { Content-Type = \"text/plain\" }",
            "the header `content-type` is set by the sink itself",
        ),
        (
            "url = \"https://b.example\"\nheaders = { A = \"b\" }\n\
                secret_headers = { a = \"secrets.txt\" }",
            "the header `a` is set twice",
        ),
    ] {
        let setup = Setup::new().table("sink.otel.otlp", keys);
        setup.write_config();
        let finished = finish(logpushd().args(["validate", "-c"]).arg(setup.config()));
        assert_eq!(finished.exit, Exit::Code(78), "{keys}\n{}", finished.stderr);
        assert!(finished.stderr.contains(expected), "{keys}\n{}", finished.stderr);
    }
}
