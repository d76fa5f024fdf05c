//! When a file is ended, and the name that it gets then.
//!
//! A file is only ever renamed between two batches, when nothing stands in it but what the stored
//! checkpoint says. To recovery that is what any rotation by somebody else is: either the name still
//! leads to the file of the checkpoint, and what comes next is appended to it; or it does not, and
//! what comes next begins a new file. Nothing that the old one holds is asked for again, so whether
//! the rename was done need not be on record.

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};

use super::target::{Target, unix_now};
use crate::{
    config::Rotate,
    durable::{self, Directory},
};

/// What finished files may end with, beside their name.
pub(super) const PACKED: [&str; 2] = ["gz", "zst"];

/// How many names are tried. Each is a microsecond later than the one before.
const TRIES: usize = 1000;

/// How long a file that could not be renamed goes on as it is.
pub(super) const RETRY: Duration = Duration::from_secs(60);

pub(super) struct Rotation {
    rules: Rotate,
    /// The time in the last name: names sort in the order of the rotations.
    last: Timestamp,
}

impl Rotation {
    pub(super) fn new(rules: Rotate) -> Self {
        Self { rules, last: Timestamp::MIN }
    }

    /// Whether the file is to be ended before more comes.
    pub(super) fn is_due(&self, target: &Target, now: Instant) -> bool {
        let Rotate { max_bytes, max_age } = self.rules;
        target.finished > 0
            && (max_bytes.is_some_and(|most| target.finished >= most)
                || max_age.is_some_and(|most| age(target) >= most))
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
        if self.is_due(target, now) {
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
        let step = SignedDuration::from_micros(1);
        for _ in 0..TRIES {
            let next = self.last.saturating_add(step).unwrap_or(self.last);
            self.last = Timestamp::now().max(next);
            let name = name(path, self.last);
            let is_taken = |path: &Path| path.file_name().is_none_or(|name| directory.has(name));
            if !is_taken(&name) && !PACKED.iter().any(|end| is_taken(&with_end(&name, end))) {
                return Ok(name);
            }
        }
        let error = io::Error::new(io::ErrorKind::AlreadyExists, "no name is free for it");
        Err(durable::at("rotating", path)(error))
    }
}

fn age(target: &Target) -> Duration {
    // A clock that was set back makes it young, not old.
    Duration::from_secs(u64::try_from(unix_now() - target.born).unwrap_or(0))
}

/// The time stands before the extension: so the names of a folder sort by age, what is still written
/// to last, and whoever goes by the extension still knows what is inside.
fn name(path: &Path, time: Timestamp) -> PathBuf {
    let time = time.strftime("%Y%m%dT%H%M%S%.6fZ");
    let mut name = OsString::from(path.file_stem().unwrap_or_default());
    name.push(format!("-{time}"));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
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

    #[test]
    fn names_sort_by_time_before_the_file_that_is_written_to() {
        let time = |text: &str| text.parse::<Timestamp>().unwrap();
        let path = Path::new("/l/http_requests.ndjson");
        let names = [
            name(path, time("2026-11-21T22:59:59.9Z")),
            name(path, time("2026-11-21T23:00:00Z")),
            name(path, time("2026-11-21T23:00:00.000001Z")),
            path.to_owned(),
        ];
        assert_eq!(names[1], Path::new("/l/http_requests-20261121T230000.000000Z.ndjson"));
        assert!(names.is_sorted_by_key(|name| name.as_os_str()), "{names:?}");
        assert_eq!(
            name(Path::new("/l/.hidden"), time("2026-11-21T23:00:00Z")),
            Path::new("/l/.hidden-20261121T230000.000000Z")
        );
    }

    #[test]
    fn a_name_that_is_taken_in_any_form_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.ndjson");
        let mut rotation = Rotation::new(Rotate::default());
        // The clock does not come there before the test is over.
        let ahead: Timestamp = "2100-01-01T00:00:00Z".parse().unwrap();
        rotation.last = ahead;
        for taken in ["01Z.ndjson", "02Z.ndjson.gz", "03Z.ndjson.zst"] {
            fs::write(dir.path().join(format!("a-21000101T000000.0000{taken}")), "").unwrap();
        }
        let folder = Directory::walk(dir.path(), dir.path(), None).unwrap();
        let name = rotation.free_name(&path, &folder).unwrap();
        assert_eq!(name, dir.path().join("a-21000101T000000.000004Z.ndjson"));
        let next = rotation.free_name(&path, &folder).unwrap();
        assert!(next > name);
    }
}
