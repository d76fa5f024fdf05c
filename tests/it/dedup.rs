//! A full list of recent batches takes the memory and startup time that docs/reliability.md states.

use std::{fmt::Write as _, fs, time::Instant};

use crate::support::{Daemon, Http, Random, Setup, Upload, names_in, numbered, wait_until};

/// As `MAX_ENTRIES` in `crates/spool/src/dedup/mod.rs`.
const ENTRIES: u64 = 200_000;

const MEMORY_KIB: u64 = 20 * 1024;

fn resident_kib(daemon: &Daemon) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("the resident memory");
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Lines of the log for batches that were committed within this second.
fn lines(random: &mut Random) -> String {
    let now = jiff::Timestamp::now().as_microsecond();
    let mut text = String::new();
    for _ in 0..ENTRIES {
        write!(text, "\n{now} {:016x}{:016x}\n", random.next(), random.next()).unwrap();
    }
    text
}

#[test]
fn a_full_list_of_recent_batches_is_loaded_at_startup_and_stays_within_its_limit() {
    let daemon = Setup::new().table("spool", "dir = \"spool\"").start();
    let (first, records) = (numbered(0, 10), numbered(1, 10));
    daemon.commit(&first);
    let before = resident_kib(&daemon);
    let stopped = daemon.stop().exited_cleanly();
    let mut random = Random::new(5);
    let log = stopped.setup.path("spool/dedup");
    // The current file has the oldest batches of all, and one too many.
    let current = fs::read_to_string(log.join("current")).unwrap();
    fs::write(log.join("previous"), current + &lines(&mut random)).unwrap();
    fs::write(log.join("current"), lines(&mut random)).unwrap();

    let begun = Instant::now();
    let daemon = stopped.start();
    let started = begun.elapsed();
    daemon.commit(&records);
    // It is logged when it is about to leave the spool.
    wait_until("an empty spool", || names_in(&daemon.path("spool/batches")).is_empty());
    let memory = resident_kib(&daemon) - before;
    eprintln!("ready after {started:?}, {memory} KiB of memory more");
    assert!(memory < MEMORY_KIB, "{memory} KiB");
    // The limit on disk: the full file has become the previous one.
    let lines_of = |name| fs::read_to_string(log.join(name)).unwrap().lines().count() as u64;
    assert_eq!((lines_of("previous"), lines_of("current")), (2 * ENTRIES, 2));
    // The latest batch is known, and the oldest was forgotten before its time.
    let resend = |records: &[u8]| daemon.send(Http::Two, Upload::of(records)).ok().0;
    assert_eq!((resend(&records).as_str(), resend(&first).as_str()), ("duplicate", "committed"));
    daemon.stop().exited_cleanly();
}
