//! Which records of a quarantine are replayed, left, printed and deleted.

use std::fs;

use serde_json::Value;

use super::{command, long, replay, replay_with, setup, wait_listed, write_config};
use crate::support::{
    Daemon, Exit, Finished, Http, SECRET, Setup, Upload, finish, gzip, logpushd, names_in, numbered,
};

/// A daemon with an endpoint that accepts CSV, and with records of both formats in quarantine.
fn with_quarantine() -> Daemon {
    let rows = "path = \"/rows/{dataset}\"\nformat = \"csv\"\ncolumns = [\"a\", \"b\"]\nsecret_file = \"secrets.txt\"";
    let daemon = setup().table("endpoint.rows", rows).start();
    for (path, body) in [
        ("/logpush/dns_logs", [long(1).as_str(), "nonsense\n", "{\"good\":0}\n"].concat()),
        ("/rows/dns_logs", "1,2\n1,2,3\n".to_owned()),
        ("/logpush/dns_logs", long(2)),
    ] {
        daemon.send(Http::Two, Upload::of(body).to(path).gzipped()).ok();
    }
    wait_listed(daemon.setup(), 4);
    // From now on long records are valid.
    let text = fs::read_to_string(daemon.setup().config()).unwrap();
    let daemon = daemon.stop().exited_cleanly().setup.table("limits", "").start();
    assert!(text.contains("max_record_bytes"));
    daemon
}

fn quarantine(daemon: &Daemon, command: &str, words: &[&str]) -> Finished {
    write_config(daemon);
    let config = daemon.path("replay.toml");
    let mut call = logpushd();
    finish(call.args(["quarantine", command, "-c"]).arg(config).args(words))
}

#[track_caller]
fn json(finished: &Finished) -> Value {
    serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:?}"))
}

#[test]
fn a_line_that_cannot_be_replayed_stays_and_blocks_no_other() {
    let daemon = with_quarantine();
    let first = replay(&daemon);
    assert_eq!(first.exit, Exit::Code(65), "{}{}", first.stdout, first.stderr);
    for part in [
        "3 sent to main/dns_logs: 2 accepted, 1 still invalid and back in quarantine",
        "1 line skipped: endpoint rows does not take JSON",
        "the other lines are in ",
    ] {
        assert!(first.stdout.contains(part), "{part:?} not in {}", first.stdout);
    }
    assert!(first.stderr.contains("1 record still invalid and in quarantine, 1 line skipped"));
    // The row, and the record that is still invalid.
    let listed = wait_listed(daemon.setup(), 2);
    for part in ["  rows/dns_logs: 1 not_csv\n", "  main/dns_logs: 1 not_json\n", ": replayed\n"] {
        assert!(listed.contains(part), "{part:?} not in {listed}");
    }
    // A second replay sends none of it again.
    let repeated = replay_with(&daemon, &["--json"]);
    assert_eq!(repeated.exit, Exit::Code(65), "{}", repeated.stderr);
    let report = json(&repeated);
    assert_eq!(
        (&report["taken"], &report["still_bad"], &report["skipped"]),
        (&0.into(), &1.into(), &1.into()),
        "{report:#}"
    );
    wait_listed(daemon.setup(), 2);
    let daemon = daemon.stop().exited_cleanly().start();
    let mut want = vec!["{\"a\":1,\"b\":2}\n".to_owned(), "{\"good\":0}\n".to_owned()];
    want.extend([long(1), long(2)]);
    assert_eq!(super::lines(&daemon, "dns_logs"), want);
    daemon.stop().exited_cleanly();
}

#[test]
fn a_replay_sends_the_selected_records_and_leaves_the_rest() {
    let daemon = with_quarantine();
    let dry = replay_with(&daemon, &["--reason", "too_long", "--dry-run", "--json"]);
    assert_eq!(dry.exit, Exit::Code(0), "{}", dry.stderr);
    assert_eq!(json(&dry)["files"][0]["would_send"], 2, "{}", dry.stdout);
    let words = ["--reason", "too_long", "--endpoint", "main"];
    let taken = replay_with(&daemon, &words);
    assert_eq!(taken.exit, Exit::Code(0), "{}{}", taken.stdout, taken.stderr);
    assert!(taken.stdout.contains("2 sent to main/dns_logs: 2 accepted, 0 still invalid"));
    let listed = wait_listed(daemon.setup(), 2);
    assert!(listed.contains("rows/dns_logs: 1 not_csv") && listed.contains("1 not_json"));
    let nothing = replay_with(&daemon, &words);
    assert_eq!(nothing.exit, Exit::Code(0), "{}", nothing.stderr);
    assert!(nothing.stdout.starts_with("nothing to replay in "), "{}", nothing.stdout);
    let unknown = replay_with(&daemon, &["--reason", "ugly"]);
    assert_eq!(unknown.exit, Exit::Code(64), "{}", unknown.stdout);
    assert!(unknown.stderr.contains("not_json, not_object"), "{}", unknown.stderr);
    // A file with only unusable lines is not renamed.
    let before = names_in(&daemon.path("quarantine"));
    let rows = replay_with(&daemon, &["--endpoint", "rows"]);
    assert_eq!(rows.exit, Exit::Code(65), "{}", rows.stdout);
    assert_eq!(names_in(&daemon.path("quarantine")), before);
    daemon.stop().exited_cleanly();
}

