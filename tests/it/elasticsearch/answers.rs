//! Answers that the real servers in the tests never give.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use crate::support::{
    Exit,
    bulk::BulkIndex,
    closed_port,
    collector::{Collector, refusal},
    finish, logpushd, numbered, wait_for, wait_until,
};

use super::{dead_letters, setup, sorted_lines, without_timestamp};

/// Waits until the index has exactly these records.
#[track_caller]
fn wait_records(index: &BulkIndex, records: &[u8]) {
    let want = sorted_lines(records);
    wait_until("all documents", || index.documents().len() >= want.len());
    let mut have: Vec<_> =
        index.documents().iter().map(|document| without_timestamp(document)).collect();
    have.sort_unstable();
    assert_eq!(have, want);
}

fn keys(collector: &Collector, more: &str) -> String {
    format!("url = \"{}\"\n{more}", collector.url("/es/"))
}

#[test]
fn only_documents_that_an_overloaded_server_rejects_are_sent_again() {
    let (collector, index) = (Collector::start(), BulkIndex::default());
    let (store, sent) = (index.clone(), AtomicUsize::new(0));
    // The first request finds a full queue for every third document.
    collector.answer_by(move |request| {
        let is_first = sent.fetch_add(1, Ordering::Relaxed) == 0;
        let mut number = 0;
        store.answer(request, |_| {
            number += 1;
            (is_first && number % 3 == 0)
                .then(|| (429, "es_rejected_execution_exception", "queue capacity".to_owned()))
        })
    });
    let daemon = setup(&keys(&collector, "")).start();
    let records = numbered(1, 30);
    daemon.commit(&records);
    wait_records(&index, &records);
    let requests = collector.received();
    let lines: Vec<_> = requests.iter().map(|request| sorted_lines(&request.body).len()).collect();
    assert_eq!(lines, [60, 20]);
    let failed = daemon.wait_log("the sink failed");
    let why = failed["error"].as_str().unwrap();
    assert!(why.contains("10 of 30 documents are not stored yet: 429 es_rejected"), "{why}");
    assert!(dead_letters(&daemon).is_empty());
    daemon.stop().exited_cleanly();
}

/// Servers quote the value that they refuse.
#[test]
fn a_record_with_a_long_value_is_refused_with_a_long_reason() {
    let (collector, index) = (Collector::start(), BulkIndex::default());
    let store = index.clone();
    collector.answer_by(move |request| {
        store.answer(request, |document| {
            let reason = format!("failed to parse field [Long]: '{document}', {document}");
            document.contains("Long").then_some((400, "document_parsing_exception", reason))
        })
    });
    let daemon = setup(&keys(&collector, "")).start();
    let good = numbered(1, 3);
    let long = format!("{{\"Long\":\"{}\"}}\n", "x".repeat(300_000));
    daemon.commit(&[&good[..], long.as_bytes()].concat());
    wait_records(&index, &good);
    let letter = wait_for("a dead letter", || dead_letters(&daemon).pop());
    let reason = letter["reason"].as_str().unwrap();
    assert!(reason.contains("failed to parse field [Long]") && reason.len() < 1000, "{reason}");
    assert_eq!(collector.received().len(), 1);
    daemon.stop().exited_cleanly();
}

#[test]
fn a_lost_answer_duplicates_nothing() {
    let (collector, index) = (Collector::start(), BulkIndex::default());
    let (store, sent) = (index.clone(), AtomicUsize::new(0));
    collector.answer_by(move |request| {
        let reply = store.answer(request, |_| None);
        match sent.fetch_add(1, Ordering::Relaxed) {
            0 => (503, vec![("retry-after", "1".to_owned())], String::new()),
            // Not an answer to a bulk request.
            1 => (200, Vec::new(), "{\"items\":[]}".to_owned()),
            _ => reply,
        }
    });
    let daemon = setup(&keys(&collector, "")).start();
    let records = numbered(1, 30);
    daemon.commit(&records);
    daemon.wait_logs("the sink failed", 2);
    let daemon = daemon.kill().start();
    daemon
        .wait_count("logpushd_sink_delivered_records_total{sink=\"search\"}", |count| count == 30);
    wait_records(&index, &records);
    let requests = collector.received();
    assert_eq!(requests.len(), 3);
    assert!(requests[1].at - requests[0].at >= Duration::from_secs(1));
    assert!(requests.iter().all(|request| request.body == requests[0].body));
    daemon.stop().exited_cleanly();
}

#[test]
fn a_node_that_fails_gives_way_to_the_others() {
    let (broken, working, index) = (Collector::start(), Collector::start(), BulkIndex::default());
    let store = index.clone();
    broken.answer_by(|_| refusal(503, "no master"));
    working.answer_by(move |request| store.answer(request, |_| None));
    let (_port, closed) = closed_port();
    let urls = [format!("http://{closed}"), broken.url(""), working.url("/es")];
    let daemon = setup(&format!("url = {urls:?}\nin_flight = 1")).start();
    let mut records = Vec::new();
    for batch in 0..6 {
        records.extend(daemon.commit_numbered(batch..batch + 1, 5));
        wait_records(&index, &records);
    }
    assert_eq!(broken.received().len(), 1, "a node that failed is avoided");
    assert_eq!(working.received().len(), 6);
    assert!(daemon.logged("the sink failed").is_empty());
    daemon.stop().exited_cleanly();
}

