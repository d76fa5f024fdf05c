//! Rotation by the daemon itself, and its cooperation with programs that rotate its files.

use std::{fs, path::Path};

use rustix::process::Signal;

use crate::support::{Daemon, Http, Setup, Upload, names_in, numbered, wait_until};

const DIRECTORY: &str = "out";
const FILE: &str = "out/http_requests.ndjson";

fn setup(keys: &str) -> Setup {
    let keys = format!("path = \"out/{{dataset}}.ndjson\"\n{keys}");
    Setup::new().table("sink.archive.file", &keys)
}

/// The whole content of the directory: the rotated files, in the order of their names, then the
/// live files.
fn all(directory: &Path) -> Vec<u8> {
    let mut names = names_in(directory);
    names.sort_by_key(|name| name.ends_with(".ndjson"));
    names.iter().flat_map(|name| fs::read(directory.join(name)).unwrap()).collect()
}

/// Whether there is an empty live file.
fn is_empty(file: &Path) -> bool {
    file.metadata().is_ok_and(|file| file.len() == 0)
}

fn wait_delivered(daemon: &Daemon, records: u64) {
    let series = r#"logpushd_sink_delivered_records_total{sink="archive"}"#;
    daemon.wait_count(series, |delivered| delivered >= records);
}

#[test]
fn files_are_rotated_by_size_and_idle_files_by_age() {
    let daemon = setup(r#"rotate = { max_bytes = "8KiB", max_age = "2s" }"#).start();
    let mut sent = daemon.commit_numbered(0..12, 40);
    wait_delivered(&daemon, 480);
    let directory = daemon.path(DIRECTORY);
    let file = daemon.path(FILE);
    // The last file is rotated although no record follows.
    wait_until("an empty live file", || is_empty(&file));
    assert!(names_in(&directory).len() >= 4, "{:?}", names_in(&directory));
    assert_eq!(all(&directory), sent);
    let records = numbered(12, 3);
    daemon.commit(&records);
    sent.extend(records);
    wait_delivered(&daemon, 483);
    let stopped = daemon.stop().exited_cleanly();
    assert_eq!(all(&directory), sent);
    assert!(!stopped.log.contains("another process"), "{}", stopped.log);
}

#[test]
fn a_file_that_cannot_be_created_is_logged_counted_and_created_later() {
    let daemon = setup(r#"rotate = { max_age = "2s" }"#).start();
    let mut sent = numbered(0, 10);
    daemon.commit(&sent);
    wait_delivered(&daemon, 10);
    daemon.setup().faults(&format!("fail ENOSPC open {FILE}\n"));
    daemon.wait_log("cannot create a new file after a rotation: the next record creates it");
    let failures = r#"logpushd_sink_rotation_failures_total{sink="archive"}"#;
    assert_eq!(daemon.count(failures), 1);
    let directory = daemon.path(DIRECTORY);
    assert_eq!((names_in(&directory).len(), daemon.path(FILE).exists()), (1, false));
    daemon.setup().faults("");
    let records = numbered(1, 10);
    daemon.commit(&records);
    sent.extend(records);
    wait_delivered(&daemon, 20);
    daemon.wait_log("files can be rotated again");
    assert_eq!(all(&directory), sent);
    assert_eq!(daemon.count(failures), 1);
}

/// The files that the process has open in the directory, as the kernel names them.
fn open_files(daemon: &Daemon, part: &str) -> Vec<String> {
    let directory = fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap();
    let links = directory.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    let names = links.map(|link| link.to_string_lossy().into_owned());
    names.filter(|name| name.contains(part)).collect()
}

#[test]
fn sighup_closes_a_file_that_another_process_removed() {
    let daemon = setup("").start();
    daemon.commit(&numbered(0, 10));
    wait_delivered(&daemon, 10);
    assert_eq!(open_files(&daemon, FILE).len(), 1);
    // No record follows: without a signal the file would use space for another minute.
    fs::remove_file(daemon.path(FILE)).unwrap();
    daemon.signal(Signal::HUP);
    wait_until("a file that is closed", || open_files(&daemon, FILE).is_empty());
    daemon.wait_log("reloaded");
    let records = numbered(1, 10);
    daemon.commit(&records);
    daemon.wait_file(FILE, &records);
    // An invalid configuration does not prevent that.
    daemon.setup().write("logpushd.toml", "broken");
    fs::rename(daemon.path(FILE), daemon.path("out/old")).unwrap();
    assert_eq!(open_files(&daemon, "out/old").len(), 1);
    daemon.signal(Signal::HUP);
    wait_until("a file that is closed", || open_files(&daemon, "out/old").is_empty());
    daemon.stop().exited_cleanly();
}

/// A record of `dns_logs` with this time.
fn dns(time: &str, number: usize) -> String {
    format!("{{\"Timestamp\":\"{time}\",\"n\":{number}}}\n")
}

#[test]
fn records_go_to_the_day_of_their_event_across_kills() {
    let keys = "path = \"out/{dataset}-%F.ndjson\"\ntime = \"event\"\nfsync = \"batch\"";
    let mut setup = Setup::new().table("sink.archive.file", keys);
    let now = jiff::Timestamp::now();
    let day = |ago: i64| now - jiff::SignedDuration::from_hours(24 * ago);
    let mut want = [String::new(), String::new()];
    for batch in 0..4 {
        let daemon = setup.start();
        let mut body = String::new();
        for number in 0..2000 {
            let ago = number % 2;
            let line = dns(&day(i64::try_from(ago).unwrap()).to_string(), batch * 2000 + number);
            want[ago].push_str(&line);
            body.push_str(&line);
        }
        let upload = Upload::of(body.into_bytes()).to("/logpush/dns_logs").gzipped();
        daemon.send(Http::Two, upload).committed();
        setup = daemon.kill().setup;
    }
    let stopped = setup.start().stop().exited_cleanly();
    for ago in [0, 1] {
        let date = day(i64::try_from(ago).unwrap()).strftime("%F").to_string();
        let text = stopped.file(&format!("out/dns_logs-{date}.ndjson"));
        assert_eq!(String::from_utf8(text).unwrap(), want[ago]);
    }
}

#[test]
fn rotated_files_are_compressed_and_the_oldest_are_deleted() {
    for (compress, end) in [("gzip", ".gz"), ("zstd", ".zst")] {
        let rotate = "rotate = { max_bytes = \"2KiB\" }\nretain = { files = 3 }";
        let daemon =
            setup(&format!("{rotate}\ncompress = \"{compress}\"\ncompress_after = \"0s\""));
        let daemon = daemon.start();
        fs::create_dir_all(daemon.path(DIRECTORY)).unwrap();
        daemon.setup().write("out/http_requests.ndjson.20200101T000000Z", "theirs\n");
        for batch in 0..9 {
            daemon.commit(&numbered(batch, 40));
            wait_delivered(&daemon, 40 * (batch + 1));
        }
        let directory = daemon.path(DIRECTORY);
        let packed = || names_in(&directory).into_iter().filter(|name| name.ends_with(end)).count();
        wait_until("three that are packed", || packed() == 3 && names_in(&directory).len() == 5);
        let theirs = directory.join("http_requests.ndjson.20200101T000000Z");
        assert_eq!(fs::read(theirs).unwrap(), b"theirs\n");
        daemon.stop().exited_cleanly();
    }
}

/// Rotates once, and is killed meanwhile.
#[test]
fn a_kill_at_any_step_of_a_rotation_leaves_each_record_once_and_no_empty_file() {
    let points = [
        "kill before rename /out/ 1",
        "kill after rename /out/ 1",
        "kill before open /out/http_requests.ndjson 1",
        "kill after open /out/http_requests.ndjson 1",
        "kill before write archive.files 1",
        "kill after write archive.files 1",
        "kill before write archive.files 2",
        "kill after write archive.files 2",
        "kill before syncdir /out 1",
        "kill after syncdir /out 1",
        "kill before rename archive.json 1",
        "kill after rename archive.json 1",
    ];
    for keys in ["retain = { files = 100 }", ""] {
        for point in points.iter().filter(|point| !keys.is_empty() || !point.contains("files")) {
            let setup = setup(&format!("rotate = {{ max_bytes = \"2KiB\" }}\n{keys}"));
            let daemon = setup.start();
            let mut sent = numbered(0, 60);
            daemon.commit(&sent);
            wait_delivered(&daemon, 60);
            // A start rotates files that are large enough.
            let setup = daemon.stop().exited_cleanly().setup;
            setup.faults(&format!("{point}\n"));
            let stopped = match setup.try_start() {
                Ok(mut daemon) => {
                    wait_until(point, || daemon.has_ended());
                    daemon.end()
                }
                Err(stopped) => stopped,
            };
            let setup = stopped.killed().without_faults().setup;
            let daemon = setup.start();
            let records = numbered(1, 60);
            daemon.commit(&records);
            sent.extend(&records);
            wait_delivered(&daemon, 60);
            daemon.wait_file(FILE, &records);
            let stopped = daemon.stop().exited_cleanly();
            let directory = stopped.setup.path(DIRECTORY);
            assert_eq!(all(&directory), sent, "{point}");
            assert!(
                !names_in(&directory).iter().any(|name| is_empty(&directory.join(name))),
                "{point}"
            );
            assert!(!stopped.log.contains("another process"), "{}", stopped.log);
        }
    }
}

#[test]
fn a_rotated_file_stays_uncompressed_for_compress_after() {
    let keys = |after| {
        let rotate = "rotate = { max_bytes = \"2KiB\" }\ncompress = \"gzip\"\n";
        format!("path = \"out/{{dataset}}.ndjson\"\n{rotate}{after}")
    };
    let mut setup = Setup::new().table("sink.archive.file", &keys(""));
    let daemon = setup.start();
    let sent = daemon.commit_numbered(0..3, 60);
    wait_delivered(&daemon, 180);
    let stopped = daemon.stop().exited_cleanly();
    setup = stopped.setup;
    let directory = setup.path(DIRECTORY);
    assert_eq!(all(&directory), sent, "{:?}", names_in(&directory));
    setup = setup
        .without("sink.archive.file")
        .table("sink.archive.file", &keys("compress_after = \"0s\""));
    let daemon = setup.start();
    let is_packed = |name: &String| name.ends_with(".ndjson") || name.contains(".gz");
    wait_until("all that was rotated to be compressed", || {
        let names = names_in(&directory);
        names.len() == 4 && names.iter().all(is_packed)
    });
    daemon.stop().exited_cleanly();
}
