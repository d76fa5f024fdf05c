//! Keeps the quarantine within its size and age.
//!
//! What goes first is what was not written to for longest, by [`FileAges`]: a wall clock that steps neither
//! makes a file old nor changes the order. A records file is large when it has an
//! eighth of the bound: it then gets another name, and the daemon begins a new one. So a flood of
//! rejects costs the oldest eighth at a time, and never all at once because it happened on one day.
//! Names by the hour would not do that: a flood passes any bound within an hour. Between two looks
//! the bound may be passed by as much as arrives meanwhile.
//!
//! A body that belongs to a batch in the spool has a second name there: removing it here harms
//! nothing, and frees nothing until the batch is delivered.

use std::{cmp::Reverse, io, path::Path};

use tracing::{info, warn};

use super::{FileKind, QuarantineFile, Shelf, shelf::roll};
use crate::{
    clock::Clock,
    config::{self, format_bytes},
    durable,
    file_ages::{FileAges, ObservedFile},
};

/// The part of the bound that makes a file large.
const LARGE_PART: u64 = 8;

/// What [`enforce`] left, and took.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct BoundsOutcome {
    /// Length of the files that are there.
    pub bytes: u64,
    /// Length of those that were removed.
    pub removed_bytes: u64,
}

/// Opens the ages of the quarantine's files, whose ledger is in the directory `cursors`.
pub fn ages(cursors: &Path) -> FileAges {
    // No sink has such a name.
    FileAges::open(&cursors.join("@quarantine.ages.json"), Clock::system())
}

