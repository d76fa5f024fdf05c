//! Disks used after the 200: of a sink's files, of the quarantine, of the checkpoints.

use std::fs;

use super::{
    disk::{Disk, Filesystem},
    repaired,
};
use crate::{
    faults::quarantine,
    support::{Daemon, Http, Setup, Upload, names_in, numbered, same_bytes, wait_until},
};

const ERRORS: &str = r#"logpushd_sink_errors_total{sink="stuck"}"#;
const FILE: &str = "http_requests.ndjson";

/// A daemon with a sink on the disk, which is stuck at times, and another sink elsewhere.
fn with_sink_on(disk: &Disk) -> Setup {
    Setup::new().table("sink.stuck.file", &disk.key("path", "logs/{dataset}.ndjson"))
}

/// Sends batches, each of which must be committed, whatever the state of the sink's disk. The other
/// sink gets them at once.
fn commit(daemon: &Daemon, all: &mut Vec<u8>, batches: impl Iterator<Item = u64>) {
    let connection = daemon.connect(Http::Two);
    for batch in batches {
        let records = numbered(batch, 100);
        connection.send(Upload::of(&records).gzipped()).committed();
        all.extend(records);
    }
    assert_eq!(daemon.ask("/readyz").0, 200);
    daemon.wait_file(&format!("out/{FILE}"), all);
}

