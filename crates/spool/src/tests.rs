use std::{
    convert::Infallible,
    fs, io,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Instant,
};

use jiff::Timestamp;

use super::*;
use records::decode::Encoding;

pub(super) const ROOM: u64 = 1 << 30;
pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);

/// A unique header.
pub(super) fn header(records: u64) -> Header {
    static DIGESTS: AtomicU64 = AtomicU64::new(0);

    Header {
        origin: Origin {
            endpoint: "push".into(),
            dataset: "http_requests".into(),
            received: Timestamp::now(),
            sink: None,
        },
        records,
        rejected: 0,
        record_limit: 1 << 20,
        digest: DIGESTS.fetch_add(1, Ordering::Relaxed).into(),
        encoding: Encoding::Identity,
        format: records::decode::Format::Json,
        edition: records::decode::Edition::First,
    }
}

pub(super) fn consumer(may_drop: bool) -> Consumer {
    Consumer { name: "archive".into(), accepts: Arc::new(|_: &Batch| true), may_drop }
}

pub(super) fn register(spool: &Spool, released: u64) -> ConsumerId {
    spool.register(consumer(false), released)
}

pub(super) fn commit(spool: &Spool, text: &str) -> Arc<Batch> {
    let mut staging = spool.stage();
    staging.write(text.as_bytes()).unwrap();
    spool.commit(staging, header(1), None).unwrap().expect("not a duplicate")
}

fn text_of(spool: &Spool, entry: &QueuedBatch) -> String {
    let mut bytes = Vec::new();
    let read = spool.read(entry, &mut |block: &Block| {
        bytes.extend_from_slice(&block.bytes);
        Ok::<_, Infallible>(())
    });
    read.unwrap();
    String::from_utf8(bytes).unwrap()
}

/// The batch after the sequence `after`, for any consumer.
fn next(spool: &Spool, after: u64) -> QueuedBatch {
    spool.queue().waiting.range(after + 1..).next().expect("a batch").1.clone()
}

fn names(dir: &Path) -> Vec<String> {
    let files = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> =
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_batch_is_removed_after_the_last_release() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), Options { max_bytes: ROOM, dedup_window: DAY }).unwrap();
    let (fast, slow) = (register(&spool, 0), register(&spool, 0));
    commit(&spool, "{\"a\":1}\n");
    commit(&spool, "{\"a\":2}\n");
    assert_eq!(text_of(&spool, &next(&spool, 0)), "{\"a\":1}\n");
    assert_eq!(text_of(&spool, &next(&spool, 1)), "{\"a\":2}\n");
    let sequence = |consumer| match spool.next(consumer, Some(Instant::now())) {
        NextBatch::Ready(entry) => Some(entry.batch.sequence),
        NextBatch::TimedOut => None,
        NextBatch::Closed => panic!("closed"),
    };
    assert_eq!((sequence(fast), sequence(slow)), (Some(1), Some(1)));
    spool.advance(fast, 2);
    assert_eq!((sequence(fast), sequence(slow)), (None, Some(1)));
    spool.release(fast, 2).unwrap();
    assert_eq!(spool.size(), (2, 16));
    spool.release(slow, 1).unwrap();
    assert_eq!(spool.size(), (1, 8));
    assert_eq!(names(spool.batches()).len(), 1);
    spool.release(slow, 2).unwrap();
    assert_eq!((spool.size(), names(spool.batches()).len()), ((0, 0), 0));
}

#[test]
fn a_restart_finds_the_batches_in_order() {
    let dir = tempfile::tempdir().unwrap();
    {
        let spool =
            Spool::open(dir.path(), Options { max_bytes: ROOM, dedup_window: DAY }).unwrap();
        register(&spool, 0);
        for number in 1..=11 {
            commit(&spool, &format!("{{\"a\":{number}}}\n"));
        }
    }
    let spool = Spool::open(dir.path(), Options { max_bytes: ROOM, dedup_window: DAY }).unwrap();
    let consumer = register(&spool, 3);
    spool.release(consumer, 3).unwrap();
    for number in 4..=11 {
        let entry = next(&spool, number - 1);
        assert_eq!(entry.batch.sequence, number);
        assert_eq!(text_of(&spool, &entry), format!("{{\"a\":{number}}}\n"));
    }
    assert_eq!(commit(&spool, "{}\n").sequence, 12);
}

#[test]
fn a_sequence_is_never_reused() {
    let dir = tempfile::tempdir().unwrap();
    {
        let spool =
            Spool::open(dir.path(), Options { max_bytes: ROOM, dedup_window: DAY }).unwrap();
        let consumer = register(&spool, 0);
        commit(&spool, "{}\n");
        spool.release(consumer, 1).unwrap();
    }
    // The directory is empty: only the consumer knows of the first batch.
    let spool = Spool::open(dir.path(), Options { max_bytes: ROOM, dedup_window: DAY }).unwrap();
    register(&spool, 1);
    assert_eq!(commit(&spool, "{}\n").sequence, 2);
}

