//! Records are stored in ClickHouse exactly once, and unchanged.
//!
//! The tests that need the engine start [`ClickHouse`]; those about rare answers use a stand-in.

use std::{
    collections::BTreeMap,
    fs,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use serde_json::{Value, value::RawValue};

use crate::support::{
    Daemon, Exit, Http, Setup, Upload,
    clickhouse::ClickHouse,
    collector::{Collector, Received, Reply},
    finish, logpushd, names_in, numbered, repository, wait_for, wait_until,
};

const PASSWORD: &str = "a-password-of-the-tests";

const NUMBERED: &str = "(batch UInt64, `index` UInt64, of UInt64, pad String) ENGINE = MergeTree \
     ORDER BY (batch, `index`) SETTINGS index_granularity = 8192";

/// A daemon with the sink `store`, which has these keys besides its URL.
fn setup(url: &str, keys: &str) -> Setup {
    let keys = format!("url = \"{url}\"\npassword_file = \"password.txt\"\n{keys}");
    let setup = Setup::new().table("sink.store.clickhouse", &keys);
    setup.write("password.txt", format!("{PASSWORD}\n"));
    setup
}

/// Creates the table of `numbered` records.
fn create_numbered(server: &ClickHouse, settings: &str) {
    server.query(&format!("CREATE TABLE logpush_http_requests {NUMBERED}{settings}"));
}

fn count(server: &ClickHouse) -> usize {
    let count = server.query("SELECT count() FROM logpush_http_requests");
    count.trim().parse().unwrap()
}

/// Waits for that many records, and checks that they are `batches` of `size` records each.
#[track_caller]
fn stored_once(server: &ClickHouse, batches: u64, size: usize) {
    let records = usize::try_from(batches).unwrap() * size;
    wait_until(&format!("{records} records"), || count(server) >= records);
    let rows = server.rows("SELECT * FROM logpush_http_requests ORDER BY batch, `index`");
    let sent: Vec<u8> = (0..batches).flat_map(|batch| numbered(batch, size)).collect();
    let sent = std::str::from_utf8(&sent).unwrap().lines();
    let sent: Vec<Value> = sent.map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), sent.len());
    assert!(rows == sent, "other records are stored than were sent");
}

