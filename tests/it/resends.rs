//! A body that is sent again is delivered once, across failures and kills.

use std::{fs, sync::Barrier, thread};

use serde_json::Value;

use crate::support::{
    Daemon, Http, Setup, Upload, count_lines, names_in, numbered, same_bytes, wait_for, wait_until,
};

/// A daemon that deduplicates.
fn setup() -> Setup {
    Setup::new().table("spool", r#"dir = "spool""#)
}

/// Waits until all consumers have a checkpoint after the batch.
#[track_caller]
fn wait_checkpoints(daemon: &Daemon, batch: u64) {
    for name in ["archive", "@quarantine"] {
        let path = daemon.path(&format!("spool/cursors/{name}.json"));
        wait_until(&format!("a checkpoint of {name} at {batch}"), || {
            let text = fs::read(&path).unwrap_or_default();
            serde_json::from_slice::<Value>(&text).is_ok_and(|it| it["batch"] == batch)
        });
    }
}

#[track_caller]
fn send_again(daemon: &Daemon, batches: &[Vec<u8>]) {
    for records in batches {
        let answer = daemon.send(Http::Two, Upload::of(records).gzipped());
        assert_eq!(answer.ok(), ("duplicate".to_owned(), count_lines(records), 0));
    }
}

/// What happens after a fault of the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Then {
    Killed,
    Mended,
}

#[test]
fn a_batch_stays_in_the_spool_until_it_is_logged_as_committed() {
    let cases =
        ["open", "syncdir", "write", "sync"].map(|s| [(s, Then::Killed), (s, Then::Mended)]);
    for (number, (step, then)) in (0..).zip(cases.concat()) {
        let mut daemon = setup().start();
        daemon.setup().faults(&format!("fail EIO {step} /dedup\n"));
        let batches = [numbered(2 * number, 3), numbered(2 * number + 1, 5)];
        for (batch, records) in (1..).zip(&batches) {
            daemon.commit(records);
            wait_checkpoints(&daemon, batch);
        }
        let stays = "cannot delete delivered batches";
        wait_until("the batch is released, or not", || {
            names_in(&daemon.path("spool/batches")).is_empty() || !daemon.logged(stays).is_empty()
        });
        if then == Then::Killed {
            daemon = daemon.kill().without_faults().start();
            send_again(&daemon, &batches);
        } else {
            daemon.setup().faults("");
        }
        wait_until("an empty spool", || names_in(&daemon.path("spool/batches")).is_empty());
        let daemon = daemon.kill().start();
        send_again(&daemon, &batches);
        let stopped = daemon.stop().exited_cleanly();
        same_bytes(step, &stopped.file("out/http_requests.ndjson"), &batches.concat());
    }
}

/// Sends it until it is answered, as Cloudflare does, and returns the last answer.
#[track_caller]
fn send_until_answered(daemon: &Daemon, http: Http, records: &[u8]) -> String {
    wait_for("an answer", || {
        let answer = daemon.connect(http).try_send(Upload::of(records)).ok()?;
        (answer.status == 200).then(|| answer.ok().0)
    })
}

#[test]
fn a_body_sent_twice_at_once_is_delivered_once_across_a_kill() {
    let points = [
        "open /batches",
        "write /batches",
        "sync /batches",
        "rename /batches",
        "syncdir /batches",
        "write /out/",
        "rename /cursors/archive",
        "write /dedup",
        "remove /batches",
    ];
    let mut daemon = setup().start();
    let mut all = Vec::new();
    let both = points.map(|point| [("before", point), ("after", point)]).concat();
    for (number, (moment, point)) in (0..).zip(both) {
        // Too large for the buffer: some of it is on disk when the last byte arrives.
        let records = numbered(number, if number % 3 == 0 { 2500 } else { 40 });
        // Before the fault: its operation also happens for the previous batch.
        let connections = Http::BOTH.map(|http| daemon.connect(http));
        daemon.setup().faults(&format!("kill {moment} {point} 1\n"));
        let last_byte = Barrier::new(2);
        thread::scope(|scope| {
            for connection in connections {
                let (records, last_byte) = (&records, &last_byte);
                let (upload, feed) = Upload::fed(Some(records.len() as u64));
                scope.spawn(move || {
                    let (last, first) = records.split_last().unwrap();
                    feed.push(first);
                    last_byte.wait();
                    feed.push(&[*last]);
                });
                // An answer, or none: that of a daemon that is killed.
                scope.spawn(move || connection.try_send(upload));
            }
        });
        daemon = daemon.end().killed().without_faults().start();
        let answers = thread::scope(|scope| {
            let send = |http| {
                let (daemon, records) = (&daemon, &records);
                scope.spawn(move || send_until_answered(daemon, http, records))
            };
            Http::BOTH.map(send).map(|sender| sender.join().unwrap())
        });
        assert!(answers.contains(&"duplicate".to_owned()), "{moment} {point}: {answers:?}");
        all.extend(records);
        daemon.wait_file("out/http_requests.ndjson", &all);
    }
    let stopped = daemon.stop().exited_cleanly();
    same_bytes("the end", &stopped.file("out/http_requests.ndjson"), &all);
}
