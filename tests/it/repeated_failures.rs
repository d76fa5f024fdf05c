//! A repeated failure is logged once for all requests and files that it affects, and so is its end.

use jiff::Timestamp;
use serde_json::Value;

use crate::support::{Connection, Daemon, Http, Setup, Upload, numbered, wait_until};

/// The first line with this event. Another one may follow after a minute, if the host was paused.
#[track_caller]
fn only(daemon: &Daemon, event: &str) -> Value {
    let lines = daemon.wait_logs(event, 1);
    let time = |line: &Value| line["timestamp"].as_str().unwrap().parse::<Timestamp>().unwrap();
    let soon = |pair: &[Value]| time(&pair[1]).duration_since(time(&pair[0])).as_secs() < 59;
    assert!(!lines.windows(2).any(soon), "{lines:?}");
    lines.into_iter().next().unwrap()
}

#[test]
fn batches_that_cannot_be_stored_are_logged_in_one_line() {
    let daemon = Setup::new().start();
    // The daemon's test writes to the disk are not affected: it is ready again after each failure.
    daemon.setup().faults("fail EIO rename /batches/0\n");
    let connection = daemon.connect(Http::Two);
    for number in 0..5 {
        wait_until("a daemon that is ready", || daemon.ask("/readyz").0 == 200);
        let answer = connection.send(Upload::of(numbered(number, 10)));
        assert_eq!(answer.status, 503, "{}", answer.text);
    }
    wait_until("a daemon that is ready", || daemon.ask("/readyz").0 == 200);
    let failed = only(&daemon, "cannot store a batch");
    assert_eq!(failed["repeated"], 0, "{failed}");
    let count = |event: &str| daemon.logged(event).len();
    assert!(count("the spool can be written to again") <= count("cannot store a batch"));

    daemon.setup().faults("");
    daemon.commit(&numbered(9, 10));
    daemon.setup().faults("fail EIO rename /batches/0\n");
    assert_eq!(connection.send(Upload::of(numbered(10, 10))).status, 503);
    wait_until("a line after the success", || count("cannot store a batch") >= 2);
    daemon.setup().faults("");
    daemon.stop().exited_cleanly();
}

#[test]
fn a_full_spool_that_cannot_drop_is_logged_in_one_line() {
    let setup = Setup::new()
        .table("spool", "dir = \"spool\"\nmax_bytes = \"64KiB\"\ndedup_window = \"1h\"")
        .table("sink.archive.file", "path = \"out/{dataset}.ndjson\"\nwhen_full = \"drop\"");
    setup.faults("fail EIO open /out/\n");
    let daemon = setup.start();
    let mut number = 0;
    let mut is_taken = |connection: &Connection| {
        number += 1;
        connection.send(Upload::of(numbered(number, 20))).status == 200
    };
    let connection = daemon.connect(Http::Two);
    wait_until("a full spool", || !is_taken(&connection));
    // After a restart the quarantine has finished all of them, so that only the sink needs them and
    // each request drops one.
    let daemon = daemon.stop().exited_cleanly().start();
    let connection = daemon.connect(Http::Two);
    daemon.setup().faults("fail EIO open /out/\nfail EIO sync /dedup\n");
    wait_until("a full spool", || !is_taken(&connection));
    for _ in 0..5 {
        assert!(!is_taken(&connection));
    }
    daemon.setup().faults("fail EIO open /out/\n");
    wait_until("a batch that was dropped for another", || is_taken(&connection));
    daemon.wait_log("batches can be dropped from the full spool again");
    let failed = only(&daemon, "spool full, and batches cannot be dropped");
    assert_eq!(failed["repeated"], 0, "{failed}");
    daemon.setup().faults("");
    daemon.stop().exited_cleanly();
}

fn file_sink(keys: &str) -> Daemon {
    let keys =
        format!("path = \"out/{{dataset}}.ndjson\"\nrotate = {{ max_bytes = \"8KiB\" }}\n{keys}");
    Setup::new().table("sink.archive.file", &keys).start()
}

/// Commits batches, each after the delivery of the previous one: each completes a file.
fn end_files(daemon: &Daemon, datasets: &[&str], from: u64, count: u64) {
    let series = r#"logpushd_sink_delivered_records_total{sink="archive"}"#;
    for number in from..from + count {
        for dataset in datasets {
            let before = daemon.count(series);
            let upload = Upload::of(numbered(number, 200)).to(&format!("/logpush/{dataset}"));
            daemon.send(Http::Two, upload).committed();
            daemon.wait_count(series, |delivered| delivered >= before + 200);
        }
    }
}