#[test]
fn a_node_that_hangs_delays_one_request() {
    let (working, index) = (Collector::start(), BulkIndex::default());
    let store = index.clone();
    working.answer_by(move |request| store.answer(request, |_| None));
    let hanging = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let urls = [format!("http://{}", hanging.local_addr().unwrap()), working.url("")];
    let daemon = setup(&format!("url = {urls:?}\nin_flight = 1\ntimeout = \"1s\"")).start();
    let begin = Instant::now();
    let records = daemon.commit_numbered(0..3, 5);
    wait_records(&index, &records);
    assert!(begin.elapsed() >= Duration::from_secs(1));
    assert_eq!(daemon.logged("the sink failed").len(), 1);
    daemon.stop().exited_cleanly();
}

#[test]
fn wrong_credentials_are_reported_and_replaced_without_a_reload() {
    let (collector, index) = (Collector::start(), BulkIndex::default());
    let store = index.clone();
    collector.answer_by(move |request| {
        match request.headers.get("authorization").and_then(|value| value.to_str().ok()) {
            Some("ApiKey right-key") => store.answer(request, |_| None),
            other => refusal(401, &format!("not {other:?}")),
        }
    });
    let setup = setup(&keys(&collector, "api_key_file = \"key.txt\""));
    setup.write("key.txt", "wrong-key\n");
    let daemon = setup.start();
    let records = numbered(1, 20);
    daemon.commit(&records);
    let required = "logpushd_sink_action_required{sink=\"search\"}";
    daemon.wait_count(required, |value| value == 1);
    daemon.setup().write("key.txt", "right-key\n");
    // A stop makes one last attempt.
    let stopped = daemon.stop();
    assert!(!stopped.log.contains("wrong-key"), "{}", stopped.log);
    wait_records(&index, &records);
    stopped.exited_cleanly();
}

#[test]
fn a_proxy_in_front_of_the_server_is_reported() {
    let collector = Collector::start();
    collector.answer_by(|_| (200, Vec::new(), "<html>Log in</html>".to_owned()));
    let daemon = setup(&keys(&collector, "")).start();
    daemon.commit(&numbered(1, 20));
    let failed = daemon.wait_log("the sink failed");
    let text = failed.to_string();
    assert!(text.contains("not the answer to a bulk request"), "{text}");
    assert!(text.contains("leads to Elasticsearch or OpenSearch"), "{text}");
    daemon.stop();
}

#[test]
fn the_probe_reports_credentials_and_privileges() {
    let collector = Collector::start();
    collector.answer_by(|request| {
        let json = |text: &str| (200, Vec::new(), text.to_owned());
        match request.path.as_str() {
            _ if !request.headers.contains_key("authorization") => refusal(401, "who are you"),
            "/es/" => json(r#"{"cluster_name":"main","version":{"number":"9.1.0"}}"#),
            "/es/_security/user/_has_privileges" => json(
                r#"{"username":"logs","index":{"a":{"create_doc":true,"auto_configure":false}}}"#,
            ),
            "/es/_ingest/pipeline/geo" => refusal(404, "{}"),
            other => panic!("{other}"),
        }
    });
    let probe = |more: &str| {
        let keys = keys(&collector, &format!("index = \"a\"\ndatasets = [\"dns_logs\"]\n{more}"));
        let setup = setup(&keys);
        setup.write("key.txt", "some-key\n");
        setup.write_config();
        let found = finish(logpushd().args(["validate", "--probe", "-c"]).arg(setup.config()));
        assert_ne!(found.exit, Exit::Code(0), "{}{}", found.stdout, found.stderr);
        format!("{}{}", found.stdout, found.stderr)
    };
    let key = "api_key_file = \"key.txt\"";
    for (more, expected) in [
        ("", "401 Unauthorized: who are you"),
        (key, "logs does not have the privileges auto_configure for a"),
        (&format!("{key}\npipeline = \"geo\""), "there is no pipeline geo"),
    ] {
        let text = probe(more);
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn validate_reports_invalid_settings() {
    let url = "url = \"https://es.example.com:9200\"\n";
    for (keys, expected) in [
        ("url = \"https://es.example.com/{dataset}\"", "contains a placeholder or a query"),
        ("url = [\"https://a.example\", \"https://a.example\"]", "is listed twice"),
        (&format!("{url}index = \"Logs\""), "cannot contain uppercase letters"),
        (&format!("{url}index = \"a\"\ndata_stream = \"b\""), "exclude each other"),
        (&format!("{url}data_stream = \"logs-%Y\""), "the name of a data stream contains no time"),
        (&format!("{url}compression = \"zstd\""), "accept no bodies in zstd"),
        (&format!("{url}user = \"a\""), "have an effect only together"),
        (&format!("{url}id = \"\""), "is empty"),
        (&format!("{url}api_key_file = \"missing.txt\""), "cannot use secret file"),
        (&format!("{url}time = \"received\"\nevent_window.past = \"1d\""), "has no effect"),
    ] {
        let setup = setup(keys);
        setup.write_config();
        let finished = finish(logpushd().args(["validate", "-c"]).arg(setup.config()));
        assert!(finished.stderr.contains(expected), "{keys}\n{}", finished.stderr);
    }
}
