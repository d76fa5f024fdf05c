//! Records are delivered to Splunk's HTTP Event Collector, whatever it answers.

mod acknowledgments;
mod balanced;
mod chain;

use std::{collections::BTreeMap, fs, time::Duration};

use serde_json::Value;

use crate::support::{
    Daemon, Exit, Setup, finish, http_requests, logpushd, names_in, numbered, same_bytes,
    splunk::{Seen, Splunk, TOKEN},
    wait_for, wait_until,
};

const REQUIRED: &str = "logpushd_sink_action_required{sink=\"splunk\"}";

/// A daemon with the sink `splunk`, which has these keys besides its URL and its token.
fn setup(splunk: &Splunk, keys: &str) -> Setup {
    let own = format!("url = \"{}\"\ntoken_file = \"hec.txt\"\n{keys}", splunk.url());
    let setup = Setup::new().table("sink.splunk.splunk_hec", &own);
    setup.write("hec.txt", format!("{TOKEN}\n"));
    setup
}

fn lines(records: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(records).unwrap();
    let mut lines: Vec<_> = text.lines().map(|line| format!("{line}\n")).collect();
    lines.sort_unstable();
    lines
}

/// Waits until Splunk has these records, each once and byte for byte.
#[track_caller]
fn same(splunk: &Splunk, records: &[u8]) {
    let want = lines(records);
    let have = wait_for(&format!("{} events", want.len()), || {
        Some(splunk.records()).filter(|have| have.len() >= want.len())
    });
    same_bytes("the index", have.concat().as_bytes(), want.concat().as_bytes());
}

/// Waits until Splunk has each of these records at least once.
#[track_caller]
fn contains(splunk: &Splunk, records: &[u8]) {
    let mut want = lines(records);
    want.dedup();
    wait_until("all records in the index", || {
        let mut have = splunk.records();
        have.dedup();
        have == want
    });
}

/// Waits until no batch is in the spool, so that everything is acknowledged.
fn wait_empty(daemon: &Daemon) {
    daemon.wait_count("logpushd_spool_batches", |batches| batches == 0);
}

fn posts(splunk: &Splunk) -> Vec<Seen> {
    let events = |seen: &Seen| seen.path == "/services/collector/event";
    splunk.requests().into_iter().filter(events).collect()
}

