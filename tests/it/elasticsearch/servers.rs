//! The real servers.

use std::{collections::BTreeMap, fs};

use super::{dead_letters, setup, sorted_lines, without_timestamp};
use crate::support::{
    Daemon, Exit, Http, Upload, finish, logpushd, names_in, numbered, repository,
    search_server::{Product, SearchServer},
    wait_for, wait_until,
};

fn keys(server: &SearchServer, more: &str) -> String {
    format!("url = \"{}\"\n{more}", server.url())
}

/// A record of the fixtures that the servers refuse: it has two members of the same name.
const REFUSED: &str = "\"a\":1,\"a\":";

/// The message fixtures: records of each dataset.
fn fixtures() -> BTreeMap<String, Vec<u8>> {
    let directory = repository("tests/data/message");
    let names = names_in(&directory).into_iter().filter(|name| name.ends_with(".ndjson"));
    names
        .map(|name| {
            let records = fs::read(directory.join(&name)).unwrap();
            (name.trim_end_matches(".ndjson").to_owned(), records)
        })
        .collect()
}

fn push(daemon: &Daemon, dataset: &str, records: &[u8]) {
    let upload = Upload::of(records).to(&format!("/logpush/{dataset}"));
    let answer = daemon.send(Http::Two, upload);
    assert_eq!(answer.status, 200, "{dataset}");
}

#[test]
fn records_of_every_dataset_arrive_unchanged() {
    let Some(server) = SearchServer::start(Product::Osmem) else { return };
    server.install_templates();
    let daemon = setup(&keys(&server, "")).start();
    let fixtures = fixtures();
    for (dataset, records) in &fixtures {
        push(&daemon, dataset, records);
    }
    let total = fixtures.values().map(|records| sorted_lines(records).len()).sum::<usize>();
    server.wait_count(total - 1);
    let refused = wait_for("a dead letter", || dead_letters(&daemon).pop());
    assert!(refused["reason"].as_str().unwrap().contains("Duplicate Object property \"a\""));
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for document in server.documents() {
        let rest = document.index.strip_prefix("logpush-").unwrap();
        let (dataset, _) = rest.rsplit_once('-').unwrap();
        // The name of a member in it is no Unicode, so the sink adds none.
        let is_unreadable = document.source.starts_with("{\"lone ");
        let record =
            if is_unreadable { document.source } else { without_timestamp(&document.source) };
        found.entry(dataset.to_owned()).or_default().push(record);
    }
    for (dataset, records) in fixtures {
        let mut have = found.remove(&dataset).unwrap_or_default();
        have.sort_unstable();
        let want: Vec<_> =
            sorted_lines(&records).into_iter().filter(|line| !line.contains(REFUSED)).collect();
        assert_eq!(have, want, "{dataset}");
    }
    daemon.stop().exited_cleanly();
}

#[test]
fn kills_neither_lose_nor_duplicate_a_document() {
    let Some(mut server) = SearchServer::start(Product::Noida) else { return };
    let keys = keys(&server, "batch = { max_records = 7 }\nin_flight = 2");
    let mut daemon = setup(&keys).start();
    let mut records = Vec::new();
    for round in 0..6 {
        records.extend(daemon.commit_numbered(round * 3..round * 3 + 3, 40));
        let enough = u64::try_from(records.len() / 400).unwrap();
        wait_until("a part of the documents", || server.count() * 10 >= enough);
        daemon = daemon.kill().start();
        if round % 2 == 1 {
            server.restart();
        }
    }
    let want = sorted_lines(&records);
    server.wait_count(want.len());
    daemon.wait_count("logpushd_spool_batches", |batches| batches == 0);
    daemon.stop().exited_cleanly();
    let documents = server.documents();
    assert_eq!(documents.len(), want.len());
}

