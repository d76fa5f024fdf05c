//! The daemon reports every I/O fault and recovers without an operator.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread::{self, ScopedJoinHandle},
    time::Duration,
};

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    pass_through::whole_batches,
    support::{
        Answer, Daemon, Http, Output, Setup, Upload, names_in, numbered, same_bytes, wait_until,
    },
};

const ERRORS: [(&str, &str); 4] = [
    ("ENOSPC", "No space left on device"),
    ("EIO", "Input/output error"),
    ("EROFS", "Read-only file system"),
    ("EMFILE", "Too many open files"),
];

/// Asserts a 503 with the delay before the next attempt and the reason.
#[track_caller]
pub(crate) fn refused(answer: &Answer, why: &str) {
    assert_eq!(answer.status, 503, "{}", answer.text);
    assert_eq!(answer.headers["retry-after"], "10");
    assert!(answer.text.contains(why), "{:?} does not contain {why:?}", answer.text);
}

#[test]
fn the_daemon_logs_and_survives_a_disk_that_rejects_writes() {
    let daemon = Setup::new().start();
    let connection = daemon.connect(Http::Two);
    let mut all = Vec::new();
    let mut number = 0;
    for step in ["open", "write", "sync", "rename", "syncdir"] {
        for (error, why) in ERRORS {
            let before = numbered(number, 10);
            connection.send(Upload::of(&before).gzipped()).committed();
            all.extend(before);
            daemon.setup().faults(&format!("fail {error} {step} /batches\n"));
            let records = numbered(number + 1, 10);
            let answer = connection.send(Upload::of(&records).gzipped());
            refused(&answer, &format!("the batch cannot be stored now: {why}"));
            let (status, text) = daemon.ask("/readyz");
            assert_eq!(status, 503, "{error} {step}");
            assert!(text.contains("the spool cannot be written to"), "{text}");
            assert_eq!(daemon.ask("/healthz").0, 200);
            daemon.setup().faults("");
            wait_until("a daemon that is ready again", || daemon.ask("/readyz").0 == 200);
            wait_until("no partial files", || names_in(&daemon.path("spool/batches")).is_empty());
            // The sender sends it again.
            connection.send(Upload::of(&records).gzipped()).committed();
            all.extend(records);
            number += 2;
        }
    }
    daemon.wait_file("out/http_requests.ndjson", &all);
    let stopped = daemon.stop().exited_cleanly();
    same_bytes("the end", &stopped.file("out/http_requests.ndjson"), &all);
}

#[test]
fn a_batch_whose_removal_failed_is_not_delivered_besides_its_retry() {
    let mut daemon = Setup::new().table("spool", "dir = \"spool\"").start();
    let mut all = Vec::new();
    for killed_then in [false, true] {
        let records = numbered(u64::from(killed_then), 10);
        let send = |daemon: &Daemon| daemon.send(Http::Two, Upload::of(&records).gzipped());
        // It has its final name, it may not be durable, and it cannot be removed.
        daemon.setup().faults("fail EIO syncdir /batches\nfail EROFS remove /batches\n");
        refused(&send(&daemon), "the batch cannot be stored now: Input/output error");
        assert_eq!(names_in(&daemon.path("spool/batches")).len(), 1);
        daemon.setup().faults("fail EROFS remove /batches\n");
        refused(&send(&daemon), "the batch cannot be stored now: Read-only file system");
        assert_eq!(daemon.ask("/readyz").0, 503);
        if killed_then {
            // The next run of the daemon treats it as committed, and the sender's next attempt as a
            // duplicate.
            let stopped = daemon.kill();
            stopped.setup.faults("");
            daemon = stopped.start();
            assert_eq!(send(&daemon).ok().0, "duplicate");
        } else {
            daemon.setup().faults("");
            wait_until("a daemon that is ready again", || daemon.ask("/readyz").0 == 200);
            assert_eq!(names_in(&daemon.path("spool/batches")), [""; 0]);
            assert_eq!(send(&daemon).committed(), 10);
            daemon = daemon.kill().start();
        }
        all.extend_from_slice(&records);
        daemon.wait_file("out/http_requests.ndjson", &all);
        let directory = daemon.path("spool/batches");
        wait_until("an empty spool", || names_in(&directory).is_empty());
    }
    let stopped = daemon.stop().exited_cleanly();
    same_bytes("the end", &stopped.file("out/http_requests.ndjson"), &all);
}

