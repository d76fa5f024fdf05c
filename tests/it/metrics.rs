//! The metrics of a running daemon, also across restarts.

use std::{fs, os::unix::fs::MetadataExt as _, process::Command};

use jiff::Timestamp;

use crate::support::{
    Daemon, Http, Setup, Upload, closed_port, numbered,
    require::{PROMTOOL, has},
    wait_until,
};

const LAST: &str = r#"logpushd_last_batch_timestamp_seconds{dataset="http_requests"}"#;

/// Sends one batch of one record, unchanged.
fn send(daemon: &Daemon, dataset: &str, record: &str) {
    let upload = Upload::of(format!("{record}\n")).to(&format!("/logpush/{dataset}"));
    daemon.send(Http::One, upload).committed();
}

#[test]
fn the_time_of_the_last_batch_survives_a_restart() {
    let daemon = Setup::new().start();
    daemon.commit(&numbered(1, 10));
    let before = daemon.metric(LAST);
    let stopped = daemon.stop().exited_cleanly();
    let file = fs::metadata(stopped.setup.path("spool/last-batches.json")).unwrap();
    assert_eq!(file.mode() & 0o7777, 0o600);

    let daemon = stopped.start();
    assert_eq!(daemon.metric(LAST).to_bits(), before.to_bits());
    // A later upload is newer, and a daemon that is killed before it wrote has the stored value.
    daemon.commit(&numbered(2, 10));
    assert!(daemon.metric(LAST) > before);
    let daemon = daemon.kill().start();
    assert!(daemon.metric(LAST) >= before);
    daemon.stop().exited_cleanly();
}

#[test]
fn a_failed_write_of_the_last_batch_times_stops_nothing() {
    let daemon = Setup::new().start();
    daemon.commit(&numbered(1, 10));
    daemon.setup().faults("fail EIO write last-batches\n");
    let stopped = daemon.stop().exited_cleanly();
    assert!(stopped.log.contains("cannot write the times of the last batches"));
    let daemon = stopped.without_faults().start();
    assert!(!daemon.ask("/metrics").1.contains(LAST));
}

