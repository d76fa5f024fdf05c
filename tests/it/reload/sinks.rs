//! Sinks that are added, changed and removed while other sinks continue.

use std::{collections::BTreeMap, fs, thread, time::Duration};

use rustix::process::Signal;

use super::{MAIN, lines, reload};
use crate::support::{Http, Random, Setup, Upload, names_in, numbered, same_bytes, wait_until};

#[test]
fn a_failed_sink_delivers_its_backlog_with_new_settings() {
    let setup = Setup::new();
    setup.write("out", "in the way");
    let daemon = setup.start();
    let mut all = daemon.commit_numbered(0..5, 50);
    daemon.wait_count(r#"logpushd_sink_errors_total{sink="archive"}"#, |errors| errors > 0);
    reload(&daemon, &[("sink.archive.file", Some("path = \"repaired/all\""))]);
    daemon.wait_file("repaired/all", &all);
    daemon.commit(&numbered(5, 50));
    all.extend(numbered(5, 50));
    daemon.wait_file("repaired/all", &all);
    // It is in the file before it is counted.
    let delivered = r#"logpushd_sink_delivered_records_total{sink="archive"}"#;
    daemon.wait_count(delivered, |delivered| delivered >= 300);
    assert_eq!(daemon.count(delivered), 300);
    let stopped = daemon.stop().exited_cleanly();
    assert!(!stopped.log.contains("sinks did not stop in time"), "{}", stopped.log);
    let daemon = stopped.setup.start_as_written();
    daemon.wait_file("repaired/all", &all);
    daemon.stop().exited_cleanly();
}

#[test]
fn another_sink_may_take_over_files_after_a_restart() {
    let (all, elsewhere) = ("path = \"out/all\"", "path = \"out/elsewhere\"");
    let daemon = Setup::new().table("sink.archive.file", all).start();
    let (first, second) = (numbered(1, 20), numbered(3, 20));
    daemon.commit(&first);
    reload(&daemon, &[("sink.archive.file", Some(elsewhere))]);
    daemon.commit(&numbered(2, 20));
    let setup = daemon.stop().exited_cleanly().setup.table("sink.archive.file", elsewhere);

    let daemon = setup.table("sink.other.file", all).start();
    daemon.commit(&second);
    let setup = daemon.stop().exited_cleanly().setup.without("sink.other.file");
    assert_eq!(fs::read(setup.path("out/all")).unwrap(), [&first[..], &second].concat());

    // A reload adds it again, and it continues with the file as it is.
    let daemon = setup.start();
    reload(&daemon, &[("sink.archive.file", Some(all))]);
    daemon.commit(&second);
    let stopped = daemon.stop().exited_cleanly();
    same_bytes("twice", &stopped.file("out/all"), &[first, second.repeat(2)].concat());
}

#[test]
fn another_sink_cannot_take_over_files_on_reload() {
    let all = Some("path = \"out/all\"");
    let setup = Setup::new().table("sink.archive.file", "path = \"out/all\"");
    let daemon = setup.table("sink.other.file", "path = \"out/other\"").start();
    let records = numbered(1, 20);
    daemon.commit(&records);
    let refused = |tables: &[(&str, Option<&str>)], times| {
        daemon.setup().write_config_with(tables);
        daemon.signal(Signal::HUP);
        let logged = daemon.wait_logs("reload: the configuration stays as it was", times);
        let logged = logged.last().unwrap()["message"].as_str().unwrap().to_owned();
        let want = " has written to these files since the start: use another path, or restart";
        assert!(logged.contains(want), "{logged}");
    };
    // Renamed, swapped, and taken over long after the first one was removed.
    refused(&[("sink.archive.file", None), ("sink.by.file", all)], 1);
    refused(&[("sink.archive.file", Some("path = \"out/other\"")), ("sink.other.file", all)], 2);
    reload(&daemon, &[("sink.archive.file", None)]);
    refused(&[("sink.archive.file", None), ("sink.other.file", all)], 3);
    // It may have its own files again.
    reload(&daemon, &[("sink.archive.file", all)]);
    let more = numbered(2, 20);
    daemon.commit(&more);
    daemon.wait_file("out/all", &[records, more].concat());
    daemon.stop().exited_cleanly();
}

#[test]
fn a_hung_sink_can_be_removed_and_its_batches_are_released() {
    let setup = Setup::new().table("sink.stalled.file", "path = \"hangs/{dataset}\"");
    setup.faults("hang write hangs/");
    let daemon = setup.start();
    let mut all = daemon.commit_numbered(0..20, 200);
    daemon.wait_file("out/http_requests.ndjson", &all);
    reload(&daemon, &[("sink.stalled.file", None)]);
    daemon.wait_log("reload: removed sink is still busy with a batch");
    wait_until("an empty spool", || names_in(&daemon.path("spool/batches")).is_empty());

    // Its name is in use until it ends; everything else continues.
    daemon.setup().write_config_with(&[("sink.stalled.file", Some("path = \"out/stalled\""))]);
    daemon.signal(Signal::HUP);
    let logged = daemon.wait_log("reload: the configuration stays as it was");
    assert!(logged["message"].as_str().unwrap().contains("sink.stalled: "), "{logged}");
    daemon.commit(b"{\"a\":1}\n");
    all.extend(b"{\"a\":1}\n");
    daemon.wait_file("out/http_requests.ndjson", &all);
    daemon.kill();
}

#[test]
fn routes_can_change_between_two_batches() {
    let main = |sinks: &str| format!("{MAIN}\nsinks = [{sinks}]");
    let daemon = Setup::new()
        .table("sink.archive.file", "path = \"out/archive\"")
        .table("sink.second.file", "path = \"out/second\"")
        .table("endpoint.main", &main("\"archive\""))
        .table(
            "endpoint.slow",
            "path = \"/slow\"\ndataset = \"d\"\nauth = \"none\"\nsinks = [\"second\"]",
        )
        .start();
    let connection = daemon.connect(Http::One);
    let (upload, feed) = Upload::fed(None);
    let (mut archive, mut second) = (Vec::new(), Vec::new());
    thread::scope(|scope| {
        let slow = scope.spawn(|| connection.send(upload.to("/slow")));
        assert!(feed.push(b"{\"slow\":"));
        daemon.wait_count("logpushd_received_bytes_total", |bytes| bytes > 0);
        for batch in 0..12 {
            let to = ["\"archive\"", "\"second\"", "\"archive\", \"second\""][batch % 3];
            // From the first reload on the slow endpoint is gone.
            reload(&daemon, &[("endpoint.main", Some(&main(to))), ("endpoint.slow", None)]);
            let records = numbered(batch as u64, 10);
            daemon.commit(&records);
            if to.contains("archive") {
                archive.extend_from_slice(&records);
            }
            if to.contains("second") {
                second.extend_from_slice(&records);
            }
        }
        daemon.wait_file("out/archive", &archive);
        daemon.wait_file("out/second", &second);
        // Batches that were admitted by then are still committed and delivered by the old routes.
        assert!(feed.push(b"1}\n"));
        drop(feed);
        assert_eq!(slow.join().unwrap().committed(), 1);
    });
    second.extend(b"{\"slow\":1}\n");
    daemon.wait_file("out/second", &second);
    let stopped = daemon.stop().exited_cleanly();
    assert_eq!(stopped.file("out/archive"), archive);
    assert_eq!(stopped.file("out/second"), second);
}

#[test]
fn a_stop_during_a_reload_loses_nothing() {
    let mut setup = Setup::new().table("sink.archive.file", "path = \"out/0\"");
    let mut want = BTreeMap::new();
    for round in 0..8 {
        let daemon = setup.start();
        let records = numbered(round, 50);
        daemon.commit(&records);
        for line in String::from_utf8(records).unwrap().lines() {
            want.insert(line.to_owned(), 1);
        }
        let path = format!("path = \"out/{}\"", round + 1);
        daemon.setup().write_config_with(&[("sink.archive.file", Some(&path))]);
        // Both signals are pending before the daemon handles either.
        daemon.signal(Signal::HUP);
        setup = daemon.stop().exited_cleanly().setup.table("sink.archive.file", &path);
    }
    let out = setup.path("out");
    let got = lines(names_in(&out).into_iter().map(|name| out.join(name)));
    assert!(got == want, "each once: {} of {}", got.len(), want.len());
}

#[test]
fn a_kill_during_a_reload_loses_and_duplicates_nothing() {
    const ROUNDS: u64 = 15;

    let mut random = Random::new(11);
    let mut setup = Setup::new().table("sink.archive.file", "path = \"out/archive\"");
    let (mut acknowledged, mut batch) = (Vec::new(), 0);
    for round in 0..ROUNDS {
        let daemon = setup.start();
        let archive = format!(
            "path = \"out/archive\"\nfsync = \"{}\"",
            ["batch", "checkpoint"][usize::from(round % 2 == 0)]
        );
        let moves = format!("path = \"out/moves-{round}\"");
        let changes =
            [("sink.archive.file", Some(archive.as_str())), ("sink.moves.file", Some(&moves))];
        thread::scope(|scope| {
            let sender = scope.spawn(|| {
                let connection = daemon.connect(Http::One);
                loop {
                    batch += 1;
                    let answer = connection.try_send(Upload::of(numbered(batch, 10)));
                    if answer.is_err() {
                        return;
                    }
                    acknowledged.push(batch);
                }
            });
            // Two of them are answered, however slow the disk: one comes after the other.
            daemon.wait_count("logpushd_commit_seconds_count", |commits| commits > 2);
            daemon.setup().write_config_with(&changes);
            daemon.signal(Signal::HUP);
            // At any time during the reload: it takes about as long.
            thread::sleep(Duration::from_micros(random.below(15_000)));
            daemon.signal(Signal::KILL);
            sender.join().unwrap();
        });
        setup = daemon.end().killed().setup;
        for (name, keys) in changes {
            setup.set(name, keys.unwrap());
        }
    }
    let stopped = setup.start().stop().exited_cleanly();
    let got = lines([stopped.setup.path("out/archive")]);
    assert!(got.values().all(|count| *count == 1), "a record occurs twice");
    for batch in &acknowledged {
        let records = String::from_utf8(numbered(*batch, 10)).unwrap();
        assert!(records.lines().all(|line| got.contains_key(line)), "batch {batch} is lost");
    }
    assert!(acknowledged.len() as u64 > ROUNDS);
}