#[test]
fn files_that_could_not_be_removed_are_removed_at_shutdown() {
    let daemon = Setup::new().start();
    daemon.setup().faults("fail EROFS remove /batches\n");
    daemon.commit(&numbered(1, 10));
    daemon.wait_log("cannot remove a file of the spool; retrying later");
    daemon.setup().faults("");
    let stopped = daemon.stop().exited_cleanly();
    assert_eq!(names_in(&stopped.setup.path("spool/batches")), [""; 0]);
}

#[test]
fn failed_deliveries_are_retried_at_shutdown() {
    let daemon = Setup::new().start();
    daemon.setup().faults("fail EROFS rename /cursors\n");
    let mut all = numbered(1, 10);
    daemon.commit(&all);
    // By then the sinks wait for seconds between two attempts.
    wait_until("sinks that have failed often", || {
        let errors = |sink| daemon.count(&format!("logpushd_sink_errors_total{{sink=\"{sink}\"}}"));
        errors("archive") + errors("@quarantine") >= 12
    });
    // The same failure is logged once a minute.
    assert!(daemon.logged("the sink failed").len() <= 4);
    let more = numbered(2, 10);
    daemon.commit(&more);
    all.extend(more);
    daemon.setup().faults("");
    let stopped = daemon.stop().exited_cleanly();
    same_bytes("the end", &stopped.file("out/http_requests.ndjson"), &all);
    assert_eq!(names_in(&stopped.setup.path("spool/batches")), [""; 0]);
}

/// Faults after the 200: of the sinks' own files.
const AFTER_ANSWER: [(&str, &str); 15] = [
    ("/out/", "open"),
    ("/out/", "write"),
    ("/out/", "sync"),
    ("/out", "syncdir"),
    ("/cursors", "open"),
    ("/cursors", "write"),
    ("/cursors", "sync"),
    ("/cursors", "rename"),
    ("/cursors", "syncdir"),
    ("/dedup", "write"),
    ("/dedup", "sync"),
    ("/batches", "remove"),
    ("/quarantine/", "open"),
    ("/quarantine/", "write"),
    ("/quarantine/", "sync"),
];

#[test]
fn a_fault_after_the_answer_delays_the_sinks_and_loses_nothing() {
    let mut daemon = Setup::new().table("spool", "dir = \"spool\"").start();
    let mut quarantined = 0;
    for (case, (path, step)) in AFTER_ANSWER.into_iter().enumerate() {
        let dataset = format!("d{case}");
        let error = ERRORS[case % ERRORS.len()].0;
        daemon.setup().faults(&format!("fail {error} {step} {path}\n"));
        let connection = daemon.connect(Http::Two);
        let mut good = Vec::new();
        for batch in 0..3 {
            let records = numbered(batch + 10 * case as u64, 20);
            let bad = format!("bad {case}/{batch}\n");
            let upload = Upload::of([&records, bad.as_bytes()].concat());
            let answer = connection.send(upload.to(&format!("/logpush/{dataset}")).gzipped());
            assert_eq!(answer.ok(), ("committed".to_owned(), 20, 1), "{step} {path}");
            good.extend(records);
            quarantined += 1;
        }
        assert_eq!(daemon.ask("/readyz").0, 200, "{step} {path}");
        daemon.setup().faults("");
        daemon.wait_file(&format!("out/{dataset}.ndjson"), &good);
        if case % 3 == 1 {
            // During the recovery as well.
            daemon = daemon.kill().start();
        }
    }
    wait_until("all in quarantine", || quarantine(&daemon.path("quarantine")).len() >= quarantined);
    let stopped = daemon.stop().exited_cleanly();
    for case in 0..AFTER_ANSWER.len() {
        let good: Vec<u8> =
            (0..3).flat_map(|batch| numbered(batch + 10 * case as u64, 20)).collect();
        same_bytes("the end", &stopped.file(&format!("out/d{case}.ndjson")), &good);
    }
    let records = quarantine(&stopped.setup.path("quarantine"));
    assert_eq!(records.len(), quarantined);
}

/// The rejected records, each of which must be there once.
pub(crate) fn quarantine(directory: &Path) -> Vec<String> {
    let names = names_in(directory).into_iter().filter(|name| name.starts_with("records-"));
    let text: String =
        names.map(|name| fs::read_to_string(directory.join(name)).unwrap()).collect();
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let record = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("a complete line");
        line["record"].as_str().unwrap().to_owned()
    };
    let records: Vec<String> = whole.map(record).collect();
    let once: BTreeSet<_> = records.iter().collect();
    assert_eq!(once.len(), records.len(), "twice in quarantine");
    records
}

