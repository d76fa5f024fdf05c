//! A sink gets the batches and the records that its configuration selects, across failures.

use std::fs;

use crate::support::{Http, Setup, Upload, names_in, repository, same_bytes, wait_until};

/// Two endpoints, and sinks with parts of their batches.
fn setup() -> Setup {
    Setup::new()
        .table("endpoint.other", "path = \"/other/{dataset}\"\nauth = \"none\"")
        .table("sink.archive.file", r#"path = "all/{dataset}.ndjson""#)
}

const PACKETS: &str = "\
{\"MitigationSystem\":\"dosd\",\"Outcome\":\"pass\",\"SampleInterval\":10000,\"Id\":1669761187123456789}
{\"MitigationSystem\":\"flowtrackd\",\"Outcome\":\"pass\",\"SampleInterval\":10000,\"Id\":1669761187123456789}
{\"MitigationSystem\":\"magic-firewall\",\"Outcome\":\"pass\",\"SampleInterval\":10000,\"Id\":1669761187123456789}
{\"MitigationSystem\":\"dosd\",\"Outcome\":\"drop\",\"SampleInterval\":100,\"Id\":2}
not json
{\"MitigationSystem\":\"magic-firewall\",\"Outcome\":\"drop\",\"SampleInterval\":10000,\"Id\":3}
{\"SampleInterval\":10000,\"Outcome\" : \"pass\",  \"MitigationSystem\":\"magic-firewall\",\"Id\":4}
";

#[test]
fn each_sink_type_gets_its_filtered_records_and_other_sinks_get_all() {
    let daemon = setup()
        .table(
            "sink.passed.file",
            r#"path = "passed/{dataset}.ndjson"
            datasets = ["network_analytics_logs"]
            where = { MitigationSystem = "magic-firewall", Outcome = ["pass"] }"#,
        )
        .table(
            "sink.few.stdout",
            r#"endpoints = ["other"]
            where = { SampleInterval = { ge = 10_000, lt = 1e4 } }"#,
        )
        .table(
            "sink.pipe.file",
            r#"path = "changed/{dataset}.ndjson"
            endpoints = ["main"]
            where = { Id = { gt = 1669761187123456788 } }
            drop_fields = ["Outcome"]
            rename = { SampleInterval = "interval" }"#,
        )
        .start();
    let connection = daemon.connect(Http::Two);
    let to = "/logpush/network_analytics_logs";
    assert_eq!(
        connection.send(Upload::of(PACKETS).to(to).gzipped()).ok(),
        ("committed".into(), 6, 1)
    );
    let other = "{\"MitigationSystem\":\"magic-firewall\",\"Outcome\":\"pass\"}\n";
    connection.send(Upload::of(other).to("/logpush/http_requests")).committed();
    connection.send(Upload::of(PACKETS).to("/other/http_requests"));

    let lines: Vec<&str> = PACKETS.split_inclusive('\n').collect();
    let all = [&lines[..4], &lines[5..]].concat().concat();
    daemon.wait_file("all/network_analytics_logs.ndjson", all.as_bytes());
    let passed = [lines[2], lines[6]].concat();
    daemon.wait_file("passed/network_analytics_logs.ndjson", passed.as_bytes());
    let changed = ["dosd", "flowtrackd", "magic-firewall"].map(|system| {
        let id = 1_669_761_187_123_456_789_u64;
        format!("{{\"MitigationSystem\":\"{system}\",\"interval\":10000,\"Id\":{id}}}\n")
    });
    daemon.wait_file("changed/network_analytics_logs.ndjson", changed.concat().as_bytes());

    let count = |metric: &str, sink: &str, want: u64| {
        let series = format!("logpushd_sink_{metric}_records_total{{sink=\"{sink}\"}}");
        daemon.wait_count(&series, |count| count == want);
    };
    count("delivered", "archive", 13);
    count("filtered", "archive", 0);
    count("delivered", "passed", 2);
    count("filtered", "passed", 4);
    count("delivered", "few", 0);
    count("filtered", "few", 6);
    count("delivered", "pipe", 3);
    count("filtered", "pipe", 4);
    // The quarantine has no filter.
    count("delivered", "@quarantine", 2);
    wait_until("an empty spool", || names_in(&daemon.path("spool/batches")).is_empty());
    let stopped = daemon.stop().exited_cleanly();
    assert_eq!(stopped.stdout, b"");
    // A file is created with its first record.
    assert_eq!(names_in(&stopped.setup.path("passed")), ["network_analytics_logs.ndjson"]);
    assert_eq!(names_in(&stopped.setup.path("changed")), ["network_analytics_logs.ndjson"]);
}

/// Records that state whether they are for the sink.
fn batch(number: u64, records: u64) -> (String, String) {
    let line = |record: u64| {
        format!("{{\"n\":{number},\"r\":{record},\"even\":{}}}\n", record.is_multiple_of(2))
    };
    let all: String = (0..records).map(line).collect();
    let kept = |record: &u64| record.is_multiple_of(2);
    let even = (0..records).filter(kept).map(|r| format!("{{\"n\":{number},\"r\":{r}}}\n"));
    (all, even.collect())
}

const EVEN: &str = r#"path = "even.ndjson"
    where = { even = true }
    drop_fields = ["even"]"#;

#[test]
fn filtered_records_are_written_once_across_kills() {
    let spool = r#"dir = "spool""#;
    let mut setup = Setup::new().table("sink.archive.file", EVEN).table("spool", spool);
    let mut expected = String::new();
    for number in 0..6 {
        // Killed when it has written half of the records, without a checkpoint after them.
        setup.faults("tear even.ndjson 1\n");
        let daemon = setup.start();
        let (all, even) = batch(number, 40 + number);
        expected += &even;
        let answer = daemon.connect(Http::Two).try_send(Upload::of(all.clone()).gzipped());
        drop(answer);
        setup = daemon.end().setup;
        setup.faults("");
        let daemon = setup.start();
        // Sends the same batch again if the answer was lost.
        daemon.send(Http::Two, Upload::of(all).gzipped());
        daemon.wait_file("even.ndjson", expected.as_bytes());
        setup = daemon.kill().setup;
    }
    let stopped = setup.start().stop().exited_cleanly();
    same_bytes("the end", &stopped.file("even.ndjson"), expected.as_bytes());
}

#[test]
fn a_filter_changed_after_a_crash_is_warned_of_and_loses_nothing() {
    let mut setup = Setup::new().table("sink.archive.file", EVEN);
    // Data written after the first checkpoint stays without one.
    setup.faults("kill before rename archive.json 2\n");
    let daemon = setup.start();
    let (all, even) = batch(1, 10);
    // It may be killed before it answers.
    let answer = daemon.connect(Http::Two).try_send(Upload::of(&all).gzipped());
    drop(answer);
    let stopped = daemon.end().killed();
    assert_eq!(stopped.file("even.ndjson"), even.as_bytes());
    setup = stopped.setup;
    setup.faults("");
    setup.set("sink.archive.file", r#"path = "even.ndjson""#);
    let daemon = setup.start();
    daemon.wait_file("even.ndjson", format!("{even}{all}").as_bytes());
    daemon.wait_log("another process wrote to a file that is written to");
    let (next, _) = batch(2, 10);
    daemon.commit(next.as_bytes());
    daemon.wait_file("even.ndjson", format!("{even}{all}{next}").as_bytes());
    daemon.stop().exited_cleanly();
}

#[test]
fn packet_samples_are_counted_once_with_the_shipped_configuration() {
    let text = fs::read_to_string(repository("config/network-analytics.toml")).unwrap();
    let keys = |sink: &str| {
        let (_, table) = text.split_once(&format!("[sink.{sink}.file]\n")).expect("the sink");
        let table = table.split("\n[").next().unwrap_or_default();
        table.replace("/var/log/logpushd/", "").replace("/%Y-%m-%d", "")
    };
    let daemon = Setup::new()
        .table("sink.archive.file", &keys("archive"))
        .table("sink.passed.file", &keys("passed"))
        .table("sink.dropped.file", &keys("dropped"))
        .start();
    let upload = Upload::of(PACKETS).to("/logpush/network_analytics_logs");
    assert_eq!(daemon.send(Http::Two, upload).ok(), ("committed".into(), 6, 1));
    let stopped = daemon.stop().exited_cleanly();
    assert_eq!(
        String::from_utf8_lossy(&stopped.file("network-analytics/passed.ndjson")),
        "{\"SampleInterval\":10000}\n{\"SampleInterval\":10000}\n"
    );
    let lines: Vec<&str> = PACKETS.split_inclusive('\n').collect();
    same_bytes(
        "dropped",
        &stopped.file("network-analytics/dropped.ndjson"),
        [lines[3], lines[5]].concat().as_bytes(),
    );
}
