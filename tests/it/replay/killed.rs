//! A replay that is killed, or whose daemon is, and is repeated until it completes: every record is
//! delivered once, and every record that is still invalid is in quarantine once.

use std::{fs, thread, time::Duration};

use rustix::process::Signal;
use serde_json::Value;

use super::{command, lines, long, replay, setup, wait_listed, write_config};
use crate::support::{Daemon, Exit, Http, Random, Upload, names_in};

/// The number of records of each kind in quarantine.
const RECORDS: u64 = 60;

fn bad(number: u64) -> String {
    format!("{{\"bad\":{number},\n")
}

/// A daemon that would now accept half of its quarantine. A batch of a replay is small.
fn with_quarantine() -> Daemon {
    let daemon = setup().start();
    for number in 0..6 {
        let numbers = number * RECORDS / 6..(number + 1) * RECORDS / 6;
        let body: String = numbers.map(|number| long(number) + &bad(number)).collect();
        daemon.send(Http::Two, Upload::of(body).gzipped()).ok();
    }
    wait_listed(daemon.setup(), 2 * usize::try_from(RECORDS).unwrap());
    daemon.stop().exited_cleanly().setup.table("limits", r#"max_body_bytes = "16KiB""#).start()
}

/// Asserts that every valid record is delivered once, and that every invalid one is in quarantine
/// once, outside the files that were replayed.
#[track_caller]
fn check(daemon: Daemon) {
    // The last invalid records are quarantined after the answer.
    let backlog = "logpushd_sink_backlog_batches{sink=\"@quarantine\"}";
    daemon.wait_count(backlog, |batches| batches == 0);
    let last = replay(&daemon);
    assert_eq!(last.exit, Exit::Code(65), "{}", last.stderr);
    let total = usize::try_from(RECORDS).unwrap();
    wait_listed(daemon.setup(), total);
    let daemon = daemon.stop().exited_cleanly().start();
    let mut want: Vec<_> = (0..RECORDS).map(long).collect();
    want.sort_unstable();
    assert_eq!(lines(&daemon, "http_requests"), want);
    let names = names_in(&daemon.path("quarantine"));
    let mut found = Vec::new();
    for name in names.iter().filter(|name| name.starts_with("records-")) {
        assert!(!name.contains(".replay-"), "{names:?}");
        if name.ends_with(".ndjson") {
            let text = fs::read_to_string(daemon.path("quarantine").join(name)).unwrap();
            for line in text.lines() {
                let line: Value = serde_json::from_str(line).expect("a complete line");
                found.push(format!("{}\n", line["record"].as_str().unwrap()));
            }
        }
    }
    found.sort_unstable();
    let mut want: Vec<_> = (0..RECORDS).map(bad).collect();
    want.sort_unstable();
    assert_eq!(found, want);
    daemon.stop().exited_cleanly();
}

#[test]
fn a_replay_killed_at_any_step_is_repeated_without_loss_or_duplicates() {
    let daemon = with_quarantine();
    for moment in ["before", "after"] {
        for (step, part, count) in
            [("rename", ".replay-", 1), ("syncdir", "*", 1), ("rename", ".replayed-", 1)]
        {
            let fault = format!("kill {moment} {step} {part} {count}\n");
            daemon.setup().write("faults-of-replay", &fault);
            let killed = replay(&daemon);
            assert_eq!(killed.exit, Exit::Killed, "{fault} {}{}", killed.stdout, killed.stderr);
        }
    }
    daemon.setup().write("faults-of-replay", "");
    check(daemon);
}

#[test]
fn a_replay_killed_at_any_time_is_repeated_without_loss_or_duplicates() {
    let daemon = with_quarantine();
    let mut random = Random::new(7);
    write_config(&daemon);
    for _ in 0..15 {
        let mut child =
            command(daemon.setup()).stdout(std::process::Stdio::null()).spawn().unwrap();
        thread::sleep(Duration::from_millis(random.below(400)));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    check(daemon);
}

#[test]
fn a_daemon_killed_during_a_replay_loses_and_duplicates_nothing() {
    let mut daemon = with_quarantine();
    let mut random = Random::new(11);
    for moment in ["before", "after"] {
        for (step, part, below) in [
            ("sync", "/batches", 8),
            ("rename", "/batches", 8),
            ("syncdir", "/batches", 8),
            ("write", "/quarantine/", 4),
            ("sync", "/quarantine/", 1),
            ("rename", "/cursors/@quarantine", 1),
            ("rename", "/cursors/archive", 1),
            ("write", "/dedup", 1),
            ("remove", "/batches", 2),
        ] {
            let fault = format!("kill {moment} {step} {part} {}\n", 1 + random.below(below));
            daemon.setup().faults(&fault);
            // It may have completed before the daemon was killed.
            let replayed = replay(&daemon);
            let ends = matches!(replayed.exit, Exit::Code(0 | 65 | 69));
            assert!(ends, "{fault} {:?} {}", replayed.exit, replayed.stderr);
            if !daemon.has_ended() {
                daemon.signal(Signal::KILL);
            }
            let stopped = daemon.end().killed();
            // At once: data written after the last checkpoint has not been compared yet.
            daemon = stopped.without_faults().start();
        }
    }
    check(daemon);
}