fn wait_stuck(daemon: &Daemon) {
    daemon.wait_count(ERRORS, |errors| errors > 0);
    assert!(daemon.metric(r#"logpushd_sink_lag_seconds{sink="stuck"}"#) > 0.0);
}

/// Asserts that the sink on the disk gets everything, while the daemon runs and after it stopped.
#[track_caller]
fn finish(daemon: Daemon, disk: &Disk, all: &[u8]) {
    let path = disk.path(&format!("logs/{FILE}"));
    let long_enough = |path| fs::metadata(path).is_ok_and(|file| file.len() >= all.len() as u64);
    wait_until("all records on the disk", || long_enough(&path));
    let stopped = daemon.stop().exited_cleanly();
    same_bytes("on the disk", &fs::read(&path).unwrap(), all);
    same_bytes("beside it", &stopped.file(&format!("out/{FILE}")), all);
    assert_eq!(names_in(&stopped.setup.path("spool/batches")), [""; 0]);
}

#[test]
fn a_sink_with_a_full_disk_waits_and_then_has_every_record_once() {
    for disk in Disk::all(4) {
        let daemon = with_sink_on(&disk).start();
        let mut all = Vec::new();
        commit(&daemon, &mut all, 0..3);
        let filled = disk.fill_except(48 << 10);
        commit(&daemon, &mut all, 3..20);
        wait_stuck(&daemon);
        let there = fs::read(disk.path(&format!("logs/{FILE}"))).unwrap();
        assert!(there.len() < all.len());
        same_bytes("up to where the disk was full", &there, &all[..there.len()]);
        // The disk is full in the middle of a line, and the daemon is killed there.
        let daemon = daemon.kill().start();
        commit(&daemon, &mut all, 20..23);
        wait_stuck(&daemon);
        drop(filled);
        commit(&daemon, &mut all, 23..25);
        finish(daemon, &disk, &all);
    }
}

#[test]
fn a_sink_with_a_read_only_disk_waits_and_then_has_every_record_once() {
    for disk in Disk::all(4) {
        let mut daemon = with_sink_on(&disk).start();
        let mut all = Vec::new();
        for round in 0..3 {
            commit(&daemon, &mut all, 10 * round..10 * round + 5);
            let read_only = disk.read_only();
            // The next daemon has no file open.
            daemon = daemon.kill().start();
            commit(&daemon, &mut all, 10 * round + 5..10 * round + 10);
            wait_stuck(&daemon);
            daemon.wait_log("the sink failed");
            drop(read_only);
        }
        finish(daemon, &disk, &all);
    }
}

#[test]
fn a_sink_whose_filesystem_fails_has_every_record_once_after_the_repair() {
    let Some(disk) = Disk::new(Filesystem::Ext4, 8) else { return };
    let mut daemon = with_sink_on(&disk).start();
    let mut all = Vec::new();
    for round in 0..3 {
        commit(&daemon, &mut all, 10 * round..10 * round + 5);
        if round % 2 == 1 {
            // Released batches must be on disk even if all unsynced data is lost.
            wait_until("an empty spool", || names_in(&daemon.path("spool/batches")).is_empty());
        }
        if !disk.inject_error() {
            return;
        }
        commit(&daemon, &mut all, 10 * round + 5..10 * round + 10);
        wait_stuck(&daemon);
        daemon = repaired(daemon, &disk);
    }
    finish(daemon, &disk, &all);
}

#[test]
fn a_quarantine_with_a_full_disk_waits_and_then_has_every_record_once() {
    for disk in Disk::all(4) {
        let daemon = Setup::new().table("quarantine", &disk.key("dir", "quarantine")).start();
        let connection = daemon.connect(Http::Two);
        let send = |number: u32| {
            let body = format!("{{\"good\":{number}}}\nbad {number} {}\n", "b".repeat(5000));
            assert_eq!(connection.send(Upload::of(body)).ok(), ("committed".to_owned(), 1, 1));
        };
        send(0);
        let filled = disk.fill_except(24 << 10);
        (1..20).for_each(send);
        daemon.wait_count(r#"logpushd_sink_errors_total{sink="@quarantine"}"#, |errors| errors > 0);
        assert_eq!(daemon.ask("/readyz").0, 200);
        let good: Vec<u8> =
            (0..20).flat_map(|number| format!("{{\"good\":{number}}}\n").into_bytes()).collect();
        daemon.wait_file(&format!("out/{FILE}"), &good);
        let daemon = daemon.kill().start();
        daemon.wait_count(r#"logpushd_sink_errors_total{sink="@quarantine"}"#, |errors| errors > 0);
        drop(filled);
        wait_until("an empty spool", || names_in(&daemon.path("spool/batches")).is_empty());
        daemon.stop().exited_cleanly();
        assert_eq!(quarantine(&disk.path("quarantine")).len(), 20);
    }
}

#[test]
fn a_body_that_does_not_fit_into_the_quarantine_is_rejected_until_there_is_space() {
    for disk in Disk::all(4) {
        let daemon = Setup::new().table("quarantine", &disk.key("dir", "quarantine")).start();
        let connection = daemon.connect(Http::Two);
        let broken = [&[0x1f, 0x8b, 8, 0][..], &vec![0xff; 20_000]].concat();
        let filled = disk.fill();
        let answer = connection.send(Upload::of(&broken));
        super::refused(&answer, super::NO_SPACE);
        assert_eq!(daemon.ask("/readyz").0, 200, "ready, except for such bodies");
        assert_eq!(names_in(&daemon.path("spool/batches")), [""; 0]);
        // Other sinks are not affected.
        connection.send(Upload::of("{\"good\":1}\n")).committed();
        drop(filled);
        assert_eq!(connection.send(Upload::of(&broken)).ok().0, "quarantined");
        let kept = names_in(&disk.path("quarantine/bodies"));
        assert_eq!(kept.len(), 1, "{kept:?}");
        let kept = fs::read(disk.path("quarantine/bodies").join(&kept[0])).unwrap();
        same_bytes("the body", &kept, &broken);
        daemon.stop().exited_cleanly();
    }
}

#[test]
fn batches_stay_in_the_spool_without_duplicates_while_checkpoints_cannot_be_written() {
    for disk in Disk::all(4) {
        let setup = Setup::new();
        fs::create_dir(setup.path("spool")).unwrap();
        fs::create_dir(disk.path("cursors")).unwrap();
        std::os::unix::fs::symlink(disk.path("cursors"), setup.path("spool/cursors")).unwrap();
        let daemon = setup.start();
        let errors = r#"logpushd_sink_errors_total{sink="archive"}"#;
        let mut all = Vec::new();
        commit(&daemon, &mut all, 0..3);
        wait_until("an empty spool", || names_in(&daemon.path("spool/batches")).is_empty());
        let filled = disk.fill();
        commit(&daemon, &mut all, 3..4);
        daemon.wait_count(errors, |errors| errors > 0);
        // Delivered batches without a checkpoint stay in the spool.
        assert!(!names_in(&daemon.path("spool/batches")).is_empty());
        let daemon = daemon.kill().start();
        daemon.wait_count(errors, |errors| errors > 0);
        drop(filled);
        commit(&daemon, &mut all, 4..7);
        wait_until("an empty spool", || names_in(&daemon.path("spool/batches")).is_empty());
        let stopped = daemon.stop().exited_cleanly();
        same_bytes("the end", &stopped.file(&format!("out/{FILE}")), &all);
    }
}
