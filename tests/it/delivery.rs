//! Every record that was answered with 200 reaches every sink, across failures, kills and restarts.

use std::{
    collections::{BTreeSet, HashSet},
    fs,
    os::unix::fs::PermissionsExt as _,
    sync::Mutex,
    thread,
    time::Duration,
};

use jiff::Timestamp;
use rustix::process::Signal;

use crate::{
    pass_through::whole_batches,
    support::{
        Daemon, Exit, Http, Output, Random, Setup, Upload, names_in, numbered, same_bytes,
        wait_until,
    },
};

const ERRORS: &str = r#"logpushd_sink_errors_total{sink="broken"}"#;

/// A broken sink between two good ones, as the configuration orders them.
fn three_sinks() -> Setup {
    let setup = Setup::new()
        .without("sink.archive.file")
        .table("sink.ahead.file", r#"path = "ahead/{dataset}.ndjson""#)
        .table("sink.broken.file", r#"path = "broken/{dataset}.ndjson""#)
        .table("sink.good.file", r#"path = "good/{dataset}.ndjson""#);
    // A file has replaced the directory.
    setup.write("broken", "in the way");
    setup
}

#[test]
fn a_failed_sink_blocks_no_other_and_catches_up_in_order() {
    let daemon = three_sinks().start();
    let all = daemon.commit_numbered(0..20, 50);
    daemon.wait_file("good/http_requests.ndjson", &all);
    daemon.wait_file("ahead/http_requests.ndjson", &all);
    daemon.wait_count(ERRORS, |errors| errors >= 2);
    assert_eq!(daemon.count(r#"logpushd_sink_errors_total{sink="good"}"#), 0);
    assert!(daemon.metric(r#"logpushd_sink_lag_seconds{sink="broken"}"#) > 0.0);
    assert_eq!(names_in(&daemon.path("spool/batches")).len(), 20, "kept for the broken sink");

    fs::remove_file(daemon.path("broken")).unwrap();
    daemon.wait_file("broken/http_requests.ndjson", &all);
    daemon.wait_log("the sink works again");
    wait_until("an empty spool", || names_in(&daemon.path("spool/batches")).is_empty());
    assert_eq!(daemon.count("logpushd_spool_bytes"), 0);
    daemon.stop().exited_cleanly();
}

#[test]
fn undelivered_batches_are_delivered_in_order_after_restarts() {
    let mut daemon = three_sinks().start();
    let mut all = Vec::new();
    for batch in 0..12 {
        let records = numbered(batch, 30);
        daemon.commit(&records);
        all.extend(records);
        if batch % 4 == 3 {
            daemon.wait_count(ERRORS, |errors| errors >= 1);
            let stopped = if batch == 7 { daemon.stop().exited_cleanly() } else { daemon.kill() };
            daemon = stopped.start();
        }
    }
    fs::remove_file(daemon.path("broken")).unwrap();
    daemon.wait_file("broken/http_requests.ndjson", &all);
    daemon.wait_file("good/http_requests.ndjson", &all);
    daemon.wait_file("ahead/http_requests.ndjson", &all);
    let stopped = daemon.stop().exited_cleanly();
    same_bytes("the end", &stopped.file("good/http_requests.ndjson"), &all);
    assert_eq!(names_in(&stopped.setup.path("spool/batches")), [""; 0]);
}

#[test]
fn a_blocked_standard_output_blocks_no_sink_and_gets_its_records_later() {
    for output in [Output::Closed, Output::ReadOnly] {
        let setup = Setup::new().table("sink.broken.stdout", "").with_output(output);
        let daemon = setup.start();
        let all = daemon.commit_numbered(0..5, 40);
        daemon.wait_file("out/http_requests.ndjson", &all);
        daemon.wait_count(ERRORS, |errors| errors >= 2);
        assert_eq!(daemon.ask("/readyz").0, 200);
        let stopped = daemon.stop().exited_cleanly();
        assert_eq!(names_in(&stopped.setup.path("spool/batches")).len(), 5, "{output:?}");

        let daemon = stopped.setup.with_output(Output::Read).start();
        wait_until("the records on standard output", || daemon.stdout().len() >= all.len());
        same_bytes("standard output", &daemon.stop().exited_cleanly().stdout, &all);
    }
}

#[test]
fn standard_output_can_be_human_readable() {
    let daemon = Setup::new().table("sink.out.stdout", "format = \"text\"").start();
    daemon.commit(b"{\"QueryName\":\"example.com\",\"QueryType\":28}\n{\"a\":\"b c\"}\n");
    let stopped = daemon.stop().exited_cleanly();
    let expected = "http_requests QueryName=example.com QueryType=28\nhttp_requests a=\"b c\"\n";
    assert_eq!(String::from_utf8_lossy(&stopped.stdout), expected);
}

#[test]
fn an_endpoint_feeds_the_sinks_that_it_names() {
    let daemon = Setup::new()
        .without("sink.archive.file")
        .without("endpoint.main")
        .table(
            "endpoint.first",
            "path = \"/first\"\ndataset = \"dns_logs\"\nauth = \"none\"\nsinks = [\"a\"]",
        )
        .table(
            "endpoint.second",
            "path = \"/second/{dataset}\"\nauth = \"none\"\nsinks = [\"b\", \"out\"]",
        )
        .table("endpoint.every", "path = \"/every/{dataset}\"\nauth = \"none\"")
        .table("sink.a.file", "path = \"a/{endpoint}.{dataset}\"")
        .table("sink.b.file", "path = \"b\"")
        .table("sink.out.stdout", "")
        .start();
    let connection = daemon.connect(Http::Two);
    for (path, record) in
        [("/first", "{\"n\":1}\n"), ("/second/x", "{\"n\":2}\n"), ("/every/y", "{\"n\":3}\n")]
    {
        assert_eq!(connection.send(Upload::of(record).to(path)).committed(), 1);
    }
    let stopped = daemon.stop().exited_cleanly();
    assert_eq!(names_in(&stopped.setup.path("a")), ["every.y", "first.dns_logs"]);
    assert_eq!(stopped.file("a/first.dns_logs"), b"{\"n\":1}\n");
    assert_eq!(stopped.file("a/every.y"), b"{\"n\":3}\n");
    assert_eq!(stopped.file("b"), b"{\"n\":2}\n{\"n\":3}\n");
    assert_eq!(stopped.stdout, b"{\"n\":2}\n{\"n\":3}\n");
}

#[test]
fn placeholders_of_a_path_are_replaced_with_names_and_the_date() {
    let keys = "path = \"out/%Y/{endpoint}/{dataset}-%m-%d.ndjson\"\nmode = \"0604\"";
    let daemon = Setup::new().table("sink.archive.file", keys).start();
    let path = || Timestamp::now().strftime("out/%Y/main/http_requests-%m-%d.ndjson").to_string();
    let before = path();
    daemon.commit(b"{\"a\":1}\n");
    let after = path();
    let stopped = daemon.stop().exited_cleanly();
    let path = [before, after].into_iter().find(|path| stopped.setup.path(path).exists());
    let path = path.expect("a file of today");
    assert_eq!(stopped.file(&path), b"{\"a\":1}\n");
    let mode = fs::metadata(stopped.setup.path(&path)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o604);
}

#[test]
fn a_batch_acknowledged_just_before_a_kill_is_delivered() {
    let mut setup = Setup::new();
    let mut all = Vec::new();
    for batch in 0..8 {
        let daemon = setup.start();
        let records = numbered(batch, 20 + 500 * usize::try_from(batch % 3).unwrap());
        daemon.commit(&records);
        setup = daemon.kill().setup;
        all.extend(records);
    }
    let daemon = setup.start();
    daemon.wait_file("out/http_requests.ndjson", &all);
    same_bytes("the end", &daemon.stop().exited_cleanly().file("out/http_requests.ndjson"), &all);
}

/// Sends batches from several threads until the daemon is gone, and records their results.
struct Load {
    random: Random,
    next: Mutex<u64>,
    answered: Mutex<BTreeSet<u64>>,
    refused: Mutex<BTreeSet<u64>>,
    sent: Mutex<BTreeSet<u64>>,
}

impl Load {
    fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            next: Mutex::default(),
            answered: Mutex::default(),
            refused: Mutex::default(),
            sent: Mutex::default(),
        }
    }

    /// `meanwhile` acts on the daemon during the uploads.
    fn run(&self, daemon: &Daemon, meanwhile: impl FnOnce()) {
        thread::scope(|scope| {
            for http in [Http::Two, Http::One, Http::Two] {
                let connection = daemon.connect(http);
                scope.spawn(move || {
                    loop {
                        let batch = {
                            let mut next = self.next.lock().unwrap();
                            *next += 1;
                            *next
                        };
                        self.sent.lock().unwrap().insert(batch);
                        let records = numbered(batch, 1 + usize::try_from(batch % 400).unwrap());
                        match connection.try_send(Upload::of(records).gzipped()) {
                            Ok(answer) if answer.status == 200 => {
                                self.answered.lock().unwrap().insert(batch);
                            }
                            Ok(answer) => {
                                assert_eq!(answer.status, 503, "{}", answer.text);
                                self.refused.lock().unwrap().insert(batch);
                                return;
                            }
                            Err(_) => return,
                        }
                    }
                });
            }
            meanwhile();
        });
    }

    /// Asserts that each acknowledged batch is delivered exactly once and intact, and no rejected
    /// one. A batch without an answer is delivered or not, but not in part.
    #[track_caller]
    fn check(&self, file: &[u8]) {
        let there: HashSet<u64> = whole_batches(file).into_keys().collect();
        let answered = self.answered.lock().unwrap();
        assert!(!answered.is_empty());
        let lost: Vec<_> = answered.iter().filter(|batch| !there.contains(batch)).collect();
        assert!(lost.is_empty(), "answered 200 and lost: {lost:?}");
        assert!(self.refused.lock().unwrap().iter().all(|batch| !there.contains(batch)));
        let sent = self.sent.lock().unwrap();
        assert!(there.iter().all(|batch| sent.contains(batch)));
    }
}

#[test]
fn a_kill_under_load_loses_duplicates_and_truncates_nothing() {
    let mut load = Load::new(5);
    let mut setup = Setup::new();
    for _ in 0..6 {
        let daemon = setup.start();
        let pause = Duration::from_millis(load.random.below(400));
        load.run(&daemon, || {
            let enough = load.answered.lock().unwrap().len() + 1;
            wait_until("an answer", || load.answered.lock().unwrap().len() >= enough);
            thread::sleep(pause);
            daemon.signal(Signal::KILL);
        });
        let stopped = daemon.end();
        assert_eq!(stopped.exit, Exit::Killed);
        setup = stopped.setup;
    }
    // It delivers the backlog before it ends.
    let stopped = setup.start().stop().exited_cleanly();
    assert_eq!(names_in(&stopped.setup.path("spool/batches")), [""; 0]);
    load.check(&stopped.file("out/http_requests.ndjson"));
}

#[test]
fn a_stop_under_load_delivers_every_acknowledged_batch() {
    let load = Load::new(6);
    let daemon = Setup::new().start();
    let _idle = Http::BOTH.map(|http| daemon.connect(http));
    load.run(&daemon, || {
        wait_until("some answers", || load.answered.lock().unwrap().len() >= 30);
        daemon.signal(Signal::TERM);
    });
    let stopped = daemon.end().exited_cleanly();
    // Idle connections are not waited for, nor are sinks without a backlog.
    for timeout in ["closing unfinished uploads", "sinks did not stop in time"] {
        assert!(!stopped.log.contains(timeout), "{}", stopped.log);
    }
    assert_eq!(names_in(&stopped.setup.path("spool/batches")), [""; 0]);
    load.check(&stopped.file("out/http_requests.ndjson"));
    // It rejects at once while it stops: no sender waits for an answer each time.
    let (sent, answered) = (load.sent.lock().unwrap().len(), load.answered.lock().unwrap().len());
    assert!(sent - answered <= 3, "{sent} sent, {answered} answered");
}
