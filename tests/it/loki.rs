//! Records are delivered to Loki.

use std::{
    collections::BTreeMap,
    fs,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use serde_json::Value;

use crate::support::{
    Daemon, Exit, Http, Setup, Upload,
    collector::refusal,
    finish, logpushd,
    loki::{Loki, Rules},
    names_in, numbered,
    samples::all_datasets,
    wait_for, wait_until,
};

/// A daemon with the sink `loki`, which has these keys besides its URL.
fn setup(loki: &Loki, keys: &str) -> Setup {
    Setup::new().table("sink.loki.loki", &format!("url = \"{}\"\n{keys}", loki.collector.url("")))
}

#[track_caller]
fn wait_entries(loki: &Loki, count: usize) {
    wait_until(&format!("{count} entries"), || loki.entries().len() >= count);
}

#[track_caller]
fn wait_delivered(daemon: &Daemon) {
    wait_until("an empty spool", || names_in(&daemon.path("spool/batches")).is_empty());
}

/// The records in quarantine and their reasons, sorted.
fn dead_letters(daemon: &Daemon) -> Vec<(String, String)> {
    let quarantine = daemon.path("quarantine");
    let names = names_in(&quarantine);
    let files = names.iter().filter(|name| name.starts_with("records-loki-"));
    let text: String =
        files.map(|name| fs::read_to_string(quarantine.join(name)).unwrap()).collect();
    let letters = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let member = |letter: &Value, name: &str| letter[name].as_str().unwrap().to_owned();
    let mut letters: Vec<_> =
        letters.map(|letter| (member(&letter, "record"), member(&letter, "reason"))).collect();
    letters.sort();
    letters
}

/// A record of `dns_logs` at this second of 2026-11-30T16:00.
fn at(second: u32, text: &str) -> String {
    let (minute, second) = (second / 60, second % 60);
    format!(r#"{{"Timestamp":"2026-11-30T16:{minute:02}:{second:02}.5Z","QueryName":"{text}"}}"#)
}

fn commit(daemon: &Daemon, records: &[String]) {
    let body = records.join("\n");
    daemon.send(Http::Two, Upload::of(body).to("/logpush/dns_logs")).committed();
}

#[test]
fn every_record_of_every_dataset_arrives_unchanged() {
    let (event, received) = (Loki::start(), Loki::start());
    let keys = "compression = \"gzip\"\ntime = \"received\"\n\
        labels = { service_name = \"{endpoint}\" }\n\
        structured_metadata = { dataset = \"{dataset}\", batch = \"{batch}\" }";
    let daemon = setup(&event, "")
        .table(
            "sink.json.loki",
            &format!("url = \"{}\"\n{keys}", received.collector.url("/loki/api/v1/push")),
        )
        .start();
    let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut count = 0;
    for (dataset, lines) in all_datasets() {
        let upload = Upload::of(&lines).to(&format!("/logpush/{dataset}"));
        assert_eq!(daemon.send(Http::Two, upload).ok().2, 0, "{dataset}");
        let lines = String::from_utf8(lines).unwrap();
        let lines = lines.lines().map(str::trim).filter(|line| !line.is_empty());
        let lines: Vec<_> = lines.map(str::to_owned).collect();
        count += lines.len();
        expected.entry(dataset).or_default().extend(lines);
    }
    for lines in expected.values_mut() {
        lines.sort();
    }
    wait_entries(&event, count);
    wait_entries(&received, count);
    let mut streams = BTreeMap::new();
    for (labels, entries) in event.streams() {
        assert_eq!(labels["job"], "logpush");
        let mut lines: Vec<_> = entries.into_iter().map(|entry| entry.line).collect();
        lines.sort();
        streams.insert(labels["dataset"].clone(), lines);
    }
    assert_eq!(streams, expected);
    let mut by_metadata: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (labels, entries) in received.streams() {
        assert_eq!(labels, BTreeMap::from([("service_name".to_owned(), "main".to_owned())]));
        for entry in entries {
            let metadata: BTreeMap<_, _> = entry.metadata.into_iter().collect();
            assert_eq!(metadata["batch"].len(), 32);
            by_metadata.entry(metadata["dataset"].clone()).or_default().push(entry.line);
        }
    }
    for lines in by_metadata.values_mut() {
        lines.sort();
    }
    assert_eq!(by_metadata, expected);
    daemon.stop().exited_cleanly();
}

#[test]
fn an_entry_has_the_time_of_its_record() {
    let loki = Loki::start();
    let daemon = setup(&loki, "").start();
    let with_time = r#"{"EdgeStartTimestamp":1700000000123456789}"#;
    daemon.commit(format!("{{\"n\":1}}\n{with_time}\n").as_bytes());
    wait_entries(&loki, 2);
    let entries = loki.entries();
    assert_eq!((entries[0].time, entries[0].line.as_str()), (1_700_000_000_123_456_789, with_time));
    // That of the receipt.
    assert!(entries[1].time > 1_790_000_000_000_000_000, "{entries:?}");
    let request = &loki.collector.received()[0];
    assert_eq!(request.path, "/loki/api/v1/push");
    assert!(!request.headers.contains_key("content-encoding"));
    daemon.stop().exited_cleanly();
}

#[test]
fn credentials_and_tenant_are_sent() {
    let loki = Loki::start();
    let keys = "tenant = \"team-{dataset}\"\nuser = \"ann\"\npassword_file = \"loki.txt\"";
    let setup = setup(&loki, keys).table(
        "sink.token.loki",
        &format!("url = \"{}\"\ntoken_file = \"loki.txt\"", loki.collector.url("/token")),
    );
    setup.write("loki.txt", "a-secret\n");
    let daemon = setup.start();
    daemon.commit(&numbered(1, 5));
    wait_until("two requests", || loki.collector.received().len() == 2);
    for request in loki.collector.received() {
        let is_token = request.path.starts_with("/token");
        let header = |name| request.headers.get(name).map(|value| value.to_str().unwrap());
        let expected = if is_token { "Bearer a-secret" } else { "Basic YW5uOmEtc2VjcmV0" };
        assert_eq!(header("authorization"), Some(expected));
        let tenant = (!is_token).then_some("team-http_requests");
        assert_eq!(header("x-scope-orgid"), tenant);
    }
    daemon.stop().exited_cleanly();
}

#[test]
fn entries_that_are_too_old_for_their_stream_are_in_quarantine() {
    let loki = Loki::start();
    loki.set(Rules { window: Some(60), ..loki.rules() });
    let daemon = setup(&loki, "").start();
    commit(&daemon, &[at(100, "new")]);
    wait_entries(&loki, 1);
    let records: Vec<_> = (0..80).rev().map(|second| at(second, "a")).collect();
    commit(&daemon, &records);
    wait_delivered(&daemon);
    assert_eq!(loki.entries().len(), 41);
    let letters = dead_letters(&daemon);
    let mut old: Vec<_> = (0..40).map(|second| at(second, "a")).collect();
    old.sort();
    assert_eq!(letters.iter().map(|(record, _)| record.clone()).collect::<Vec<_>>(), old);
    let reason = &letters[0].1;
    assert!(
        reason.contains("400 Bad Request: entry too far behind, entry timestamp is"),
        "{reason}"
    );
    assert_eq!(loki.collector.received().len(), 2, "what was stored is not sent again");
    assert_eq!(daemon.count("logpushd_sink_discarded_records_total{sink=\"loki\"}"), 0);
    daemon.stop().exited_cleanly();
}

#[test]
fn invalid_entries_are_in_quarantine() {
    let loki = Loki::start();
    loki.set(Rules {
        max_line: 200,
        oldest: Some("2026-11-30T16:00:10Z".parse().unwrap()),
        newest: Some("2026-11-30T16:01:00Z".parse().unwrap()),
        ..loki.rules()
    });
    let daemon = setup(&loki, "").start();
    let long = at(30, &"x".repeat(300));
    let mut invalid =
        vec![at(3, "a"), at(3, "b"), at(9, "c"), at(61, "d"), long, at(70, &"y".repeat(300))];
    let valid: Vec<_> = (10..60).map(|second| at(second, "good")).collect();
    commit(&daemon, &[&invalid[..], &valid].concat());
    wait_delivered(&daemon);
    assert_eq!(loki.entries().len(), valid.len());
    invalid.sort();
    let letters = dead_letters(&daemon);
    assert_eq!(letters.iter().map(|(record, _)| record.clone()).collect::<Vec<_>>(), invalid);
    for (record, reason) in letters {
        let expected = match record {
            _ if record.contains("16:00:0") => "has timestamp too old: 2026-11-30T16:00:0",
            _ if record.contains("16:01:") => "has timestamp too new: 2026-11-30T16:01:",
            _ => "max entry size '200' bytes exceeded",
        };
        assert!(reason.contains(expected), "{record}: {reason}");
    }
    assert_eq!(loki.collector.received().len(), 1);
    daemon.stop().exited_cleanly();
}

#[test]
fn ignored_entries_that_are_not_named_are_counted() {
    let loki = Loki::start();
    let store = loki.clone();
    loki.collector.answer_by(move |request| {
        store.push(request);
        refusal(
            400,
            "entry with timestamp 2026-11-30 16:00:00 +0000 UTC ignored, reason: 'entry out of order',\n\
            user 'fake', total ignored: 3 out of 12 for stream: {job=\"logpush\"}\n",
        )
    });
    let daemon = setup(&loki, "").start();
    daemon.commit(&numbered(1, 30));
    daemon.wait_count("logpushd_sink_discarded_records_total{sink=\"loki\"}", |count| count == 3);
    let line = daemon.wait_log("the target has discarded records without naming them");
    let why = line["why"].as_str().unwrap();
    assert!(why.contains("entry out of order") && why.contains("total ignored: 3"), "{why}");
    wait_delivered(&daemon);
    assert_eq!(loki.collector.received().len(), 1);
    assert!(dead_letters(&daemon).is_empty());
    daemon.stop().exited_cleanly();
}

#[test]
fn a_throttled_request_is_repeated_or_divided() {
    let loki = Loki::start();
    let store = loki.clone();
    let count = AtomicU64::new(0);
    loki.collector.answer_by(move |request| {
        let rate = |size: u64| {
            format!(
                "ingestion rate limit exceeded for user fake (limit: 4194304 bytes/sec) while attempting to ingest '40' lines totaling '{size}' bytes"
            )
        };
        match count.fetch_add(1, Relaxed) {
            0 => (429, vec![("retry-after", "1".to_owned())], rate(1000)),
            1 => refusal(429, &rate(5_000_000)),
            2 => refusal(
                500,
                "rpc error: code = ResourceExhausted desc = grpc: received message larger than max (5 vs. 4)",
            ),
            _ => store.push(request),
        }
    });
    let daemon = setup(&loki, "in_flight = 1").start();
    let records = numbered(1, 40);
    daemon.commit(&records);
    wait_entries(&loki, 40);
    let received = loki.collector.received();
    assert!(received[1].at - received[0].at >= Duration::from_secs(1));
    assert_eq!(received[0].body, received[1].body);
    // A half, whose first half is sent next, and the other half.
    assert_eq!(received.len(), 6);
    assert_eq!(loki.repeated(), 0);
    daemon.stop().exited_cleanly();
}

#[test]
fn a_blocked_tenant_and_wrong_settings_are_reported_to_the_operator() {
    let loki = Loki::start();
    for (status, message, expected) in [
        (260, "ingestion blocked for user 'fake' until '2026-12-01'", "block_ingestion_until"),
        (401, "no org id", "set the sink's `tenant`"),
        (404, "404 page not found", "it has to lead to Loki"),
        (400, "stream '{}' has label value too long: 'x'", "correct the sink's `labels`"),
    ] {
        loki.collector.answer_by(move |_| refusal(status, message));
        let daemon = setup(&loki, "").start();
        daemon.commit(&numbered(1, 5));
        let line = daemon.wait_log("the sink failed: action required");
        let text = line.to_string();
        assert!(text.contains(expected) && text.contains(message), "{text}");
        loki.answer_as_loki();
        let daemon = daemon.stop().exited_cleanly().start();
        wait_delivered(&daemon);
        daemon.stop().exited_cleanly();
    }
}

#[test]
fn a_probe_writes_no_entry() {
    let loki = Loki::start();
    for compression in ["snappy", "none"] {
        let setup = setup(&loki, &format!("compression = \"{compression}\""));
        setup.write_config();
        let probe = || finish(logpushd().args(["validate", "--probe", "-c"]).arg(setup.config()));
        let probed = probe();
        assert_eq!(probed.exit, Exit::Code(0), "{}{}", probed.stdout, probed.stderr);
        let url = loki.collector.url("/loki/api/v1/push");
        assert!(probed.stdout.contains(&format!("{url} accepts streams")), "{}", probed.stdout);
        loki.collector.answer_by(|_| refusal(401, "no org id"));
        let probed = probe();
        assert_eq!(probed.exit, Exit::Code(69), "{}", probed.stderr);
        assert!(probed.stdout.contains("set the sink's `tenant`"), "{}", probed.stdout);
        loki.answer_as_loki();
    }
    assert!(loki.streams().is_empty());
}

#[test]
fn a_refused_line_of_unknown_cause_is_found_and_replayed() {
    let loki = Loki::start();
    loki.set(Rules { bad: Some("\"bad\""), ..loki.rules() });
    let daemon = setup(&loki, "").start();
    daemon.commit(&[&numbered(1, 20)[..], b"{\"bad\":1}\n", &numbered(2, 20)].concat());
    let letters = wait_for("a dead letter", || {
        Some(dead_letters(&daemon)).filter(|letters| !letters.is_empty())
    });
    wait_delivered(&daemon);
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].0, "{\"bad\":1}");
    assert_eq!(loki.entries().len(), 40);
    assert!(loki.repeated() > 0, "Loki ignores what it has");
    daemon.stop().exited_cleanly();
}

