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
fn a_full_spool_costs_only_those_who_may_lose() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), Options { max_bytes: 100, dedup_window: DAY }).unwrap();
    let lossy = Consumer { name: "siem".into(), ..consumer(true) };
    let (keeps, loses) = (register(&spool, 0), spool.register(lossy, 0));
    for number in 0..5 {
        commit(&spool, &format!("{{\"a\":\"{number:010}\"}}\n"));
    }
    assert_eq!((spool.size(), spool.room_bytes()), ((5, 95), 5));
    assert_eq!(spool.room(5), Ok(()));
    let full = |behind: &str| Err(NoRoom::SpoolFull { max_bytes: 100, behind: behind.into() });
    assert_eq!(spool.room(20), full("archive"), "all of them are lacked by one who may not lose");
    assert!(matches!(spool.next(loses, None), Next::Entry(entry) if entry.batch.sequence == 1));
    spool.advance(keeps, 4);
    assert_eq!(spool.may_have_room(20), full("siem"));
    spool.release(keeps, 4).unwrap();
    assert_eq!(spool.may_have_room(20), Ok(()));
    assert_eq!(spool.size().0, 5, "who only asks makes nobody lose any");
    assert_eq!(spool.room(20), Ok(()));
    let waiting: Vec<_> = spool.queue().waiting.keys().copied().collect();
    assert_eq!(waiting, [1, 4, 5], "not the one that is begun, and no more than needed");
    assert_eq!(spool.lags().iter().map(|lag| lag.dropped).collect::<Vec<_>>(), [0, 2]);
    assert_eq!(names(spool.batches()).len(), 3);
    spool.advance(loses, 1);
    assert!(matches!(spool.next(loses, None), Next::Entry(entry) if entry.batch.sequence == 4));
}

#[test]
fn everyone_who_asks_the_disk_at_the_same_time_is_told_that_it_works() {
    let dir = tempfile::tempdir().unwrap();
    let spool =
        Arc::new(Spool::open(dir.path(), Options { max_bytes: ROOM, dedup_window: DAY }).unwrap());
    let together = Barrier::new(4);
    let ask = || {
        let room = Room::of(&spool);
        room.failed(&io::Error::other("no"));
        together.wait();
        // Someone else may have asked, and the disk may have answered.
        if let Some(question) = room.ask(Duration::MAX) {
            while !room.is_answered(question) {
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
fn a_body_given_up_on_a_thread_that_must_not_wait_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), Options { max_bytes: ROOM, dedup_window: DAY }).unwrap();
    let mut staging = spool.stage();
    staging.write(&vec![b' '; 1 << 20]).unwrap();
    assert_eq!(names(spool.batches()).len(), 1);
    thread::spawn(move || {
        durable::forbid();
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