#[test]
fn batches_are_measured_per_endpoint() {
    let daemon = Setup::new().start();
    let hour_ago = Timestamp::now().as_second() - 3600;
    let records = [
        ("http_requests", format!("{{\"EdgeStartTimestamp\":{hour_ago},\"a\":1}}")),
        ("http_requests", format!("{{\"EdgeStartTimestamp\":{},\"a\":2}}", hour_ago + 2 * 3600)),
        ("http_requests", "{\"a\":3}".to_owned()),
        ("made_up", format!("{{\"Timestamp\":{hour_ago},\"a\":4}}")),
    ];
    let bytes = |dataset: &str| {
        let its = records.iter().filter(|(its, _)| *its == dataset);
        its.map(|(_, record)| record.len() as u64 + 1).sum::<u64>()
    };
    for (dataset, record) in &records {
        send(&daemon, dataset, record);
    }
    let refused = "not JSON, refused by its secret";
    daemon.send(Http::One, Upload::of(refused).secret("wrong"));
    for (dataset, label) in [("http_requests", "http_requests"), ("made_up", "other")] {
        for kind in ["received", "inflated"] {
            let series = format!(
                "logpushd_endpoint_{kind}_bytes_total{{endpoint=\"main\",dataset=\"{label}\"}}"
            );
            assert_eq!(daemon.count(&series), bytes(dataset), "{series}");
        }
    }
    let all = bytes("http_requests") + bytes("made_up");
    assert_eq!(daemon.count("logpushd_batch_bytes_sum"), all);
    assert_eq!(daemon.count("logpushd_batch_records_sum"), 4);
    assert_eq!(daemon.count("logpushd_batch_seconds_count"), 4);
    assert!(daemon.metric("logpushd_batch_seconds_sum") > 0.0);
    let lag = |part: &str| daemon.count(&format!("logpushd_event_lag_seconds_{part}"));
    // One an hour ago, one in an hour, one without a time.
    assert_eq!(lag(r#"count{dataset="http_requests"}"#), 2);
    assert_eq!(lag(r#"bucket{dataset="http_requests",le="1"}"#), 1);
    assert_eq!(lag(r#"bucket{dataset="http_requests",le="1800"}"#), 1);
    assert_eq!(lag(r#"bucket{dataset="http_requests",le="21600"}"#), 2);
    assert_eq!(lag(r#"count{dataset="other"}"#), 1);
}

#[test]
fn an_incomplete_body_is_counted_for_its_endpoint() {
    let daemon = Setup::new().start();
    let (upload, feed) = Upload::fed(Some(1_000));
    let connection = daemon.connect(Http::Two);
    let sent = std::thread::spawn(move || connection.try_send(upload));
    assert!(feed.push(&[b' '; 400]));
    daemon.wait_count("logpushd_received_bytes_total", |bytes| bytes == 400);
    drop(feed);
    sent.join().unwrap().ok();
    let series =
        r#"logpushd_endpoint_received_bytes_total{endpoint="main",dataset="http_requests"} 400"#;
    wait_until(series, || daemon.ask("/metrics").1.contains(series));
}

#[test]
fn a_sink_that_is_down_has_a_backlog_and_no_success() {
    let (_held, nobody) = closed_port();
    let daemon =
        Setup::new().table("sink.siem.syslog", &format!("address = \"tcp://{nobody}\"")).start();
    for batch in 0..3 {
        daemon.commit(&numbered(batch, 10));
    }
    let of = |metric: &str, sink: &str| format!("logpushd_sink_{metric}{{sink=\"{sink}\"}}");
    assert_eq!(daemon.count(&of("backlog_batches", "siem")), 3);
    daemon.wait_count(&of("backlog_batches", "archive"), |batches| batches == 0);
    assert_eq!(daemon.count(&of("backlog_bytes", "archive")), 0);
    // Both have the same time: the batches stay for the failed sink.
    assert_eq!(daemon.count(&of("backlog_bytes", "siem")), daemon.count("logpushd_spool_bytes"));
    let success = daemon.metric(&of("last_success_timestamp_seconds", "archive"));
    assert!(success >= daemon.metric(LAST), "{success}");
    assert!(!daemon.ask("/metrics").1.contains(&of("last_success_timestamp_seconds", "siem")));
}

#[test]
fn process_metrics_are_exposed() {
    let daemon = Setup::new().start();
    let of = |metric: &str| daemon.metric(&format!("process_{metric}"));
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let threads = status.lines().find_map(|line| line.strip_prefix("Threads:")).unwrap();
    assert!((of("threads") - threads.trim().parse::<f64>().unwrap()).abs() < 20.0, "{threads}");
    let open = fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().count();
    assert!(open.abs_diff(daemon.count("process_open_fds").try_into().unwrap()) < 20, "{open}");
    assert!(of("max_fds") >= of("open_fds"));
    assert!(of("resident_memory_bytes") > 1e6);
    assert!(of("virtual_memory_bytes") >= of("resident_memory_bytes"));
    assert!(of("cpu_seconds_total") > 0.0);
    let before = of("start_time_seconds");
    let daemon = daemon.stop().exited_cleanly().start();
    assert!(daemon.metric("process_start_time_seconds") > before);
}

#[test]
fn promtool_accepts_the_exposition() {
    if !has(&[&PROMTOOL]) {
        return;
    }
    let daemon = Setup::new().start();
    daemon.commit(&numbered(1, 10));
    let text = daemon.ask("/metrics").1;
    let path = daemon.path("metrics.txt");
    fs::write(&path, text).unwrap();
    let checked = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(fs::File::open(path).unwrap())
        .output()
        .unwrap();
    assert!(
        checked.status.success() && checked.stderr.is_empty() && checked.stdout.is_empty(),
        "{checked:?}"
    );
}
