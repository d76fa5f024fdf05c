//! Rotation by the daemon itself, and its manners towards those who rotate its files for it.

use std::{fs, path::Path};

use rustix::process::Signal;

use crate::support::{Daemon, Http, Setup, Upload, names_in, numbered, wait_until};

const FOLDER: &str = "out";
const FILE: &str = "out/http_requests.ndjson";

fn setup(keys: &str) -> Setup {
    let keys = format!("path = \"out/{{dataset}}.ndjson\"\n{keys}");
    Setup::new().table("sink.archive.file", &keys)
}

/// All that stands in the folder: what was rotated, in the order of the names, then the live files.
fn all(folder: &Path) -> Vec<u8> {
    let mut names = names_in(folder);
    names.sort_by_key(|name| name.ends_with(".ndjson"));
    names.iter().flat_map(|name| fs::read(folder.join(name)).unwrap()).collect()
}

/// Whether there is a live file that nothing was written to yet.
fn is_empty(file: &Path) -> bool {
    file.metadata().is_ok_and(|file| file.len() == 0)
}

fn wait_delivered(daemon: &Daemon, records: u64) {
    let series = r#"logpushd_sink_delivered_records_total{sink="archive"}"#;
    daemon.wait_count(series, |delivered| delivered >= records);
}

#[test]
fn files_end_by_size_and_a_quiet_one_by_age() {
    let daemon = setup(r#"rotate = { max_bytes = "8KiB", max_age = "2s" }"#).start();
    let mut sent = daemon.commit_numbered(0..12, 40);
    wait_delivered(&daemon, 480);
    let folder = daemon.path(FOLDER);
    let file = daemon.path(FILE);
    // The last one ends though nothing more comes.
    wait_until("an empty live file", || is_empty(&file));
    assert!(names_in(&folder).len() >= 4, "{:?}", names_in(&folder));
    assert_eq!(all(&folder), sent);
    let records = numbered(12, 3);
    daemon.commit(&records);
    sent.extend(records);
    wait_delivered(&daemon, 483);
    let stopped = daemon.stop().in_order();
    assert_eq!(all(&folder), sent);
    assert!(!stopped.log.contains("another process"), "{}", stopped.log);
}

#[test]
fn a_new_file_that_cannot_be_made_is_logged_counted_and_made_later() {
    let daemon = setup(r#"rotate = { max_age = "2s" }"#).start();
    let mut sent = numbered(0, 10);
    daemon.commit(&sent);
    wait_delivered(&daemon, 10);
    daemon.setup().faults(&format!("fail ENOSPC open {FILE}\n"));
    daemon.wait_log("a file was rotated and has no new one: the next record makes it");
    let failures = r#"logpushd_sink_rotation_failures_total{sink="archive"}"#;
    assert_eq!(daemon.count(failures), 1);
    let folder = daemon.path(FOLDER);
    assert_eq!((names_in(&folder).len(), daemon.path(FILE).exists()), (1, false));
    daemon.setup().faults("");
    let records = numbered(1, 10);
    daemon.commit(&records);
    sent.extend(records);
    wait_delivered(&daemon, 20);
    daemon.wait_log("files can be rotated again");
    assert_eq!(all(&folder), sent);
    assert_eq!(daemon.count(failures), 1);
}

/// The files that the process has open in the folder, as the kernel names them.
fn open_files(daemon: &Daemon, part: &str) -> Vec<String> {
    let folder = fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap();
    let links = folder.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    let names = links.map(|link| link.to_string_lossy().into_owned());
    names.filter(|name| name.contains(part)).collect()
}

#[test]
fn sighup_lets_go_of_a_file_that_somebody_removed() {
    let daemon = setup("").start();
    daemon.commit(&numbered(0, 10));
    wait_delivered(&daemon, 10);
    assert_eq!(open_files(&daemon, FILE).len(), 1);
    // Nothing comes for it: without a signal it would take up room for another minute.
    fs::remove_file(daemon.path(FILE)).unwrap();
    daemon.signal(Signal::HUP);
    wait_until("a file that is closed", || open_files(&daemon, FILE).is_empty());
    daemon.wait_log("reloaded");
    let records = numbered(1, 10);
    daemon.commit(&records);
    daemon.wait_file(FILE, &records);
    // A configuration that cannot be taken over does not keep it from that.
    daemon.setup().write("logpushd.toml", "broken");
    fs::rename(daemon.path(FILE), daemon.path("out/old")).unwrap();
    assert_eq!(open_files(&daemon, "out/old").len(), 1);
    daemon.signal(Signal::HUP);
    wait_until("a file that is closed", || open_files(&daemon, "out/old").is_empty());
    daemon.stop().in_order();
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
    let stopped = setup.start().stop().in_order();
    for ago in [0, 1] {
        let date = day(i64::try_from(ago).unwrap()).strftime("%F").to_string();
        let text = stopped.file(&format!("out/dns_logs-{date}.ndjson"));
        assert_eq!(String::from_utf8(text).unwrap(), want[ago]);
    }
}

#[test]
fn what_was_rotated_is_compressed_and_goes_when_it_is_too_much() {
    for (compress, end) in [("gzip", ".gz"), ("zstd", ".zst")] {
        let rotate = "rotate = { max_bytes = \"2KiB\" }\nretain = { files = 3 }";
        let daemon =
            setup(&format!("{rotate}\ncompress = \"{compress}\"\ncompress_after = \"0s\""));
        let daemon = daemon.start();
        fs::create_dir_all(daemon.path(FOLDER)).unwrap();
        daemon.setup().write("out/http_requests.ndjson.20200101T000000Z", "theirs\n");
        for batch in 0..9 {
            daemon.commit(&numbered(batch, 40));
            wait_delivered(&daemon, 40 * (batch + 1));
        }
        let folder = daemon.path(FOLDER);
        let packed = || names_in(&folder).into_iter().filter(|name| name.ends_with(end)).count();
        wait_until("three that are packed", || packed() == 3 && names_in(&folder).len() == 5);
        let theirs = folder.join("http_requests.ndjson.20200101T000000Z");
        assert_eq!(fs::read(theirs).unwrap(), b"theirs\n");
        daemon.stop().in_order();
    }
}

/// Rotates once, and is killed on the way.
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
            // A start rotates what is large enough.
            let setup = daemon.stop().in_order().setup;
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
            let stopped = daemon.stop().in_order();
            let folder = stopped.setup.path(FOLDER);
            assert_eq!(all(&folder), sent, "{point}");
            assert!(!names_in(&folder).iter().any(|name| is_empty(&folder.join(name))), "{point}");
            assert!(!stopped.log.contains("another process"), "{}", stopped.log);
        }
    }
}

#[test]
fn a_rotated_file_stays_plain_for_compress_after() {
    let keys = |after| {
        let rotate = "rotate = { max_bytes = \"2KiB\" }\ncompress = \"gzip\"\n";
        format!("path = \"out/{{dataset}}.ndjson\"\n{rotate}{after}")
    };
    let mut setup = Setup::new().table("sink.archive.file", &keys(""));
    let daemon = setup.start();
    let sent = daemon.commit_numbered(0..3, 60);
    wait_delivered(&daemon, 180);
    let stopped = daemon.stop().in_order();
    setup = stopped.setup;
    let folder = setup.path(FOLDER);
    assert_eq!(all(&folder), sent, "{:?}", names_in(&folder));
    setup = setup
        .without("sink.archive.file")
        .table("sink.archive.file", &keys("compress_after = \"0s\""));
    let daemon = setup.start();
    let is_packed = |name: &String| name.ends_with(".ndjson") || name.contains(".gz");
    wait_until("all that was rotated to be compressed", || {
        let names = names_in(&folder);
        names.len() == 4 && names.iter().all(is_packed)
    });
    daemon.stop().in_order();
}
