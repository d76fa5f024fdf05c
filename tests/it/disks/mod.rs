//! Real filesystems that are full, read-only or broken: the answer is right, acknowledged batches
//! stay, and service resumes by itself. These tests mount small filesystems, which takes root.

pub(crate) mod disk;
mod exchanged;
mod sinks;

use std::{
    fs,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread::{self, ScopedJoinHandle},
};

use logpushd::{
    delivery::{QUARANTINE, last_batch},
    spool::Batch,
};

use self::disk::{Disk, Filesystem, spool_on};
use crate::{
    faults::refused,
    pass_through::whole_batches,
    support::{
        Answer, Connection, Daemon, Http, Stopped, Upload, names_in, numbered, same_bytes,
        wait_for, wait_until,
    },
};

const FILE: &str = "out/http_requests.ndjson";
const NO_SPACE: &str = "the batch cannot be stored now: No space left on device";
const READ_ONLY: &str = "the batch cannot be stored now: Read-only file system";

/// A daemon with its spool on the disk. One of its sinks is stuck, so that the spool keeps all
/// acknowledged batches.
struct Spooling<'a> {
    daemon: Daemon,
    disk: &'a Disk,
    /// The acknowledged records.
    all: Vec<u8>,
    batches: usize,
}

impl<'a> Spooling<'a> {
    fn start(disk: &'a Disk) -> Self {
        let setup = spool_on(disk).table("sink.stuck.file", r#"path = "stuck/{dataset}.ndjson""#);
        setup.write("stuck", "in the way");
        let mut spooling = Self { daemon: setup.start(), disk, all: Vec::new(), batches: 0 };
        let connection = spooling.daemon.connect(Http::Two);
        spooling.commit(&connection, &numbered(0, 10));
        spooling
    }

    fn commit(&mut self, connection: &Connection, records: &[u8]) {
        connection.send(Upload::of(records).gzipped()).committed();
        self.all.extend_from_slice(records);
        self.batches += 1;
    }

    fn names(&self) -> Vec<String> {
        names_in(&self.disk.path("spool/batches"))
    }

    /// Waits until the checkpoints contain the acknowledged batches. Checkpoints are on the disk as
    /// well, and their size must not change after the test has filled it.
    #[track_caller]
    fn wait_checkpoints(&self) {
        let batches = self.names();
        let batches = batches.iter().filter_map(|name| Batch::from_file_name(name));
        let last = batches.map(|batch| batch.sequence).max();
        for consumer in ["archive", QUARANTINE] {
            wait_until("a checkpoint", || {
                last_batch(&self.disk.path("spool/cursors"), consumer).unwrap() == last
            });
        }
    }

    /// Asserts that the spool reports a full disk, and contains exactly the acknowledged batches.
    #[track_caller]
    fn assert_full(&self) {
        let (status, why) = self.daemon.ask("/readyz");
        assert_eq!(status, 503, "{why}");
        assert!(why.contains("the spool"), "{why}");
        assert_eq!(self.daemon.ask("/healthz").0, 200);
        wait_until("no partial files", || self.names().len() == self.batches);
    }

    /// Asserts that the rejected body is accepted now.
    #[track_caller]
    fn assert_recovered(&mut self, connection: &Connection, records: &[u8]) {
        wait_until("a daemon that is ready again", || self.daemon.ask("/readyz").0 == 200);
        self.commit(connection, records);
        assert_eq!(self.names().len(), self.batches);
    }

    /// Asserts that the sinks get all records, also after a crash.
    #[track_caller]
    fn finish(self) {
        let Self { daemon, all, .. } = self;
        let daemon = daemon.kill().start();
        fs::remove_file(daemon.path("stuck")).unwrap();
        for file in [FILE, "stuck/http_requests.ndjson"] {
            daemon.wait_file(file, &all);
        }
        let stopped = daemon.stop().exited_cleanly();
        same_bytes("the end", &stopped.file(FILE), &all);
        assert_eq!(names_in(&self.disk.path("spool/batches")), [""; 0]);
    }
}

/// Sends the records in chunks, and calls a function when a part of them is in a file.
fn in_the_middle<T>(
    connection: &Connection,
    disk: &Disk,
    records: &[u8],
    happens: impl FnOnce() -> T,
) -> (Answer, T) {
    let (upload, feed) = Upload::fed(None);
    let (first, rest) = records.split_at(400 << 10);
    thread::scope(|scope| {
        let answer = scope.spawn(|| connection.send(upload));
        assert!(feed.push(first));
        wait_until("a new file", || {
            names_in(&disk.path("spool/batches")).iter().any(|name| name.starts_with('.'))
        });
        let happened = happens();
        for piece in rest.chunks(64 << 10) {
            if !feed.push(piece) {
                break;
            }
        }
        drop(feed);
        (answer.join().unwrap(), happened)
    })
}

#[test]
fn low_disk_space_is_logged_before_the_disk_is_full() {
    let Some(disk) = Disk::new(Filesystem::Tmpfs, 16) else { return };
    let setup = spool_on(&disk).table("sink.broken.file", r#"path = "broken/{dataset}.ndjson""#);
    setup.write("broken", "in the way");
    let daemon = setup.start();
    let connection = daemon.connect(Http::Two);
    let mut all = Vec::new();
    let (number, answer) = wait_for("a disk that is full", || {
        let number = names_in(&disk.path("spool/batches")).len() as u64;
        let records = numbered(number, 4000);
        let answer = connection.send(Upload::of(&records));
        if answer.status == 200 {
            all.extend(records);
        }
        (answer.status != 200).then_some((number, answer))
    });
    refused(&answer, "the spool's disk is full");
    let (status, why) = daemon.ask("/readyz");
    // A smaller batch may still fit.
    assert!(status == 200 || why.contains("the spool's disk is full"), "{why}");
    assert!(daemon.logged("cannot store a batch").is_empty(), "the disk itself reported no error");
    fs::remove_file(daemon.path("broken")).unwrap();
    daemon.wait_file("broken/http_requests.ndjson", &all);
    let retried = numbered(number, 4000);
    wait_until("room", || connection.send(Upload::of(&retried)).status == 200);
    all.extend(retried);
    for file in ["broken/http_requests.ndjson", "out/http_requests.ndjson"] {
        daemon.wait_file(file, &all);
    }
    daemon.stop().exited_cleanly();
}

#[test]
fn the_daemon_logs_and_survives_a_disk_that_fills_up_during_an_upload() {
    for disk in Disk::all(8) {
        let mut spooling = Spooling::start(&disk);
        for (http, batch) in Http::BOTH.into_iter().zip(1..) {
            let connection = spooling.daemon.connect(http);
            let records = numbered(batch, 8000);
            let (answer, filled) = in_the_middle(&connection, &disk, &records, || disk.fill());
            refused(&answer, NO_SPACE);
            spooling.assert_full();
            // Now the body is rejected before a byte of it is read.
            let answer = spooling.daemon.send(http, Upload::of(&records));
            refused(&answer, "the spool's disk is full");
            drop(filled);
            spooling.assert_recovered(&spooling.daemon.connect(http), &records);
        }
        spooling.finish();
    }
}

#[test]
fn the_daemon_logs_and_survives_a_disk_that_is_full_at_the_commit() {
    for disk in Disk::all(4) {
        let mut spooling = Spooling::start(&disk);
        for (http, batch) in Http::BOTH.into_iter().zip(1..) {
            let connection = spooling.daemon.connect(http);
            // The body stays in memory until it is complete, and is then larger than the free
            // space.
            let records = numbered(batch, 2650);
            assert!((240_000..256 << 10).contains(&records.len()), "{}", records.len());
            spooling.wait_checkpoints();
            let filled = disk.fill_except(disk.reserve() + (8 << 10));
            let (upload, feed) = Upload::fed(None);
            assert!(feed.push(&records));
            drop(feed);
            refused(&connection.send(upload), NO_SPACE);
            wait_until("no partial files", || spooling.names().len() == spooling.batches);
            drop(filled);
            spooling.assert_recovered(&connection, &records);
        }
        spooling.finish();
    }
}

#[test]
fn the_daemon_logs_and_survives_a_disk_without_free_inodes() {
    for disk in Disk::all(8) {
        let mut spooling = Spooling::start(&disk);
        for (http, batch) in Http::BOTH.into_iter().zip(1..) {
            let connection = spooling.daemon.connect(http);
            let records = numbered(batch, 100);
            spooling.wait_checkpoints();
            let filled = disk.take_all_inodes();
            refused(&connection.send(Upload::of(&records)), NO_SPACE);
            spooling.assert_full();
            drop(filled);
            spooling.assert_recovered(&connection, &records);
        }
        spooling.finish();
    }
}

#[test]
fn a_spool_that_is_read_only_at_times_loses_and_duplicates_nothing() {
    const SENDERS: u64 = 3;

    for disk in Disk::all(16) {
        let daemon = spool_on(&disk).start();
        let (refusals, committed) = (AtomicU64::new(0), AtomicU64::new(0));
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let senders: Vec<_> = (0..SENDERS)
                .map(|sender| {
                    let (daemon, refusals, committed, over) =
                        (&daemon, &refusals, &committed, &over);
                    scope.spawn(move || {
                        let connection = daemon.connect(Http::BOTH[usize::from(sender == 0)]);
                        let mut batch = sender;
                        while !over.load(Ordering::Relaxed) {
                            let records = numbered(batch, 50);
                            wait_for("a 200", || {
                                let answer = connection.send(Upload::of(&records).gzipped());
                                if answer.status == 200 {
                                    return Some(());
                                }
                                refused(&answer, READ_ONLY);
                                refusals.fetch_add(1, Ordering::Relaxed);
                                None
                            });
                            committed.fetch_add(1, Ordering::Relaxed);
                            batch += SENDERS;
                        }
                    })
                })
                .collect();
            for _ in 0..4 {
                let grows = |count: &AtomicU64| {
                    let before = count.load(Ordering::Relaxed);
                    wait_until("senders that continue", || {
                        assert!(!senders.iter().any(ScopedJoinHandle::is_finished));
                        count.load(Ordering::Relaxed) >= before + 10
                    });
                };
                grows(&committed);
                let read_only = disk.read_only();
                grows(&refusals);
                // A batch that was nearly committed before may still log a recovery.
                wait_until("a daemon that reports it", || {
                    let (status, why) = daemon.ask("/readyz");
                    status == 503 && why.contains("Read-only file system")
                });
                drop(read_only);
            }
            over.store(true, Ordering::Relaxed);
        });
        let stopped = daemon.stop().exited_cleanly();
        let there = whole_batches(&stopped.file(FILE)).len() as u64;
        assert_eq!(there, committed.into_inner());
        assert_eq!(names_in(&disk.path("spool/batches")), [""; 0]);
    }
}

/// Kills a daemon whose disk failed, and starts the next on the repaired disk.
fn repaired(daemon: Daemon, disk: &Disk) -> Daemon {
    let stopped: Stopped = daemon.kill();
    disk.repair();
    stopped.start()
}

#[test]
fn a_spool_whose_filesystem_fails_keeps_every_acknowledged_batch() {
    let Some(disk) = Disk::new(Filesystem::Ext4, 16) else { return };
    let mut spooling = Spooling::start(&disk);
    for (http, batch) in Http::BOTH.into_iter().zip(1..) {
        let connection = spooling.daemon.connect(http);
        spooling.commit(&connection, &numbered(2 * batch, 100));
        let records = numbered(2 * batch + 1, 8000);
        let (answer, broken) = in_the_middle(&connection, &disk, &records, || disk.inject_error());
        if !broken {
            return;
        }
        refused(&answer, READ_ONLY);
        let (status, why) = spooling.daemon.ask("/readyz");
        assert_eq!(status, 503, "{why}");
        spooling.daemon = repaired(spooling.daemon, &disk);
        spooling.assert_recovered(&spooling.daemon.connect(http), &records);
    }
    spooling.finish();
}
