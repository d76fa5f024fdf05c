//! The age of files, whatever steps the wall clock makes.
//!
//! A file's age counts from the later of its last change and the first time that [`Ages`] saw it. It is
//! counted by the steady clock, so a step of the wall clock changes no age and no order of ages. The
//! modification time only tells that a file has changed; it is never compared with the present.
//!
//! A ledger on disk carries the ages over a restart. Only there the wall clock matters: the time that
//! the daemon did not run is added to each age. That time is believed at once if it is at most a day.
//! Otherwise it is added when the wall clock has agreed with the steady clock for an hour, which gives
//! NTP the time to correct a clock that was wrong at boot.
//!
//! During that hour nothing counts as older than any limit ([`Round::is_older`]). The same holds for an
//! hour after the wall clock has stepped by more than a day.
//!
//! What this cannot tell: a daemon that starts with a clock that is ahead, and stays ahead for an hour,
//! looks like a daemon that was stopped for that long.

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

/// How often the ledger is written. What a crash takes of it makes files younger.
const STORE: i64 = HOUR;

/// How long each of a set of files has been as it is.
#[derive(Debug)]
pub struct Ages {
    ledger: PathBuf,
    clock: Clock,
    /// Wall time less steady time, as of the last step of the wall clock.
    offset: i64,
    /// Until when, by the steady clock, nothing is old.
    hold_until: Option<i64>,
    files: HashMap<String, Entry>,
    /// No ledger was there: the files that are seen first count from their modification time.
    is_new: bool,
    /// When the ledger was written, by the steady clock.
    stored: Option<i64>,
}

/// A file as it is now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sighting {
    /// Names the file for as long as it exists, whatever it is called: an inode number, or a number that
    /// the caller gave it.
    pub key: String,
    state: FileState,
}

/// Another state is another age.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct FileState {
    /// In microseconds since 1970.
    modified: i64,
    bytes: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    state: FileState,
    /// By the steady clock; an earlier run's is less than zero.
    since: i64,
    /// The same by the wall clock, as long as it is open whether to believe it.
    claimed: Option<i64>,
}

/// The ledger, as it is written.
#[derive(Debug, Default, Deserialize, Serialize)]
struct Ledger {
    /// By the wall clock, in microseconds since 1970.
    written: i64,
    files: HashMap<String, LedgerEntry>,
}

#[derive(Debug, Deserialize, Serialize)]
struct LedgerEntry {
    #[serde(flatten)]
    state: FileState,
    /// In microseconds.
    age: i64,
}

/// What one look at the files found.
#[derive(Debug, Default)]
pub struct Round {
    ages: HashMap<String, Duration>,
    on_hold: bool,
}

impl Sighting {
    /// A file with this metadata. See [`Sighting::key`].
    pub fn new(key: String, metadata: &Metadata) -> Self {
        Self::of(key, metadata.modified().unwrap_or(UNIX_EPOCH), metadata.len())
    }

    /// The same from parts.
    pub fn of(key: String, modified: SystemTime, bytes: u64) -> Self {
        let micros = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        let modified = match modified.duration_since(UNIX_EPOCH) {
            Ok(after) => micros(after),
            Err(before) => -micros(before.duration()),
        };
        Self { key, state: FileState { modified, bytes } }
    }
}

impl Ages {
    /// Reads the ledger of an earlier run. If it cannot be read, all files count from now.
    pub fn open(ledger: &Path, clock: Clock) -> Self {
        let now = clock.now();
        let mut ages = Self {
            ledger: ledger.to_owned(),
            clock,
            offset: now.wall.saturating_sub(now.steady),
            hold_until: Some(now.steady.saturating_add(HOUR)),
            files: HashMap::new(),
            is_new: false,
            stored: None,
        };
        match ages.read() {
            Ok(Some(ledger)) => ages.resume(ledger, now),
            Ok(None) => ages.is_new = true,
            Err(error) => warn!(%error, "cannot read how old files are: their ages count from now"),
        }
        ages
    }

