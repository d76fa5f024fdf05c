//! Consumers that stop, are replaced, removed and registered.

use std::{thread, time::Instant};

use super::{
    tests::{commit, consumer, header, register},
    *,
};

const ROOM: u64 = 1 << 30;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The sequences that a consumer receives until it stops.
fn rest(spool: &Spool, consumer: ConsumerId) -> Vec<u64> {
    let mut got = Vec::new();
    while let NextBatch::Ready(entry) = spool.next(consumer, None) {
        got.push(entry.batch.sequence);
        spool.advance(consumer, entry.batch.sequence);
    }
    got
}

#[test]
fn a_stopped_consumer_is_replaced_at_its_position() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), Options { max_bytes: ROOM, dedup_window: DAY }).unwrap();
    let (ends, stays) = (register(&spool, 0), register(&spool, 0));
    commit(&spool, "{}\n");
    commit(&spool, "{}\n");
    spool.stop_consumers(&[ends], StopAfter::QueueEnd);
    commit(&spool, "{}\n");
    spool.stop_consumers(&[ends], StopAfter::QueueEnd);
    assert!(!spool.pause(ends, Duration::from_secs(3600)));
    assert_eq!(rest(&spool, ends), [1, 2], "a second stop does not extend the first");
    spool.release(ends, 2).unwrap();

    spool.cancel_stop(ends);
    spool.resume(ends, consumer(false), 2);
    assert!(matches!(spool.next(ends, None), NextBatch::Ready(entry) if entry.batch.sequence == 3));
    spool.stop_consumers(&[ends], StopAfter::CurrentBatch);
    assert_eq!(rest(&spool, ends), Vec::<u64>::new());
    assert!(
        matches!(spool.next(stays, None), NextBatch::Ready(entry) if entry.batch.sequence == 1)
    );
    assert!(spool.is_open());

    // Stopped before the replacement is registered.
    spool.cancel_stop(ends);
    spool.stop_consumers(&[ends], StopAfter::QueueEnd);
    spool.resume(ends, consumer(false), 3);
    assert!(matches!(spool.next(ends, Some(Instant::now())), NextBatch::Closed));
}

#[test]
fn stopping_ends_a_wait() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), Options { max_bytes: ROOM, dedup_window: DAY }).unwrap();
    let (one, other) = (register(&spool, 0), register(&spool, 0));
    thread::scope(|scope| {
        let waiting = scope.spawn(|| matches!(spool.next(one, None), NextBatch::Closed));
        let pausing = scope.spawn(|| spool.pause(one, Duration::from_secs(3600)));
        spool.stop_consumers(&[one], StopAfter::QueueEnd);
        assert!(waiting.join().unwrap());
        assert!(!pausing.join().unwrap());
    });
    assert!(spool.pause(other, Duration::from_millis(1)), "the other consumer continues");
}

#[test]
fn removing_a_consumer_frees_batches_and_a_new_one_gets_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), Options { max_bytes: ROOM, dedup_window: DAY }).unwrap();
    let (done, slow) = (register(&spool, 0), register(&spool, 0));
    for _ in 0..3 {
        commit(&spool, "{}\n");
    }
    spool.release(done, 2).unwrap();
    assert_eq!(spool.size().0, 3);
    spool.unregister(slow).unwrap();
    assert_eq!(spool.size().0, 1, "only the batch that the other consumer needs");
    assert!(matches!(spool.next(slow, None), NextBatch::Closed));
    spool.release(slow, 9).unwrap();
    spool.advance(slow, 9);

    let new = register(&spool, 0);
    assert_ne!(new, slow, "an ID is not reused");
    spool.release(done, 3).unwrap();
    assert_eq!(spool.size().0, 1, "the new consumer needs it");
    assert!(matches!(spool.next(new, None), NextBatch::Ready(entry) if entry.batch.sequence == 3));
    spool.release(new, 3).unwrap();
    assert_eq!(spool.size().0, 0);
}

#[test]
fn new_consumers_skip_batches_that_no_other_needs() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), Options { max_bytes: ROOM, dedup_window: DAY }).unwrap();
    let there = register(&spool, 0);
    let wants_none = Consumer { accepts: Arc::new(|_| false), ..consumer(false) };
    spool.register(wants_none, 0);
    for _ in 0..4 {
        commit(&spool, "{}\n");
    }
    spool.advance(there, 2);
    let (one, other) = (register(&spool, 0), register(&spool, 0));
    let committed = spool.stop_consumers(&[there], StopAfter::QueueEnd);
    commit(&spool, "{}\n");
    assert_eq!(committed, 4);
    assert_eq!(spool.skip_unneeded(&[one, other], committed), 2, "another needs the third");
    assert!(matches!(spool.next(one, None), NextBatch::Ready(entry) if entry.batch.sequence == 3));
    assert_eq!(rest(&spool, there), [3, 4]);
    assert_eq!(spool.skip_unneeded(&[one, other], committed), 4, "later batches are for all");
    assert!(
        matches!(spool.next(other, None), NextBatch::Ready(entry) if entry.batch.sequence == 5)
    );
    spool.advance(one, 5);
    spool.skip_unneeded(&[one], committed);
    assert!(matches!(spool.next(one, Some(Instant::now())), NextBatch::TimedOut), "never backward");
}

#[test]
fn options_can_be_changed() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), Options { max_bytes: ROOM, dedup_window: DAY }).unwrap();
    let batch = header(1);
    let is_new = || {
        let mut staging = spool.stage();
        staging.write(b"{}\n").unwrap();
        spool.commit(staging, batch.clone(), None).unwrap().is_some()
    };
    register(&spool, 0);
    assert!(is_new() && !is_new());
    spool.reconfigure(Options { max_bytes: 1, dedup_window: Duration::ZERO });
    assert!(matches!(
        spool.free_capacity(0),
        Err(SpoolUnavailable::SpoolFull { max_bytes: 1, .. })
    ));
    assert!(is_new() && is_new(), "without a window there are no duplicates");
    spool.reconfigure(Options { max_bytes: ROOM, dedup_window: DAY });
    assert_eq!(spool.free_capacity(0), Ok(()));
    assert!(is_new() && !is_new());
}

#[test]
fn dropped_records_are_counted_across_registrations() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), Options { max_bytes: 30, dedup_window: DAY }).unwrap();
    let loser = || Consumer { name: "siem".into(), ..consumer(true) };
    let dropped = || spool.lags().iter().map(|lag| lag.dropped).collect::<Vec<_>>();
    let siem = spool.register(loser(), 0);
    commit(&spool, "{}\n");
    assert_eq!(spool.free_capacity(30), Ok(()));
    assert_eq!(dropped(), [1]);
    spool.unregister(siem).unwrap();
    register(&spool, 1);
    spool.register(loser(), 1);
    assert_eq!(dropped(), [0, 1]);
}
