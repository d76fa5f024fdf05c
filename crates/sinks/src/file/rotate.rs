//! Decides when to rotate a file, and chooses its new name.
//!
//! A file is renamed only between two batches, when the stored checkpoint covers all of it.
//! Recovery treats that like a rotation by another program: either the path still leads to the file
//! of the checkpoint, and the next records are appended to it; or it does not, and the next records
//! begin a new file. The records of the old file are not written again, so it need not be stored
//! whether the rename was done.
//!
//! An empty new file is created right after the rename (see `FileOpener::replace`), for readers
//! that look for the live name. No record is written to it before a checkpoint contains it.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use spool::durable::{self, Directory};

use super::{
    settings::Rotate,
    target::{TargetFile, unix_now},
};

/// The suffixes of compressed files.
pub(super) const COMPRESSED_SUFFIXES: [&str; 2] = ["gz", "zst"];

/// How many files of one path can be rotated within a second.
const MAX_A_SECOND: u32 = 999;

/// If the clock is set back by at most this, new names still sort after the last one.
const MAX_SETBACK: SignedDuration = SignedDuration::from_secs(60);

/// The time until the next attempt to rename a file.
pub(super) const RETRY: Duration = Duration::from_secs(60);

pub(super) struct Rotation {
    rules: Rotate,
    /// The second in the last name, and how often it was used for each path, so that names sort in
    /// the order of the rotations.
    last: (Timestamp, HashMap<PathBuf, u32>),
}

impl Rotation {
    pub(super) fn new(rules: Rotate) -> Self {
        Self { rules, last: (Timestamp::MIN, HashMap::new()) }
    }

    /// Whether to rotate the file before the next batch. A file whose date `has_passed` is rotated
    /// for its size only: it is finished by its date.
    pub(super) fn is_due(&self, target: &TargetFile, now: Instant, has_passed: bool) -> bool {
        let Rotate { max_bytes, max_age } = self.rules;
        let is_old = || max_age.is_some_and(|most| age(target) >= most);
        target.finished_len > 0
            && (max_bytes.is_some_and(|most| target.finished_len >= most)
                || !has_passed && is_old())
            && target.not_before.is_none_or(|at| at <= now)
    }

    /// Corrects a time of birth in the future, after the clock was set back.
    pub(super) fn correct(target: &mut TargetFile) {
        target.born = target.born.min(unix_now());
    }

    /// The time until a rotation may be due without another batch.
    pub(super) fn due_in(&self, target: &TargetFile, now: Instant) -> Option<Duration> {
        if target.finished_len == 0 {
            return self.rules.max_age;
        }
        if self.is_due(target, now, false) {
            return Some(Duration::ZERO);
        }
        let until =
            target.not_before.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        let full = self.rules.max_bytes.is_some_and(|most| target.finished_len >= most);
        let by_size = full.then_some(until);
        let by_age = self.rules.max_age.map(|most| most.saturating_sub(age(target)).max(until));
        by_size.into_iter().chain(by_age).min()
    }

    /// Chooses a name for the file at `path` in `directory`, which is free with and without the
    /// suffix of a compressed file.
    pub(super) fn free_name(&mut self, path: &Path, directory: &Directory) -> io::Result<PathBuf> {
        self.free_name_at(Timestamp::now(), path, directory)
    }

    fn free_name_at(
        &mut self,
        now: Timestamp,
        path: &Path,
        directory: &Directory,
    ) -> io::Result<PathBuf> {
        let (last, uses) = &mut self.last;
        if now.as_second() > last.as_second() || last.duration_since(now) > MAX_SETBACK {
            *last = now;
            uses.clear();
        }
        let count = uses.entry(path.to_owned()).or_default();
        let is_taken = |path: &Path| path.file_name().is_none_or(|name| directory.has(name));
        while *count < MAX_A_SECOND {
            *count += 1;
            let name = name(path, *last, *count);
            if !is_taken(&name)
                && !COMPRESSED_SUFFIXES.iter().any(|end| is_taken(&with_end(&name, end)))
            {
                return Ok(name);
            }
        }
        let error = io::Error::new(
            io::ErrorKind::AlreadyExists,
            "1,000 files were rotated within a second",
        );
        Err(durable::error_at("rotating", path)(error))
    }
}

fn age(target: &TargetFile) -> Duration {
    // After the clock was set back, the file is young, not old.
    Duration::from_secs(u64::try_from(unix_now() - target.born).unwrap_or(0))
}

/// Appends the time to the whole name, so that a pattern such as `*.ndjson` matches no rotated
/// file. The second and later files of a second also get an underscore and three digits, so that
/// names sort in the order of the rotations, also with the suffix of a compressed file.
fn name(path: &Path, time: Timestamp, count: u32) -> PathBuf {
    let time = time.strftime("%Y%m%dT%H%M%SZ");
    let end = if count > 1 { format!("{time}_{count:03}") } else { time.to_string() };
    with_end(path, &end)
}

/// `path`, a dot, and `end`.
pub(super) fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(end);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn names_sort_by_time_and_no_pattern_for_live_files_matches_them() {
        let path = Path::new("/l/http_requests.ndjson");
        let names = [
            name(path, time("2026-11-21T22:59:59.9Z"), 1),
            with_end(&name(path, time("2026-11-21T23:00:00Z"), 1), "gz"),
            name(path, time("2026-11-21T23:00:00Z"), 2),
            with_end(&name(path, time("2026-11-21T23:00:00Z"), 9), "zst"),
            name(path, time("2026-11-21T23:00:00Z"), 10),
            name(path, time("2026-11-21T23:00:01Z"), 1),
        ];
        assert_eq!(names[0], Path::new("/l/http_requests.ndjson.20261121T225959Z"));
        assert_eq!(names[2], Path::new("/l/http_requests.ndjson.20261121T230000Z_002"));
        assert!(names.is_sorted_by_key(|name| name.as_os_str()), "{names:?}");
        assert!(names.iter().all(|name| name.extension().unwrap() != "ndjson"));
    }

    #[test]
    fn a_name_that_is_taken_with_any_suffix_is_skipped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.ndjson");
        let mut rotation = Rotation::new(Rotate::default());
        for taken in ["", "_002.gz", "_003.zst"] {
            fs::write(dir.path().join(format!("a.ndjson.20261121T230000Z{taken}")), "").unwrap();
        }
        let fixture = Directory::walk(dir.path(), dir.path(), None).unwrap();
        let mut next = |now: &str, path: &Path| {
            let name = rotation.free_name_at(time(now), path, &fixture).unwrap();
            name.file_name().unwrap().to_str().unwrap().to_owned()
        };
        assert_eq!(next("2026-11-21T23:00:00.5Z", &path), "a.ndjson.20261121T230000Z_004");
        // The first name is free again, but later names sort after earlier ones.
        fs::remove_file(dir.path().join("a.ndjson.20261121T230000Z")).unwrap();
        assert_eq!(next("2026-11-21T23:00:00.6Z", &path), "a.ndjson.20261121T230000Z_005");
        let other = dir.path().join("b");
        assert_eq!(next("2026-11-21T23:00:00.7Z", &other), "b.20261121T230000Z");
        // The clock is set back a little, and then far.
        assert_eq!(next("2026-11-21T22:59:30Z", &path), "a.ndjson.20261121T230000Z_006");
        assert_eq!(next("2026-11-21T22:58:30Z", &path), "a.ndjson.20261121T225830Z");
        assert_eq!(next("2026-11-21T22:58:31Z", &path), "a.ndjson.20261121T225831Z");
    }
}
