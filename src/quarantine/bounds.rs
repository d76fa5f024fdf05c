//! Enforces the maximum size and age of the quarantine.
//!
//! Removes the files first that were not written to for the longest time, by [`FileAges`]: a wall
//! clock that steps neither makes a file old nor changes the order. A records file that reaches an
//! eighth of the maximum size is renamed, and the daemon starts a new one. A flood of rejected
//! records therefore costs an eighth at a time instead of the records of a whole day. Files by the
//! hour would not help, since a flood exceeds any bound within an hour. Between two checks, the
//! quarantine may exceed its maximum size.
//!
//! A body of a batch in the spool is linked there as well. Removing it here does no harm, and frees
//! no space until the batch is delivered.

use std::{cmp::Reverse, io, path::Path};

use tracing::{info, warn};

use super::{FileKind, QuarantineFile, QuarantineFiles, files::roll};
use crate::{
    clock::Clock,
    config::{self, format_bytes},
    durable,
    file_ages::{FileAges, ObservedFile},
};

/// A file is large if it exceeds this fraction of the maximum size.
const LARGE_PART: u64 = 8;

/// The result of [`enforce`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct BoundsOutcome {
    /// Total length of the remaining files.
    pub bytes: u64,
    /// Total length of the removed files.
    pub removed_bytes: u64,
}

/// Opens the ages of the quarantine's files from their ledger in the directory `cursors`.
pub fn ages(cursors: &Path) -> FileAges {
    // No sink has such a name.
    FileAges::open(&cursors.join("@quarantine.ages.json"), Clock::system())
}

