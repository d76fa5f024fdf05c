//! When a file is ended, and the name that it gets then.
//!
//! A file is only ever renamed between two batches, when nothing stands in it but what the stored
//! checkpoint says. To recovery that is what any rotation by somebody else is: either the name still
//! leads to the file of the checkpoint, and what comes next is appended to it; or it does not, and
//! what comes next begins a new file. Nothing that the old one holds is asked for again, so whether
//! the rename was done need not be on record.
//!
//! The rename is an exchange with a new, empty file (see `Place::replace`), so that a reader who looks for
//! the live name always finds it. Nothing is written to the new file before a checkpoint names it.

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
    target::{Target, unix_now},
};

/// What finished files may end with, beside their name.
pub(super) const PACKED: [&str; 2] = ["gz", "zst"];

/// How many files of one path can end within a second.
const MAX_A_SECOND: u32 = 999;

/// A clock that was set back by less does not put a name before the last one.
const MAX_SETBACK: SignedDuration = SignedDuration::from_secs(60);

/// How long a file that could not be renamed goes on as it is.
pub(super) const RETRY: Duration = Duration::from_secs(60);

pub(super) struct Rotation {
    rules: Rotate,
    /// The second in the last name, and how often it was used for each path: names sort in the order of
    /// the rotations.
    last: (Timestamp, HashMap<PathBuf, u32>),
}

impl Rotation {
    pub(super) fn new(rules: Rotate) -> Self {
        Self { rules, last: (Timestamp::MIN, HashMap::new()) }
    }

    /// Whether the file is to be ended before more comes. A file whose date `has_passed` ends for its size
    /// alone: what ends it otherwise is that date.
    pub(super) fn is_due(&self, target: &Target, now: Instant, has_passed: bool) -> bool {
        let Rotate { max_bytes, max_age } = self.rules;
        let is_old = || max_age.is_some_and(|most| age(target) >= most);
        target.finished > 0
            && (max_bytes.is_some_and(|most| target.finished >= most) || !has_passed && is_old())
            && target.not_before.is_none_or(|at| at <= now)
    }

    /// Takes notice of the clock: a file cannot have begun later than now.
    pub(super) fn correct(target: &mut Target) {
        target.born = target.born.min(unix_now());
    }

    /// How long until it may be due though nothing more comes.
    pub(super) fn due_in(&self, target: &Target, now: Instant) -> Option<Duration> {
        if target.finished == 0 {
            return self.rules.max_age;
        }
        if self.is_due(target, now, false) {
            return Some(Duration::ZERO);
        }
        let until =
            target.not_before.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        let full = self.rules.max_bytes.is_some_and(|most| target.finished >= most);
        let by_size = full.then_some(until);
        let by_age = self.rules.max_age.map(|most| most.saturating_sub(age(target)).max(until));
        by_size.into_iter().chain(by_age).min()
    }

    /// A name for the file at `path`, which is in `directory`, that is free, also with what packing
    /// adds to it.
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
            if !is_taken(&name) && !PACKED.iter().any(|end| is_taken(&with_end(&name, end))) {
                return Ok(name);
            }
        }
        let error = io::Error::new(io::ErrorKind::AlreadyExists, "no name is free for it");
        Err(durable::error_at("rotating", path)(error))
    }
}

fn age(target: &Target) -> Duration {
    // A clock that was set back makes it young, not old.
    Duration::from_secs(u64::try_from(unix_now() - target.born).unwrap_or(0))
}

/// The time follows the whole name: a pattern such as `*.ndjson` matches no file that has ended. From the
/// second file of a second on, a number follows the time. An underscore and three digits, so that names
/// sort in the order of the rotations, also with what packing adds.
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
    fn a_name_that_is_taken_in_any_form_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.ndjson");
        let mut rotation = Rotation::new(Rotate::default());
        for taken in ["", "_002.gz", "_003.zst"] {
            fs::write(dir.path().join(format!("a.ndjson.20261121T230000Z{taken}")), "").unwrap();
        }
        let folder = Directory::walk(dir.path(), dir.path(), None).unwrap();
        let mut next = |now: &str, path: &Path| {
            let name = rotation.free_name_at(time(now), path, &folder).unwrap();
            name.file_name().unwrap().to_str().unwrap().to_owned()
        };
        assert_eq!(next("2026-11-21T23:00:00.5Z", &path), "a.ndjson.20261121T230000Z_004");
        // The first is free again: a name that comes later is not put before the others.
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
