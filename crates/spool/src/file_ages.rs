//! The age of files, independent of steps of the wall clock.
//!
//! A file's age counts from its last change, or from when [`FileAges`] first observed it if that is
//! later. The monotonic clock counts it, so a step of the wall clock changes neither an age nor the order of
//! ages. The modification time only shows that a file has changed; it is never compared with the
//! current time.
//!
//! A ledger on disk preserves the ages across a restart. Only there the wall clock matters: the downtime
//! of the daemon is added to each age, at once if it is at most a day. A longer downtime is added after
//! the wall clock has agreed with the monotonic clock for an hour, so that NTP can correct a clock that was
//! wrong at boot.
//!
//! During that hour no file counts as older than any limit ([`AgeSnapshot::is_older`]). The same holds for
//! an hour after the wall clock has stepped by more than a day.
//!
//! Limitation: a daemon that starts with a clock that is ahead for more than an hour cannot be
//! distinguished from a daemon that was stopped for that long.

use std::{
    collections::HashMap,
    fs::{self, Metadata},
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::{
    clock::{Clock, Now},
    durable,
};

const HOUR: i64 = 3600 * 1_000_000;
const DAY: i64 = 24 * HOUR;

/// The interval between writes of the ledger. After a crash, files are younger by up to this time.
const STORE_INTERVAL: i64 = HOUR;

/// The ages of a set of files.
#[derive(Debug)]
pub struct FileAges {
    ledger: PathBuf,
    clock: Clock,
    /// Wall time minus monotonic time at the last step of the wall clock.
    offset: i64,
    /// The monotonic time until which no file counts as old.
    suspended_until: Option<i64>,
    files: HashMap<String, FileAge>,
    /// Whether there was no ledger: the first observed files then count from their modification time.
    is_new: bool,
    /// The monotonic time of the last write of the ledger.
    stored: Option<i64>,
}

/// The current state of a file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ObservedFile {
    /// Identifies the file until it is deleted, even if it is renamed: an inode number, or a number that
    /// the caller assigns.
    pub key: String,
    state: FileState,
}

/// The state of a file; a changed state restarts its age.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct FileState {
    /// The modification time, in microseconds since 1970.
    modified: i64,
    bytes: u64,
}

#[derive(Clone, Copy, Debug)]
struct FileAge {
    state: FileState,
    /// The monotonic time from which the age counts; negative for an earlier run.
    since: i64,
    /// The same as wall time, until the downtime has been applied.
    wall_since: Option<i64>,
}

/// The file format of the ledger.
#[derive(Debug, Default, Deserialize, Serialize)]
struct Ledger {
    /// The wall time of the write, in microseconds since 1970.
    written: i64,
    files: HashMap<String, LedgerEntry>,
}

#[derive(Debug, Deserialize, Serialize)]
struct LedgerEntry {
    #[serde(flatten)]
    state: FileState,
    /// The age in microseconds.
    age: i64,
}

/// The ages of the files at one observation.
#[derive(Debug, Default)]
pub struct AgeSnapshot {
    ages: HashMap<String, Duration>,
    is_suspended: bool,
}

impl ObservedFile {
    /// Creates an observation from metadata. For `key`, see [`ObservedFile::key`].
    pub fn new(key: String, metadata: &Metadata) -> Self {
        Self::of(key, metadata.modified().unwrap_or(UNIX_EPOCH), metadata.len())
    }

    /// Creates an observation from its parts.
    pub fn of(key: String, modified: SystemTime, bytes: u64) -> Self {
        let micros = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        let modified = match modified.duration_since(UNIX_EPOCH) {
            Ok(after) => micros(after),
            Err(before) => -micros(before.duration()),
        };
        Self { key, state: FileState { modified, bytes } }
    }
}

impl FileAges {
    /// Reads the ledger of an earlier run. If it cannot be read, the ages of all files count from now.
    pub fn open(ledger: &Path, clock: Clock) -> Self {
        let now = clock.now();
        let mut ages = Self {
            ledger: ledger.to_owned(),
            clock,
            offset: now.wall.saturating_sub(now.monotonic),
            suspended_until: Some(now.monotonic.saturating_add(HOUR)),
            files: HashMap::new(),
            is_new: false,
            stored: None,
        };
        match ages.read() {
            Ok(Some(ledger)) => ages.resume(ledger, now),
            Ok(None) => ages.is_new = true,
            Err(error) => warn!(%error, "cannot read file ages; counting them from now"),
        }
        ages
    }