/// Renames large files, and removes files that exceed the maximum age or size. Failures are logged
/// and retried by the next call.
///
/// # Errors
/// The directory cannot be read.
pub fn enforce(config: &config::Quarantine, ages: &mut FileAges) -> io::Result<BoundsOutcome> {
    let mut quarantine = QuarantineFiles::read(&config.dir)?;
    for file in &mut quarantine.files {
        let is_large = file.bytes > config.max_bytes / LARGE_PART;
        if is_large && file.kind == (FileKind::Records { in_replay: false }) {
            match roll(&file.path) {
                Ok(Some(path)) => {
                    info!(path = %path.display(), "large quarantine file renamed");
                    file.path = path;
                }
                Ok(None) => {}
                Err(error) => warn!(%error, "cannot rename a large quarantine file"),
            }
        }
    }
    let observed = |file: &QuarantineFile| ObservedFile::of(file.key(), file.modified, file.bytes);
    let round = ages.observe(&quarantine.files.iter().map(observed).collect::<Vec<_>>());
    // Files that were first seen together stay in the order of their modification times.
    quarantine.files.sort_by_key(|file| Reverse(round.age(&file.key())));
    let mut outcome = BoundsOutcome { bytes: quarantine.bytes(), removed_bytes: 0 };
    let mut failures = Vec::new();
    for file in &quarantine.files {
        let why = if round.is_older(&file.key(), config.max_age) {
            "older than quarantine.max_age"
        } else if outcome.bytes > config.max_bytes {
            "the quarantine exceeds quarantine.max_bytes"
        } else {
            continue;
        };
        match durable::remove(&file.path) {
            Ok(()) => {
                let (path, size) = (file.path.display(), format_bytes(file.bytes));
                warn!(%path, size, why, "quarantine file removed");
                outcome.bytes -= file.bytes;
                outcome.removed_bytes += file.bytes;
            }
            Err(error) => failures.push(error),
        }
    }
    // One line for all files, once a minute.
    if let Some(error) = failures.first() {
        warn!(%error, files = failures.len(), "cannot remove quarantine files");
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

    struct Fixture {
        config: config::Quarantine,
        ages: FileAges,
        clock: ManualClock,
        _dir: tempfile::TempDir,
    }

    impl Fixture {
        /// Creates the quarantine of a daemon that has not run before.
        fn new(max_bytes: u64) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let quarantine = dir.path().join("quarantine");
            fs::create_dir_all(quarantine.join("bodies")).unwrap();
            let config = config::Quarantine { dir: quarantine, max_bytes, max_age: 48 * HOUR };
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
    fn files_over_the_maximum_age_are_removed() {
        let mut fixture = Fixture::new(1 << 20);
        let old = fixture.file("records-2026-01-01.ndjson", 10, 49);
        let replayed = fixture.file("records-2026-01-02.ndjson.replayed-1", 20, 50);
        let body = fixture.file(&format!("bodies/push.dns_logs.{:032x}", 1), 30, 60);
        let young = fixture.file("records-2026-01-03.ndjson", 40, 46);
        let not_ours = fixture.file("notes.txt", 50, 90);
        assert_eq!(
            fixture.enforce(),
            BoundsOutcome { bytes: 100, removed_bytes: 0 },
            "the first hour"
        );
        fixture.clock.advance(3600);
        assert_eq!(fixture.enforce(), BoundsOutcome { bytes: 40, removed_bytes: 60 });
        assert_eq!(fixture.enforce(), BoundsOutcome { bytes: 40, removed_bytes: 0 });
        assert!(young.exists() && not_ours.exists());
        assert!(!old.exists() && !replayed.exists() && !body.exists());
    }

    #[test]
    fn the_oldest_files_over_the_maximum_size_are_removed() {
        let mut fixture = Fixture::new(800);
        let oldest = fixture.file(&format!("bodies/push.dns_logs.{:032x}", 1), 300, 3);
        let older = fixture.file("records-2026-01-02.1.ndjson", 400, 2);
        let newest = fixture.file("records-2026-01-02.ndjson", 90, 0);
        assert_eq!(fixture.enforce(), BoundsOutcome { bytes: 790, removed_bytes: 0 });
        fixture.file("records-2026-01-03.ndjson", 50, 0);
        assert_eq!(fixture.enforce(), BoundsOutcome { bytes: 540, removed_bytes: 300 });
        assert!(!oldest.exists() && older.exists() && newest.exists());
    }

    #[test]
    fn a_large_file_is_renamed_and_removed_only_if_it_alone_exceeds_the_size() {
        let mut fixture = Fixture::new(800);
        let live = fixture.file("records-2026-01-02.ndjson", 101, 0);
        assert_eq!(fixture.enforce(), BoundsOutcome { bytes: 101, removed_bytes: 0 });
        assert!(!live.exists(), "it was renamed");
        assert_eq!(QuarantineFiles::read(&fixture.config.dir).unwrap().files.len(), 1);

        fixture.file("records-2026-01-02.ndjson", 801, 0);
        assert_eq!(fixture.enforce(), BoundsOutcome { bytes: 0, removed_bytes: 902 });
    }

    #[test]
    fn a_wrong_clock_removes_no_young_file() {
        let mut fixture = Fixture::new(800);
        fixture.enforce();
        fixture.clock.advance(3600);
        fixture.enforce();
        fixture.clock.set(0);
        let first = fixture.file("records-1970-01-01.ndjson.replayed-1", 50, 24 * 365 * 50);
        fixture.enforce();
        // The clock is corrected, but only after it was ahead.
        fixture.clock.set(i64::from(BEGIN) + 365 * 24 * 3600);
        let second = fixture.file("records-2027-01-01.ndjson.replayed-1", 60, 0);
        let ahead = UNIX_EPOCH + Duration::from_secs(BEGIN.into()) + 365 * 24 * HOUR;
        File::options().write(true).open(&second).unwrap().set_modified(ahead).unwrap();
        fixture.clock.advance(60);
        fixture.enforce();
        fixture.clock.set(BEGIN.into());
        fixture.clock.advance(60);
        let third = fixture.file("records-2026-09-21.ndjson.replayed-1", 70, 0);
        for _ in 0..47 {
            assert_eq!(fixture.enforce(), BoundsOutcome { bytes: 180, removed_bytes: 0 });
            fixture.clock.advance(3600);
        }
        fixture.config.max_bytes = 150;
        assert_eq!(
            fixture.enforce(),
            BoundsOutcome { bytes: 130, removed_bytes: 50 },
            "oldest first"
        );
        assert!(!first.exists());
        fixture.config.max_bytes = 80;
        assert_eq!(
            fixture.enforce(),
            BoundsOutcome { bytes: 70, removed_bytes: 60 },
            "not by its date"
        );
        assert!(third.exists());
        fixture.clock.advance(2 * 3600);
        assert_eq!(fixture.enforce(), BoundsOutcome { bytes: 0, removed_bytes: 70 });
    }
}
