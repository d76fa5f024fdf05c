//! `logpushd push`, to a real daemon and to servers that reject uploads.

mod csv;
mod refused;

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use crate::support::{
    Daemon, Exit, Finished, SECRET, Setup, finish, free_port, gzip, logpushd, numbered, wait_for,
};

/// `logpushd push` to the daemon's dataset `http_requests`.
fn push(daemon: &Daemon, words: &[&str]) -> Command {
    let url = format!("https://{}/logpush/http_requests", daemon.address);
    daemon.setup().write("headers", format!("X-Logpush-Secret: {SECRET}\n"));
    let mut command = logpushd();
    command.args(["push", &url]).arg("--ca").arg(daemon.path("fullchain.pem"));
    command.arg("--header").arg(format!("@{}", daemon.path("headers").display())).args(words);
    command.current_dir(daemon.setup().directory());
    command
}

/// A running command; it does not outlive its test.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        Self(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// Waits for its end, and returns its exit code and output.
    #[track_caller]
    fn end(mut self) -> (Option<i32>, String) {
        let status = wait_for("the end of a push", || self.0.try_wait().unwrap());
        let mut text = String::new();
        self.0.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        self.0.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        (status.code(), text)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[track_caller]
fn ok(finished: &Finished, says: &[&str]) {
    assert_eq!(finished.exit, Exit::Code(0), "{}{}", finished.stdout, finished.stderr);
    assert_eq!(finished.stderr, "", "no progress bar without a terminal");
    for part in says {
        assert!(finished.stdout.contains(part), "{part:?} not in {}", finished.stdout);
    }
}

#[track_caller]
fn fails(finished: &Finished, code: i32, says: &[&str]) {
    assert_eq!(finished.exit, Exit::Code(code), "{finished:?}");
    let text = [finished.stdout.as_str(), &finished.stderr].concat();
    for part in says {
        assert!(text.contains(part), "{part:?} not in {text}");
    }
    assert!(!text.contains(SECRET), "{text}");
}

/// A server that records the uploads.
fn deduplicating() -> Setup {
    Setup::new().table("spool", r#"dir = "spool""#)
}

/// Files of records in a directory, and all records in the order of the files' paths.
fn directory(setup: &Setup) -> Vec<u8> {
    fs::create_dir_all(setup.path("logs/b/c")).unwrap();
    let parts: Vec<_> = (0..5).map(|number| numbered(number, 700)).collect();
    setup.write("logs/a.ndjson", &parts[0]);
    // Two members; the first ends in the middle of a record.
    let (start, rest) = parts[1].split_at(1000);
    setup.write("logs/b/1.log.gz", [gzip(start), gzip(rest)].concat());
    // Blank lines, and no newline at the end.
    let text = String::from_utf8(parts[2].clone()).unwrap();
    setup.write("logs/b/2", text.replace('\n', "\n\n").trim_end());
    setup.write("logs/b/c/empty", "");
    setup.write("logs/b/c/x.gz", gzip(&parts[3]));
    setup.write("logs/z", &parts[4]);
    setup.write("logs/.hidden", "not to be sent");
    parts.concat()
}

#[test]
fn files_are_delivered_once_and_in_order() {
    let daemon = deduplicating().start();
    let records = directory(daemon.setup());
    let words = ["logs", "--max-records", "300"];
    let first = finish(&mut push(&daemon, &words));
    ok(&first, &["6 files, 3500 records, ", " in 15 batches ("]);
    daemon.wait_file("out/http_requests.ndjson", &records);
    // Pushing the same files again sends the same batches.
    ok(&finish(&mut push(&daemon, &words)), &["15 batches: accepted before, not delivered again"]);
    let dry = finish(&mut push(&daemon, &["logs", "--max-bytes", "20kB", "--gzip=0", "--dry-run"]));
    ok(
        &dry,
        &[
            "/logpush/http_requests with content-type, user-agent, x-logpush-secret",
            "logs/b/1.log.gz: 700 records in ",
            "logs/b/c/empty: 0 records in 0 batches",
        ],
    );
    assert_eq!(daemon.count(r#"logpushd_batches_total{endpoint="main",outcome="committed"}"#), 15);

    let stopped = daemon.stop().exited_cleanly();
    assert_eq!(stopped.file("out/http_requests.ndjson"), records);
}

#[test]
fn a_file_keeps_its_order_among_other_files() {
    let daemon = Setup::new().start();
    let mut names = Vec::new();
    for number in 1..=8 {
        daemon.setup().write(&format!("{number}.gz"), gzip(&numbered(number, 1000)));
        names.push(format!("{number}.gz"));
    }
    let mut words: Vec<_> = names.iter().map(String::as_str).collect();
    words.extend(["--parallel", "4", "--max-bytes", "30kB"]);
    ok(&finish(&mut push(&daemon, &words)), &["8 files, 8000 records, "]);
    let stopped = daemon.stop().exited_cleanly();
    let out = String::from_utf8(stopped.file("out/http_requests.ndjson")).unwrap();
    for number in 1..=8 {
        let mark = format!("{{\"batch\":{number},");
        let lines: String =
            out.split_inclusive('\n').filter(|line| line.starts_with(&mark)).collect();
        assert!(lines.as_bytes() == numbered(number, 1000), "of file {number}");
    }
    assert_eq!(out.lines().count(), 8000);
}

#[test]
fn a_daemon_killed_during_a_push_gets_the_rest_after_its_restart() {
    // A port that the system assigns to no other process: the daemon returns to it.
    let port = free_port();
    let address = format!("address = \"127.0.0.1:{port}\"");
    let daemon = deduplicating().table("server", &address).start();
    let records = numbered(7, 5000);
    daemon.setup().write("records", &records);
    daemon.setup().faults("kill after rename /batches/ 3\n");
    let running = Running::start(&mut push(&daemon, &["records", "--max-records", "500"]));
    let stopped = daemon.end().killed().without_faults();
    // It returns after one more failed attempt: else the first attempt might already reach it.
    let door = TcpListener::bind(("127.0.0.1", port)).unwrap();
    door.set_nonblocking(true).unwrap();
    wait_for("another attempt", || door.accept().ok());
    drop(door);
    let daemon = stopped.start();
    let (code, text) = running.end();
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("1 file, 5000 records, ") && text.contains(" retr"), "{text}");
    // The third batch was committed, but its answer was lost.
    assert!(text.contains("1 batch: accepted before, not delivered again"), "{text}");
    let stopped = daemon.stop().exited_cleanly();
    assert_eq!(stopped.file("out/http_requests.ndjson"), records);
}

#[test]
fn a_disk_that_is_full_for_a_while_only_delays_the_push() {
    let daemon = deduplicating().start();
    let records = numbered(3, 1000);
    daemon.setup().write("records", &records);
    daemon.setup().faults("fail ENOSPC open /batches\n");
    let running = Running::start(&mut push(&daemon, &["records", "--max-records", "100"]));
    daemon.wait_count(r#"logpushd_refused_total{reason="unavailable"}"#, |count| count > 0);
    daemon.setup().faults("");
    let (code, text) = running.end();
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("1000 records") && text.contains(" retr"), "{text}");
    daemon.wait_file("out/http_requests.ndjson", &records);
    daemon.stop().exited_cleanly();
}

#[test]
fn records_over_the_limit_are_sent_and_reported() {
    let daemon = deduplicating().table("limits", "max_record_bytes = \"1KiB\"").start();
    let long = format!("{{\"long\":\"{}\"}}\n", "x".repeat(300_000));
    daemon.setup().write("records", ["{\"a\":1}\n", &long, "nonsense\n{\"a\":2}"].concat());
    let finished = finish(&mut push(&daemon, &["records", "--max-bytes", "1kB"]));
    // Longer than the limit of a batch, so it is a batch by itself.
    fails(
        &finished,
        65,
        &[
            "everything was sent, but the server quarantined 2 records",
            "4 records",
            "in 3 batches",
            "2 records quarantined by the server",
            "1 batch: quarantined as a whole",
        ],
    );
    daemon.wait_file("out/http_requests.ndjson", b"{\"a\":1}\n{\"a\":2}\n");
    daemon.stop().exited_cleanly();
}

#[test]
fn a_file_can_be_sent_unchanged() {
    let daemon = Setup::new()
        .table(
            "endpoint.rows",
            "path = \"/rows/{dataset}\"\nformat = \"csv\"\nheader = true\nsecret_file = \"secrets.txt\"",
        )
        .start();
    daemon.setup().write("1.csv", "a,b\n1,\"x\ny\"\n2,\"z\"\n");
    daemon.setup().write("2.csv.gz", gzip(b"b,a\n\"w\",3\n"));
    let url = format!("https://{}/rows/dns_logs?header_X-Logpush-Secret={SECRET}", daemon.address);
    let mut command = logpushd();
    command.args(["push", &url, "1.csv", "2.csv.gz", "--whole", "--ca", "fullchain.pem"]);
    ok(&finish(command.current_dir(daemon.setup().directory())), &["2 files, 2 batches ("]);
    let want = b"{\"a\":1,\"b\":\"x\\ny\"}\n{\"a\":2,\"b\":\"z\"}\n{\"b\":\"w\",\"a\":3}\n";
    daemon.wait_file("out/dns_logs.ndjson", want);

    // An array as well, which cannot be split.
    daemon.setup().write("array", "[{\"a\":1},\n{\"a\":2}]");
    let cut = finish(&mut push(&daemon, &["array"]));
    fails(&cut, 74, &["array: 0 records accepted, then: a JSON array", "--whole"]);
    ok(&finish(&mut push(&daemon, &["array", "--whole"])), &["1 file, 1 batch ("]);
    daemon.wait_file("out/http_requests.ndjson", b"{\"a\":1}\n{\"a\":2}\n");
    daemon.stop().exited_cleanly();
}

#[test]
fn standard_input_is_read_to_its_end() {
    let daemon = Setup::new().start();
    let records = numbered(1, 3000);
    let mut command = push(&daemon, &["-", "--max-bytes", "20kB"]);
    let mut running = Running::start(command.stdin(Stdio::piped()));
    let mut pipe = running.0.stdin.take().unwrap();
    let (first, rest) = records.split_at(100_000);
    pipe.write_all(first).unwrap();
    // Sent before the pipe is closed.
    daemon.wait_count(r#"logpushd_batches_total{endpoint="main",outcome="committed"}"#, |n| n > 0);
    pipe.write_all(rest).unwrap();
    drop(pipe);
    let (code, text) = running.end();
    assert_eq!(code, Some(0), "{text}");
    daemon.wait_file("out/http_requests.ndjson", &records);
    daemon.stop().exited_cleanly();
}

#[test]
fn gzip_files_are_read_and_other_compressions_are_rejected() {
    let daemon = deduplicating().start();
    let (one, two) = (numbered(1, 2000), numbered(2, 10));
    let zstd = |plain: &[u8]| zstd::encode_all(plain, 3).unwrap();
    let skipped = b"\x50\x2a\x4d\x18\x05\0\0\0notes";
    daemon.setup().write("a.zst", [&skipped[..], &zstd(&one[..999]), &zstd(&one[999..])].concat());
    daemon.setup().write("b.ndjson.zst", zstd(&two));
    let sent = finish(&mut push(&daemon, &["a.zst", "b.ndjson.zst", "--max-records", "700"]));
    ok(&sent, &["2 files, 2010 records, ", " in 4 batches ("]);
    let records = [one, two].concat();
    daemon.wait_file("out/http_requests.ndjson", &records);

    daemon.setup().write("c.xz", b"\xfd7zXZ\0\0\x04");
    let mut tar = vec![0; 1024];
    tar[..5].copy_from_slice(b"x.log");
    tar[257..262].copy_from_slice(b"ustar");
    daemon.setup().write("d.tar.gz", gzip(&tar));
    daemon.setup().write("e.zst", &zstd(&records)[..200]);
    daemon.setup().write("f", "{\"a\":1}\n");
    let refused = finish(&mut push(&daemon, &["c.xz", "d.tar.gz", "e.zst", "f"]));
    fails(
        &refused,
        74,
        &[
            "c.xz: 0 records accepted, then: xz is not supported",
            "xzcat FILE | logpushd push URL -",
            "d.tar.gz: 0 records accepted, then: a tar archive is not supported",
            "e.zst: 0 records accepted, then: the zstd data is truncated",
            "1 file, 1 record, ",
            "3 of 4 files not sent",
        ],
    );
    daemon.wait_file("out/http_requests.ndjson", &[&records[..], b"{\"a\":1}\n"].concat());
    let bad = r#"logpushd_batches_total{endpoint="main",outcome="quarantined"}"#;
    assert_eq!(daemon.count(bad), 0);
    daemon.stop().exited_cleanly();
}

#[test]
fn the_destination_and_headers_may_come_from_files_and_standard_input() {
    let daemon = deduplicating().start();
    let url = format!("https://{}/logpush/http_requests", daemon.address);
    let (setup, header) = (daemon.setup(), format!("X-Logpush-Secret: {SECRET}"));
    setup.write("url", format!("{url}\n"));
    setup.write("whole-url", format!("{url}?header_X-Logpush-Secret={SECRET}\n"));
    setup.write("headers", format!("{header}\n\n"));
    setup.write("records", "{\"a\":1}\n");
    for (words, input) in [
        (&["@whole-url", "records"][..], ""),
        (&["@url", "records", "--header", &header], ""),
        (&["@url", "records", "--header", "@headers"], ""),
        (&["@url", "records", "--header-file", "headers"], ""),
        (&["@url", "records", "--header", "-"], &header),
        (&["-", "records", "--header", "@headers"], &url),
    ] {
        let mut command = logpushd();
        command.arg("push").args(words).args(["--ca", "fullchain.pem", "--json"]);
        command.current_dir(setup.directory()).stdin(Stdio::piped());
        let mut running = Running::start(&mut command);
        running.0.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let (code, text) = running.end();
        assert_eq!(code, Some(0), "{words:?}: {text}");
        let summary: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(summary["sent"]["records"], 1, "{summary:#}");
    }
    let twice = ["push", "-", "-", "--ca", "fullchain.pem"];
    let twice = finish(logpushd().args(twice).current_dir(setup.directory()));
    fails(&twice, 64, &["can be read only once"]);
    daemon.stop().exited_cleanly();
}

#[test]
fn the_json_summary_is_one_object() {
    let daemon = deduplicating().start();
    daemon.setup().write("good", "{\"a\":1}\nnonsense\n");
    daemon.setup().write("bad", "BZh91AY&SY");
    let sent = finish(&mut push(&daemon, &["good", "bad", "--json"]));
    assert_eq!(sent.exit, Exit::Code(74), "{sent:?}");
    let summary: Value = serde_json::from_str(&sent.stdout).unwrap();
    assert_eq!(summary["sent"]["records"], 2, "{summary:#}");
    assert_eq!(summary["quarantined"], 1, "{summary:#}");
    assert_eq!(summary["not_sent"][0]["path"], "bad", "{summary:#}");
    let dry = finish(&mut push(&daemon, &["good", "--json", "--dry-run"]));
    let summary: Value = serde_json::from_str(&dry.stdout).unwrap();
    assert_eq!((&summary["dry_run"], &summary["sent"]["batches"]), (&true.into(), &1.into()));
    let repeated = finish(&mut push(&daemon, &["good", "--json"]));
    assert_eq!(repeated.exit, Exit::Code(65), "{repeated:?}");
    let summary: Value = serde_json::from_str(&repeated.stdout).unwrap();
    assert_eq!(summary["answers"]["duplicate"], 1, "{summary:#}");
    daemon.stop().exited_cleanly();
}
