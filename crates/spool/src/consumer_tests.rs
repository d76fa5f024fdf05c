//! Consumers that end, are replaced, go and come.

use std::{thread, time::Instant};

use super::{
    tests::{commit, consumer, header, register},
    *,
};

const ROOM: u64 = 1 << 30;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The sequences that a consumer gets until it is told that there are no more.
fn rest(spool: &Spool, consumer: ConsumerId) -> Vec<u64> {
    let mut got = Vec::new();
    while let Next::Entry(entry) = spool.next(consumer, None) {
        got.push(entry.batch.sequence);
        spool.advance(consumer, entry.batch.sequence);
    }
    got
}

#[test]
fn a_consumer_ends_behind_what_was_committed_and_another_goes_on_there() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), Options { max_bytes: ROOM, dedup_window: DAY }).unwrap();
    let (ends, stays) = (register(&spool, 0), register(&spool, 0));
    commit(&spool, "{}\n");
    commit(&spool, "{}\n");
    spool.end(&[ends], End::AtQueueEnd);
    commit(&spool, "{}\n");
    spool.end(&[ends], End::AtQueueEnd);
    assert!(!spool.pause(ends, Duration::from_secs(3600)));
    assert_eq!(rest(&spool, ends), [1, 2], "told twice, it does not get more");
    spool.release(ends, 2).unwrap();

    spool.go_on(ends);
    spool.resume(ends, consumer(false), 2);
    assert!(matches!(spool.next(ends, None), Next::Entry(entry) if entry.batch.sequence == 3));
    spool.end(&[ends], End::Now);
    assert_eq!(rest(&spool, ends), Vec::<u64>::new());
    assert!(matches!(spool.next(stays, None), Next::Entry(entry) if entry.batch.sequence == 1));
    assert!(spool.is_open());

    // Told to end before the one that goes on has come.
    spool.go_on(ends);
    spool.end(&[ends], End::AtQueueEnd);
    spool.resume(ends, consumer(false), 3);
    assert!(matches!(spool.next(ends, Some(Instant::now())), Next::Closed));
}

#[test]
fn who_waits_is_told_to_end() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), Options { max_bytes: ROOM, dedup_window: DAY }).unwrap();
    let (one, other) = (register(&spool, 0), register(&spool, 0));
    thread::scope(|scope| {
        let waiting = scope.spawn(|| matches!(spool.next(one, None), Next::Closed));
        let pausing = scope.spawn(|| spool.pause(one, Duration::from_secs(3600)));
        spool.end(&[one], End::AtQueueEnd);
        assert!(waiting.join().unwrap());
        assert!(!pausing.join().unwrap());
    });
    assert!(spool.pause(other, Duration::from_millis(1)), "it was not meant");
}

#[test]
fn who_leaves_holds_nothing_and_who_comes_gets_what_waits() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), Options { max_bytes: ROOM, dedup_window: DAY }).unwrap();
    let (done, slow) = (register(&spool, 0), register(&spool, 0));
    for _ in 0..3 {
        commit(&spool, "{}\n");
    }
    spool.release(done, 2).unwrap();
    assert_eq!(spool.size().0, 3);
    spool.leave(slow).unwrap();
    assert_eq!(spool.size().0, 1, "only what the other lacks");
    assert!(matches!(spool.next(slow, None), Next::Closed));
    spool.release(slow, 9).unwrap();
    spool.advance(slow, 9);

    let new = register(&spool, 0);
    assert_ne!(new, slow, "a place is not given twice");
    spool.release(done, 3).unwrap();
    assert_eq!(spool.size().0, 1, "it is kept for the new one");
    assert!(matches!(spool.next(new, None), Next::Entry(entry) if entry.batch.sequence == 3));
    spool.release(new, 3).unwrap();
    assert_eq!(spool.size().0, 0);
}

#[test]
fn newcomers_pass_over_what_nobody_lacks() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), Options { max_bytes: ROOM, dedup_window: DAY }).unwrap();
    let there = register(&spool, 0);
    let wants_none = Consumer { wants: Arc::new(|_| false), ..consumer(false) };
    spool.register(wants_none, 0);
    for _ in 0..4 {
        commit(&spool, "{}\n");
    }
    spool.advance(there, 2);
    let (one, other) = (register(&spool, 0), register(&spool, 0));
    let committed = spool.end(&[there], End::AtQueueEnd);
    commit(&spool, "{}\n");
    assert_eq!(committed, 4);
    assert_eq!(spool.pass_over(&[one, other], committed), 2, "somebody lacks the third");
    assert!(matches!(spool.next(one, None), Next::Entry(entry) if entry.batch.sequence == 3));
    assert_eq!(rest(&spool, there), [3, 4]);
    assert_eq!(spool.pass_over(&[one, other], committed), 4, "but what came later is for all");
    assert!(matches!(spool.next(other, None), Next::Entry(entry) if entry.batch.sequence == 5));
    spool.advance(one, 5);
    spool.pass_over(&[one], committed);
    assert!(matches!(spool.next(one, Some(Instant::now())), Next::Timeout), "never backwards");
}

#[test]
fn bounds_can_be_changed() {
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
    assert!(matches!(spool.room(0), Err(NoRoom::SpoolFull { max_bytes: 1, .. })));
    assert!(is_new() && is_new(), "nothing is remembered");
    spool.reconfigure(Options { max_bytes: ROOM, dedup_window: DAY });
    assert_eq!(spool.room(0), Ok(()));
    assert!(is_new() && !is_new());
}

#[test]
fn what_a_consumer_has_lost_is_known_when_it_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), Options { max_bytes: 30, dedup_window: DAY }).unwrap();
    let loser = || Consumer { name: "siem".into(), ..consumer(true) };
    let dropped = || spool.lags().iter().map(|lag| lag.dropped).collect::<Vec<_>>();
    let siem = spool.register(loser(), 0);
    commit(&spool, "{}\n");
    assert_eq!(spool.room(30), Ok(()));
    assert_eq!(dropped(), [1]);
    spool.leave(siem).unwrap();
    register(&spool, 1);
    spool.register(loser(), 1);
    assert_eq!(dropped(), [0, 1]);
}
