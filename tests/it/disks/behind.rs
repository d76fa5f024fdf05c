//! Disks behind the 200: of a sink's files, of the quarantine, of the checkpoints.

use std::fs;

use super::{
    disk::{Disk, Filesystem},
    mended,
};
use crate::{
    faults::quarantine,
    support::{Daemon, Http, Setup, Upload, names_in, numbered, same_bytes, wait_until},
};

const ERRORS: &str = r#"logpushd_sink_errors_total{sink="stuck"}"#;
const FILE: &str = "http_requests.ndjson";

/// A daemon with a sink on the disk, which is stuck now and then, and one beside it.
fn with_sink_on(disk: &Disk) -> Setup {
    Setup::new().table("sink.stuck.file", &disk.key("path", "logs/{dataset}.ndjson"))
}

/// Sends batches, each of which must be committed, whatever the disk of the sink says; and the sink
/// beside it has them at once.
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

/// Demands all of the sink on the disk, while the daemon runs and when it has stopped.
#[track_caller]
fn ends(daemon: Daemon, disk: &Disk, all: &[u8]) {
    let path = disk.path(&format!("logs/{FILE}"));
    let long_enough = |path| fs::metadata(path).is_ok_and(|file| file.len() >= all.len() as u64);
    wait_until("all of it on the disk", || long_enough(&path));
    let stopped = daemon.stop().in_order();
    same_bytes("on the disk", &fs::read(&path).unwrap(), all);
    same_bytes("beside it", &stopped.file(&format!("out/{FILE}")), all);
    assert_eq!(names_in(&stopped.setup.path("spool/batches")), [""; 0]);
}

#[test]
fn a_sink_whose_disk_is_full_waits_and_has_everything_once_when_there_is_room() {
    for disk in Disk::all(4) {
        let daemon = with_sink_on(&disk).start();
        let mut all = Vec::new();
        commit(&daemon, &mut all, 0..3);
        let filled = disk.fill_but(48 << 10);
        commit(&daemon, &mut all, 3..20);
        wait_stuck(&daemon);
        let there = fs::read(disk.path(&format!("logs/{FILE}"))).unwrap();
        assert!(there.len() < all.len());
        same_bytes("up to where the disk was full", &there, &all[..there.len()]);
        // In the middle of a line, and a life ends there.
        let daemon = daemon.kill().start();
        commit(&daemon, &mut all, 20..23);
        wait_stuck(&daemon);
        drop(filled);
        commit(&daemon, &mut all, 23..25);
        ends(daemon, &disk, &all);
    }
}

#[test]
fn a_sink_whose_disk_is_read_only_waits_and_has_everything_once_when_it_is_not() {
    for disk in Disk::all(4) {
        let mut daemon = with_sink_on(&disk).start();
        let mut all = Vec::new();
        for round in 0..3 {
            commit(&daemon, &mut all, 10 * round..10 * round + 5);
            let read_only = disk.read_only();
            // The next life has nothing open.
            daemon = daemon.kill().start();
            commit(&daemon, &mut all, 10 * round + 5..10 * round + 10);
            wait_stuck(&daemon);
            daemon.wait_log("the sink failed");
            drop(read_only);
        }
        ends(daemon, &disk, &all);
    }
}

#[test]
fn a_sink_whose_filesystem_breaks_down_has_everything_once_when_it_is_mended() {
    let Some(disk) = Disk::new(Filesystem::Ext4, 8) else { return };
    let mut daemon = with_sink_on(&disk).start();
    let mut all = Vec::new();
    for round in 0..3 {
        commit(&daemon, &mut all, 10 * round..10 * round + 5);
        if round % 2 == 1 {
            // What left the spool must be there also when all is gone that was not synced.
            wait_until("an empty spool", || names_in(&daemon.path("spool/batches")).is_empty());
        }
        if !disk.breaks_down() {
            return;
        }
        commit(&daemon, &mut all, 10 * round + 5..10 * round + 10);
        wait_stuck(&daemon);
        daemon = mended(daemon, &disk);
    }
    ends(daemon, &disk, &all);
}

#[test]
fn a_quarantine_whose_disk_is_full_waits_and_has_every_record_once_when_there_is_room() {
    for disk in Disk::all(4) {
        let daemon = Setup::new().table("quarantine", &disk.key("dir", "quarantine")).start();
        let connection = daemon.connect(Http::Two);
        let send = |number: u32| {
            let body = format!("{{\"good\":{number}}}\nbad {number} {}\n", "b".repeat(5000));
            assert_eq!(connection.send(Upload::of(body)).ok(), ("committed".to_owned(), 1, 1));
        };
        send(0);
        let filled = disk.fill_but(24 << 10);
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
        daemon.stop().in_order();
        assert_eq!(quarantine(&disk.path("quarantine")).len(), 20);
    }
}

#[test]
fn a_body_that_a_full_quarantine_cannot_keep_is_refused_until_there_is_room() {
    for disk in Disk::all(4) {
        let daemon = Setup::new().table("quarantine", &disk.key("dir", "quarantine")).start();
        let connection = daemon.connect(Http::Two);
        let broken = [&[0x1f, 0x8b, 8, 0][..], &vec![0xff; 20_000]].concat();
        let filled = disk.fill();
        let answer = connection.send(Upload::of(&broken));
        super::refused(&answer, super::NO_SPACE);
        assert_eq!(daemon.ask("/readyz").0, 200, "for all but such bodies");
        assert_eq!(names_in(&daemon.path("spool/batches")), [""; 0]);
        // Others are none the worse for it.
        connection.send(Upload::of("{\"good\":1}\n")).committed();
        drop(filled);
        assert_eq!(connection.send(Upload::of(&broken)).ok().0, "quarantined");
        let kept = names_in(&disk.path("quarantine/bodies"));
        assert_eq!(kept.len(), 1, "{kept:?}");
        let kept = fs::read(disk.path("quarantine/bodies").join(&kept[0])).unwrap();
        same_bytes("as it came", &kept, &broken);
        daemon.stop().in_order();
    }
}

#[test]
fn checkpoints_that_find_no_room_keep_batches_in_the_spool_and_double_nothing() {
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
        // What was delivered and has no checkpoint is kept.
        assert!(!names_in(&daemon.path("spool/batches")).is_empty());
        let daemon = daemon.kill().start();
        daemon.wait_count(errors, |errors| errors > 0);
        drop(filled);
        commit(&daemon, &mut all, 4..7);
        wait_until("an empty spool", || names_in(&daemon.path("spool/batches")).is_empty());
        let stopped = daemon.stop().in_order();
        same_bytes("the end", &stopped.file(&format!("out/{FILE}")), &all);
    }
}