/// The lines of the quarantine.
fn dead_letters(daemon: &Daemon) -> Vec<Value> {
    let quarantine = daemon.path("quarantine");
    let names = names_in(&quarantine);
    let files = names.iter().filter(|name| name.starts_with("records-store-"));
    let text: String =
        files.map(|name| fs::read_to_string(quarantine.join(name)).unwrap()).collect();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

const REQUIRED: &str = "logpushd_sink_action_required{sink=\"store\"}";

#[test]
fn every_documented_field_is_stored_unchanged() {
    let Some(server) = ClickHouse::start_with(Some(PASSWORD)) else { return };
    let daemon = setup(&server.url(), "").start();
    for (dataset, time) in
        [("http_requests", "EdgeStartTimestamp"), ("firewall_events", "Datetime")]
    {
        server.create_packaged(dataset);
        let path = repository(&format!("tests/data/clickhouse/{dataset}.ndjson"));
        let sent = fs::read_to_string(path).unwrap();
        let refused = format!("{{\"{time}\":1764497472123456789,\"RayID\":\"refused\"}}\n");
        let upload = Upload::of(format!("{sent}{refused}")).to(&format!("/logpush/{dataset}"));
        assert_eq!(daemon.send(Http::Two, upload).committed(), 4);
        let select = format!("SELECT * FROM logpush_{dataset} ORDER BY {time} DESC");
        let rows =
            wait_for("three records", || Some(server.rows(&select)).filter(|rows| rows.len() == 3));
        for (row, record) in rows.iter().zip(sent.lines()) {
            same(row, record);
        }
        let letters = wait_for("a dead letter", || {
            dead_letters(&daemon).into_iter().find(|letter| letter["dataset"] == dataset)
        });
        let reason = letters["reason"].as_str().unwrap();
        assert!(reason.contains(&format!("the value of key {time}")), "{letters}");
    }
    assert_eq!(dead_letters(&daemon).len(), 2);
    let stopped = daemon.stop().exited_cleanly();
    assert!(!stopped.log.contains("stored twice"), "{}", stopped.log);
    assert!(!stopped.log.contains("without a column"), "{}", stopped.log);
}

/// Compares a row with the record that was sent.
#[track_caller]
fn same(row: &Value, record: &str) {
    let record: BTreeMap<&str, &RawValue> = serde_json::from_str(record).unwrap();
    assert_eq!(row.as_object().unwrap().len(), record.len(), "a column without a field");
    for (name, raw) in record {
        let sent: Value = serde_json::from_str(raw.get()).unwrap();
        let same = match (&sent, &row[name]) {
            (Value::String(sent), Value::String(stored)) if is_time(name) => {
                nanoseconds(sent) == *stored
            }
            // An object or an array in a column of strings.
            (Value::Object(_) | Value::Array(_), Value::String(stored)) => stored == raw.get(),
            (Value::Number(sent), Value::Number(stored)) if sent.is_f64() || stored.is_f64() => {
                sent.as_f64() == stored.as_f64()
            }
            (sent, stored) => sent == stored,
        };
        assert!(same, "{name}: {raw} is stored as {}", row[name]);
    }
}

fn is_time(name: &str) -> bool {
    ["Datetime", "EdgeStartTimestamp", "EdgeEndTimestamp"].contains(&name)
}

/// A time in RFC 3339 with nine digits after the second.
fn nanoseconds(time: &str) -> String {
    let time = time.strip_suffix('Z').unwrap();
    let (second, fraction) = time.split_once('.').unwrap_or((time, ""));
    format!("{second}.{fraction:0<9}Z")
}

#[test]
fn a_lost_answer_stores_no_record_twice() {
    let Some(server) = ClickHouse::start() else { return };
    create_numbered(&server, ", non_replicated_deduplication_window = 100");
    server.query(&format!("CREATE TABLE plain_http_requests {NUMBERED}"));
    server.query(
        "CREATE TABLE view_counts (batch UInt64, records UInt64) ENGINE = SummingMergeTree \
         ORDER BY batch SETTINGS non_replicated_deduplication_window = 100",
    );
    server.query(
        "CREATE MATERIALIZED VIEW view TO view_counts AS \
         SELECT batch, count() AS records FROM logpush_http_requests GROUP BY batch",
    );
    let chunks = "compression = \"zstd\"\nbatch = { max_records = 20 }";
    let plain = format!("url = \"{}\"\ntable = \"plain_{{dataset}}\"\nin_flight = 1", server.url());
    let daemon = setup(&server.url(), chunks).start();
    server.lose_answers(5);
    let records = 100;
    daemon.commit_numbered(0..3, records);
    stored_once(&server, 3, records);
    let counts = "SELECT batch, sum(records) FROM view_counts GROUP BY batch ORDER BY batch";
    // A view is filled after its table.
    wait_until("the counts of the view", || server.query(counts) == "0\t100\n1\t100\n2\t100\n");

    // A table without a window is reported, for good reason.
    let mut setup = daemon.stop().exited_cleanly().setup;
    setup.set("sink.plain.clickhouse", &plain);
    let daemon = setup.start();
    let warning = daemon.wait_log("records may be stored twice after a failure");
    let table = "the table `default`.`plain_http_requests` does not recognize repeated inserts";
    assert!(warning["reason"].as_str().unwrap().starts_with(table), "{warning}");
    let action = "run ALTER TABLE `default`.`plain_http_requests` MODIFY SETTING \
                  non_replicated_deduplication_window";
    assert!(warning["action"].as_str().unwrap().starts_with(action), "{warning}");
    assert_eq!(daemon.logged("records may be stored twice").len(), 1);
    server.lose_answers(1);
    daemon.commit_numbered(3..4, records);
    stored_once(&server, 4, records);
    let doubled = 2 * records;
    let count = "SELECT count() FROM plain_http_requests";
    wait_until("each record in both tables", || {
        let count: usize = server.query(count).trim().parse().unwrap();
        assert!(count <= doubled);
        // The lost answer was that to either table.
        count >= records
    });
    daemon.stop().exited_cleanly();
}

#[test]
fn kills_of_daemon_and_server_store_each_record_once() {
    const SIZE: usize = 150;
    let Some(mut server) = ClickHouse::start() else { return };
    create_numbered(&server, ", non_replicated_deduplication_window = 1000");
    let keys = "in_flight = 8\ntimeout = \"5s\"\nbatch = { max_records = 40 }";
    let mut daemon = setup(&server.url(), keys).start();
    let mut batches = 0;
    for round in 0..4 {
        server.lose_answers(round);
        daemon.commit_numbered(batches..batches + 4, SIZE);
        batches += 4;
        if round == 2 {
            server.kill();
        }
        daemon = daemon.kill().start();
        if round == 2 {
            daemon.commit_numbered(batches..batches + 1, SIZE);
            batches += 1;
            server.restart();
        }
    }
    stored_once(&server, batches, SIZE);
    daemon.stop().exited_cleanly();
    stored_once(&server, batches, SIZE);
}

#[test]
fn the_operator_hears_of_a_missing_table_and_of_unknown_fields() {
    let Some(server) = ClickHouse::start() else { return };
    let records = numbered(0, 20);
    let daemon = setup(&server.url(), "skip_unknown_fields = false").start();
    daemon.commit(&records);
    daemon.wait_count(REQUIRED, |value| value == 1);
    server.query(
        "CREATE TABLE logpush_http_requests (batch UInt64, `index` UInt64, of UInt64) \
         ENGINE = MergeTree ORDER BY batch SETTINGS non_replicated_deduplication_window = 100",
    );
    let stopped = daemon.stop();
    assert!(stopped.log.contains("(UNKNOWN_TABLE)"), "{}", stopped.log);
    assert!(stopped.log.contains("create the table"), "{}", stopped.log);

    let daemon = stopped.exited_cleanly().start();
    daemon.wait_count(REQUIRED, |value| value == 1);
    assert_eq!(count(&server), 0);
    let stopped = daemon.stop().exited_cleanly();
    assert!(stopped.log.contains("Unknown field found"), "{}", stopped.log);
    assert!(stopped.log.contains("add a column for the field"), "{}", stopped.log);

    let mut setup = stopped.setup;
    setup.set("sink.store.clickhouse", &format!("url = \"{}\"", server.url()));
    let daemon = setup.start();
    let warning = daemon.wait_log("fields without a column are not stored");
    assert_eq!(warning["fields"], "pad");
    assert_eq!(warning["table"], "`default`.`logpush_http_requests`");
    wait_until("all records", || count(&server) == 20);
    assert!(dead_letters(&daemon).is_empty());
    daemon.stop().exited_cleanly();
}

#[test]
fn a_probe_finds_tables_without_writing_a_record() {
    let Some(server) = ClickHouse::start_with(Some(PASSWORD)) else { return };
    let setup = setup(&server.url(), "datasets = [\"http_requests\"]");
    let probe = |setup: &Setup| {
        setup.write_config();
        finish(logpushd().args(["validate", "--probe", "-c"]).arg(setup.config()))
    };
    let finished = probe(&setup);
    assert_eq!(finished.exit, Exit::Code(69), "{finished:?}");
    let missing = "the table `default`.`logpush_http_requests` does not exist";
    assert!(finished.stdout.contains(missing), "{finished:?}");

    create_numbered(&server, "");
    let finished = probe(&setup);
    assert_eq!(finished.exit, Exit::Code(0), "{finished:?}");
    assert!(finished.stdout.contains("accepts the user `default`"), "{finished:?}");
    assert!(finished.stdout.contains("warning: records may be stored twice"), "{finished:?}");
    let window = "non_replicated_deduplication_window = 500";
    server.query(&format!("ALTER TABLE logpush_http_requests MODIFY SETTING {window}"));
    let finished = probe(&setup);
    let fact = "the table `default`.`logpush_http_requests` (MergeTree) recognizes the last 500";
    assert!(finished.stdout.contains(fact), "{finished:?}");
    assert_eq!(count(&server), 0);

    let mut setup = setup;
    setup.set(
        "sink.store.clickhouse",
        &format!("url = \"{}\"\npassword_file = \"password.txt\"", server.url()),
    );
    let finished = probe(&setup);
    assert_eq!(finished.exit, Exit::Code(0), "{finished:?}");
    let existing = "existing tables default.logpush_{dataset}: 1\n";
    assert!(finished.stdout.contains(existing) && finished.stdout.contains(fact), "{finished:?}");

    setup.write("password.txt", "a-wrong-password\n");
    let finished = probe(&setup);
    assert_eq!(finished.exit, Exit::Code(69), "{finished:?}");
    assert!(finished.stdout.contains("Authentication failed"), "{finished:?}");
    assert!(!format!("{finished:?}").contains("a-wrong-password"), "{finished:?}");
}

/// The parameters of a request.
fn parameters(request: &Received) -> BTreeMap<String, String> {
    let url = reqwest::Url::parse(&format!("http://localhost{}", request.path)).unwrap();
    url.query_pairs().into_owned().collect()
}

fn is_insert(request: &Received) -> bool {
    parameters(request).contains_key("insert_deduplication_token")
}

fn reply(status: u16, code: Option<u16>, text: &str) -> Reply {
    let mut headers = vec![("x-clickhouse-query-id", "0".to_owned())];
    headers.extend(code.map(|code| ("x-clickhouse-exception-code", code.to_string())));
    (status, headers, text.to_owned())
}

/// Answers queries about tables with no rows, and inserts by `rule`.
fn answer_inserts(stand_in: &Collector, rule: impl Fn(&Received) -> Reply + Send + 'static) {
    stand_in.answer_by(
        move |request| {
            if is_insert(request) { rule(request) } else { reply(200, None, "") }
        },
    );
}

fn inserts(stand_in: &Collector) -> Vec<Received> {
    stand_in.received().into_iter().filter(is_insert).collect()
}

#[test]
fn an_insert_is_one_block_with_a_token_and_is_repeated_unchanged() {
    let stand_in = Collector::start();
    let attempts = AtomicUsize::new(0);
    answer_inserts(&stand_in, move |_| match attempts.fetch_add(1, Relaxed) {
        0 => reply(500, Some(252), "Code: 252. DB::Exception: Too many parts (TOO_MANY_PARTS)"),
        // An exception after the beginning of the answer.
        1 => reply(200, None, "Code: 241. DB::Exception: Memory limit exceeded"),
        2 => reply(200, Some(999), ""),
        _ => reply(200, None, ""),
    });
    let url = stand_in.url("/?insert_quorum=2&async_insert=1");
    let keys = "database = \"da`ta\"\ntable = \"{endpoint}.{dataset}\"\nuser = \"writer\"";
    let daemon = setup(&url, keys).start();
    let records = numbered(1, 50);
    daemon.commit(&records);
    let inserts =
        wait_for("four inserts", || Some(inserts(&stand_in)).filter(|inserts| inserts.len() == 4));
    let insert = &inserts[0];
    for repeated in &inserts[1..] {
        assert_eq!((&repeated.path, &repeated.body), (&insert.path, &insert.body));
    }
    assert_eq!(insert.body, records);
    assert_eq!(insert.headers["x-clickhouse-user"], "writer");
    assert_eq!(insert.headers["x-clickhouse-key"], PASSWORD);
    let found = parameters(insert);
    let digest = format!("{:.32}", blake3::hash(&records).to_hex());
    let token = &found["insert_deduplication_token"];
    assert!(token.starts_with(&digest) && token.ends_with("-0"), "{token}");
    for (name, value) in [
        ("query", "INSERT INTO `da\\`ta`.`main.http_requests` FORMAT JSONEachRow"),
        ("insert_quorum", "2"),
        // The one of the sink comes last.
        ("async_insert", "0"),
        ("max_insert_block_size", "50"),
        ("min_insert_block_size_rows", "50"),
        ("min_insert_block_size_bytes", "0"),
        ("input_format_parallel_parsing", "0"),
        ("input_format_allow_errors_num", "0"),
        ("input_format_skip_unknown_fields", "1"),
    ] {
        assert_eq!(found[name], value, "{name}");
    }
    daemon.stop().exited_cleanly();
    // The last answer is a delivery.
    assert_eq!(self::inserts(&stand_in).len(), 4);
}

#[test]
fn an_answer_of_another_server_is_no_delivery() {
    let stand_in = Collector::start();
    for answer in [(200, Vec::new(), String::new()), reply(200, None, "Ok.\n")] {
        stand_in.answer_by(move |_| answer.clone());
        let daemon = setup(&stand_in.url("/ping"), "").start();
        daemon.commit(&numbered(1, 5));
        daemon.wait_count(REQUIRED, |value| value == 1);
        let stopped = daemon.stop().exited_cleanly();
        let action = "set `url` to the HTTP interface of ClickHouse";
        assert!(stopped.log.contains(action), "{}", stopped.log);
    }
}

#[test]
fn the_exception_of_a_view_divides_no_chunk() {
    let stand_in = Collector::start();
    let text = "Code: 6. DB::Exception: Cannot parse string 'abc' as UInt8: while pushing to \
                view d.mv (CANNOT_PARSE_TEXT)";
    answer_inserts(&stand_in, |_| reply(400, Some(6), text));
    let daemon = setup(&stand_in.url("/"), "").start();
    let records = numbered(1, 20);
    daemon.commit(&records);
    daemon.wait_count(REQUIRED, |value| value == 1);
    answer_inserts(&stand_in, |_| reply(200, None, ""));
    let stopped = daemon.stop().exited_cleanly();
    assert!(stopped.log.contains("repair the materialized view"), "{}", stopped.log);
    assert!(inserts(&stand_in).iter().all(|insert| insert.body == records));
}

#[test]
fn validate_reports_invalid_settings_of_a_clickhouse_sink() {
    for (keys, expected) in [
        ("url = \"http://localhost/{dataset}\"", "contains a placeholder"),
        ("url = \"http://localhost/?password=hidden\"", "contains the parameter `password`"),
        ("url = \"http://localhost\"\nuser = \"\"", "is not a name in printable ASCII"),
        ("url = \"http://localhost\"\ntable = \"{zone}\"", "unknown placeholder"),
        ("url = \"http://localhost\"\npassword_file = \"missing.txt\"", "cannot use secret file"),
    ] {
        let setup = Setup::new().table("sink.store.clickhouse", keys);
        setup.write_config();
        let finished = finish(logpushd().args(["validate", "-c"]).arg(setup.config()));
        assert_eq!(finished.exit, Exit::Code(78), "{keys}\n{}", finished.stderr);
        assert!(finished.stderr.contains(expected), "{keys}\n{}", finished.stderr);
    }
}