/// The dead letters of the sink.
fn dead_letters(daemon: &Daemon) -> Vec<Value> {
    let quarantine = daemon.path("quarantine");
    let names = names_in(&quarantine);
    let files = names.iter().filter(|name| name.starts_with("records-splunk-"));
    let text: String =
        files.map(|name| fs::read_to_string(quarantine.join(name)).unwrap()).collect();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[test]
fn records_arrive_unchanged_with_their_time_and_metadata() {
    let splunk = Splunk::start();
    splunk.allow_index("cf_http_requests");
    let keys = "index = \"cf_{dataset}\"\nsource = \"logpush:{endpoint}\"\nhost = \"edge\"\n\
        batch = { max_records = 20 }";
    let daemon = setup(&splunk, keys).start();
    let records = http_requests(3, 50);
    daemon.commit(&records);
    same(&splunk, &records);
    wait_empty(&daemon);
    let mut found = BTreeMap::new();
    for event in splunk.events() {
        let record: Value = serde_json::from_str(event.record()).unwrap();
        let start = record["EdgeStartTimestamp"].as_u64().unwrap();
        let time = format!("{}.{:09}", start / 1_000_000_000, start % 1_000_000_000);
        let time = time.trim_end_matches('0').trim_end_matches('.').to_owned();
        assert_eq!(event.members["time"].get(), time);
        for (name, value) in [
            ("index", "cf_http_requests"),
            ("source", "logpush:main"),
            ("sourcetype", "cloudflare:json"),
            ("host", "edge"),
        ] {
            assert_eq!(event.member(name).unwrap(), value);
        }
        let (chunk, position) = event.fields();
        assert_eq!(found.insert(position, chunk), None);
    }
    // The identity of a chunk begins with the digest of the batch.
    let digest = format!("{:.32}-1-", blake3::hash(&records).to_hex());
    assert!(found.keys().copied().eq(0..50), "{found:?}");
    assert!(found.values().all(|chunk| chunk.starts_with(&digest)), "{found:?}");
    assert!(found[&0].ends_with("-0") && found[&49].ends_with("-2"), "{found:?}");
    daemon.stop().exited_cleanly();
}

#[test]
fn an_invalid_event_alone_goes_into_quarantine() {
    for acknowledges in [true, false] {
        let splunk = Splunk::start();
        splunk.set_acknowledges(acknowledges);
        splunk.refuse(|event| {
            let is_bad = |name: &str| event.record().contains(name);
            let invalid = is_bad("\"bad\"").then_some((6, "Invalid data format"));
            invalid
                .or_else(|| is_bad("\"worse\"").then_some((15, "Error in handling indexed fields")))
        });
        let daemon = setup(&splunk, "").start();
        let good = [numbered(1, 20), numbered(2, 20), numbered(3, 20)];
        let bad = ["{\"bad\":1}\n", "{\"worse\":2}\n"];
        let batch = [&good[0], bad[0].as_bytes(), &good[1], bad[1].as_bytes(), &good[2]].concat();
        daemon.commit(&batch);
        // Splunk names the invalid event, and has accepted those before it: none comes twice.
        same(&splunk, &good.concat());
        wait_empty(&daemon);
        same(&splunk, &good.concat());
        let letters = dead_letters(&daemon);
        let records: Vec<_> = letters.iter().map(|letter| letter["record"].to_string()).collect();
        assert_eq!(letters.len(), 2, "{letters:?}");
        for (record, reason) in ["Invalid data format", "indexed fields"].iter().enumerate() {
            let letter = &letters[record];
            assert!(letter["reason"].as_str().unwrap().contains(reason), "{letter}");
            assert_eq!(letter["sink"], "splunk");
            assert!(records[record].contains(["bad", "worse"][record]), "{letter}");
        }
        daemon.stop().exited_cleanly();
    }
}

#[test]
fn a_busy_collector_gets_the_rest_again() {
    for (acknowledges, after) in [(true, 0), (true, 30), (false, 0), (false, 30)] {
        let splunk = Splunk::start();
        splunk.set_acknowledges(acknowledges);
        splunk.be_busy(2, after);
        let daemon = setup(&splunk, "").start();
        let records = numbered(1, 100);
        daemon.commit(&records);
        contains(&splunk, &records);
        wait_empty(&daemon);
        // It is not known whether Splunk counts from 0 or 1: one record per answer may come twice.
        let surplus = splunk.records().len() - 100;
        assert!(surplus <= if after == 0 { 0 } else { 2 }, "{acknowledges} {after} {surplus}");
        assert!(dead_letters(&daemon).is_empty());
        daemon.stop().exited_cleanly();
    }
}

#[test]
fn a_wrong_index_and_a_wrong_token_are_for_the_operator() {
    let splunk = Splunk::start();
    splunk.set_token("another-token");
    let daemon = setup(&splunk, "index = \"cloudflare\"").start();
    let records = numbered(1, 20);
    daemon.commit(&records);
    daemon.wait_count(REQUIRED, |value| value == 1);
    let log = daemon.wait_log("the sink failed");
    assert!(log["error"].as_str().unwrap().contains("Invalid token"), "{log}");
    daemon.setup().write("hec.txt", "another-token\n");
    // A restart, rather than waiting for the next attempt.
    let daemon = daemon.stop().exited_cleanly().start();
    wait_until("the error about the index", || {
        let errors = daemon.logged("the sink failed");
        errors.iter().any(|log| log["error"].as_str().unwrap().contains("Incorrect index"))
    });
    daemon.wait_count(REQUIRED, |value| value == 1);
    splunk.allow_index("cloudflare");
    let daemon = daemon.stop().exited_cleanly().start();
    same(&splunk, &records);
    daemon.wait_count(REQUIRED, |value| value == 0);
    assert!(dead_letters(&daemon).is_empty());
    let stopped = daemon.stop().exited_cleanly();
    assert!(!stopped.log.contains(TOKEN) && !stopped.log.contains("another-token"));
}

#[test]
fn a_killed_daemon_delivers_the_rest() {
    let splunk = Splunk::start();
    splunk.set_delay(Duration::from_millis(1500));
    let daemon = setup(&splunk, "batch = { max_records = 10 }").start();
    let mut records = daemon.commit_numbered(0..5, 40);
    wait_until("accepted requests", || splunk.waiting() > 0);
    let daemon = daemon.kill().start();
    records.extend(daemon.commit_numbered(5..6, 40));
    contains(&splunk, &records);
    wait_empty(&daemon);
    daemon.stop().exited_cleanly();
}

#[test]
fn validate_reports_invalid_settings() {
    let token = "token_file = \"hec.txt\"\n";
    for (keys, expected) in [
        (format!("url = \"splunk.example.com\"\n{token}"), "is not an http:// or https:// URL"),
        (format!("url = \"https://b.example/{{dataset}}\"\n{token}"), "contains a placeholder"),
        (format!("url = \"https://b.example/?x=y\"\n{token}"), "contains a query"),
        (
            format!("url = \"https://b.example\"\n{token}index = \"{{zone}}\""),
            "unknown placeholder",
        ),
        (format!("url = \"https://b.example\"\n{token}compression = \"zstd\""), "compression"),
        (format!("url = \"https://b.example\"\n{token}in_flight = 1000"), "at most 256"),
        ("url = \"https://b.example\"\ntoken_file = \"missing.txt\"".into(), "secret file"),
        ("url = \"https://b.example\"".into(), "token_file"),
    ] {
        let setup = Setup::new().table("sink.splunk.splunk_hec", &keys);
        setup.write("hec.txt", TOKEN);
        setup.write_config();
        let finished = finish(logpushd().args(["validate", "-c"]).arg(setup.config()));
        assert_eq!(finished.exit, Exit::Code(78), "{keys}\n{}", finished.stderr);
        assert!(finished.stderr.contains(expected), "{keys}\n{}", finished.stderr);
    }
}

#[test]
fn a_probe_writes_nothing() {
    let splunk = Splunk::start();
    let probe = |keys: &str| {
        let setup = setup(&splunk, keys);
        setup.write_config();
        finish(logpushd().args(["validate", "--probe", "-c"]).arg(setup.config()))
    };
    let good = probe("");
    assert_eq!(good.exit, Exit::Code(0), "{}{}", good.stdout, good.stderr);
    let text = format!("{}{}", good.stdout, good.stderr);
    for fact in ["is healthy", "accepts the token", "has indexer acknowledgment"] {
        assert!(text.contains(fact), "{text}");
    }
    let off = probe("acknowledgements = \"off\"");
    assert!(format!("{}{}", off.stdout, off.stderr).contains("set `acknowledgements`"));
    splunk.set_acknowledges(false);
    assert_eq!(probe("acknowledgements = \"off\"").exit, Exit::Code(0));
    splunk.set_token("another-token");
    let wrong = probe("");
    let text = format!("{}{}", wrong.stdout, wrong.stderr);
    assert!(text.contains("Invalid token") && !text.contains(TOKEN), "{text}");
    assert_ne!(wrong.exit, Exit::Code(0), "{text}");
    assert!(splunk.events().is_empty());
}