#[test]
fn an_unwritable_quarantine_shows_in_the_metrics() {
    let daemon = Setup::new().start();
    daemon.setup().faults("fail EIO write /quarantine/\n");
    daemon.send(Http::Two, Upload::of("bad\n")).ok();
    daemon.wait_count(r#"logpushd_sink_errors_total{sink="@quarantine"}"#, |errors| errors > 1);
    assert!(daemon.metric(r#"logpushd_sink_lag_seconds{sink="@quarantine"}"#) > 0.0);
    daemon.setup().faults("");
    let delivered = r#"logpushd_sink_delivered_records_total{sink="@quarantine"}"#;
    daemon.wait_count(delivered, |records| records == 1);
    assert_eq!(daemon.count(r#"logpushd_sink_errors_total{sink="archive"}"#), 0);
    daemon.stop().exited_cleanly();
}

#[test]
fn the_daemon_logs_and_survives_a_removed_spool_directory() {
    let daemon = Setup::new().start();
    daemon.commit(b"{\"a\":1}\n");
    let (directory, away) = (daemon.path("spool/batches"), daemon.path("away"));
    wait_until("an empty spool", || names_in(&directory).is_empty());
    fs::rename(&directory, &away).unwrap();
    refused(&daemon.send(Http::One, Upload::of("{\"a\":2}\n")), "No such file or directory");
    assert_eq!(daemon.ask("/readyz").0, 503);
    fs::rename(&away, &directory).unwrap();
    wait_until("a daemon that is ready again", || daemon.ask("/readyz").0 == 200);
    daemon.commit(b"{\"a\":2}\n");
    daemon.wait_file("out/http_requests.ndjson", b"{\"a\":1}\n{\"a\":2}\n");
    daemon.stop().exited_cleanly();
}

#[test]
fn reloads_under_load_fail_no_request() {
    const RELOADS: usize = 5;
    let daemon = Setup::new().start();
    let over = AtomicBool::new(false);
    let sent = thread::scope(|scope| {
        let senders: Vec<_> = (0..3)
            .map(|sender| {
                let daemon = &daemon;
                scope.spawn(move || {
                    let mut batch = 0;
                    // Until there were enough reloads, however slow they are beside the batches.
                    while batch < 30 || batch < 1000 && daemon.logged("reloaded").len() <= RELOADS {
                        // A handshake each time, with the current certificate.
                        let http = Http::BOTH[usize::from(batch % 2 == 0)];
                        let records = numbered(sender * 1000 + batch, 20);
                        let answer = daemon.send(http, Upload::of(&records).gzipped());
                        assert_eq!(answer.committed(), 20);
                        batch += 1;
                    }
                    batch
                })
            })
            .collect();
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                daemon.signal(Signal::HUP);
                thread::sleep(Duration::from_millis(3));
            }
        });
        let sent = senders.into_iter().map(ScopedJoinHandle::join).collect::<Vec<_>>();
        over.store(true, Ordering::Relaxed);
        sent.into_iter().map(Result::unwrap).sum::<u64>()
    });
    assert!(daemon.logged("reloaded").len() > RELOADS);
    let stopped = daemon.stop().exited_cleanly();
    let there = whole_batches(&stopped.file("out/http_requests.ndjson")).len() as u64;
    assert_eq!(there, sent);
}

#[test]
fn a_stalled_sink_delays_only_itself() {
    let setup = Setup::new().table("sink.stalled.stdout", "").with_output(Output::Stalled);
    let daemon = setup.start();
    // More than the capacity of a pipe: a batch that fits into it would be delivered, and not sent
    // again.
    let mut all = numbered(0, 2000);
    assert!(all.len() > 64 * 1024);
    daemon.commit(&all);
    all.extend(daemon.commit_numbered(1..20, 200));
    daemon.wait_file("out/http_requests.ndjson", &all);
    assert_eq!(daemon.ask("/readyz").0, 200);
    assert!(daemon.metric(r#"logpushd_sink_lag_seconds{sink="stalled"}"#) >= 0.0);
    let stopped = daemon.kill();
    let daemon = stopped.setup.with_output(Output::Read).start();
    wait_until("all on standard output", || daemon.stdout().len() >= all.len());
    same_bytes("standard output", &daemon.stop().exited_cleanly().stdout, &all);
}

#[test]
fn a_slow_reader_of_a_non_blocking_standard_output_gets_each_record_once() {
    let setup = Setup::new().table("sink.slow.stdout", "").with_output(Output::NonBlocking);
    let daemon = setup.start();
    let mut all = Vec::new();
    for batch in 0..4 {
        // Each is larger than the capacity of a pipe.
        let records = numbered(batch, 5000);
        daemon.commit(&records);
        all.extend(records);
    }
    wait_until("all on standard output", || daemon.stdout().len() >= all.len());
    assert_eq!(daemon.count(r#"logpushd_sink_errors_total{sink="slow"}"#), 0);
    same_bytes("standard output", &daemon.stop().exited_cleanly().stdout, &all);
}

#[test]
fn a_sink_that_may_lose_batches_never_fills_the_spool() {
    let setup = Setup::new()
        .table("sink.loses.file", "path = \"loses/{dataset}.ndjson\"\nwhen_full = \"drop\"")
        .table("spool", "dir = \"spool\"\nmax_bytes = \"1MiB\"\ndedup_window = \"0s\"");
    setup.write("loses", "in the way");
    let daemon = setup.start();
    let connection = daemon.connect(Http::Two);
    let mut all = Vec::new();
    for batch in 0..40 {
        let records = numbered(batch, 1000);
        // Batches of the other sink are released within a second: until then there may be no room.
        wait_until("room", || connection.send(Upload::of(&records)).status == 200);
        all.extend(records);
    }
    daemon.wait_file("out/http_requests.ndjson", &all);
    let dropped = daemon.count(r#"logpushd_sink_dropped_records_total{sink="loses"}"#);
    assert!(dropped > 0 && dropped.is_multiple_of(1000), "{dropped}");
    assert_eq!(daemon.count(r#"logpushd_sink_dropped_records_total{sink="archive"}"#), 0);
    fs::remove_file(daemon.path("loses")).unwrap();
    // The wait between two attempts grows with time, but a stop makes it try at once.
    let stopped = daemon.stop().exited_cleanly();
    let lines = stopped.log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let drops = lines.filter(|line| {
        line["message"] == "spool full: dropped batches that the sink had not started"
    });
    let logged: u64 = drops.map(|line| line["records"].as_u64().unwrap()).sum();
    assert_eq!(logged, dropped, "what is counted is logged");
    assert_eq!(names_in(&stopped.setup.path("spool/batches")), [""; 0]);
    let there = whole_batches(&stopped.file("loses/http_requests.ndjson")).len() as u64;
    assert_eq!(there * 1000 + dropped, 40_000);
}

#[test]
fn the_quarantine_works_without_hard_links() {
    let keys = "max_record_bytes = \"1KiB\"";
    let daemon = Setup::new().table("limits", keys).start();
    let errors = ["EXDEV", "EPERM", "ENOTSUP", "ENOSYS", "EMLINK", "EROFS"];
    for (number, error) in errors.iter().enumerate() {
        daemon.setup().faults(&format!("fail {error} link /quarantine/\n"));
        let unreadable = [&[0x1f, 0x8b, 8, 0][..], &vec![0xff; 2000 + number]].concat();
        let answer = daemon.send(Http::Two, Upload::of(&unreadable));
        assert_eq!(answer.status, 200, "{error}: {}", answer.text);
        let too_long = format!("{{\"a\":\"{}\"}}\n", "x".repeat(2000 + number));
        daemon.send(Http::Two, Upload::of(&too_long)).ok();
        let delivered = r#"logpushd_sink_delivered_records_total{sink="@quarantine"}"#;
        daemon.wait_count(delivered, |records| records == number as u64 + 1);
        let bodies = names_in(&daemon.path("quarantine/bodies"));
        assert_eq!(bodies.len(), 2 * (number + 1), "{error}: {bodies:?}");
        let kept = bodies
            .iter()
            .map(|name| fs::read(daemon.path(&format!("quarantine/bodies/{name}"))).unwrap());
        let kept: Vec<_> = kept.collect();
        assert!(kept.contains(&unreadable) && kept.contains(&too_long.into_bytes()), "{error}");
    }
    wait_until("an empty spool", || names_in(&daemon.path("spool/batches")).is_empty());
    daemon.stop().exited_cleanly();
}
