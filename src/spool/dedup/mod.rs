//! Remembers what was committed, so that a batch that is sent again is not delivered again.
//!
//! Cloudflare sends a batch again whenever it did not see our answer. What it sends may be zipped
//! anew, so a batch is known by the digest of its inflated bytes, within its endpoint and dataset.
//!
//! The memory is a log of two files, `current` and `previous`, read at the start. An entry is written
//! before its batch can be delivered and synced before the batch can leave the spool; until then the
//! name of the batch's own file says the same. So the two are never both lost.

use std::{
    collections::{HashMap, VecDeque},
    fs::{File, OpenOptions},
    io::{self, BufRead as _, BufReader},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tracing::warn;

use super::Header;
use crate::durable;

const CURRENT: &str = "current";
const PREVIOUS: &str = "previous";

/// How many batches are remembered at most: 14 MB of memory and, in two files, 20 MB of disk, both
/// measured (see docs/reliability.md). Beyond that the oldest is forgotten before its time. A day has
/// room for two batches a second.
const MAX_ENTRIES: usize = 200_000;

/// What a batch is known by. Not a `u128`: that would be aligned, and take half as much again.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Key([u8; 16]);

impl Key {
    pub(super) fn of(header: &Header) -> Self {
        let mut hasher = blake3::Hasher::new();
        // No name holds a NUL.
        for part in [header.endpoint.as_bytes(), b"\0", header.dataset.as_bytes(), b"\0"] {
            hasher.update(part);
        }
        hasher.update(&header.digest.to_le_bytes());
        Header::short_digest(hasher.finalize().as_bytes()).into()
    }
}

impl From<u128> for Key {
    fn from(number: u128) -> Self {
        Self(number.to_be_bytes())
    }
}

#[derive(Debug)]
pub(super) struct Dedup {
    dir: PathBuf,
    window: Duration,
    known: Mutex<Known>,
    /// Held while the log is synced: who finds nothing to sync must know that it is done.
    syncing: Mutex<()>,
    /// Told when a claim ends.
    ended: Condvar,
}

#[derive(Debug)]
struct Known {
    states: HashMap<Key, State>,
    /// What is committed, oldest first.
    order: VecDeque<(i64, Key)>,
    log: Option<File>,
    logged: usize,
    /// When the first entry of the current file was made.
    log_begun: i64,
    dirty: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// Somebody is committing it.
    Claimed,
    Committed,
}

/// The right to commit a batch: whoever brings the same one meanwhile waits for the outcome.
#[derive(Debug)]
pub(super) struct Claim<'a> {
    dedup: &'a Dedup,
    key: Key,
}

