//! A replay to a single sink.

use std::fs;

use rustix::process::Signal;

use super::{command, long, replay_with, setup, wait_listed, write_config};
use crate::support::{Daemon, Exit, Http, Upload, finish, gzip, names_in, numbered};

/// The number of records, the same for both sinks.
fn path_of(sink: &str) -> String {
    format!("{sink}.ndjson")
}

/// A daemon with the sinks `a`, `b` and `some`, and with two quarantined records that are valid by
/// now. The endpoint does not have the sink `other`.
fn with_quarantine() -> Daemon {
    let file = |sink: &str, more: &str| format!("path = \"one/{}\"\n{more}", path_of(sink));
    let main = "path = \"/logpush/{dataset}\"\nsecret_file = \"secrets.txt\"\n\
                sinks = [\"archive\", \"a\", \"b\", \"some\"]";
    let setup = setup()
        .table("endpoint.main", main)
        .table("sink.a.file", &file("a", ""))
        .table("sink.b.file", &file("b", ""))
        .table("sink.some.file", &file("some", "datasets = [\"http_requests\"]"))
        .table("sink.other.file", &file("other", ""));
    let daemon = setup.start();
    let body = [long(1), "{\"good\":0}\n".to_owned(), long(2)].concat();
    let upload = Upload::of(&body).to("/logpush/dns_logs").gzipped();
    assert_eq!(daemon.send(Http::Two, upload).ok(), ("committed".to_owned(), 1, 2));
    wait_listed(daemon.setup(), 2);
    daemon.stop().exited_cleanly().setup.table("limits", "").start()
}

fn lines(daemon: &Daemon, sink: &str) -> Vec<String> {
    let text = fs::read_to_string(daemon.path(&format!("one/{}", path_of(sink)))).unwrap();
    text.lines().map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_single_sink_gets_the_records_even_if_the_daemon_is_killed_before_delivery() {
    let daemon = with_quarantine();
    daemon.setup().faults("fail EIO write /one/\n");
    let dry = replay_with(&daemon, &["--sink", "a", "--dry-run"]);
    assert!(dry.stdout.contains("2 records would go to main/dns_logs, only for sink a"), "{dry:?}");
    let taken = replay_with(&daemon, &["--sink", "a"]);
    assert_eq!(taken.exit, Exit::Code(0), "{}{}", taken.stdout, taken.stderr);
    daemon.wait_log("the sink failed");
    let waiting = names_in(&daemon.path("spool/batches"));
    assert!(waiting.iter().any(|name| name.ends_with("@a")), "{waiting:?}");
    daemon.signal(Signal::KILL);
    let daemon = daemon.end().killed().without_faults().start();
    // Later batches go to all sinks.
    daemon.send(Http::Two, Upload::of("{\"good\":3}\n").to("/logpush/dns_logs")).ok();
    let daemon = daemon.stop().exited_cleanly().start();
    let (first, last) = ("{\"good\":0}\n".to_owned(), "{\"good\":3}\n".to_owned());
    assert_eq!(lines(&daemon, "a"), [first.clone(), long(1), long(2), last.clone()]);
    assert_eq!(lines(&daemon, "b"), [first, last]);
    daemon.stop().exited_cleanly();
}

#[test]
fn records_replayed_to_one_sink_can_be_replayed_to_another() {
    let daemon = with_quarantine();
    let names = names_in(&daemon.path("quarantine"));
    let name = names.iter().find(|name| name.starts_with("records-")).unwrap();
    fs::copy(daemon.path("quarantine").join(name), daemon.path("copy.ndjson")).unwrap();
    let copy = daemon.path("copy.ndjson").display().to_string();
    // A body has no line that changes its content.
    let records = numbered(3, 20);
    daemon.setup().write(&format!("main.dns_logs.{:032x}", 7), gzip(&records));
    let body = daemon.path(&format!("main.dns_logs.{:032x}", 7)).display().to_string();
    for sink in ["a", "b", "b"] {
        let taken = replay_with(&daemon, &["--sink", sink, &copy, &body]);
        assert_eq!(taken.exit, Exit::Code(0), "{}{}", taken.stdout, taken.stderr);
    }
    let daemon = daemon.stop().exited_cleanly().start();
    let records = String::from_utf8(records).unwrap();
    let mut want = vec!["{\"good\":0}\n".to_owned(), long(1), long(2)];
    want.extend(records.lines().map(|line| format!("{line}\n")));
    for sink in ["a", "b"] {
        assert_eq!(lines(&daemon, sink), want, "{sink}");
    }
    let archive = fs::read_to_string(daemon.path("out/dns_logs.ndjson")).unwrap();
    assert_eq!(archive, "{\"good\":0}\n");
    daemon.stop().exited_cleanly();
}

#[test]
fn a_sink_that_does_not_receive_the_records_is_rejected() {
    let daemon = with_quarantine();
    let before = names_in(&daemon.path("quarantine"));
    let unknown = replay_with(&daemon, &["--sink", "c"]);
    assert_eq!(unknown.exit, Exit::Code(64), "{}", unknown.stderr);
    assert!(unknown.stderr.contains("the configuration has no sink `c`; it has "), "{unknown:?}");
    for sink in ["some", "other"] {
        let left_out = replay_with(&daemon, &["--sink", sink]);
        assert_eq!(left_out.exit, Exit::Code(65), "{}", left_out.stderr);
        let why =
            format!("2 lines skipped: sink {sink} does not take dataset dns_logs of endpoint main");
        assert!(left_out.stdout.contains(&why), "{left_out:?}");
    }
    assert_eq!(names_in(&daemon.path("quarantine")), before, "nothing is renamed");

    // The file has a sink that the daemon has not loaded.
    write_config(&daemon);
    let text = fs::read_to_string(daemon.path("replay.toml")).unwrap();
    let text = text.replace("\"archive\",", "\"archive\", \"new\",");
    daemon.setup().write("replay.toml", text + "\n[sink.new.file]\npath = \"one/new\"\n");
    let refused = finish(command(daemon.setup()).args(["--sink", "new"]));
    assert_eq!(refused.exit, Exit::Code(69), "{refused:?}");
    for part in ["400 Bad Request", "X-Logpushd-Sink names no sink", "reload it"] {
        assert!(refused.stderr.contains(part), "{part:?} not in {}", refused.stderr);
    }
    daemon.stop().exited_cleanly();
}

#[test]
fn an_unauthenticated_client_that_names_a_sink_gets_the_usual_answer() {
    let daemon = with_quarantine();
    for http in Http::BOTH {
        let connection = daemon.connect(http);
        for sink in ["a", "gone"] {
            let upload = || {
                let upload = Upload::of("{}\n").to("/logpush/dns_logs");
                upload.header("x-logpushd-sink", sink)
            };
            assert_eq!(connection.send(upload().without_secret()).status, 401, "{sink}");
            let status = connection.send(upload()).status;
            assert_eq!(status, if sink == "a" { 200 } else { 400 }, "{sink}");
        }
    }
    daemon.stop().exited_cleanly();
}
