//! Quarantined records are replayed once after a repair.

mod choice;
mod killed;
mod one_sink;

use std::{fs, process::Command};

use crate::support::{
    Daemon, Exit, Finished, Http, Setup, Upload, finish, gzip, logpushd, names_in, numbered,
    wait_for,
};

const LIMIT: &str = r#"max_record_bytes = "1KiB""#;

/// A daemon that rejects records longer than [`LIMIT`], and deduplicates.
fn setup() -> Setup {
    Setup::new().table("limits", LIMIT).table("spool", r#"dir = "spool""#)
}

/// A configuration with the daemon's actual port.
fn write_config(daemon: &Daemon) {
    let text = fs::read_to_string(daemon.setup().config()).unwrap();
    let (any, real) = ("[server]\naddress = \"127.0.0.1:0\"", daemon.address);
    assert!(text.contains(any), "{text}");
    daemon
        .setup()
        .write("replay.toml", text.replace(any, &format!("[server]\naddress = \"{real}\"")));
}

fn command(setup: &Setup) -> Command {
    let mut command = logpushd();
    command.args(["quarantine", "replay", "-c"]).arg(setup.path("replay.toml"));
    command.env("LOGPUSHD_FAULTS", setup.path("faults-of-replay"));
    command
}

fn replay(daemon: &Daemon) -> Finished {
    replay_with(daemon, &[])
}

fn replay_with(daemon: &Daemon, words: &[&str]) -> Finished {
    write_config(daemon);
    finish(command(daemon.setup()).args(words))
}

fn list(setup: &Setup) -> String {
    let finished = finish(logpushd().args(["quarantine", "list", "-c"]).arg(setup.config()));
    assert_eq!(finished.exit, Exit::Code(0), "{}", finished.stderr);
    finished.stdout
}

/// Waits until quarantine has that many records.
#[track_caller]
fn wait_listed(setup: &Setup, records: usize) -> String {
    let total = format!("\n{records} record{}, ", if records == 1 { "" } else { "s" });
    wait_for(&format!("{records} records in quarantine"), || {
        Some(list(setup)).filter(|list| list.contains(&total))
    })
}

fn long(number: u64) -> String {
    format!("{{\"long\":{number},\"pad\":\"{}\"}}\n", "x".repeat(1500))
}

/// The lines of a file of the sink, sorted.
fn lines(daemon: &Daemon, dataset: &str) -> Vec<String> {
    let text = fs::read_to_string(daemon.path(&format!("out/{dataset}.ndjson"))).unwrap();
    assert!(text.ends_with('\n'));
    let mut lines: Vec<_> = text.lines().map(|line| format!("{line}\n")).collect();
    lines.sort_unstable();
    lines
}

#[test]
fn records_over_a_limit_are_replayed_once_after_raising_it() {
    let daemon = setup().start();
    let body = ["{\"good\":1}\n", &long(1), "nonsense\n", "{\"good\":2}\n", &long(2)].concat();
    let upload = Upload::of(&body).to("/logpush/dns_logs").gzipped();
    assert_eq!(daemon.send(Http::Two, upload).ok(), ("committed".to_owned(), 2, 3));
    let listed = wait_listed(daemon.setup(), 3);
    for part in [
        "  main/dns_logs: 1 not_json\n",
        "  main/dns_logs: 2 too_long\n",
        "batch 1 of main/dns_logs, with records that were too long\n",
        "3 records, 2 files: ",
    ] {
        assert!(listed.contains(part), "{part:?} is not in\n{listed}");
    }
    // Before the repair all of it returns to quarantine.
    let first = replay(&daemon);
    assert_eq!(first.exit, Exit::Code(65), "{}", first.stderr);
    assert!(first.stderr.contains("3 records still invalid"), "{}", first.stderr);
    assert!(
        first.stdout.contains(
            "3 sent to main/dns_logs: 0 accepted, 3 still invalid and back in quarantine"
        ),
        "{}",
        first.stdout
    );
    wait_listed(daemon.setup(), 3);

    let daemon = daemon.stop().exited_cleanly().setup.table("limits", "").start();
    let mended = replay(&daemon);
    assert_eq!(mended.exit, Exit::Code(65), "{}", mended.stderr);
    assert!(
        mended.stdout.contains(
            "3 sent to main/dns_logs: 2 accepted, 1 still invalid and back in quarantine"
        ),
        "{}",
        mended.stdout
    );
    assert!(wait_listed(daemon.setup(), 1).contains(": replayed\n"));
    // Only records that are still invalid return.
    let repeated = replay(&daemon);
    assert_eq!(repeated.exit, Exit::Code(65), "{}", repeated.stderr);
    assert!(
        repeated.stdout.contains("1 sent to main/dns_logs: 0 accepted, 1 still"),
        "{}",
        repeated.stdout
    );
    wait_listed(daemon.setup(), 1);
    let want = ["{\"good\":1}\n".to_owned(), "{\"good\":2}\n".to_owned(), long(1), long(2)];
    let daemon = daemon.stop().exited_cleanly().start();
    assert_eq!(lines(&daemon, "dns_logs"), want);
    daemon.stop().exited_cleanly();
}

#[test]
fn records_stay_in_quarantine_if_no_daemon_accepts_them() {
    let daemon = setup().start();
    daemon.send(Http::Two, Upload::of(long(1))).ok();
    wait_listed(daemon.setup(), 1);
    write_config(&daemon);
    let stopped = daemon.stop().exited_cleanly();
    let names = names_in(&stopped.setup.path("quarantine"));
    let alone = finish(&mut command(&stopped.setup));
    assert_eq!(alone.exit, Exit::Code(69), "{}", alone.stdout);
    assert!(alone.stderr.contains("the daemon of this configuration must run there"));
    assert_eq!(names_in(&stopped.setup.path("quarantine")), names, "nothing is renamed");

    // A repair that the daemon has not loaded, then one that it has, but its disk is full.
    let daemon = stopped.setup.table("limits", "").start();
    daemon.setup().write("secrets.txt", "another secret of the tests");
    let refused = replay(&daemon);
    assert_eq!(refused.exit, Exit::Code(69), "{}", refused.stdout);
    assert!(refused.stderr.contains("SIGHUP"), "{}", refused.stderr);
    daemon.setup().write("secrets.txt", crate::support::SECRET);
    daemon.setup().faults("fail ENOSPC open /batches\n");
    let refused = replay(&daemon);
    assert_eq!(refused.exit, Exit::Code(69), "{}", refused.stdout);
    assert!(refused.stderr.contains("No space left on device"), "{}", refused.stderr);
    assert!(list(daemon.setup()).contains("renamed by a replay that did not succeed"));

    daemon.setup().faults("");
    let taken = replay(&daemon);
    assert_eq!(taken.exit, Exit::Code(0), "{}", taken.stderr);
    daemon.wait_file("out/http_requests.ndjson", long(1).as_bytes());
    let nothing = replay(&daemon);
    assert_eq!(nothing.exit, Exit::Code(0), "{}", nothing.stderr);
    assert!(nothing.stdout.starts_with("nothing to replay in "), "{}", nothing.stdout);
    let stopped = daemon.stop().exited_cleanly();
    assert_eq!(stopped.file("out/http_requests.ndjson"), long(1).as_bytes());
}

#[test]
fn an_undecodable_body_is_replayed_once_after_its_repair() {
    let daemon = setup().start();
    let records = numbered(3, 200);
    let whole = gzip(&records);
    let cut = Upload::of(&whole[..whole.len() - 20]).header("content-encoding", "gzip");
    assert_eq!(daemon.send(Http::One, cut).ok(), ("quarantined".to_owned(), 0, 1));
    let listed = list(daemon.setup());
    assert!(listed.contains("unreadable body for main/http_requests"), "{listed}");

    let still_bad = replay(&daemon);
    assert_eq!(still_bad.exit, Exit::Code(65), "{}", still_bad.stdout);
    assert!(still_bad.stdout.contains("fix the file"), "{}", still_bad.stdout);
    let bodies = names_in(&daemon.path("quarantine/bodies"));
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    let body = daemon.path("quarantine/bodies").join(&bodies[0]);
    // Written to another file and renamed, since the file may share its inode with the spool's
    // file.
    daemon.setup().write("repaired", &whole);
    fs::rename(daemon.path("repaired"), &body).unwrap();
    // The first time the answer is lost.
    daemon.setup().write("faults-of-replay", "kill before rename /bodies/ 1\n");
    assert_eq!(replay(&daemon).exit, Exit::Killed);
    assert!(body.exists());
    daemon.setup().write("faults-of-replay", "");
    let taken = replay(&daemon);
    assert_eq!(taken.exit, Exit::Code(0), "{}", taken.stderr);
    assert!(taken.stdout.contains("200 sent to main/http_requests: 200 accepted, 0 still invalid"));
    assert!(replay(&daemon).stdout.starts_with("nothing to replay in "));
    let stopped = daemon.stop().exited_cleanly();
    assert_eq!(stopped.file("out/http_requests.ndjson"), records);
}
