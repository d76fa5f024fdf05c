//! Changes to output files by other programs lose no acknowledged record: it is at least once in
//! the old file or the new, with a warning, and no line is torn.

use std::{
    collections::BTreeSet,
    fs::{self, OpenOptions},
    io::Write as _,
    path::Path,
    process::Command,
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::support::{
    Daemon, Exit, Http, Random, Setup, Stopped, Upload, finish, names_in, numbered, require,
    wait_until,
};

const FILE: &str = "out/http_requests.ndjson";

/// A change to the file. Copies of it stay in the directory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum FileChange {
    /// Like `logrotate` with `copytruncate`.
    CopyAndTruncate,
    /// Like `logrotate` with `create`.
    RenameAndCreate,
    Rename,
    /// Makes a copy first.
    CopyAndRemove,
    /// Appends another line.
    Append,
    /// Appends half of another line.
    AppendHalf,
}

const ALL: [FileChange; 6] = [
    FileChange::CopyAndTruncate,
    FileChange::RenameAndCreate,
    FileChange::Rename,
    FileChange::CopyAndRemove,
    FileChange::Append,
    FileChange::AppendHalf,
];

impl FileChange {
    fn with(self, file: &Path, number: u64) {
        let old = file.with_extension(format!("{number}"));
        let append = |text: &str| {
            let mut file = OpenOptions::new().append(true).open(file).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        };
        match self {
            Self::CopyAndTruncate => {
                fs::copy(file, old).unwrap();
                OpenOptions::new().write(true).open(file).unwrap().set_len(0).unwrap();
            }
            Self::RenameAndCreate => {
                fs::rename(file, old).unwrap();
                fs::write(file, "").unwrap();
            }
            Self::Rename => fs::rename(file, old).unwrap(),
            Self::CopyAndRemove => {
                fs::copy(file, old).unwrap();
                fs::remove_file(file).unwrap();
            }
            Self::Append => append("{\"other\":\"else\"}\n"),
            Self::AppendHalf => append("{\"other\":"),
        }
    }

    fn is_warned_of(self) -> bool {
        matches!(self, Self::CopyAndTruncate | Self::Append | Self::AppendHalf)
    }
}

/// Asserts that all records of these batches are in some file, and that each line is one of them or
/// of another writer.
#[track_caller]
fn check(directory: &Path, batches: u64, count: usize) {
    let mut missing: BTreeSet<Vec<u8>> = BTreeSet::new();
    for batch in 0..batches {
        let records = numbered(batch, count);
        missing.extend(records.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec));
    }
    let ours = missing.clone();
    for name in names_in(directory) {
        let text = fs::read(directory.join(&name)).unwrap();
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            missing.remove(line);
            let foreign = line.starts_with(b"{\"other\":");
            assert!(
                ours.contains(line) || foreign && !line.windows(7).any(|w| w == b"\"batch\""),
                "{name} has a torn line: {}",
                String::from_utf8_lossy(line)
            );
        }
    }
    let first = missing.first().map(|line| String::from_utf8_lossy(line).into_owned());
    assert!(missing.is_empty(), "{} records are lost, as {first:?}", missing.len());
}

/// Asserts that the files contain as many bytes as were sent: after [`check`], each record once.
#[track_caller]
fn check_once(directory: &Path, batches: u64, count: usize) {
    let files =
        names_in(directory).into_iter().map(|name| fs::read(directory.join(name)).unwrap().len());
    let sent = (0..batches).map(|batch| numbered(batch, count).len());
    assert_eq!(files.sum::<usize>(), sent.sum::<usize>(), "a record occurs twice");
}

#[test]
fn changes_to_output_files_by_others_lose_nothing() {
    for (change, http) in ALL.into_iter().zip(Http::BOTH.into_iter().cycle()) {
        let daemon = Setup::new().start();
        let connection = daemon.connect(http);
        let mut batches = 0;
        for number in 0..5 {
            for _ in 0..3 {
                let records = numbered(batches, 30);
                connection.send(Upload::of(records).gzipped()).committed();
                batches += 1;
            }
            // Between two batches: copying while the daemon writes loses data, as documented for
            // copytruncate.
            wait_delivered(&daemon, batches * 30);
            change.with(&daemon.path(FILE), number);
        }
        connection.send(Upload::of(numbered(batches, 30))).committed();
        let stopped = daemon.stop().exited_cleanly();
        check(&stopped.setup.path("out"), batches + 1, 30);
        let warned = stopped.log.contains("another process");
        assert_eq!(warned, change.is_warned_of(), "{change:?}\n{}", stopped.log);
    }
}

#[track_caller]
fn wait_delivered(daemon: &Daemon, records: u64) {
    let series = r#"logpushd_sink_delivered_records_total{sink="archive"}"#;
    daemon.wait_count(series, |delivered| delivered >= records);
}

#[test]
fn changes_to_output_files_between_crash_and_restart_lose_nothing() {
    let mut random = Random::new(11);
    for change in ALL {
        let mut setup = Setup::new();
        let mut batches = 0;
        for number in 0..4 {
            let daemon = setup.start();
            for _ in 0..4 {
                daemon.commit(&numbered(batches, 30));
                batches += 1;
            }
            wait_until("a file", || daemon.path(FILE).exists());
            thread::sleep(Duration::from_millis(random.below(30)));
            setup = daemon.kill().setup;
            change.with(&setup.path(FILE), number);
        }
        let stopped: Stopped = setup.start().stop().exited_cleanly();
        check(&stopped.setup.path("out"), batches, 30);
        assert_eq!(names_in(&stopped.setup.path("spool/batches")), [""; 0], "{change:?}");
        if matches!(change, FileChange::Rename | FileChange::RenameAndCreate) {
            check_once(&stopped.setup.path("out"), batches, 30);
        }
    }
}

#[test]
fn logrotate_loses_nothing() {
    if !require::has(&[&require::LOGROTATE]) {
        return;
    }
    for mode in ["create", "copytruncate"] {
        let daemon = Setup::new().start();
        let file = daemon.path(FILE);
        let config = format!(
            "{} {{\n rotate 50\n nocompress\n {mode}\n missingok\n su root root\n}}\n",
            file.display()
        );
        let config = if rustix::process::geteuid().is_root() {
            config
        } else {
            config.replace(" su root root\n", "")
        };
        daemon.setup().write("logrotate.conf", config);
        let mut batches = 0;
        for _ in 0..6 {
            for _ in 0..3 {
                daemon.commit(&numbered(batches, 30));
                batches += 1;
            }
            wait_delivered(&daemon, batches * 30);
            let mut rotate = Command::new(require::program("logrotate").unwrap());
            rotate.current_dir(daemon.setup().directory());
            let rotated =
                finish(rotate.args(["--force", "--state", "logrotate.state", "logrotate.conf"]));
            assert_eq!(rotated.exit, Exit::Code(0), "{}", rotated.stderr);
        }
        daemon.commit(&numbered(batches, 30));
        let stopped = daemon.stop().exited_cleanly();
        assert_eq!(names_in(&stopped.setup.path("out")).len(), 7, "{mode}");
        check(&stopped.setup.path("out"), batches + 1, 30);
        check_once(&stopped.setup.path("out"), batches + 1, 30);
        assert!(serde_json::from_str::<Value>(stopped.log.lines().next().unwrap()).is_ok());
    }
}
