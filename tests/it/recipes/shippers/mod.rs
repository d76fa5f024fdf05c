//! Log shippers that read the files: each forwards every record once, also across rotations, a
//! restart of the shipper and a kill of the daemon. The configurations are those of the pages.

mod programs;
mod receiver;

use std::{fs, path::Path};

use rustix::process::Signal;

use self::{
    programs::{FLUENT_BIT, Program, RSYSLOG, SYSLOG_NG, Shipper},
    receiver::Receiver,
};
use crate::support::{Daemon, Http, Setup, Upload, names_in, wait_until};

/// The two setups that the pages describe, in the order of their blocks.
#[derive(Clone, Copy, Debug)]
enum Layout {
    /// A path with a date. No file is renamed.
    Dated,
    /// One path, and `rotate`. The shipper reads completed files.
    Rotated,
}

impl Layout {
    fn setup(self) -> Setup {
        let keys = match self {
            // The time of the record, so that a test has several days.
            Self::Dated => {
                "path = \"logs/{dataset}/%Y-%m-%d.ndjson\"\ntime = \"event\"\n\
                 event_window = { past = \"all\" }"
            }
            // The last file is completed even if no other file follows.
            Self::Rotated => {
                "path = \"logs/{dataset}.ndjson\"\n\
                 rotate = { max_bytes = \"16KiB\", max_age = \"2s\" }\ncompress = \"gzip\""
            }
        };
        let setup = Setup::new().table("sink.archive.file", keys);
        fs::create_dir_all(setup.path("logs/http_requests")).unwrap();
        fs::create_dir(setup.path("state")).unwrap();
        setup
    }

    /// Waits until the shipper can read everything: every file is complete.
    fn settle(self, directory: &Path) {
        match self {
            Self::Dated => {}
            Self::Rotated => wait_until("an empty live file", || {
                fs::metadata(directory.join("http_requests.ndjson"))
                    .is_ok_and(|live| live.len() == 0)
            }),
        }
    }
}

/// Records that are all different, of two days in turn.
struct Records(Vec<String>);

impl Records {
    /// Sends another batch, of 6 to 10 KiB.
    fn commit(&mut self, daemon: &Daemon) {
        let first = self.0.len();
        let record = |number: usize| {
            let (day, pad) = (27 + number % 2, "é\\n".repeat(20 + number % 60));
            format!(
                "{{\"RayID\":\"{number}\",\"EdgeStartTimestamp\":\"2026-11-{day}T10:00:00Z\",\
                 \"Pad\":\"{pad}\"}}"
            )
        };
        self.0.extend((first..first + 30).map(record));
        self.send(daemon, first);
    }

    /// Sends a record that is longer than the shippers' default limit.
    fn commit_long(&mut self, daemon: &Daemon) {
        let pad = "x".repeat(200_000);
        self.0.push(format!(
            "{{\"RayID\":\"long\",\"EdgeStartTimestamp\":\"2026-11-28T10:00:00Z\",\"Pad\":\"{pad}\"}}"
        ));
        self.send(daemon, self.0.len() - 1);
    }

    fn send(&self, daemon: &Daemon, first: usize) {
        let body = self.0[first..].iter().fold(String::new(), |body, line| body + line + "\n");
        daemon.send(Http::Two, Upload::of(body.into_bytes()).gzipped()).committed();
    }
}

/// Starts the shipper, stops it for a while, kills the daemon meanwhile, and asserts that every
/// record arrives once.
fn ships_each_record_once(program: &Program, layout: Layout) {
    let Some(mut command) = program.command() else { return };
    let receiver = Receiver::start();
    let daemon = layout.setup().start();
    let directory = daemon.path("logs");
    program.configure(&mut command, daemon.setup(), layout, receiver.port());
    let mut records = Records(Vec::new());

    let shipper = Shipper::start(&mut command, daemon.setup());
    for _ in 0..4 {
        records.commit(&daemon);
    }
    records.commit_long(&daemon);
    layout.settle(&directory);
    wait_until("the first records", || receiver.lines().len() >= records.0.len());
    // More records are on the way when it is stopped.
    records.commit(&daemon);
    shipper.stop();

    for _ in 0..4 {
        records.commit(&daemon);
    }
    let daemon = daemon.kill().start();
    records.commit(&daemon);
    let shipper = Shipper::start(&mut command, daemon.setup());
    for _ in 0..4 {
        records.commit(&daemon);
    }
    layout.settle(&directory);
    wait_until("the last records", || receiver.has_all(&records.0));
    // Duplicates would have arrived by the time it has ended.
    shipper.stop();
    let mut got = receiver.lines();
    got.sort_unstable();
    records.0.sort_unstable();
    let twice: Vec<_> = got.windows(2).filter(|pair| pair[0] == pair[1]).collect();
    assert!(
        got == records.0,
        "{layout:?}: {} records sent, {} arrived, {} twice; {:?}",
        records.0.len(),
        got.len(),
        twice.len(),
        names_in(&directory)
    );
    daemon.signal(Signal::TERM);
    daemon.end().exited_cleanly();
}

#[test]
fn rsyslog_ships_dated_files() {
    ships_each_record_once(&RSYSLOG, Layout::Dated);
}

#[test]
fn rsyslog_ships_rotated_files() {
    ships_each_record_once(&RSYSLOG, Layout::Rotated);
}

#[test]
fn syslog_ng_ships_dated_files() {
    ships_each_record_once(&SYSLOG_NG, Layout::Dated);
}

#[test]
fn syslog_ng_ships_rotated_files() {
    ships_each_record_once(&SYSLOG_NG, Layout::Rotated);
}

#[test]
fn fluent_bit_ships_dated_files() {
    ships_each_record_once(&FLUENT_BIT, Layout::Dated);
}

#[test]
fn fluent_bit_ships_rotated_files() {
    ships_each_record_once(&FLUENT_BIT, Layout::Rotated);
}
