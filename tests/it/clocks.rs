//! A wall clock that steps while the daemon runs, by libfaketime: the monotonic clock stays as it
//! is, and so do the file times of the kernel.

use std::{fs, path::PathBuf};

use rustix::process::Signal;

use crate::support::{
    Daemon, Http, Setup, Upload, names_in, numbered, require, wait_for, wait_until,
};

/// 365 days, in seconds.
const YEAR: i64 = 365 * 24 * 3600;
const STEPPED: &str = "clock stepped by more than a day; not removing files by age for an hour";

/// A daemon whose wall clock a test sets; `None` without libfaketime.
fn with_clock(setup: Setup) -> Option<Setup> {
    if !require::has(&[&require::LIBFAKETIME]) {
        return None;
    }
    let library = require::file_in(require::FAKETIME_DIRECTORIES, "libfaketimeMT.so.1");
    let mut setup = setup;
    let path = setup.path("clock");
    let text = |path: PathBuf| path.into_os_string().into_string().unwrap();
    setup.service.env = vec![
        ("LD_PRELOAD", text(library.unwrap())),
        ("FAKETIME_TIMESTAMP_FILE", text(path)),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("NO_FAKE_STAT", "1".to_owned()),
    ];
    set(&setup, 0);
    Some(setup)
}

/// Sets the offset of the wall clock in seconds.
fn set(setup: &Setup, seconds: i64) {
    setup.write("clock.new", format!("{seconds:+}"));
    fs::rename(setup.path("clock.new"), setup.path("clock")).unwrap();
}

fn send(daemon: &Daemon, records: &[u8]) -> String {
    daemon.send(Http::Two, Upload::of(records)).ok().0
}

/// Makes the daemon clean up the quarantine.
fn clean_up(daemon: &Daemon) {
    let before = daemon.logged("reloaded").len();
    daemon.signal(Signal::HUP);
    wait_until("a reload", || daemon.logged("reloaded").len() > before);
}

#[test]
fn duplicates_are_recognized_whatever_the_clock_does() {
    let setup = Setup::new().table("spool", "dir = \"spool\"\ndedup_window = \"1h\"");
    let Some(setup) = with_clock(setup) else { return };
    let daemon = setup.start();
    let [a, b, c] = [0, 1, 2].map(|number| numbered(number, 10));
    assert_eq!(send(&daemon, &a), "committed");
    set(daemon.setup(), YEAR);
    assert_eq!(send(&daemon, &b), "committed");
    set(daemon.setup(), 0);
    assert_eq!([&a, &b].map(|batch| send(&daemon, batch)), ["duplicate", "duplicate"]);
    set(daemon.setup(), -YEAR);
    assert_eq!(send(&daemon, &c), "committed");
    set(daemon.setup(), 0);
    assert_eq!([&a, &b, &c].map(|batch| send(&daemon, batch)), ["duplicate"; 3]);
    daemon.stop().exited_cleanly();
}

#[test]
fn a_file_started_in_the_future_is_rotated_by_its_age() {
    let setup = Setup::new().table(
        "sink.archive.file",
        "path = \"out/{dataset}.ndjson\"\nrotate = { max_age = \"2s\" }",
    );
    let Some(setup) = with_clock(setup) else { return };
    let daemon = setup.start();
    set(daemon.setup(), YEAR);
    let records = numbered(0, 10);
    daemon.commit(&records);
    daemon.wait_file("out/http_requests.ndjson", &records);
    set(daemon.setup(), 0);
    wait_until("a file that has ended", || names_in(&daemon.path("out")).len() > 1);
    daemon.stop().exited_cleanly();
}

#[test]
fn timestamps_of_metrics_in_the_future_are_corrected() {
    let Some(setup) = with_clock(Setup::new()) else { return };
    let daemon = setup.start();
    set(daemon.setup(), YEAR);
    daemon.commit(&numbered(0, 10));
    let last = || daemon.metric("logpushd_last_batch_timestamp_seconds{dataset=\"http_requests\"}");
    let now = || f64::from(i32::try_from(jiff::Timestamp::now().as_second()).unwrap());
    assert!(last() > now() + 1e6, "libfaketime does nothing");
    set(daemon.setup(), 0);
    assert!(last() < now() + 10.0, "{}", last());
    daemon.stop().exited_cleanly();
}