#[test]
fn an_edited_copy_stays_and_its_originals_leave_the_quarantine() {
    let daemon = with_quarantine();
    let names = names_in(&daemon.path("quarantine"));
    let name = names.iter().find(|name| name.starts_with("records-")).unwrap();
    let original = fs::read_to_string(daemon.path("quarantine").join(name)).unwrap();
    // The record that is not JSON is repaired; the others are not part of the copy.
    let line = original.lines().find(|line| line.contains("nonsense")).unwrap();
    let copy = line.replace("\"nonsense\"", "\"{\\\"repaired\\\":1}\"") + "\n";
    daemon.setup().write("copy.ndjson", &copy);
    let path = daemon.path("copy.ndjson").display().to_string();
    for _ in 0..2 {
        let taken = replay_with(&daemon, &[&path]);
        assert_eq!(taken.exit, Exit::Code(0), "{}{}", taken.stdout, taken.stderr);
        assert!(taken.stdout.contains("1 sent to main/dns_logs: 1 accepted"), "{}", taken.stdout);
        assert_eq!(fs::read_to_string(&path).unwrap(), copy, "the copy is only read");
        let listed = wait_listed(daemon.setup(), 3);
        assert!(!listed.contains("not_json"), "{listed}");
    }
    let rest = replay_with(&daemon, &["--endpoint", "main"]);
    assert_eq!(rest.exit, Exit::Code(0), "{}", rest.stderr);
    let daemon = daemon.stop().exited_cleanly().start();
    let repaired = "{\"repaired\":1}\n";
    let lines = super::lines(&daemon, "dns_logs");
    assert_eq!(lines.iter().filter(|line| *line == repaired).count(), 1, "{lines:?}");
    assert_eq!(lines.len(), 5, "{lines:?}");

    // A body as well.
    let records = numbered(3, 20);
    let whole = gzip(&records);
    let cut = Upload::of(&whole[..whole.len() - 20]).header("content-encoding", "gzip");
    assert_eq!(daemon.send(Http::One, cut).ok(), ("quarantined".to_owned(), 0, 1));
    let bodies = names_in(&daemon.path("quarantine/bodies"));
    let body = bodies.iter().find(|name| name.starts_with("main.http_requests.")).unwrap();
    daemon.setup().write(body, &whole);
    let path = daemon.path(body).display().to_string();
    let taken = replay_with(&daemon, &[&path]);
    assert_eq!(taken.exit, Exit::Code(0), "{}{}", taken.stdout, taken.stderr);
    daemon.wait_file("out/http_requests.ndjson", &records);
    assert!(daemon.path(body).exists() && !daemon.path("quarantine/bodies").join(body).exists());
    daemon.stop().exited_cleanly();
}

#[test]
fn a_replay_killed_while_it_splits_files_is_repeated_without_loss_or_duplicates() {
    let daemon = with_quarantine();
    write_config(&daemon);
    for moment in ["before", "after"] {
        for (step, part) in [("sync", ".gone~"), ("rename", ".replayed-"), ("sync", ".rest~")] {
            daemon.setup().write("faults-of-replay", format!("kill {moment} {step} {part} 1\n"));
            let killed = finish(&mut command(daemon.setup()));
            assert_eq!(killed.exit, Exit::Killed, "{step} {part} {}", killed.stdout);
        }
    }
    daemon.setup().write("faults-of-replay", "");
    let last = replay(&daemon);
    assert_eq!(last.exit, Exit::Code(65), "{}", last.stderr);
    wait_listed(daemon.setup(), 2);
    let daemon = daemon.stop().exited_cleanly().start();
    assert_eq!(super::lines(&daemon, "dns_logs").len(), 4);
    daemon.stop().exited_cleanly();
}

