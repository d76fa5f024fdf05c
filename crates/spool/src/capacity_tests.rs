use std::{fs, io, sync::Barrier, thread};

use super::{
    tests::{DAY, ROOM, commit, consumer, register},
    *,
};

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_full_spool_drops_batches_only_for_consumers_that_allow_it() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), Options { max_bytes: 100, dedup_window: DAY }).unwrap();
    let lossy = Consumer { name: "siem".into(), ..consumer(true) };
    let (keeps, loses) = (register(&spool, 0), spool.register(lossy, 0));
    for number in 0..5 {
        commit(&spool, &format!("{{\"a\":\"{number:010}\"}}\n"));
    }
    assert_eq!((spool.size(), spool.available_bytes()), ((5, 95), 5));
    assert_eq!(spool.free_capacity(5), Ok(()));
    let full =
        |name: &str| Err(SpoolUnavailable::SpoolFull { max_bytes: 100, slowest_sink: name.into() });
    assert_eq!(
        spool.free_capacity(20),
        full("archive"),
        "a consumer that allows no drops needs all of them"
    );
    assert!(
        matches!(spool.next(loses, None), NextBatch::Ready(entry) if entry.batch.sequence == 1)
    );
    spool.advance(keeps, 4);
    assert_eq!(spool.may_accept(20), full("siem"));
    spool.release(keeps, 4).unwrap();
    assert_eq!(spool.may_accept(20), Ok(()));
    assert_eq!(spool.size().0, 5, "asking drops nothing");
    assert_eq!(spool.free_capacity(20), Ok(()));
    let waiting: Vec<_> = spool.queue().waiting.keys().copied().collect();
    assert_eq!(waiting, [1, 4, 5], "not the started batch, and no more than needed");
    assert_eq!(spool.lags().iter().map(|lag| lag.dropped).collect::<Vec<_>>(), [0, 2]);
    assert_eq!(names(spool.batches()).len(), 3);
    spool.advance(loses, 1);
    assert!(
        matches!(spool.next(loses, None), NextBatch::Ready(entry) if entry.batch.sequence == 4)
    );
}

#[test]
fn concurrent_probes_all_see_that_the_disk_works() {
    let dir = tempfile::tempdir().unwrap();
    let spool =
        Arc::new(Spool::open(dir.path(), Options { max_bytes: ROOM, dedup_window: DAY }).unwrap());
    let together = Barrier::new(4);
    let ask = || {
        let room = SpoolStatus::new(&spool);
        room.failed(&io::Error::other("no"));
        together.wait();
        // Another thread may have requested a probe that has already succeeded.
        if let Some(probe) = room.probe(Duration::MAX) {
            while !room.is_finished(probe) {
                thread::yield_now();
            }
        }
        let found = room.writable();
        together.wait();
        found
    };
    let ask_often = || (0..50).map(|_| ask()).collect::<Vec<_>>();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask_often)).collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), vec![Ok(()); 50]);
        }
    });
    wait_until_empty(spool.batches());
}

#[test]
fn a_body_dropped_on_a_thread_that_must_not_block_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), Options { max_bytes: ROOM, dedup_window: DAY }).unwrap();
    let mut staging = spool.stage();
    staging.write(&vec![b' '; 1 << 20]).unwrap();
    assert_eq!(names(spool.batches()).len(), 1);
    thread::spawn(move || {
        durable::forbid_blocking();
        drop(staging);
    })
    .join()
    .unwrap();
    wait_until_empty(spool.batches());
}

fn wait_until_empty(folder: &Path) {
    while !names(folder).is_empty() {
        thread::yield_now();
    }
}