/// Removes what is too old or too much. What cannot be removed is tried again the next time.
///
/// # Errors
/// The folder cannot be read.
pub fn enforce(config: &config::Quarantine, ages: &mut FileAges) -> io::Result<BoundsOutcome> {
    let mut shelf = Shelf::read(&config.dir)?;
    for kept in &mut shelf.files {
        let is_large = kept.bytes > config.max_bytes / LARGE_PART;
        if is_large && kept.kind == (FileKind::Records { aside: false }) {
            match roll(&kept.path) {
                Ok(Some(path)) => {
                    info!(path = %path.display(), "a quarantine file is large: another one begins");
                    kept.path = path;
                }
                Ok(None) => {}
                Err(error) => warn!(%error, "cannot begin another quarantine file"),
            }
        }
    }
    let sighting = |kept: &QuarantineFile| ObservedFile::of(kept.key(), kept.modified, kept.bytes);
    let round = ages.observe(&shelf.files.iter().map(sighting).collect::<Vec<_>>());
    // They are in the order of their times, which counts among those that were first seen together.
    shelf.files.sort_by_key(|kept| Reverse(round.age(&kept.key())));
    let mut outcome = BoundsOutcome { bytes: shelf.bytes(), removed_bytes: 0 };
    let mut failures = Vec::new();
    for kept in &shelf.files {
        let why = if round.is_older(&kept.key(), config.max_age) {
            "older than quarantine.max_age"
        } else if outcome.bytes > config.max_bytes {
            "the quarantine is over quarantine.max_bytes"
        } else {
            continue;
        };
        match durable::remove(&kept.path) {
            Ok(()) => {
                let (path, size) = (kept.path.display(), format_bytes(kept.bytes));
                warn!(%path, size, why, "removed from the quarantine");
                outcome.bytes -= kept.bytes;
                outcome.removed_bytes += kept.bytes;
            }
            Err(error) => failures.push(error),
        }
    }
    // The next round is a minute away: one line stands for all files of this one.
    if let Some(error) = failures.first() {
        warn!(%error, files = failures.len(), "cannot remove from the quarantine");
    }
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File},
        path::PathBuf,
        time::{Duration, UNIX_EPOCH},
    };

    use super::*;
    use crate::clock::test::ManualClock;

    const HOUR: Duration = Duration::from_secs(3600);
    /// In 2026.
    const BEGIN: u32 = 1_790_000_000;

    struct Folder {
        config: config::Quarantine,
        ages: FileAges,
        clock: ManualClock,
        _dir: tempfile::TempDir,
    }

    impl Folder {
        /// Of a daemon that has not run before.
        fn new(max_bytes: u64) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let shelf = dir.path().join("quarantine");
            fs::create_dir_all(shelf.join("bodies")).unwrap();
            let config = config::Quarantine { dir: shelf, max_bytes, max_age: 48 * HOUR };
            let clock = ManualClock::at(BEGIN.into());
            let ages = FileAges::open(&dir.path().join("ages.json"), clock.clock());
            Self { config, ages, clock, _dir: dir }
        }

        fn file(&self, name: &str, bytes: usize, hours: u32) -> PathBuf {
            let path = self.config.dir.join(name);
            fs::write(&path, vec![b'x'; bytes]).unwrap();
            let file = File::options().write(true).open(&path).unwrap();
            file.set_modified(UNIX_EPOCH + Duration::from_secs(BEGIN.into()) - hours * HOUR)
                .unwrap();
            path
        }

        fn enforce(&mut self) -> BoundsOutcome {
            enforce(&self.config, &mut self.ages).unwrap()
        }
    }

    #[test]
    fn what_is_too_old_goes() {
        let mut folder = Folder::new(1 << 20);
        let old = folder.file("records-2026-01-01.ndjson", 10, 49);
        let replayed = folder.file("records-2026-01-02.ndjson.replayed-1", 20, 50);
        let body = folder.file(&format!("bodies/push.dns_logs.{:032x}", 1), 30, 60);
        let young = folder.file("records-2026-01-03.ndjson", 40, 46);
        let not_ours = folder.file("notes.txt", 50, 90);
        assert_eq!(
            folder.enforce(),
            BoundsOutcome { bytes: 100, removed_bytes: 0 },
            "the first hour"
        );
        folder.clock.advance(3600);
        assert_eq!(folder.enforce(), BoundsOutcome { bytes: 40, removed_bytes: 60 });
        assert_eq!(folder.enforce(), BoundsOutcome { bytes: 40, removed_bytes: 0 });
        assert!(young.exists() && not_ours.exists());
        assert!(!old.exists() && !replayed.exists() && !body.exists());
    }

    #[test]
    fn what_is_too_much_goes_oldest_first() {
        let mut folder = Folder::new(800);
        let oldest = folder.file(&format!("bodies/push.dns_logs.{:032x}", 1), 300, 3);
        let older = folder.file("records-2026-01-02.1.ndjson", 400, 2);
        let newest = folder.file("records-2026-01-02.ndjson", 90, 0);
        assert_eq!(folder.enforce(), BoundsOutcome { bytes: 790, removed_bytes: 0 });
        folder.file("records-2026-01-03.ndjson", 50, 0);
        assert_eq!(folder.enforce(), BoundsOutcome { bytes: 540, removed_bytes: 300 });
        assert!(!oldest.exists() && older.exists() && newest.exists());
    }

    #[test]
    fn a_large_file_is_ended_and_goes_only_when_it_alone_is_too_much() {
        let mut folder = Folder::new(800);
        let live = folder.file("records-2026-01-02.ndjson", 101, 0);
        assert_eq!(folder.enforce(), BoundsOutcome { bytes: 101, removed_bytes: 0 });
        assert!(!live.exists(), "it has another name");
        assert_eq!(Shelf::read(&folder.config.dir).unwrap().files.len(), 1);

        folder.file("records-2026-01-02.ndjson", 801, 0);
        assert_eq!(folder.enforce(), BoundsOutcome { bytes: 0, removed_bytes: 902 });
    }

    #[test]
    fn a_false_clock_removes_nothing_that_is_young() {
        let mut folder = Folder::new(800);
        folder.enforce();
        folder.clock.advance(3600);
        folder.enforce();
        folder.clock.set(0);
        let first = folder.file("records-1970-01-01.ndjson.replayed-1", 50, 24 * 365 * 50);
        folder.enforce();
        // The clock is corrected, but only after it was ahead.
        folder.clock.set(i64::from(BEGIN) + 365 * 24 * 3600);
        let second = folder.file("records-2027-01-01.ndjson.replayed-1", 60, 0);
        let ahead = UNIX_EPOCH + Duration::from_secs(BEGIN.into()) + 365 * 24 * HOUR;
        File::options().write(true).open(&second).unwrap().set_modified(ahead).unwrap();
        folder.clock.advance(60);
        folder.enforce();
        folder.clock.set(BEGIN.into());
        folder.clock.advance(60);
        let third = folder.file("records-2026-09-21.ndjson.replayed-1", 70, 0);
        for _ in 0..47 {
            assert_eq!(folder.enforce(), BoundsOutcome { bytes: 180, removed_bytes: 0 });
            folder.clock.advance(3600);
        }
        folder.config.max_bytes = 150;
        assert_eq!(
            folder.enforce(),
            BoundsOutcome { bytes: 130, removed_bytes: 50 },
            "oldest first"
        );
        assert!(!first.exists());
        folder.config.max_bytes = 80;
        assert_eq!(
            folder.enforce(),
            BoundsOutcome { bytes: 70, removed_bytes: 60 },
            "not by its date"
        );
        assert!(third.exists());
        folder.clock.advance(2 * 3600);
        assert_eq!(folder.enforce(), BoundsOutcome { bytes: 0, removed_bytes: 70 });
    }
}
