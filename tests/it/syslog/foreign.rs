//! rsyslog and syslog-ng, over each transport, framing and format that they accept.

use std::time::Duration;

use logpushd::sink::message;

use super::{
    check_order, commit, lines,
    servers::{Input, Kind, Server},
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

/// The records that the server must have.
fn bodies(input: &Input, records: &[String]) -> Vec<String> {
    let body = |record: &String| {
        let mut body = Vec::new();
        message::render(input.message(), "http_requests", record.as_bytes(), &mut body);
        String::from_utf8(body).unwrap()
    };
    records.iter().map(body).collect()
}

/// A daemon with a sink for each input.
fn daemon(server: &Server, is_it: impl Fn(&str) -> bool) -> Daemon {
    let mut setup = Setup::new().without("sink.archive.file");
    for input in server.inputs().iter().filter(|input| is_it(input.transport)) {
        // The window: as long as a slow machine may need from a record to the kill of its server.
        let keys = format!("resend_window = \"1m\"\n{}", server.keys(input));
        setup.set(&format!("sink.{}.syslog", input.name), &keys);
    }
    setup.start()
}

#[test]
fn records_are_delivered_unchanged_and_in_order() {
    for kind in KINDS {
        let Some(server) = start(kind) else { continue };
        let daemon = daemon(&server, |_| true);
        let mut all = Vec::new();
        for batch in 0..3 {
            let records = small_records(batch, 60);
            daemon.commit(&records);
            all.extend(lines(&records));
        }
        for input in server.inputs() {
            wait_until(&format!("{kind:?} {}", input.name), || {
                server.records(input).len() >= all.len()
            });
            assert_eq!(server.records(input), bodies(input, &all), "{kind:?} {}", input.name);
        }
        let stopped = daemon.stop().exited_cleanly();
        assert_eq!(names_in(&stopped.setup.path("spool/batches")), [""; 0], "{kind:?}");
    }
}

#[test]
fn a_killed_server_has_every_record_after_its_restart() {
    for kind in KINDS {
        let Some(mut server) = start(kind) else { continue };
        // UDP has no guarantee.
        let daemon = daemon(&server, |transport| transport != "udp");
        let mut all = commit(&daemon, 0..10, 300);
        let inputs: Vec<_> =
            server.inputs().iter().filter(|input| input.transport != "udp").cloned().collect();
        wait_until("the first records", || {
            inputs.iter().all(|input| !server.records(input).is_empty())
        });
        server.kill();
        all.extend(commit(&daemon, 10..20, 300));
        for input in &inputs {
            let errors = format!("logpushd_sink_errors_total{{sink=\"{}\"}}", input.name);
            daemon.wait_count(&errors, |errors| errors > 0);
        }
        server.restart();
        all.extend(commit(&daemon, 20..30, 300));
        for input in &inputs {
            let what = format!("{kind:?} {}", input.name);
            let all = bodies(input, &all);
            let last = all.last().unwrap();
            wait_until(&what, || server.records(input).contains(last));
            check_order(&what, &server.records(input), &all);
        }
        daemon.stop().exited_cleanly();
    }
}

/// By hand: `cargo test --release --test it syslog::foreign -- --ignored --nocapture`
#[test]
#[ignore = "a measurement: takes a minute"]
fn a_hundred_thousand_records_each() {
    for kind in KINDS {
        let Some(server) = start(kind) else { continue };
        for input in server.inputs().iter().filter(|input| input.transport != "udp") {
            let keys = server.keys(input);
            let setup = Setup::new().without("sink.archive.file").table("sink.siem.syslog", &keys);
            let daemon = setup.start();
            let started = std::time::Instant::now();
            let mut all = Vec::new();
            for batch in 0..10 {
                let records = small_records(batch, 10_000);
                daemon.commit(&records);
                all.extend(lines(&records));
            }
            let committed = started.elapsed();
            let series = r#"logpushd_sink_delivered_records_total{sink="siem"}"#;
            daemon.wait_count(series, |delivered| delivered == 100_000);
            let sent = started.elapsed();
            wait_until(input.name, || server.records(input).len() >= all.len());
            assert!(server.records(input) == bodies(input, &all), "{kind:?} {}", input.name);
            eprintln!(
                "{kind:?} {}: 100,000 records in order; committed {:.1} s, sent {:.1} s",
                input.name,
                committed.as_secs_f64(),
                sent.as_secs_f64()
            );
            assert!(sent < Duration::from_secs(60));
            daemon.stop().exited_cleanly();
        }
    }
}
