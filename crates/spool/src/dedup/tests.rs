use std::{
    fs::{self, File},
    path::Path,
    sync::mpsc,
    thread,
    time::Instant,
};

use super::{
    log::{CURRENT, PREVIOUS},
    *,
};
use crate::clock::test::ManualClock;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn open(dir: &Path, window: Duration) -> Dedup {
    Dedup::open(dir.to_owned(), window)
}

fn commit(dedup: &Dedup, key: u128) -> bool {
    let Some(_claim) = dedup.claim(DedupKey::from(key)) else { return false };
    dedup.committed(DedupKey::from(key));
    true
}

#[test]
fn a_committed_batch_is_a_duplicate_even_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let dedup = open(dir.path(), DAY);
    assert!(commit(&dedup, 1) && commit(&dedup, 2));
    assert!(!commit(&dedup, 1) && !commit(&dedup, 2));
    dedup.sync().unwrap();
    let dedup = open(dir.path(), DAY);
    assert!(!commit(&dedup, 1) && !commit(&dedup, 2) && commit(&dedup, 3));
}

#[test]
fn a_failed_commit_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let dedup = open(dir.path(), DAY);
    drop(dedup.claim(DedupKey::from(1)).unwrap());
    assert!(commit(&dedup, 1));
}

#[test]
fn a_second_claim_waits_for_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let dedup = open(dir.path(), DAY);
    for commits in [true, false] {
        let key = DedupKey::from(u128::from(commits));
        let claim = dedup.claim(key).unwrap();
        thread::scope(|scope| {
            let (sender, receiver) = mpsc::sync_channel(0);
            let second = scope.spawn({
                let dedup = &dedup;
                move || {
                    sender.send(()).unwrap();
                    dedup.claim(key).is_none()
                }
            });
            receiver.recv().unwrap();
            if commits {
                dedup.committed(key);
            }
            drop(claim);
            assert_eq!(second.join().unwrap(), commits);
        });
    }
}

#[test]
fn entries_older_than_the_window_are_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let dedup = open(dir.path(), DAY);
    let now = Timestamp::now();
    dedup.seed_key(DedupKey::from(1), now - Duration::from_secs(25 * 3600));
    dedup.seed_key(DedupKey::from(2), now - Duration::from_secs(23 * 3600));
    assert!(dedup.claim(DedupKey::from(1)).is_some() && dedup.claim(DedupKey::from(2)).is_none());
    dedup.sync().unwrap();
    let dedup = open(dir.path(), DAY);
    assert!(dedup.claim(DedupKey::from(1)).is_some() && dedup.claim(DedupKey::from(2)).is_none());
    let never = open(dir.path(), Duration::ZERO);
    assert!(commit(&never, 9) && commit(&never, 9));
}

#[test]
fn memory_and_disk_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let dedup = open(dir.path(), DAY);
    for key in 0..MAX_ENTRIES * 2 + 10 {
        dedup.committed(DedupKey::from(key as u128));
        if key % 30_000 == 0 {
            dedup.sync().unwrap();
        }
    }
    dedup.sync().unwrap();
    assert_eq!(dedup.known().order.len(), MAX_ENTRIES);
    assert_eq!(dedup.known().states.len(), MAX_ENTRIES);
    let size = |name| fs::metadata(dir.path().join(name)).unwrap().len();
    assert!(size(CURRENT) + size(PREVIOUS) <= 2 * 51 * MAX_ENTRIES as u64);
    assert!(dedup.claim(DedupKey::from(5)).is_some(), "the oldest");
    assert!(dedup.claim(DedupKey::from(MAX_ENTRIES as u128 * 2)).is_none());
    let dedup = open(dir.path(), DAY);
    assert!(dedup.known().order.len() > MAX_ENTRIES / 2);
    assert!(dedup.claim(DedupKey::from(MAX_ENTRIES as u128 * 2)).is_none());
}

#[test]
fn entries_that_could_not_be_logged_are_logged_later_without_more_space() {
    let dir = tempfile::tempdir().unwrap();
    let dedup = open(&dir.path().join("dedup"), DAY);
    assert!(commit(&dedup, 1));
    dedup.sync().unwrap_err();
    fs::create_dir(dir.path().join("dedup")).unwrap();
    assert!(commit(&dedup, 2));
    dedup.sync().unwrap();
    let path = dir.path().join("dedup").join(CURRENT);
    let whole = fs::read(&path).unwrap();
    // A failed attempt that wrote only a part.
    assert!(commit(&dedup, 3));
    File::options().append(true).open(&path).unwrap().set_len(3 * whole.len() as u64).unwrap();
    dedup.sync().unwrap();
    dedup.sync().unwrap();
    let bytes = fs::read(&path).unwrap();
    assert!(bytes.starts_with(&whole) && !bytes.contains(&0));
    assert_eq!(bytes.split(|byte| *byte == b' ').count(), 1 + 3);
    let dedup = open(&dir.path().join("dedup"), DAY);
    assert!(!commit(&dedup, 1) && !commit(&dedup, 2) && !commit(&dedup, 3));
}