#[test]
fn unusable_files_do_not_keep_the_spool_from_opening() {
    let dir = tempfile::tempdir().unwrap();
    let kept = {
        let spool =
            Spool::open(dir.path(), Options { max_bytes: ROOM, dedup_window: DAY }).unwrap();
        register(&spool, 0);
        commit(&spool, "{\"kept\":1}\n").file_name()
    };
    let batches = dir.path().join("batches");
    fs::write(batches.join(".unfinished-7"), "half").unwrap();
    fs::write(batches.join("notes.txt"), "x").unwrap();
    fs::write(batches.join(kept.replace("0001.", "0002.")), "").unwrap();
    fs::create_dir(batches.join("directory")).unwrap();
    let spool = Spool::open(dir.path(), Options { max_bytes: ROOM, dedup_window: DAY }).unwrap();
    assert_eq!(names(&batches), std::slice::from_ref(&kept));
    let aside = names(&dir.path().join("set-aside"));
    assert_eq!(aside, [&kept.replace("0001.", "0002."), "directory", "notes.txt"]);
    assert_eq!(text_of(&spool, &next(&spool, 0)), "{\"kept\":1}\n");
}

#[test]
fn a_second_daemon_cannot_open_the_spool() {
    let dir = tempfile::tempdir().unwrap();
    let first = Spool::open(dir.path(), Options { max_bytes: ROOM, dedup_window: DAY }).unwrap();
    let error =
        Spool::open(dir.path(), Options { max_bytes: ROOM, dedup_window: DAY }).unwrap_err();
    assert!(error.to_string().contains("another logpushd"), "{error}");
    drop(first);
    Spool::open(dir.path(), Options { max_bytes: ROOM, dedup_window: DAY }).unwrap();
}

#[test]
fn a_batch_that_is_not_committed_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), Options { max_bytes: ROOM, dedup_window: DAY }).unwrap();
    let mut staging = spool.stage();
    staging.write(&vec![b'x'; 1 << 20]).unwrap();
    assert_eq!(names(spool.batches()).len(), 1);
    drop(staging);
    assert_eq!(names(spool.batches()).len(), 0);
    assert_eq!(spool.size(), (0, 0));
}

#[test]
fn a_failed_commit_does_not_affect_others() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), Options { max_bytes: ROOM, dedup_window: DAY }).unwrap();
    register(&spool, 0);
    let mut doomed = spool.stage();
    doomed.write(b"{}\n").unwrap();
    fs::remove_file(doomed.sync().unwrap()).unwrap();
    let error = spool.commit(doomed, header(1), None).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert_eq!(commit(&spool, "{\"a\":1}\n").sequence, 1);
    assert_eq!(text_of(&spool, &next(&spool, 0)), "{\"a\":1}\n");
}