    fn read(&self) -> io::Result<Option<Ledger>> {
        let ledger = match fs::read(&self.ledger) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        ledger.map_err(durable::at("reading", &self.ledger))
    }

    fn resume(&mut self, ledger: Ledger, now: Now) {
        let Ledger { written, files } = ledger;
        self.files.extend(files.into_iter().map(|(key, LedgerEntry { state, age })| {
            let since = now.steady.saturating_sub(age);
            (key, Entry { state, since, claimed: Some(written.saturating_sub(age)) })
        }));
        if is_about(now.wall, written) {
            self.hold_until = None;
            self.believe(now);
        } else {
            info!(
                ledger = %self.ledger.display(),
                "the clock differs by more than a day from when the daemon last ran: \
                 removing nothing by age for an hour"
            );
        }
    }

    /// Takes notice of the files that there are now, and of the clock. All files of the set must be
    /// named: what is not named is forgotten. Blocks, since it may write the ledger.
    pub fn look(&mut self, files: &[Sighting]) -> Round {
        let now = self.clock.now();
        self.watch(now);
        let mut before = std::mem::take(&mut self.files);
        for Sighting { key, state } in files {
            let known = before.remove(key).filter(|known| known.state == *state);
            let entry = known.unwrap_or(Entry {
                state: *state,
                since: now.steady,
                claimed: self.is_new.then_some(state.modified),
            });
            self.files.insert(key.clone(), entry);
        }
        self.is_new = false;
        if self.hold_until.is_none() {
            self.believe(now);
            if self.stored.is_none_or(|at| now.steady.saturating_sub(at) >= STORE) {
                self.stored = Some(now.steady);
                if let Err(error) = self.store(now) {
                    warn!(%error, "cannot note how old files are: a restart makes them younger");
                }
            }
        }
        let ages = self.files.iter().map(|(key, entry)| (key.clone(), entry.age(now)));
        Round { ages: ages.collect(), on_hold: self.hold_until.is_some() }
    }

    /// Begins and ends the hour in which nothing is old.
    fn watch(&mut self, now: Now) {
        let offset = now.wall.saturating_sub(now.steady);
        if !is_about(offset, self.offset) {
            self.offset = offset;
            self.hold_until = Some(now.steady.saturating_add(HOUR));
            warn!(
                ledger = %self.ledger.display(),
                "the clock stepped by more than a day: removing nothing by age for an hour"
            );
        } else if self.hold_until.is_some_and(|until| now.steady >= until) {
            self.hold_until = None;
        }
    }

    /// Believes the wall clock: adds the time during which the daemon did not run.
    fn believe(&mut self, now: Now) {
        for entry in self.files.values_mut() {
            if let Some(claimed) = entry.claimed.take() {
                entry.since = entry.since.min(now.moment_of(claimed).0);
            }
        }
    }

    fn store(&self, now: Now) -> io::Result<()> {
        let files = self.files.iter().map(|(key, entry)| {
            let age = now.steady.saturating_sub(entry.since);
            (key.clone(), LedgerEntry { state: entry.state, age })
        });
        let ledger = Ledger { written: now.wall, files: files.collect() };
        durable::replace(&self.ledger, &serde_json::to_vec(&ledger)?)
    }
}

impl Entry {
    fn age(&self, now: Now) -> Duration {
        let micros = now.steady.saturating_sub(self.since);
        Duration::from_micros(micros.try_into().unwrap_or(0))
    }
}

impl Round {
    /// The age of a file, for an order: it is never too high, but for a moment may be too low.
    pub fn age(&self, key: &str) -> Duration {
        self.ages.get(key).copied().unwrap_or_default()
    }

    /// Whether a file is certainly older than `limit`, and may be removed for it.
    pub fn is_older(&self, key: &str, limit: Duration) -> bool {
        !self.on_hold && self.age(key) > limit
    }
}

fn is_about(a: i64, b: i64) -> bool {
    a.abs_diff(b) <= DAY.unsigned_abs()
}

#[cfg(test)]
mod tests;
