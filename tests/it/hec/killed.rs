//! Killed while events arrive: every acknowledged event is delivered once.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use rustix::process::Signal;

use super::{setup, upload};
use crate::support::{Connection, Http, Random, wait_until};

const SENDERS: u64 = 3;
const BATCHES: u64 = 25;
const EVENTS: u64 = 30;

fn event(sender: u64, batch: u64, number: u64) -> String {
    format!("{{\"time\":{number}.5,\"event\":{{\"id\":\"{sender}-{batch}-{number}\"}}}}")
}

#[test]
fn acknowledged_events_are_delivered_once_after_any_kill() {
    let setup = setup().table("spool", r#"dir = "spool""#);
    let mut daemon = setup.start();
    let address = Mutex::new(daemon.address);
    let trust = daemon.trust();
    let (successes, failures) = (AtomicU64::new(0), AtomicU64::new(0));
    let mut random = Random::new(11);
    let daemon = thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let (address, trust) = (&address, &trust);
                let (successes, failures) = (&successes, &failures);
                scope.spawn(move || {
                    for batch in 0..BATCHES {
                        let body: String =
                            (0..EVENTS).map(|number| event(sender, batch, number)).collect();
                        // Like HEC's clients: sends the same bytes until they are accepted.
                        wait_until("a success", || {
                            let to = *address.lock().unwrap();
                            let body = upload("/event", &body).gzipped();
                            let connected = Connection::open(to, trust.clone(), Http::Two);
                            let answer = connected.and_then(|connected| connected.try_send(body));
                            let good = answer.is_ok_and(|answer| answer.status == 200);
                            let count = if good { successes } else { failures };
                            count.fetch_add(1, Ordering::Relaxed);
                            good
                        });
                    }
                })
            })
            .collect();
        let are_done = || senders.iter().all(thread::ScopedJoinHandle::is_finished);
        while !are_done() {
            // When one sender has its answer, the other requests are in progress.
            let enough = successes.load(Ordering::Relaxed) + 1 + random.below(8);
            wait_until("several successes", || {
                successes.load(Ordering::Relaxed) >= enough || are_done()
            });
            daemon.signal(Signal::KILL);
            let stopped = daemon.end().killed();
            daemon = stopped.start();
            *address.lock().unwrap() = daemon.address;
        }
        for sender in senders {
            sender.join().unwrap();
        }
        daemon
    });
    assert!(failures.load(Ordering::Relaxed) > 0, "no kill was noticed");
    let stopped = daemon.stop().exited_cleanly();
    let file = String::from_utf8(stopped.file("out/splunk_hec.ndjson")).unwrap();
    assert!(file.ends_with('\n'));
    let mut found = BTreeMap::<&str, u64>::new();
    for line in file.lines() {
        *found.entry(line).or_default() += 1;
    }
    for (sender, batch) in (0..SENDERS).flat_map(|s| (0..BATCHES).map(move |b| (s, b))) {
        for number in 0..EVENTS {
            let event = event(sender, batch, number);
            assert_eq!(found.remove(event.as_str()), Some(1), "{event}");
        }
    }
    assert!(found.is_empty(), "{found:?}");
}