#[test]
fn concurrent_commits_get_distinct_sequences() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), Options { max_bytes: ROOM, dedup_window: DAY }).unwrap();
    register(&spool, 0);
    let mut places: Vec<u64> = thread::scope(|scope| {
        let threads: Vec<_> = (0..16)
            .map(|thread| {
                let spool = &spool;
                scope.spawn(move || {
                    let commit_one = |number| {
                        let text = format!("{{\"t\":{thread},\"n\":{number}}}\n");
                        let batch = commit(spool, &text);
                        let entry = next(spool, batch.sequence - 1);
                        assert_eq!(text_of(spool, &entry), text);
                        batch.sequence
                    };
                    (0..20).map(commit_one).collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    places.sort_unstable();
    assert_eq!(places, (1..=320).collect::<Vec<_>>());
    assert_eq!(spool.size().0, 320);
}

#[test]
fn cached_blocks_stay_within_the_budget_while_they_are_needed() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), Options { max_bytes: ROOM, dedup_window: DAY }).unwrap();
    let (fast, slow) = (register(&spool, 0), register(&spool, 0));
    // It accepts no batches, so its position does not matter.
    let wants_none = Consumer { accepts: Arc::new(|_| false), ..consumer(false) };
    let idle = spool.register(wants_none, 0);
    let line = format!("{{\"a\":\"{}\"}}\n", "x".repeat((1 << 20) - 100));
    let commit = || {
        let mut blocks = Some(spool.new_blocks());
        for _ in 0..10 {
            let block = Block { bytes: line.clone().into(), records: 1, rejects: vec![] };
            blocks = blocks
                .and_then(|mut blocks| spool.cache_block(&mut blocks, block).then_some(blocks));
        }
        let mut staging = spool.stage();
        staging.write(line.repeat(10).as_bytes()).unwrap();
        spool.commit(staging, header(10), blocks).unwrap();
    };
    let resident = |sequence: u64| next(&spool, sequence - 1).blocks.is_some();
    for _ in 0..5 {
        commit();
    }
    spool.advance(idle, 5);
    commit();
    // Blocks that are needed next stay. Blocks beyond the budget are read from their file.
    assert_eq!([1, 2, 3, 4, 5, 6].map(resident), [true, true, true, true, false, false]);
    for sequence in 1..=6 {
        assert!(text_of(&spool, &next(&spool, sequence - 1)) == line.repeat(10), "{sequence}");
    }

    // Blocks that one consumer has handled are evicted, although another one lags.
    spool.advance(fast, 2);
    commit();
    assert_eq!([1, 2, 3, 4, 7].map(resident), [false, true, true, true, true]);

    spool.advance(fast, 4);
    spool.advance(slow, 4);
    assert_eq!([2, 3, 4, 7].map(resident), [false, false, false, true]);

    let mut too_large = spool.new_blocks();
    let block = Block { bytes: vec![b'x'; 17 << 20], records: 1, rejects: vec![] };
    assert!(!spool.cache_block(&mut too_large, block));
}

#[test]
fn a_damaged_file_is_distinguished_from_an_unreadable_one() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), Options { max_bytes: ROOM, dedup_window: DAY }).unwrap();
    register(&spool, 0);
    let mut staging = spool.stage();
    staging.write(b"\x1f\x8b\x08\x00garbage").unwrap();
    let damaged = Header { encoding: Encoding::Gzip, ..header(1) };
    let batch = spool.commit(staging, damaged, None).unwrap().unwrap();
    let read = spool.read(&next(&spool, 0), &mut |_| Ok::<_, Infallible>(()));
    assert!(matches!(read, Err(ReadError::Damaged(_))), "{read:?}");
    spool.keep_damaged_copy(&batch);
    assert_eq!(names(&dir.path().join("set-aside")), [batch.file_name()]);
}

#[test]
fn closing_ends_all_waits() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), Options { max_bytes: ROOM, dedup_window: DAY }).unwrap();
    let consumer = register(&spool, 0);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| matches!(spool.next(consumer, None), NextBatch::Closed));
        let pausing = scope.spawn(|| spool.pause(consumer, Duration::from_secs(3600)));
        spool.close();
        assert!(waiting.join().unwrap());
        assert!(!pausing.join().unwrap());
    });
}

#[test]
fn a_batch_is_committed_once_even_across_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let batch = header(1);
    let commit = |spool: &Spool| {
        let mut staging = spool.stage();
        staging.write(b"{}\n").unwrap();
        spool.commit(staging, batch.clone(), None).unwrap().is_some()
    };
    {
        let spool =
            Spool::open(dir.path(), Options { max_bytes: ROOM, dedup_window: DAY }).unwrap();
        let consumer = register(&spool, 0);
        assert!(commit(&spool));
        assert!(!commit(&spool));
        assert_eq!(names(spool.batches()).len(), 1, "the duplicate leaves nothing");
        // Only the name of the batch file shows now that it was committed.
        fs::remove_dir_all(dir.path().join("dedup")).unwrap();
        fs::create_dir(dir.path().join("dedup")).unwrap();
        spool.advance(consumer, 0);
    }
    {
        let spool =
            Spool::open(dir.path(), Options { max_bytes: ROOM, dedup_window: DAY }).unwrap();
        let consumer = register(&spool, 0);
        assert!(!commit(&spool));
        spool.release(consumer, 1).unwrap();
        assert_eq!(spool.size().0, 0);
    }
    let spool = Spool::open(dir.path(), Options { max_bytes: ROOM, dedup_window: DAY }).unwrap();
    register(&spool, 1);
    assert!(!commit(&spool), "now from the log");
    let mut other = batch.clone();
    other.origin.dataset = "dns_logs".into();
    let mut staging = spool.stage();
    staging.write(b"{}\n").unwrap();
    assert!(spool.commit(staging, other, None).unwrap().is_some(), "another dataset");
}

#[test]
fn a_consumer_can_return_to_its_last_release() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), Options { max_bytes: ROOM, dedup_window: DAY }).unwrap();
    let sink = register(&spool, 0);
    for number in 1..=4 {
        commit(&spool, &format!("{{\"a\":{number}}}\n"));
    }
    let next = || match spool.next(sink, Some(Instant::now())) {
        NextBatch::Ready(entry) => Some((entry.batch.sequence, text_of(&spool, &entry))),
        _ => None,
    };
    spool.advance(sink, 4);
    spool.release(sink, 2).unwrap();
    assert_eq!(next(), None);
    spool.advance(sink, 2);
    assert_eq!(next(), Some((3, "{\"a\":3}\n".to_owned())));
    spool.advance(sink, 4);
    assert_eq!(next(), None);
}