#[test]
fn a_conflicting_record_is_quarantined_alone_and_replayed() {
    for product in [Product::Osmem, Product::Noida] {
        let Some(server) = SearchServer::start(product) else { continue };
        let mapping = r#"{"mappings":{"properties":{"Bad":{"type":"long"}}}}"#;
        server.put("/logs-http_requests", mapping);
        let daemon = setup(&keys(&server, "index = \"logs-{dataset}\"")).start();
        let good = numbered(1, 20);
        let bad = b"{\"Bad\":\"text\"}\n";
        daemon.commit(&[&good[..], bad].concat());
        server.wait_count(20);
        let letters = wait_for("a dead letter", || {
            Some(dead_letters(&daemon)).filter(|letters| !letters.is_empty())
        });
        assert_eq!(letters.len(), 1, "{letters:?}");
        assert_eq!(letters[0]["sink"], "search");
        let reason = letters[0]["reason"].as_str().unwrap();
        assert!(reason.contains("failed to parse field [Bad] of type [long]"), "{reason}");
        daemon.wait_count("logpushd_spool_batches", |batches| batches == 0);

        // With another mapping, the server accepts the record.
        let (status, answer) = server.ask("DELETE", "/logs-http_requests", "");
        assert_eq!(status, 200, "{answer}");
        let text = fs::read_to_string(daemon.setup().config()).unwrap();
        let real = format!("[server]\naddress = \"{}\"", daemon.address);
        let text = text.replace("[server]\naddress = \"127.0.0.1:0\"", &real);
        daemon.setup().write("replay.toml", text);
        let config = daemon.path("replay.toml");
        let replayed = finish(logpushd().args(["quarantine", "replay", "-c"]).arg(config));
        assert_eq!(replayed.exit, Exit::Code(0), "{}{}", replayed.stdout, replayed.stderr);
        server.wait_count(1);
        let source = without_timestamp(&server.documents()[0].source);
        assert_eq!(source, "{\"Bad\":\"text\"}");
        daemon.stop().exited_cleanly();
    }
}

#[test]
fn a_blocked_index_alerts_the_operator_and_quarantines_nothing() {
    for product in [Product::Osmem, Product::Noida] {
        let Some(server) = SearchServer::start(product) else { continue };
        let block =
            |is_blocked| format!("{{\"index.blocks.read_only_allow_delete\":{is_blocked}}}");
        server.put("/blocked", "{}");
        server.put("/blocked/_settings", &block("true"));
        let daemon = setup(&keys(&server, "index = \"blocked\"")).start();
        let records = numbered(1, 20);
        daemon.commit(&records);
        let required = "logpushd_sink_action_required{sink=\"search\"}";
        daemon.wait_count(required, |value| value == 1);
        let failed = daemon.wait_log("the sink failed").to_string();
        assert!(
            failed.contains("cluster_block_exception") && failed.contains("free space"),
            "{failed}"
        );
        server.put("/blocked/_settings", &block("null"));
        // A stop makes one last attempt.
        let stopped = daemon.stop().exited_cleanly();
        server.wait_count(20);
        assert_eq!(names_in(&stopped.setup.path("quarantine")), ["bodies"]);
    }
}

#[test]
fn documents_go_to_the_index_of_their_own_day() {
    let Some(server) = SearchServer::start(Product::Osmem) else { return };
    let daemon = setup(&keys(&server, "event_window.past = \"all\"\nid = \"RayID\"")).start();
    daemon.commit(
        b"{\"EdgeStartTimestamp\":\"2026-02-03T23:59:59Z\",\"RayID\":\"a\"}\n\
          {\"EdgeStartTimestamp\":1770163200123456789,\"RayID\":\"b\"}\n\
          {\"EdgeStartTimestamp\":1770163200123456789,\"RayID\":\"b\",\"again\":1}\n\
          {\"EdgeStartTimestamp\":1770163200,\"@timestamp\":\"2020-01-01T00:00:00Z\"}\n",
    );
    server.wait_count(3);
    daemon.wait_count("logpushd_spool_batches", |batches| batches == 0);
    let documents = server.documents();
    let short: Vec<_> = documents
        .iter()
        .map(|document| (document.index.as_str(), document.id.as_str(), document.source.as_str()))
        .collect();
    let [first, mut by_batch, mut by_field] = short[..] else { panic!("{short:?}") };
    if by_batch.1 == "b" {
        std::mem::swap(&mut by_batch, &mut by_field);
    }
    assert_eq!((first.0, first.1), ("logpush-http_requests-2026.02.03", "a"));
    assert_eq!(by_batch.0, "logpush-http_requests-2026.02.04");
    assert!(by_batch.1.contains("-3-"), "{by_batch:?}");
    assert!(by_batch.2.ends_with("\"@timestamp\":\"2020-01-01T00:00:00Z\"}"), "{by_batch:?}");
    assert_eq!((by_field.0, by_field.1), ("logpush-http_requests-2026.02.04", "b"));
    assert!(by_field.2.starts_with("{\"@timestamp\":\"2026-02-04T00:00:00.123456789Z\",\"Edge"));
    daemon.stop().exited_cleanly();
}

