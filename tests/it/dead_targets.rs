//! A target that is down or hangs delays neither other sinks nor answers.

use std::net::{SocketAddr, TcpListener};

use crate::support::{
    Daemon, Http, Setup, Upload, closed_port,
    collector::{Collector, refusal},
    count_lines, names_in, numbered, wait_until,
};

/// A daemon with a small spool, the sink `healthy`, and these others at their addresses.
fn setup(healthy: &Collector, others: &[(&str, SocketAddr, &str)]) -> Setup {
    let url = |address| format!("url = \"http://{address}/in\"");
    let mut setup = Setup::new()
        .table("sink.healthy.http", &url(healthy.address))
        .table("spool", "dir = \"spool\"\nmax_bytes = \"1MiB\"\ndedup_window = \"0s\"");
    for (name, address, keys) in others {
        setup.set(&format!("sink.{name}.http"), &format!("{}\n{keys}", url(*address)));
    }
    setup
}

fn sorted(records: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(records).unwrap();
    let mut lines: Vec<_> = text.lines().map(|line| format!("{line}\n")).collect();
    lines.sort_unstable();
    lines
}

/// Waits until the collector has accepted exactly these records.
#[track_caller]
fn has_all(collector: &Collector, records: &[u8]) {
    let mut have = collector.wait_lines(usize::try_from(count_lines(records)).unwrap());
    have.sort_unstable();
    assert_eq!(have.len() as u64, count_lines(records));
    assert!(have == sorted(records), "other records arrived");
}

fn series(metric: &str, sink: &str) -> String {
    format!("logpushd_sink_{metric}{{sink=\"{sink}\"}}")
}

/// Sends batches of 1,000 records until one is refused. Returns the records of the others.
fn fill(daemon: &Daemon) -> Vec<u8> {
    let connection = daemon.connect(Http::Two);
    let mut all = Vec::new();
    for batch in 0..100 {
        let records = numbered(batch, 1000);
        let answer = connection.send(Upload::of(&records));
        if answer.status == 503 {
            return all;
        }
        assert_eq!(answer.committed(), 1000);
        all.extend(records);
    }
    panic!("the spool is not full");
}

#[test]
fn targets_that_are_down_hang_or_refuse_delay_no_other_sink() {
    let (healthy, busy) = (Collector::start(), Collector::start());
    busy.answer_by(|_| refusal(503, "busy"));
    let (_port, dead) = closed_port();
    // The kernel accepts connections, and nothing answers.
    let hung = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = hung.local_addr().unwrap();
    let others =
        [("dead", dead, ""), ("hung", address, "timeout = \"2s\""), ("busy", busy.address, "")];
    let daemon = setup(&healthy, &others).start();
    let mut records = Vec::new();
    for batch in 0..40 {
        let more = numbered(batch, 20);
        daemon.commit(&more);
        records.extend(more);
        // Each batch arrives while the others have none.
        has_all(&healthy, &records);
    }
    daemon.wait_file("out/http_requests.ndjson", &records);
    assert_eq!(names_in(&daemon.path("spool/batches")).len(), 40);
    daemon.wait_count(&series("errors_total", "busy"), |errors| errors > 0);
    daemon.wait_count(&series("errors_total", "dead"), |errors| errors > 0);
    for sink in ["healthy", "archive"] {
        assert_eq!(daemon.count(&series("errors_total", sink)), 0, "{sink}");
    }
    // A shutdown does not wait for an answer, either.
    let daemon = daemon.stop().exited_cleanly().start();
    drop(hung);
    let returned = Collector::start_at(address);
    has_all(&returned, &records);
    has_all(&healthy, &records);
    daemon.kill();
}

#[test]
fn a_dead_target_fills_the_spool_and_loses_nothing() {
    let healthy = Collector::start();
    let hung = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = hung.local_addr().unwrap();
    let daemon = setup(&healthy, &[("hung", address, "timeout = \"1s\"")]).start();
    let mut records = fill(&daemon);
    has_all(&healthy, &records);
    let bytes = daemon.count("logpushd_spool_bytes");
    assert!(bytes <= 1 << 20, "{bytes}");
    drop(hung);
    let returned = Collector::start_at(address);
    // The wait between two attempts grows with time, but a start makes it try at once.
    let daemon = daemon.stop().exited_cleanly().start();
    let more = numbered(1000, 1000);
    let connection = daemon.connect(Http::Two);
    wait_until("room", || connection.send(Upload::of(&more)).status == 200);
    records.extend(more);
    has_all(&returned, &records);
    has_all(&healthy, &records);
    wait_until("an empty spool", || names_in(&daemon.path("spool/batches")).is_empty());
    daemon.stop().exited_cleanly();
}

#[test]
fn a_dead_target_that_may_lose_batches_loses_only_its_own() {
    let healthy = Collector::start();
    let hung = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = hung.local_addr().unwrap();
    let keys = "timeout = \"1s\"\nwhen_full = \"drop\"";
    let daemon = setup(&healthy, &[("hung", address, keys)]).start();
    let connection = daemon.connect(Http::Two);
    let mut records = Vec::new();
    for batch in 0..25 {
        let more = numbered(batch, 1000);
        // Batches of the other sinks are released within a second: until then there may be no room.
        wait_until("room", || connection.send(Upload::of(&more)).status == 200);
        records.extend(more);
    }
    has_all(&healthy, &records);
    let dropped = || daemon.count(&series("dropped_records_total", "hung"));
    assert!(dropped() > 0);
    assert_eq!(daemon.count(&series("dropped_records_total", "healthy")), 0);
    drop(hung);
    let returned = Collector::start_at(address);
    let dropped = dropped();
    // The wait between two attempts grows with time, but a stop makes it try at once.
    let stopped = daemon.stop().exited_cleanly();
    assert_eq!(names_in(&stopped.setup.path("spool/batches")), [""; 0], "{}", stopped.log);
    // Started batches are not dropped, and dropped ones are not sent.
    assert_eq!(returned.wait_lines(0).len() as u64 + dropped, count_lines(&records));
}
