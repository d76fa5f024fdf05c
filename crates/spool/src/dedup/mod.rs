//! Remembers what was committed, so that a batch that is sent again is not delivered again.
//!
//! Cloudflare sends a batch again whenever it did not see our answer. What it sends may be zipped
//! anew, so a batch is known by the digest of its inflated bytes, within its endpoint and dataset.
//!
//! The memory is a log of two files, `current` and `previous`, read at the start. An entry is written
//! and synced before its batch can leave the spool, and a batch whose entry cannot be written stays;
//! until then the name of the batch's own file says the same. So the two are never both lost.

mod log;

use std::{
    collections::{HashMap, VecDeque},
    io,
    path::PathBuf,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;

use self::log::{Entry, Log};
use super::{Header, Origin};
use crate::clock::{Clock, Moment};

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
        let Origin { endpoint, dataset, .. } = &header.origin;
        for part in [endpoint.as_bytes(), b"\0", dataset.as_bytes(), b"\0"] {
            hasher.update(part);
        }
        hasher.update(&header.digest.to_le_bytes());
        // For one sink alone it is another batch than for all.
        if let Some(sink) = &header.origin.sink {
            hasher.update(sink.as_bytes());
        }
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
    clock: Clock,
    window_micros: AtomicI64,
    known: Mutex<Known>,
    /// Locked while it is written to, which holds up no claim.
    log: Mutex<Log>,
    /// Told when a claim ends.
    ended: Condvar,
}

#[derive(Debug)]
struct Known {
    states: HashMap<Key, State>,
    /// What is committed, oldest first.
    order: VecDeque<Entry>,
    /// How many were in `order` before its first.
    forgotten: u64,
    /// How many of all that ever were in `order` are durably in the log.
    logged: u64,
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
        Self::open_at(dir, window, Clock::system())
    }

    fn open_at(dir: PathBuf, window: Duration, clock: Clock) -> Self {
        let window_micros = whole_micros(window);
        let now = clock.now();
        let oldest = now.moment().minus(window_micros);
        let mut known = Known::new();
        let log = Log::open(dir, now, &mut |(at, key)| {
            if at >= oldest {
                known.remember(at, key);
            }
        });
        // A clock that was put back has written later entries with earlier times.
        known.order.make_contiguous().sort_unstable_by_key(|(at, _)| *at);
        known.logged = known.end();
        Self {
            clock,
            window_micros: window_micros.into(),
            known: Mutex::new(known),
            log: Mutex::new(log),
            ended: Condvar::new(),
        }
    }

    /// Remembers a batch that waits in the spool: an earlier life may not have logged it.
    pub(super) fn seed(&self, header: &Header) {
        self.seed_key(Key::of(header), header.origin.received);
    }

    fn seed_key(&self, key: Key, received: Timestamp) {
        if self.window_micros() > 0 {
            let at = self.clock.now().moment_of(received.as_microsecond());
            self.known().remember(at, key);
        }
    }

    /// Asks to commit a batch. `None` if that was done within the window; waits while somebody else
    /// is at it.
    pub(super) fn claim(&self, key: Key) -> Option<Claim<'_>> {
        let mut known = self.known();
        known.forget(self.clock.now().moment().minus(self.window_micros()));
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
    pub(super) fn committed(&self, key: Key) {
        if self.window_micros() > 0 {
            let now = self.clock.now().moment();
            self.known().remember(now, key);
        }
    }

    /// Writes down all that was committed so far, and makes it survive a power cut.
    ///
    /// # Errors
    /// A restart may forget some of it, unless its files are still in the spool.
    pub(super) fn sync(&self) -> io::Result<()> {
        let mut log = lock(&self.log);
        let (owed, end) = {
            let known = self.known();
            (known.unlogged(), known.end())
        };
        log.add(&owed, self.window_micros(), self.clock.now())?;
        self.known().logged = end;
        Ok(())
    }

    pub(super) fn set_window(&self, window: Duration) {
        self.window_micros.store(whole_micros(window), Ordering::Relaxed);
    }

    fn window_micros(&self) -> i64 {
        self.window_micros.load(Ordering::Relaxed)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        lock(&self.known)
    }
}

impl Known {
    /// With room for all that there can be, of which the system gives what is touched. The table has
    /// twice that: what was removed wears it down, and one that is more than half full then grows.
    fn new() -> Self {
        Self {
            states: HashMap::with_capacity(2 * MAX_ENTRIES),
            order: VecDeque::with_capacity(MAX_ENTRIES + 1),
            forgotten: 0,
            logged: 0,
        }
    }

    /// How many ever were in `order`.
    fn end(&self) -> u64 {
        self.forgotten + self.order.len() as u64
    }

    /// What is not in the log yet.
    fn unlogged(&self) -> Vec<Entry> {
        let logged = usize::try_from(self.logged.saturating_sub(self.forgotten));
        self.order.iter().skip(logged.unwrap_or(usize::MAX)).copied().collect()
    }

    fn remember(&mut self, at: Moment, key: Key) {
        if self.states.insert(key, State::Committed) != Some(State::Committed) {
            self.order.push_back((at, key));
        }
        while self.order.len() > MAX_ENTRIES {
            self.forget_first();
        }
    }

    fn forget(&mut self, oldest: Moment) {
        while self.order.front().is_some_and(|(at, _)| *at < oldest) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some((_, key)) = self.order.pop_front() {
            self.forgotten += 1;
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

fn whole_micros(window: Duration) -> i64 {
    i64::try_from(window.as_micros()).unwrap_or(i64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing between lock and unlock panics.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