#[test]
fn the_probe_finds_what_is_missing() {
    for product in [Product::Osmem, Product::Noida] {
        let Some(server) = SearchServer::start(product) else { continue };
        let probe = |more: &str| {
            let setup = setup(&keys(&server, &format!("{more}\ndatasets = [\"http_requests\"]")));
            setup.write_config();
            finish(logpushd().args(["validate", "--probe", "-c"]).arg(setup.config()))
        };
        let found = probe("index = \"logs-{dataset}\"");
        let text = format!("{}{}", found.stdout, found.stderr);
        assert_eq!(found.exit, Exit::Code(0), "{text}");
        let version = match product {
            Product::Osmem => "OpenSearch 3.8.0, cluster osmem",
            Product::Noida => "Elasticsearch 8.15.3, cluster docker-cluster",
        };
        assert!(text.contains(version), "{text}");
        assert!(text.contains("creates logs-http_requests; no index template"), "{text}");
        server.install_templates();
        let text = format!("{:?}", probe("index = \"logpush-{dataset}\""));
        assert!(text.contains("creates logpush-http_requests from an index template"), "{text}");
        server.put("/there-http_requests", "{}");
        let text = format!("{:?}", probe("index = \"there-{dataset}\""));
        assert!(text.contains("the index there-http_requests exists"), "{text}");
        let wrong = probe("data_stream = \"there-{dataset}\"");
        let text = format!("{wrong:?}");
        assert_ne!(wrong.exit, Exit::Code(0), "{text}");
        assert!(text.contains("there-http_requests is an index, not a data stream"), "{text}");
        let wrong = probe("data_stream = \"absent-{dataset}\"");
        let text = format!("{wrong:?}");
        assert!(text.contains("no index template makes absent-http_requests"), "{text}");
        assert_eq!(server.count(), 0, "a probe writes nothing");
    }
}

#[test]
fn the_shipped_templates_give_fields_their_types() {
    for product in [Product::Osmem, Product::Noida] {
        let Some(server) = SearchServer::start(product) else { continue };
        server.install_templates();
        let daemon = setup(&keys(&server, "index = \"logpush-{dataset}\"")).start();
        let mut fixtures = fixtures();
        fixtures.remove("somebodys_own");
        for (dataset, records) in &fixtures {
            push(&daemon, dataset, records);
        }
        // Values of the wrong type do not make the server refuse a record.
        push(&daemon, "http_requests", b"{\"ClientIP\":\"\",\"EdgeResponseStatus\":\"x\"}\n");
        let total: usize = fixtures.values().map(|records| sorted_lines(records).len()).sum();
        server.wait_count(total + 1);
        assert_eq!(dead_letters(&daemon), Vec::<serde_json::Value>::new());
        for (dataset, field, kind) in [
            ("http_requests", "@timestamp", "date"),
            ("http_requests", "ClientIP", "ip"),
            ("http_requests", "ClientRequestHost", "keyword"),
            ("http_requests", "EdgeResponseStatus", "long"),
            ("firewall_events", "ClientIP", "ip"),
            ("firewall_events", "Action", "keyword"),
        ] {
            let index = format!("logpush-{dataset}");
            let mapping = server.get(&format!("/{index}/_mapping"));
            let found = &mapping[&index]["mappings"]["properties"][field]["type"];
            assert_eq!(found, kind, "{product:?} {dataset} {field}");
        }
        daemon.stop().exited_cleanly();
    }
}
