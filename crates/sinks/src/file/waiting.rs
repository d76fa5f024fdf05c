//! Which files that have ended are compressed now: `compress_after`.
//!
//! The time that a file has waited is counted by the steady clock from when this process saw that the file
//! had ended. The wall clock only tells how long before the start of the process that was; a time in the
//! future counts as now.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

use spool::clock::{Clock, MonotonicTime};

use super::{
    inventory::{Kept, Stage},
    keeper::INTERVAL,
    settings::CompressAfter,
};

pub(super) struct Waiting {
    clock: Clock,
    /// When files ended, by [`Kept::key`] and the noted time.
    since: HashMap<(String, Option<i64>), MonotonicTime>,
}

impl Waiting {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, since: HashMap::new() }
    }

    /// The files to compress, and how long until there may be another one.
    pub(super) fn ripe(
        &mut self,
        files: &[(PathBuf, Kept)],
        after: CompressAfter,
    ) -> (Vec<(PathBuf, Kept)>, Duration) {
        let ended = files.iter().filter(|(_, kept)| kept.stage == Stage::Ended);
        let CompressAfter::Delay(delay) = after else {
            return (ended.filter(|(_, kept)| has_next(kept, files)).cloned().collect(), INTERVAL);
        };
        let now = self.clock.now();
        let mut before = std::mem::take(&mut self.since);
        let (mut ripe, mut next) = (Vec::new(), INTERVAL);
        for (path, kept) in ended {
            let key = (kept.key(), kept.ended);
            let since = before.remove(&key).unwrap_or_else(|| {
                let ended = kept.ended.map(|seconds| seconds.saturating_mul(1_000_000));
                now.moment_of(ended.or_else(|| modified(path)).unwrap_or(now.wall))
            });
            let waited = now.moment().0.saturating_sub(since.0).max(0);
            let left = delay.saturating_sub(Duration::from_micros(waited.unsigned_abs()));
            if left.is_zero() {
                ripe.push((path.clone(), kept.clone()));
            } else {
                next = next.min(left);
            }
            self.since.insert(key, since);
        }
        (ripe, next)
    }
}

/// Whether a later file of the same stream has ended.
fn has_next(kept: &Kept, files: &[(PathBuf, Kept)]) -> bool {
    let is_next = |other: &Kept| {
        other.stage != Stage::Live && other.stream == kept.stream && other.number > kept.number
    };
    files.iter().any(|(_, other)| is_next(other))
}

/// A file of an earlier version: when it was last written to, in microseconds.
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

    fn file(number: u64, stage: Stage, ended: Option<i64>) -> (PathBuf, Kept) {
        let identity = Identity { inode: number, made: None };
        let kept = Kept { identity, stream: "s".into(), stage, number: Some(number), ended };
        (PathBuf::from(format!("/{number}")), kept)
    }

    fn numbers(ripe: &(Vec<(PathBuf, Kept)>, Duration)) -> Vec<u64> {
        ripe.0.iter().filter_map(|(_, kept)| kept.number).collect()
    }

    #[test]
    fn a_file_waits_so_long_after_it_has_ended_whatever_the_wall_clock_does() {
        let clock = ManualClock::at(BEGIN);
        let mut waiting = Waiting::new(clock.clock());
        // The second ended before the process began, the third while the clock was ahead.
        let files = [
            file(1, Stage::Ended, Some(BEGIN)),
            file(2, Stage::Ended, Some(BEGIN - 500)),
            file(3, Stage::Ended, Some(BEGIN + YEAR)),
            file(4, Stage::Packed, Some(BEGIN - 900)),
            file(5, Stage::Live, None),
        ];
        let found = waiting.ripe(&files, DELAY);
        assert_eq!((numbers(&found), found.1), (vec![], INTERVAL));
        clock.step(-YEAR);
        clock.advance(95);
        let found = waiting.ripe(&files, DELAY);
        assert_eq!((numbers(&found), found.1), (vec![], Duration::from_secs(5)));
        clock.step(3 * YEAR);
        clock.advance(5);
        assert_eq!(numbers(&waiting.ripe(&files, DELAY)), [2]);
        clock.advance(499);
        assert_eq!(numbers(&waiting.ripe(&files, DELAY)), [2]);
        clock.advance(1);
        assert_eq!(numbers(&waiting.ripe(&files, DELAY)), [1, 2, 3]);
        // Something came for the first, and it has ended again.
        let again = [file(1, Stage::Ended, Some(BEGIN + 3 * YEAR))];
        assert_eq!(numbers(&waiting.ripe(&again, DELAY)), [0; 0]);
        let now = CompressAfter::Delay(Duration::ZERO);
        assert_eq!(numbers(&Waiting::new(clock.clock()).ripe(&files, now)), [1, 2, 3]);
    }

    #[test]
    fn next_waits_for_the_next_file_of_the_stream() {
        let mut waiting = Waiting::new(ManualClock::at(BEGIN).clock());
        let mut files = vec![
            file(1, Stage::Ended, Some(1)),
            file(2, Stage::Ended, Some(1)),
            file(3, Stage::Live, None),
        ];
        let mut other = file(4, Stage::Ended, Some(1));
        other.1.stream = "other".into();
        files.push(other);
        assert_eq!(numbers(&waiting.ripe(&files, CompressAfter::Next)), [1]);
        files[2].1.stage = Stage::Packed;
        assert_eq!(numbers(&waiting.ripe(&files, CompressAfter::Next)), [1, 2]);
        // Of an earlier version, without a number: before all others.
        files[1].1.number = None;
        assert_eq!(numbers(&waiting.ripe(&files, CompressAfter::Next)), [1]);
        assert_eq!(waiting.ripe(&files, CompressAfter::Next).0.len(), 2);
    }
}
