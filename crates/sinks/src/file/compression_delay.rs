//! Selects the finished files that are due for compression, by `compress_after`.
//!
//! The delay is measured with the monotonic clock, from when this process saw that the file was
//! finished. The wall clock is used only for the time before the process started; a time in the
//! future counts as now.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

use spool::clock::{Clock, MonotonicTime};

use super::{
    inventory::{InventoryEntry, Stage},
    keeper::INTERVAL,
    settings::CompressAfter,
};

pub(super) struct CompressionDelay {
    clock: Clock,
    /// When files were finished, by [`InventoryEntry::key`] and the stored time.
    since: HashMap<(String, Option<i64>), MonotonicTime>,
}

impl CompressionDelay {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, since: HashMap::new() }
    }

    /// Returns the files to compress, and the time until another one may be due.
    pub(super) fn due(
        &mut self,
        files: &[(PathBuf, InventoryEntry)],
        after: CompressAfter,
    ) -> (Vec<(PathBuf, InventoryEntry)>, Duration) {
        let finished = files.iter().filter(|(_, entry)| entry.stage == Stage::Finished);
        let CompressAfter::Delay(delay) = after else {
            return (
                finished.filter(|(_, entry)| has_next(entry, files)).cloned().collect(),
                INTERVAL,
            );
        };
        let now = self.clock.now();
        let mut before = std::mem::take(&mut self.since);
        let (mut due, mut next) = (Vec::new(), INTERVAL);
        for (path, entry) in finished {
            let key = (entry.key(), entry.finished_at);
            let since = before.remove(&key).unwrap_or_else(|| {
                let finished = entry.finished_at.map(|seconds| seconds.saturating_mul(1_000_000));
                now.moment_of(finished.or_else(|| modified(path)).unwrap_or(now.wall))
            });
            let waited = now.moment().0.saturating_sub(since.0).max(0);
            let left = delay.saturating_sub(Duration::from_micros(waited.unsigned_abs()));
            if left.is_zero() {
                due.push((path.clone(), entry.clone()));
            } else {
                next = next.min(left);
            }
            self.since.insert(key, since);
        }
        (due, next)
    }
}

/// Whether a later file of the same stream is finished.
fn has_next(entry: &InventoryEntry, files: &[(PathBuf, InventoryEntry)]) -> bool {
    let is_next = |other: &InventoryEntry| {
        other.stage != Stage::Live && other.stream == entry.stream && other.number > entry.number
    };
    files.iter().any(|(_, other)| is_next(other))
}

/// When a file was last written to, in microseconds, for entries of earlier versions.
fn modified(path: &Path) -> Option<i64> {
    let modified = path.symlink_metadata().ok()?.modified().ok()?;
    i64::try_from(modified.duration_since(UNIX_EPOCH).ok()?.as_micros()).ok()
}

#[cfg(test)]
mod tests {
    use spool::clock::test::ManualClock;

    use super::{super::inventory::Identity, *};

    const BEGIN: i64 = 1_790_000_000;
    const YEAR: i64 = 365 * 24 * 3600;
    const DELAY: CompressAfter = CompressAfter::Delay(Duration::from_secs(600));

    fn file(number: u64, stage: Stage, finished_at: Option<i64>) -> (PathBuf, InventoryEntry) {
        let identity = Identity { inode: number, made: None };
        let entry = InventoryEntry {
            identity,
            stream: "s".into(),
            stage,
            number: Some(number),
            finished_at,
        };
        (PathBuf::from(format!("/{number}")), entry)
    }

    fn numbers(due: &(Vec<(PathBuf, InventoryEntry)>, Duration)) -> Vec<u64> {
        due.0.iter().filter_map(|(_, entry)| entry.number).collect()
    }

    #[test]
    fn the_delay_begins_when_a_file_is_finished_whatever_the_wall_clock_does() {
        let clock = ManualClock::at(BEGIN);
        let mut delay = CompressionDelay::new(clock.clock());
        // The second was finished before the process started, the third while the clock was ahead.
        let files = [
            file(1, Stage::Finished, Some(BEGIN)),
            file(2, Stage::Finished, Some(BEGIN - 500)),
            file(3, Stage::Finished, Some(BEGIN + YEAR)),
            file(4, Stage::Compressed, Some(BEGIN - 900)),
            file(5, Stage::Live, None),
        ];
        let found = delay.due(&files, DELAY);
        assert_eq!((numbers(&found), found.1), (vec![], INTERVAL));
        clock.step(-YEAR);
        clock.advance(95);
        let found = delay.due(&files, DELAY);
        assert_eq!((numbers(&found), found.1), (vec![], Duration::from_secs(5)));
        clock.step(3 * YEAR);
        clock.advance(5);
        assert_eq!(numbers(&delay.due(&files, DELAY)), [2]);
        clock.advance(499);
        assert_eq!(numbers(&delay.due(&files, DELAY)), [2]);
        clock.advance(1);
        assert_eq!(numbers(&delay.due(&files, DELAY)), [1, 2, 3]);
        // The first got another batch, and is finished again.
        let refinished = [file(1, Stage::Finished, Some(BEGIN + 3 * YEAR))];
        assert_eq!(numbers(&delay.due(&refinished, DELAY)), [0; 0]);
        let now = CompressAfter::Delay(Duration::ZERO);
        assert_eq!(numbers(&CompressionDelay::new(clock.clock()).due(&files, now)), [1, 2, 3]);
    }

    #[test]
    fn next_waits_for_the_next_file_of_the_stream() {
        let mut delay = CompressionDelay::new(ManualClock::at(BEGIN).clock());
        let mut files = vec![
            file(1, Stage::Finished, Some(1)),
            file(2, Stage::Finished, Some(1)),
            file(3, Stage::Live, None),
        ];
        let mut other = file(4, Stage::Finished, Some(1));
        other.1.stream = "other".into();
        files.push(other);
        assert_eq!(numbers(&delay.due(&files, CompressAfter::Next)), [1]);
        files[2].1.stage = Stage::Compressed;
        assert_eq!(numbers(&delay.due(&files, CompressAfter::Next)), [1, 2]);
        // An entry of an earlier version has no number and comes before all others.
        files[1].1.number = None;
        assert_eq!(numbers(&delay.due(&files, CompressAfter::Next)), [1]);
        assert_eq!(delay.due(&files, CompressAfter::Next).0.len(), 2);
    }
}
