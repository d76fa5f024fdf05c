//! rsyslog and syslog-ng, over each transport, framing and format that they take.

use std::time::Duration;

use logpushd::sink::message;

use super::{
    check_order, commit, lines,
    servers::{Kind, Server, Way},
};
use crate::support::{Daemon, Setup, names_in, require, skip, small_records, wait_until};

const KINDS: [Kind; 2] = [Kind::Rsyslog, Kind::SyslogNg];

fn start(kind: Kind) -> Option<Server> {
    let is_there = match kind {
        Kind::Rsyslog => require::has(&[&require::RSYSLOGD, &require::RSYSLOG_OPENSSL]),
        Kind::SyslogNg if kind.command().is_some() => true,
        Kind::SyslogNg => {
            skip("there is no syslog-ng: see LOGPUSHD_SYSLOG_NG in .ci/run");
            false
        }
    };
    is_there.then(|| Server::start(kind))
}

/// What the server is to have of these records.
fn bodies(way: &Way, records: &[String]) -> Vec<String> {
    let body = |record: &String| {
        let mut body = Vec::new();
        message::render(way.message(), "http_requests", record.as_bytes(), &mut body);
        String::from_utf8(body).unwrap()
    };
    records.iter().map(body).collect()
}

/// A daemon with a sink for each way.
fn daemon(server: &Server, is_it: impl Fn(&str) -> bool) -> Daemon {
    let mut setup = Setup::new().without("sink.archive.file");
    for way in server.ways().iter().filter(|way| is_it(way.transport)) {
        // The window: as long as a slow machine may take from a record to the death of its server.
        let keys = format!("resend_window = \"1m\"\n{}", server.keys(way));
        setup.set(&format!("sink.{}.syslog", way.name), &keys);
    }
    setup.start()
}

#[test]
fn records_arrive_unchanged_and_in_order() {
    for kind in KINDS {
        let Some(server) = start(kind) else { continue };
        let daemon = daemon(&server, |_| true);
        let mut all = Vec::new();
        for batch in 0..3 {
            let records = small_records(batch, 60);
            daemon.commit(&records);
            all.extend(lines(&records));
        }
        for way in server.ways() {
            wait_until(&format!("{kind:?} {}", way.name), || {
                server.records(way).len() >= all.len()
            });
            assert_eq!(server.records(way), bodies(way, &all), "{kind:?} {}", way.name);
        }
        let stopped = daemon.stop().in_order();
        assert_eq!(names_in(&stopped.setup.path("spool/batches")), [""; 0], "{kind:?}");
    }
}

#[test]
fn a_killed_server_that_comes_back_has_every_record() {
    for kind in KINDS {
        let Some(mut server) = start(kind) else { continue };
        // Over UDP nothing is promised.
        let daemon = daemon(&server, |transport| transport != "udp");
        let mut all = commit(&daemon, 0..10, 300);
        let ways: Vec<_> =
            server.ways().iter().filter(|way| way.transport != "udp").cloned().collect();
        wait_until("the first records", || ways.iter().all(|way| !server.records(way).is_empty()));
        server.kill();
        all.extend(commit(&daemon, 10..20, 300));
        for way in &ways {
            let errors = format!("logpushd_sink_errors_total{{sink=\"{}\"}}", way.name);
            daemon.wait_count(&errors, |errors| errors > 0);
        }
        server.revive();
        all.extend(commit(&daemon, 20..30, 300));
        for way in &ways {
            let what = format!("{kind:?} {}", way.name);
            let all = bodies(way, &all);
            let last = all.last().unwrap();
            wait_until(&what, || server.records(way).contains(last));
            check_order(&what, &server.records(way), &all);
        }
        daemon.stop().in_order();
    }
}

/// By hand: `cargo test --release --test it syslog::foreign -- --ignored --nocapture`
#[test]
#[ignore = "a measurement: takes a minute"]
fn a_hundred_thousand_records_each() {
    for kind in KINDS {
        let Some(server) = start(kind) else { continue };
        for way in server.ways().iter().filter(|way| way.transport != "udp") {
            let keys = server.keys(way);
            let setup = Setup::new().without("sink.archive.file").table("sink.siem.syslog", &keys);
            let daemon = setup.start();
            let begun = std::time::Instant::now();
            let mut all = Vec::new();
            for batch in 0..10 {
                let records = small_records(batch, 10_000);
                daemon.commit(&records);
                all.extend(lines(&records));
            }
            let committed = begun.elapsed();
            let series = r#"logpushd_sink_delivered_records_total{sink="siem"}"#;
            daemon.wait_count(series, |delivered| delivered == 100_000);
            let sent = begun.elapsed();
            wait_until(way.name, || server.records(way).len() >= all.len());
            assert!(server.records(way) == bodies(way, &all), "{kind:?} {}", way.name);
            eprintln!(
                "{kind:?} {}: 100,000 records in order; committed {:.1} s, sent {:.1} s",
                way.name,
                committed.as_secs_f64(),
                sent.as_secs_f64()
            );
            assert!(sent < Duration::from_secs(60));
            daemon.stop().in_order();
        }
    }
}