#[test]
fn a_clock_step_removes_nothing_from_the_quarantine() {
    let setup = Setup::new().table("quarantine", "dir = \"quarantine\"\nmax_age = \"2d\"");
    let Some(setup) = with_clock(setup) else { return };
    let daemon = setup.start();
    let bodies = daemon.path("quarantine/bodies");
    send(&daemon, b"\x1f\x8bno gzip");
    wait_until("a quarantined body", || names_in(&bodies).len() == 1);
    for (steps, offset) in [YEAR, 0, -YEAR, 0, YEAR].into_iter().enumerate() {
        set(daemon.setup(), offset);
        clean_up(&daemon);
        daemon.wait_logs(STEPPED, steps + 1);
    }
    assert_eq!(names_in(&bodies).len(), 1);
    assert!(daemon.logged("quarantine file removed").is_empty());
    daemon.stop().exited_cleanly();
}

#[test]
fn a_boot_in_1970_loses_nothing() {
    let setup = Setup::new()
        .table("quarantine", "dir = \"quarantine\"\nmax_age = \"2d\"")
        .table("spool", "dir = \"spool\"\ndedup_window = \"1h\"");
    let Some(setup) = with_clock(setup) else { return };
    let stopped = setup.start().stop().exited_cleanly();
    let boot = 1000 - jiff::Timestamp::now().as_second();
    set(&stopped.setup, boot);
    let daemon = stopped.start();
    let bodies = daemon.path("quarantine/bodies");
    let [a, b] = [0, 1].map(|number| numbered(number, 10));
    send(&daemon, b"\x1f\x8bno gzip");
    assert_eq!(send(&daemon, &a), "committed");
    let times = wait_for("the log", || daemon.log().last().cloned());
    assert!(times["timestamp"].as_str().unwrap().starts_with("1970"), "{times}");
    // NTP.
    set(daemon.setup(), 0);
    assert_eq!([&a, &b].map(|batch| send(&daemon, batch)), ["duplicate", "committed"]);
    clean_up(&daemon);
    daemon.wait_log(STEPPED);
    clean_up(&daemon);
    daemon.wait_file("out/http_requests.ndjson", &[a, b].concat());
    let daemon = daemon.stop().exited_cleanly().start();
    assert_eq!(names_in(&bodies).len(), 1);
    assert!(daemon.logged("quarantine file removed").is_empty());
    daemon.stop().exited_cleanly();
}

#[test]
fn the_newest_files_are_retained_whatever_their_dates() {
    let setup = Setup::new().table(
        "sink.archive.file",
        "path = \"out/%Y-%m-%dT%H.ndjson\"\nretain = { files = 2, age = \"2d\" }",
    );
    let Some(setup) = with_clock(setup) else { return };
    let daemon = setup.start();
    let out = daemon.path("out");
    let mut started = Vec::new();
    // Always half past an hour, so that no hour ends during the test.
    let half_past = 1800 - jiff::Timestamp::now().as_second() % 3600;
    // Three hours a year ahead, three after the correction, and one more a year back.
    let hours = [0, 1, 2].map(|hour| half_past + hour * 3600);
    let offsets = hours.map(|offset| YEAR + offset).into_iter().chain(hours);
    for (number, offset) in (0..).zip(offsets.chain([half_past - YEAR])) {
        set(daemon.setup(), offset);
        let before = names_in(&out);
        daemon.commit(&numbered(number, 10));
        let new = || names_in(&out).into_iter().find(|name| !before.contains(name));
        started.push(wait_for("a new file", new));
    }
    // Each start removes what exceeds the limit. By dates, all files would be too old here.
    set(daemon.setup(), half_past + YEAR);
    let daemon = daemon.stop().exited_cleanly().start();
    daemon.wait_logs("removed an old file", 3);
    set(daemon.setup(), half_past);
    let daemon = daemon.stop().exited_cleanly().start();
    // The first one was of the current hour. The newest is not counted.
    let mut want = started.split_off(started.len() - 3);
    want.sort();
    wait_until("the last three files", || names_in(&out) == want);
    daemon.stop().exited_cleanly();
}