#[test]
fn a_torn_or_damaged_log_is_read_as_far_as_possible() {
    let dir = tempfile::tempdir().unwrap();
    let dedup = open(dir.path(), DAY);
    for key in [1, 2] {
        assert!(commit(&dedup, key));
        dedup.sync().unwrap();
    }
    let path = dir.path().join(CURRENT);
    let mut bytes = fs::read(&path).unwrap();
    bytes.truncate(bytes.len() - 7);
    bytes.extend(b"\n\xff\xfe nonsense\n\n");
    fs::write(&path, bytes).unwrap();
    let dedup = open(dir.path(), DAY);
    assert!(!commit(&dedup, 1) && commit(&dedup, 2));
}

/// The resident memory of this process, in KiB.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
#[ignore = "measures the whole process, so it must run alone: see docs/reliability.md"]
fn measure_a_full_index() {
    const ROUNDS: u128 = 8;
    const ALL: u128 = MAX_ENTRIES as u128;

    let dir = tempfile::tempdir().unwrap();
    let disk = || {
        let sizes = [CURRENT, PREVIOUS].map(|name| fs::metadata(dir.path().join(name)));
        sizes.iter().flatten().map(fs::Metadata::len).sum::<u64>()
    };
    // Distributed like digests.
    let key = |number: u128| {
        DedupKey::from(number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))
    };
    let before = resident();
    let dedup = open(dir.path(), DAY);
    let mut most_on_disk = 0;
    for round in 0..ROUNDS {
        let begun = Instant::now();
        for number in round * ALL..(round + 1) * ALL {
            dedup.committed(key(number));
            if number % 1000 == 0 {
                dedup.sync().unwrap();
                most_on_disk = most_on_disk.max(disk());
            }
        }
        let known = dedup.known();
        assert_eq!((known.order.len(), known.states.len()), (MAX_ENTRIES, MAX_ENTRIES));
        eprintln!(
            "{} committed: {} KiB of memory more, room for {} and {}, {} bytes of disk, {} ns each",
            (round + 1) * ALL,
            resident() - before,
            known.states.capacity(),
            known.order.capacity(),
            disk(),
            begun.elapsed().as_nanos() / ALL
        );
    }
    eprintln!("{most_on_disk} bytes of disk at most");
    dedup.sync().unwrap();
    drop(dedup);
    let before = resident();
    let begun = Instant::now();
    let dedup = open(dir.path(), DAY);
    eprintln!("read in {:?}, {} KiB of memory more", begun.elapsed(), resident() - before);
    assert!(dedup.claim(key(ROUNDS * ALL - 1)).is_none(), "the latest");
    assert!(dedup.claim(key((ROUNDS - 1) * ALL)).is_none(), "the oldest within the limit");
    assert!(dedup.claim(key((ROUNDS - 1) * ALL - 1)).is_some(), "the previous one");
}

const YEAR: i64 = 365 * 24 * 3600;

#[test]
fn a_step_of_the_wall_clock_changes_no_window() {
    let dir = tempfile::tempdir().unwrap();
    let clock = ManualClock::at(1_790_000_000);
    let dedup = Dedup::open_at(dir.path().to_owned(), Duration::from_secs(10), clock.clock());
    assert!(commit(&dedup, 1));
    clock.step(YEAR);
    assert!(commit(&dedup, 2));
    clock.step(-YEAR);
    assert!(!commit(&dedup, 1) && !commit(&dedup, 2), "forgotten too early");
    clock.step(YEAR);
    assert!(commit(&dedup, 3));
    clock.step(-YEAR);
    assert!(commit(&dedup, 4));
    clock.advance(11);
    assert!([1, 2, 3, 4].iter().all(|key| commit(&dedup, *key)), "forgotten too late");
}

#[test]
fn an_entry_from_the_future_ages_from_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let clock = ManualClock::at(1_790_000_000);
    let open = || Dedup::open_at(dir.path().to_owned(), Duration::from_secs(10), clock.clock());
    clock.step(YEAR);
    let dedup = open();
    assert!(commit(&dedup, 1));
    dedup.sync().unwrap();
    clock.step(-YEAR);
    let dedup = open();
    assert!(!commit(&dedup, 1) && commit(&dedup, 2));
    dedup.sync().unwrap();
    clock.advance(5);
    // The entries of the log are not sorted by time.
    let dedup = open();
    assert!(!commit(&dedup, 1) && !commit(&dedup, 2));
    clock.advance(6);
    assert!(commit(&dedup, 2), "forgotten too late");
    clock.advance(5);
    assert!(commit(&dedup, 1), "never forgotten");
}

#[test]
fn the_log_rotates_by_the_window_despite_steps_of_the_wall_clock() {
    let dir = tempfile::tempdir().unwrap();
    let clock = ManualClock::at(1_790_000_000);
    let open = || Dedup::open_at(dir.path().to_owned(), DAY, clock.clock());
    let dedup = open();
    for key in [1, 2, 3] {
        assert!(commit(&dedup, key));
        dedup.sync().unwrap();
        clock.step(YEAR);
    }
    clock.step(-3 * YEAR);
    assert!(!dir.path().join(PREVIOUS).exists());
    let dedup = open();
    assert!([1, 2, 3].iter().all(|key| !commit(&dedup, *key)));
}