impl Dedup {
    /// Reads what an earlier life remembered. What cannot be read is forgotten: that costs
    /// duplicates, not records.
    pub(super) fn open(dir: PathBuf, window: Duration) -> Self {
        let dedup = Self {
            dir,
            window,
            known: Mutex::new(Known::new()),
            syncing: Mutex::new(()),
            ended: Condvar::new(),
        };
        let oldest = micros(Timestamp::now()).saturating_sub(dedup.window_micros());
        let mut known = dedup.known();
        for name in [PREVIOUS, CURRENT] {
            let path = dedup.dir.join(name);
            // Of the two, the current one is read last.
            known.logged = 0;
            let read = read(&path, &mut |at, key| {
                if known.logged == 0 {
                    known.log_begun = at;
                }
                known.logged += 1;
                if at >= oldest {
                    known.remember(at, key);
                }
            });
            match read {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    warn!(path = %path.display(), %error, "cannot read which batches were committed");
                }
            }
        }
        drop(known);
        dedup
    }

    /// Remembers a batch that waits in the spool: a power cut may have kept it from the log.
    pub(super) fn seed(&self, header: &Header) {
        let key = Key::of(header);
        if !self.known().states.contains_key(&key) {
            self.committed(key, header.received);
        }
    }

    /// Asks to commit a batch. `None` if that was done within the window; waits while somebody else
    /// is at it.
    pub(super) fn claim(&self, key: Key) -> Option<Claim<'_>> {
        let mut known = self.known();
        known.forget(micros(Timestamp::now()).saturating_sub(self.window_micros()));
        loop {
            match known.states.get(&key) {
                None => break,
                Some(State::Committed) => return None,
                Some(State::Claimed) => {
                    known = self.ended.wait(known).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
        known.states.insert(key, State::Claimed);
        Some(Claim { dedup: self, key })
    }

    /// Remembers that a batch is committed: before anybody can deliver it.
    pub(super) fn committed(&self, key: Key, received: Timestamp) {
        if self.window.is_zero() {
            return;
        }
        let at = micros(received);
        let mut known = self.known();
        known.remember(at, key);
        if let Err(error) = self.append(&mut known, at, key) {
            known.log = None;
            warn!(%error, "cannot write down that a batch is committed: a restart may forget it");
        }
    }

    /// Makes all that was remembered so far survive a power cut.
    pub(super) fn sync(&self) -> io::Result<()> {
        let _syncing = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        let log = {
            let mut known = self.known();
            if !std::mem::take(&mut known.dirty) {
                return Ok(());
            }
            known.log.as_ref().map(File::try_clone).transpose()?
        };
        let outcome = log.map_or(Ok(()), |log| durable::sync(&log, &self.dir.join(CURRENT)));
        if outcome.is_err() {
            self.known().dirty = true;
        }
        outcome
    }

    fn append(&self, known: &mut Known, at: i64, key: Key) -> io::Result<()> {
        let begun = at.saturating_sub(known.log_begun) > self.window_micros();
        if known.logged >= MAX_ENTRIES || (known.logged > 0 && begun) {
            self.rotate(known)?;
        }
        let path = self.dir.join(CURRENT);
        let log = match &mut known.log {
            Some(log) => log,
            none => {
                let mut options = OpenOptions::new();
                options.append(true).create(true).mode(0o640);
                let log = durable::open(&options, &path)?;
                durable::sync_dir(&self.dir)?;
                none.insert(log)
            }
        };
        // A line that a crash tore must not take this one with it.
        let line = format!("\n{at} {:032x}\n", u128::from_be_bytes(key.0));
        durable::write_all(log, line.as_bytes(), &path)?;
        if known.logged == 0 {
            known.log_begun = at;
        }
        known.logged += 1;
        known.dirty = true;
        Ok(())
    }

    /// What is in `previous` then is older than the window, or one of too many.
    fn rotate(&self, known: &mut Known) -> io::Result<()> {
        if let Some(log) = known.log.take() {
            durable::sync(&log, &self.dir.join(CURRENT))?;
        }
        let (current, previous) = (self.dir.join(CURRENT), self.dir.join(PREVIOUS));
        durable::rename(&current, &previous)?;
        durable::sync_dir(&self.dir)?;
        known.logged = 0;
        Ok(())
    }

    fn window_micros(&self) -> i64 {
        i64::try_from(self.window.as_micros()).unwrap_or(i64::MAX)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing between lock and unlock panics.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// With room for all that there can be, of which the system gives what is touched. The table has
    /// twice that: what was removed wears it down, and one that is more than half full then grows.
    fn new() -> Self {
        Self {
            states: HashMap::with_capacity(2 * MAX_ENTRIES),
            order: VecDeque::with_capacity(MAX_ENTRIES + 1),
            log: None,
            logged: 0,
            log_begun: 0,
            dirty: false,
        }
    }

    fn remember(&mut self, at: i64, key: Key) {
        if self.states.insert(key, State::Committed) != Some(State::Committed) {
            self.order.push_back((at, key));
        }
        while self.order.len() > MAX_ENTRIES {
            self.forget_first();
        }
    }

    fn forget(&mut self, oldest: i64) {
        while self.order.front().is_some_and(|(at, _)| *at < oldest) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some((_, key)) = self.order.pop_front() {
            self.states.remove(&key);
        }
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut known = self.dedup.known();
        if known.states.get(&self.key) == Some(&State::Claimed) {
            known.states.remove(&self.key);
        }
        drop(known);
        self.dedup.ended.notify_all();
    }
}

fn micros(at: Timestamp) -> i64 {
    at.as_microsecond()
}

/// Hands the entries of a file over, in order. A line that is not whole was never synced, and is
/// passed over.
fn read(path: &Path, take: &mut dyn FnMut(i64, Key)) -> io::Result<()> {
    for line in BufReader::new(File::open(path)?).split(b'\n').take(2 * MAX_ENTRIES) {
        let line = line?;
        let entry = std::str::from_utf8(&line).ok().and_then(|line| {
            let (at, key) = line.split_once(' ').filter(|(_, key)| key.len() == 32)?;
            Some((at.parse().ok()?, u128::from_str_radix(key, 16).ok()?.into()))
        });
        if let Some((at, key)) = entry {
            take(at, key);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
