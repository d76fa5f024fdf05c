//! The recipes for log services. A stand-in for each service checks every request as the API
//! document of the service demands, and answers as the service does.

use std::{collections::BTreeMap, fs};

use serde_json::{Value, json, value::RawValue};

use super::blocks;
use crate::support::{
    Daemon, Setup,
    collector::{Collector, Received, Reply},
    names_in, repository, wait_for, wait_until,
};

/// A text in the records that the service refuses.
const REFUSED: &str = "to be refused";

/// A configuration of a recipe whose service is at `address`.
fn setup(page: &str, address: &str, collector: &Collector) -> Setup {
    let block = blocks(page, "toml").remove(0);
    assert!(block.contains(address), "{page} does not send to {address}");
    let block = block.replace(address, &collector.url(""));
    let (header, keys) = block.split_once('\n').unwrap();
    let table = header.strip_prefix('[').and_then(|header| header.strip_suffix(']')).unwrap();
    let setup = Setup::new().without("sink.archive.file").table(table, keys);
    setup.write("token.txt", TOKEN);
    setup
}

const TOKEN: &str = "a-Secret_Token==";

/// More than the limits of some services, in bytes and in records.
fn records() -> Vec<String> {
    let path = repository("tests/data/message/http_requests.ndjson");
    let real = fs::read_to_string(path).unwrap();
    let padding = "x".repeat(700);
    let numbered = (0..2500).map(|number| {
        format!(
            "{{\"EdgeStartTimestamp\":{},\"Number\":{number}.50,\"Padding\":\"{padding}\"}}",
            1_700_000_000 + number
        )
    });
    real.lines().map(str::to_owned).chain(numbered).collect()
}

/// Added by a recipe to each record.
const ADDED: &str = ",\"message\":\"http_requests\"";

/// The records of an accepted request, as text.
fn records_of(request: &Received) -> Vec<String> {
    let text = String::from_utf8(request.body.clone()).unwrap();
    if text.starts_with('[') {
        let records: Vec<Box<RawValue>> = serde_json::from_str(&text).unwrap();
        return records.iter().map(|record| record.get().to_owned()).collect();
    }
    text.lines().map(str::to_owned).collect()
}

/// How often the service has stored each record, without the fields that the recipe adds.
fn stored(collector: &Collector) -> BTreeMap<String, usize> {
    let mut stored = BTreeMap::new();
    for record in collector.taken().iter().flat_map(records_of) {
        if !record.contains(REFUSED) {
            let record = record.replace(ADDED, "");
            *stored.entry(record).or_default() += 1;
        }
    }
    stored
}

/// All records arrive unchanged, once, in requests that the service accepts. Returns the requests.
#[track_caller]
fn delivers(page: &str, address: &str, service: fn(&Received) -> Reply) -> Vec<Received> {
    let collector = Collector::start();
    collector.answer_by(service);
    let daemon = setup(page, address, &collector).start();
    let records = records();
    daemon.commit((records.join("\n") + "\n").as_bytes());
    wait_until("all records", || stored(&collector).len() == records.len());
    let stopped = daemon.stop();
    assert!(!stopped.log.contains(TOKEN), "{}", stopped.log);
    stopped.exited_cleanly();
    let stored = stored(&collector);
    for record in &records {
        assert_eq!(stored.get(record), Some(&1), "{record}");
    }
    let requests = collector.received();
    assert!(requests.iter().all(|request| request.status < 300), "a request was refused");
    requests
}

/// Refused records go to quarantine, alone; the others arrive.
#[track_caller]
fn quarantines(page: &str, address: &str, service: fn(&Received) -> Reply, reason: &str) {
    let collector = Collector::start();
    collector.answer_by(service);
    let daemon = setup(page, address, &collector).start();
    let good: Vec<_> = (0..60).map(|number| format!("{{\"Number\":{number}}}")).collect();
    let mut all = good.clone();
    for position in [7, 30] {
        all.insert(position, format!("{{\"Number\":\"{REFUSED} {position}\"}}"));
    }
    daemon.commit((all.join("\n") + "\n").as_bytes());
    wait_until("the good records", || stored(&collector).len() == good.len());
    let letters = wait_for("two dead letters", || {
        Some(dead_letters(&daemon)).filter(|letters| letters.len() == 2)
    });
    for letter in letters {
        let text = letter.to_string();
        assert!(text.contains(REFUSED) && text.contains(reason), "{text}");
    }
    daemon.stop().exited_cleanly();
    assert!(good.iter().all(|record| stored(&collector).contains_key(record)));
}