#[test]
fn records_are_printed_within_limits_and_without_control_characters() {
    let setup = Setup::new();
    let daemon = setup.start();
    let body = ["\u{1b}[2J\u{202e}nonsense\n", &"x".repeat(5000), "\n\"text\"\n"].concat();
    daemon.send(Http::Two, Upload::of([body.as_bytes(), b"{\"\xff\"\n"].concat())).ok();
    // The file of records is the older one.
    wait_listed(daemon.setup(), 4);
    daemon.send(Http::Two, Upload::of(&gzip(b"{}\n")[..20])).ok();
    let shown = quarantine(&daemon, "show", &[]);
    assert_eq!(shown.exit, Exit::Code(0), "{}", shown.stderr);
    for part in [
        ":1: not_json, main/http_requests, received 20",
        ", record 1 of batch 1, 15 bytes\n  \\u{1b}[2J\\u{202e}nonsense\n",
        &format!("\n  {}...\n", "x".repeat(500)),
        ": not_object, main/http_requests, ",
        "\n  not UTF-8, in hexadecimal: 7b22ff22\n",
        ": undecodable_body, main/http_requests, received 20",
    ] {
        assert!(shown.stdout.contains(part), "{part:?} not in {}", shown.stdout);
    }
    let full = quarantine(&daemon, "show", &["--full", "--limit", "3"]);
    assert!(full.stdout.contains(&"x".repeat(5000)), "{}", full.stdout);
    assert!(
        full.stdout.ends_with(
            "and 2 records more: raise --limit, or select records with --endpoint or --reason\n"
        ),
        "{}",
        full.stdout
    );
    let one = quarantine(&daemon, "show", &["--json", "--limit", "1"]);
    assert!(!one.stdout.contains('\u{202e}') && !one.stdout.contains('\u{1b}'), "{}", one.stdout);
    let one = json(&one);
    assert_eq!(one["records"][0]["record"], "\u{1b}[2J\u{202e}nonsense", "{one:#}");
    assert_eq!((&one["records"][0]["line"], &one["more"]), (&1.into(), &4.into()), "{one:#}");
    let none = quarantine(&daemon, "show", &["--endpoint", "gone"]);
    assert!(none.stdout.starts_with("no matching records in "), "{}", none.stdout);
    let listed = json(&quarantine(&daemon, "list", &["--json"]));
    assert_eq!(listed["records"], 4, "{listed:#}");
    assert_eq!(listed["files"][0]["kind"], "records", "{listed:#}");
    daemon.stop().exited_cleanly();
}

#[test]
fn selected_records_are_deleted_after_confirmation_while_the_daemon_runs() {
    let daemon = with_quarantine();
    let refused = quarantine(&daemon, "delete", &["--all"]);
    assert_eq!(refused.exit, Exit::Code(64), "{}", refused.stdout);
    assert!(refused.stderr.contains("4 records and 0 bodies"), "{}", refused.stderr);
    let nothing_printed = quarantine(&daemon, "delete", &["--yes"]);
    assert_eq!(nothing_printed.exit, Exit::Code(64), "{}", nothing_printed.stdout);
    let old = quarantine(&daemon, "delete", &["--before", "2020-01-01", "--yes", "--json"]);
    assert_eq!((old.exit, &json(&old)["records"]), (Exit::Code(0), &0.into()));
    wait_listed(daemon.setup(), 4);
    let words = ["--endpoint", "rows", "--reason", "not_csv"];
    let dry = quarantine(&daemon, "delete", &[&words[..], &["--dry-run"]].concat());
    assert!(dry.stdout.contains("1 record and 0 bodies"), "{}", dry.stdout);
    wait_listed(daemon.setup(), 4);
    let deleted = quarantine(&daemon, "delete", &[&words[..], &["--yes"]].concat());
    assert_eq!(deleted.exit, Exit::Code(0), "{}", deleted.stderr);
    let listed = wait_listed(daemon.setup(), 3);
    assert!(!listed.contains("rows/"), "{listed}");
    // A new record goes to a file of today, which is not lost with the others.
    daemon.send(Http::Two, Upload::of("nonsense\n").to("/logpush/dns_logs")).ok();
    wait_listed(daemon.setup(), 4);
    // A whole batch is removed with the last line that needs it.
    assert_eq!(names_in(&daemon.path("quarantine/bodies")).len(), 2);
    let long = quarantine(&daemon, "delete", &["--reason", "too_long", "--yes"]);
    assert_eq!(long.exit, Exit::Code(0), "{}", long.stderr);
    assert_eq!(names_in(&daemon.path("quarantine/bodies")), [""; 0]);
    wait_listed(daemon.setup(), 2);
    let elsewhere = quarantine(&daemon, "delete", &["secrets.txt", "--yes"]);
    assert_eq!(elsewhere.exit, Exit::Code(64), "{}", elsewhere.stdout);
    assert!(!elsewhere.stderr.contains(SECRET));
    let all = quarantine(&daemon, "delete", &["--all", "--yes"]);
    assert_eq!(all.exit, Exit::Code(0), "{}", all.stderr);
    // The daemon continues in a new file, also after a restart.
    let daemon = daemon.stop().exited_cleanly().start();
    daemon.send(Http::Two, Upload::of("other nonsense\n").to("/logpush/dns_logs")).ok();
    wait_listed(daemon.setup(), 1);
    daemon.stop().exited_cleanly();
}