    fn read(&self) -> io::Result<Option<Ledger>> {
        let ledger = match fs::read(&self.ledger) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        ledger.map_err(durable::error_at("reading", &self.ledger))
    }

    fn resume(&mut self, ledger: Ledger, now: Now) {
        let Ledger { written, files } = ledger;
        self.files.extend(files.into_iter().map(|(key, LedgerEntry { state, age })| {
            let since = now.monotonic.saturating_sub(age);
            (key, FileAge { state, since, wall_since: Some(written.saturating_sub(age)) })
        }));
        if is_about(now.wall, written) {
            self.suspended_until = None;
            self.apply_downtime(now);
        } else {
            info!(
                ledger = %self.ledger.display(),
                "clock differs by more than a day from the last run; \
                 not removing files by age for an hour"
            );
        }
    }

    /// Observes the current files and the clock. Files that are not in `files` are forgotten.
    ///
    /// Blocks, since it may write the ledger.
    pub fn observe(&mut self, files: &[ObservedFile]) -> AgeSnapshot {
        let now = self.clock.now();
        self.check_clock(now);
        let mut before = std::mem::take(&mut self.files);
        for ObservedFile { key, state } in files {
            let known = before.remove(key).filter(|known| known.state == *state);
            let entry = known.unwrap_or(FileAge {
                state: *state,
                since: now.monotonic,
                wall_since: self.is_new.then_some(state.modified),
            });
            self.files.insert(key.clone(), entry);
        }
        self.is_new = false;
        if self.suspended_until.is_none() {
            self.apply_downtime(now);
            if self.stored.is_none_or(|at| now.monotonic.saturating_sub(at) >= STORE_INTERVAL) {
                self.stored = Some(now.monotonic);
                if let Err(error) = self.store(now) {
                    warn!(%error, "cannot write file ages; after a restart, files count as younger");
                }
            }
        }
        let ages = self.files.iter().map(|(key, entry)| (key.clone(), entry.age(now)));
        AgeSnapshot { ages: ages.collect(), is_suspended: self.suspended_until.is_some() }
    }

    /// Starts and ends the hour during which no file counts as old.
    fn check_clock(&mut self, now: Now) {
        let offset = now.wall.saturating_sub(now.monotonic);
        if !is_about(offset, self.offset) {
            self.offset = offset;
            self.suspended_until = Some(now.monotonic.saturating_add(HOUR));
            warn!(
                ledger = %self.ledger.display(),
                "clock stepped by more than a day; not removing files by age for an hour"
            );
        } else if self.suspended_until.is_some_and(|until| now.monotonic >= until) {
            self.suspended_until = None;
        }
    }

    /// Adds the downtime of the daemon, as the wall clock shows it.
    fn apply_downtime(&mut self, now: Now) {
        for entry in self.files.values_mut() {
            if let Some(wall_since) = entry.wall_since.take() {
                entry.since = entry.since.min(now.moment_of(wall_since).0);
            }
        }
    }

    fn store(&self, now: Now) -> io::Result<()> {
        let files = self.files.iter().map(|(key, entry)| {
            let age = now.monotonic.saturating_sub(entry.since);
            (key.clone(), LedgerEntry { state: entry.state, age })
        });
        let ledger = Ledger { written: now.wall, files: files.collect() };
        durable::replace(&self.ledger, &serde_json::to_vec(&ledger)?)
    }
}

impl FileAge {
    fn age(&self, now: Now) -> Duration {
        let micros = now.monotonic.saturating_sub(self.since);
        Duration::from_micros(micros.try_into().unwrap_or(0))
    }
}

impl AgeSnapshot {
    /// Returns the age of a file, for sorting. It is never too high, but may be too low for an hour.
    pub fn age(&self, key: &str) -> Duration {
        self.ages.get(key).copied().unwrap_or_default()
    }

    /// Reports whether a file is certainly older than `limit`, so that it may be removed.
    pub fn is_older(&self, key: &str, limit: Duration) -> bool {
        !self.is_suspended && self.age(key) > limit
    }
}

fn is_about(a: i64, b: i64) -> bool {
    a.abs_diff(b) <= DAY.unsigned_abs()
}

#[cfg(test)]
mod tests;