fn dead_letters(daemon: &Daemon) -> Vec<Value> {
    let quarantine = daemon.path("quarantine");
    let files = names_in(&quarantine).into_iter().filter(|name| name.starts_with("records-"));
    let text: String =
        files.map(|name| fs::read_to_string(quarantine.join(name)).unwrap()).collect();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn answer(status: u16, body: &Value) -> Reply {
    (status, Vec::new(), body.to_string())
}

fn fault(status: u16, fault: &str) -> Reply {
    answer(status, &json!({ "message": fault }))
}

fn has(request: &Received, header: &str, value: &str) -> bool {
    request.headers.get(header).is_some_and(|found| found == value)
}

/// The path, and the query with each parameter once.
fn target(request: &Received) -> (&str, BTreeMap<&str, &str>) {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    (path, pairs.map(|pair| pair.split_once('=').unwrap()).collect())
}

fn is_ndjson(request: &Received) -> bool {
    let text = String::from_utf8(request.body.clone()).unwrap();
    let is_object = |line: &str| serde_json::from_str::<Value>(line).is_ok_and(|v| v.is_object());
    !text.is_empty() && text.lines().all(is_object)
}

/// The number of records in a request, and of those that the service refuses.
fn counts(request: &Received) -> (usize, usize) {
    let records = records_of(request);
    (records.len(), records.iter().filter(|record| record.contains(REFUSED)).count())
}

/// <https://docs.victoriametrics.com/victorialogs/data-ingestion/#json-stream-api>
fn victorialogs(request: &Received) -> Reply {
    let (path, query) = target(request);
    let known =
        ["_stream_fields", "_time_field", "_msg_field", "extra_fields", "ignore_fields", "debug"];
    if request.method != "POST" || path != "/insert/jsonline" {
        return fault(404, "unsupported path requested");
    }
    if !query.keys().all(|key| known.contains(key)) || !is_ndjson(request) {
        return fault(400, "cannot process jsonline request");
    }
    (200, Vec::new(), String::new())
}

#[test]
fn victorialogs_gets_lines_with_a_stream_and_a_message() {
    let requests = delivers("victorialogs.md", "http://127.0.0.1:9428", victorialogs);
    let (_, query) = target(&requests[0]);
    assert_eq!(query["_stream_fields"], "dataset,endpoint");
    assert_eq!(query["extra_fields"], "dataset=http_requests,endpoint=main,_msg=http_requests");
    assert!(query["_time_field"].split(',').any(|field| field == "EdgeStartTimestamp"));
}

/// <https://openobserve.ai/docs/reference/api/ingestion/logs/multi/>
fn openobserve(request: &Received) -> Reply {
    let (path, _) = target(request);
    if !has(request, "authorization", TOKEN) {
        return fault(401, "Unauthorized Access");
    }
    if request.method != "POST" || path != "/api/default/http_requests/_multi" {
        return fault(404, "Not Found");
    }
    if !is_ndjson(request) {
        return fault(400, "Invalid json");
    }
    let (records, refused) = counts(request);
    let status = json!([{
        "name": "http_requests",
        "successful": records - refused,
        "failed": refused,
        "error": if refused > 0 { "Can't parse timestamp" } else { "" },
    }]);
    answer(200, &json!({ "code": 200, "status": status }))
}

#[test]
fn openobserve_gets_lines_in_a_stream_per_dataset() {
    let address = "https://openobserve.example.com";
    delivers("openobserve.md", address, openobserve);
    quarantines("openobserve.md", address, openobserve, "Can't parse timestamp");
}

/// <https://quickwit.io/docs/reference/rest-api#ingest-data-into-an-index>
fn quickwit(request: &Received) -> Reply {
    let (path, query) = target(request);
    if request.method != "POST" || path != "/api/v1/cloudflare-http_requests/ingest" {
        return fault(404, "index `cloudflare` not found");
    }
    if !query.get("commit").is_none_or(|commit| ["auto", "wait_for", "force"].contains(commit)) {
        return fault(400, "unknown commit type");
    }
    if request.body.len() > 10 << 20 {
        return fault(413, "The request payload is too large");
    }
    // Quickwit parses each line by itself.
    let (records, refused) = counts(request);
    answer(
        200,
        &json!({
            "num_docs_for_processing": records,
            "num_ingested_docs": records - refused,
            "num_rejected_docs": refused,
        }),
    )
}

#[test]
fn quickwit_gets_lines_in_an_index_per_dataset() {
    let address = "http://127.0.0.1:7280";
    delivers("quickwit.md", address, quickwit);
    quarantines("quickwit.md", address, quickwit, "\\\"num_rejected_docs\\\":1");
}

/// <https://axiom.co/docs/restapi/endpoints/ingestIntoDataset>
fn axiom(request: &Received) -> Reply {
    let (path, query) = target(request);
    if !has(request, "authorization", TOKEN) {
        return fault(403, "Forbidden");
    }
    if request.method != "POST" || path != "/v1/datasets/cloudflare-http_requests/ingest" {
        return fault(404, "dataset not found");
    }
    let known = ["timestamp-field", "timestamp-format", "csv-delimiter"];
    if !query.keys().all(|key| known.contains(key))
        || !has(request, "content-type", "application/x-ndjson")
        || !is_ndjson(request)
    {
        return fault(400, "cannot parse the body");
    }
    let (records, refused) = counts(request);
    if records > 10_000 {
        return fault(400, "more than 10,000 events");
    }
    let failure = json!({ "timestamp": "2026-11-07T05:31:56Z", "error": "too many fields" });
    answer(
        200,
        &json!({
            "ingested": records - refused,
            "failed": refused,
            "failures": vec![failure; refused],
            "processedBytes": request.body.len(),
        }),
    )
}

#[test]
fn axiom_gets_lines_with_the_field_of_the_time() {
    let requests = delivers("axiom.md", "https://api.axiom.co", axiom);
    assert_eq!(target(&requests[0]).1["timestamp-field"], "EdgeStartTimestamp");
    quarantines("axiom.md", "https://api.axiom.co", axiom, "too many fields");
}

/// <https://docs.datadoghq.com/api/latest/logs/#send-logs>
fn datadog(request: &Received) -> Reply {
    let (path, _) = target(request);
    if request.method != "POST" || path != "/api/v2/logs" {
        return fault(404, "Not Found");
    }
    if !has(request, "dd-api-key", TOKEN) {
        return fault(403, "Forbidden");
    }
    let logs: Vec<Value> = serde_json::from_slice(&request.body).unwrap_or_default();
    if !has(request, "content-type", "application/json")
        || !has(request, "content-encoding", "gzip")
        || logs.is_empty()
        || !logs.iter().all(|log| log["message"].is_string())
    {
        return fault(400, "Bad Request");
    }
    if request.body.len() > 5_000_000 || logs.len() > 1000 {
        return fault(413, "Payload too large");
    }
    answer(202, &json!({}))
}

#[test]
fn datadog_gets_arrays_within_its_limits() {
    let address = "https://http-intake.logs.datadoghq.com";
    let requests = delivers("datadog.md", address, datadog);
    assert!(requests.len() > 2, "{}", requests.len());
    let (_, query) = target(&requests[0]);
    let expected =
        [("ddsource", "cloudflare"), ("ddtags", "endpoint:main"), ("service", "http_requests")];
    assert_eq!(query, BTreeMap::from(expected));
}

/// <https://docs.newrelic.com/docs/logs/log-api/introduction-log-api/>
fn new_relic(request: &Received) -> Reply {
    let (path, query) = target(request);
    if request.method != "POST" || path != "/log/v1" {
        return fault(404, "Not Found");
    }
    if !has(request, "api-key", TOKEN) {
        return fault(403, "Invalid license key");
    }
    if request.body.len() > 1_000_000 {
        return fault(413, "Payload Too Large");
    }
    // Lines are accepted from Cloudflare only.
    if query.get("format") != Some(&"cloudflare")
        || !has(request, "content-type", "application/json")
        || !has(request, "content-encoding", "gzip")
        || !is_ndjson(request)
    {
        return fault(400, "Bad Request");
    }
    answer(202, &json!({ "requestId": "f0e7bfff-001a-b000-0000-01682bcf4565" }))
}

#[test]
fn new_relic_gets_what_cloudflare_sends_it_within_its_limits() {
    let requests = delivers("new-relic.md", "https://log-api.newrelic.com", new_relic);
    assert!(requests.len() > 1, "{}", requests.len());
}

/// <https://www.sumologic.com/help/docs/send-data/hosted-collectors/http-source/logs-metrics/upload-logs/>
fn sumo_logic(request: &Received) -> Reply {
    let path = format!("/receiver/v1/http/{TOKEN}");
    if request.path != path || request.method != "POST" {
        return fault(401, "Unauthorized");
    }
    // No hard limit: a recommendation.
    if request.body.len() > 1_000_000 || std::str::from_utf8(&request.body).is_err() {
        return fault(400, "Bad Request");
    }
    (200, Vec::new(), String::new())
}

#[test]
fn sumo_logic_gets_lines_at_a_secret_address() {
    let address = "https://endpoint4.collection.sumologic.com";
    let requests = delivers("sumo-logic.md", address, sumo_logic);
    assert!(requests.len() > 1, "{}", requests.len());
    assert!(has(&requests[0], "x-sumo-category", "cloudflare/http_requests"));
}