#[test]
fn validate_reports_invalid_settings_of_a_loki_sink() {
    for (keys, expected) in [
        ("labels = { ip = \"{ClientIP}\" }", "fields of records cannot be labels"),
        ("labels = { \"a-b\" = \"c\" }", "`a-b` is not the name of a label"),
        ("labels = { a = \"\" }", "the value of `a` is empty"),
        ("labels = {}", "a stream needs a label"),
        ("tenant = \"a|b\"", "is not a tenant of Loki"),
        ("compression = \"zstd\"", "valid values are \"snappy\", \"gzip\", \"none\""),
        ("user = \"ann\"", "have an effect only together"),
        (
            "user = \"ann\"\npassword_file = \"secrets.txt\"\ntoken_file = \"secrets.txt\"",
            "exclude each other",
        ),
        ("structured_metadata = { ip = \"{ClientIP}\" }", "contains an unknown placeholder"),
    ] {
        let keys = format!("url = \"https://loki.example.com\"\n{keys}");
        let setup = Setup::new().table("sink.loki.loki", &keys);
        setup.write_config();
        let finished = finish(logpushd().args(["validate", "-c"]).arg(setup.config()));
        assert_eq!(finished.exit, Exit::Code(78), "{keys}\n{}", finished.stderr);
        assert!(finished.stderr.contains(expected), "{keys}\n{}", finished.stderr);
    }
}
