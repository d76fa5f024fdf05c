//! Rotation by the daemon itself, and its manners towards those who rotate its files for it.

use std::{fs, path::Path};

use rustix::process::Signal;

use crate::support::{Daemon, Setup, names_in, numbered, wait_until};

const FOLDER: &str = "out";
const FILE: &str = "out/http_requests.ndjson";

fn setup(keys: &str) -> Setup {
    let keys = format!("path = \"out/{{dataset}}.ndjson\"\n{keys}");
    Setup::new().table("sink.archive.file", &keys)
}

/// All that stands in the folder, in the order of the names.
fn all(folder: &Path) -> Vec<u8> {
    names_in(folder).iter().flat_map(|name| fs::read(folder.join(name)).unwrap()).collect()
}

fn wait_delivered(daemon: &Daemon, records: u64) {
    let series = r#"logpushd_sink_delivered_records_total{sink="archive"}"#;
    daemon.wait_count(series, |delivered| delivered >= records);
}

#[test]
fn files_end_by_size_and_a_quiet_one_by_age() {
    let daemon = setup(r#"rotate = { max_bytes = "8KiB", max_age = "2s" }"#).start();
    let mut sent = Vec::new();
    for batch in 0..12 {
        let records = numbered(batch, 40);
        daemon.commit(&records);
        sent.extend(records);
    }
    wait_delivered(&daemon, 480);
    let folder = daemon.path(FOLDER);
    let file = daemon.path(FILE);
    // The last one ends though nothing more comes.
    wait_until("no file that is written to", || !file.exists());
    assert!(names_in(&folder).len() >= 4, "{:?}", names_in(&folder));
    assert_eq!(all(&folder), sent);
    let records = numbered(12, 3);
    daemon.commit(&records);
    sent.extend(records);
    wait_delivered(&daemon, 483);
    let stopped = daemon.stop().in_order();
    assert_eq!(all(&folder), sent);
    assert!(!stopped.log.contains("somebody"), "{}", stopped.log);
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