#[test]
fn files_that_cannot_be_compressed_are_logged_in_one_line_with_the_sink() {
    let daemon = file_sink("compress = \"gzip\"\ncompress_after = \"0s\"");
    daemon.setup().faults("fail EIO write .gz\n");
    end_files(&daemon, &["dns_logs"], 0, 6);
    let failed = only(&daemon, "cannot compress a file: it stays uncompressed");
    assert_eq!(failed["sink"], "archive", "{failed}");
    assert!(failed["files"].as_u64() >= Some(1), "{failed}");
    assert_eq!(failed["repeated"], 0, "{failed}");
    assert!(daemon.count(r#"logpushd_sink_compression_failures_total{sink="archive"}"#) >= 1);
    assert_eq!(daemon.count(r#"logpushd_sink_rotation_failures_total{sink="archive"}"#), 0);
    daemon.setup().faults("");
    end_files(&daemon, &["dns_logs"], 6, 2);
    let recovered = only(&daemon, "files can be compressed again");
    assert_eq!(recovered["sink"], "archive", "{recovered}");
    daemon.stop().exited_cleanly();
}

#[test]
fn files_that_cannot_be_removed_are_logged_in_one_line_with_the_sink() {
    let daemon = file_sink("retain = { files = 1 }");
    daemon.setup().faults("fail EIO remove /out/\n");
    end_files(&daemon, &["dns_logs"], 0, 8);
    let failed = only(&daemon, "cannot remove an old file");
    assert_eq!((&failed["sink"], &failed["repeated"]), (&"archive".into(), &0.into()), "{failed}");
    daemon.setup().faults("");
    end_files(&daemon, &["dns_logs"], 8, 2);
    let recovered = only(&daemon, "old files can be removed again");
    assert_eq!(recovered["sink"], "archive", "{recovered}");
    daemon.stop().exited_cleanly();
}

#[test]
fn files_that_cannot_be_rotated_are_logged_in_one_line() {
    let daemon = file_sink("");
    daemon.setup().faults("fail EIO rename /out/\n");
    end_files(&daemon, &["dns_logs", "http_requests", "firewall_events"], 0, 3);
    let failed = only(&daemon, "cannot rotate a file: the sink continues to write to it");
    assert_eq!((&failed["sink"], &failed["repeated"]), (&"archive".into(), &0.into()), "{failed}");
    assert!(daemon.count(r#"logpushd_sink_rotation_failures_total{sink="archive"}"#) >= 3);
    assert_eq!(daemon.count(r#"logpushd_sink_compression_failures_total{sink="archive"}"#), 0);
    daemon.stop().exited_cleanly();
}

#[test]
fn repeatedly_dropped_batches_are_logged_in_one_line() {
    let setup = Setup::new()
        .table("spool", "dir = \"spool\"\nmax_bytes = \"64KiB\"\ndedup_window = \"1h\"")
        .table("sink.archive.file", "path = \"out/{dataset}.ndjson\"\nwhen_full = \"drop\"");
    let daemon = setup.start();
    daemon.setup().faults("fail EIO open /out/\n");
    let connection = daemon.connect(Http::Two);
    let mut number = 0;
    let dropped = || daemon.count(r#"logpushd_sink_dropped_records_total{sink="archive"}"#);
    let mut last = dropped();
    for _ in 0..4 {
        wait_until("a batch that is dropped", || {
            number += 1;
            connection.send(Upload::of(numbered(number, 20)));
            dropped() > last
        });
        last = dropped();
    }
    only(&daemon, "spool full: dropped batches that the sink had not started");
    daemon.setup().faults("");
    daemon.stop().exited_cleanly();
}

#[test]
fn another_process_that_keeps_writing_to_a_file_is_logged_in_one_line() {
    let daemon = Setup::new().start();
    let mut expected = numbered(0, 5);
    daemon.commit(&expected);
    daemon.wait_file("out/http_requests.ndjson", &expected);
    for number in 1..5 {
        let path = daemon.path("out/http_requests.ndjson");
        let mut file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
        std::io::Write::write_all(&mut file, b"{\"by\":\"another process\"}\n").unwrap();
        expected.extend(b"{\"by\":\"another process\"}\n");
        let records = numbered(number, 5);
        daemon.commit(&records);
        expected.extend(records);
        daemon.wait_file("out/http_requests.ndjson", &expected);
    }
    only(&daemon, "another process wrote to a file that is written to");
    daemon.stop().exited_cleanly();
}

#[test]
fn long_messages_are_logged_in_one_line() {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let keys = format!("address = \"udp://{address}\"\nmax_message_bytes = 1024");
    let daemon = Setup::new().table("sink.siem.syslog", &keys).start();
    for number in 0..5 {
        daemon.commit(format!("{{\"n\":{number},\"a\":\"{}\"}}\n", "x".repeat(2000)).as_bytes());
    }
    let counter = r#"logpushd_sink_oversize_records_total{sink="siem"}"#;
    daemon.wait_count(counter, |records| records == 5);
    only(&daemon, "longer than max_message_bytes");
    daemon.stop().exited_cleanly();
}
