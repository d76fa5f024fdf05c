//! Deduplication: remembers committed batches, so that a batch that is sent again is not delivered again.
//!
//! Cloudflare retries a batch if it did not see our answer. It may compress the batch again, so a
//! batch is identified by the digest of its decompressed bytes, within its endpoint and dataset.
//!
//! The index in memory is backed by a log of two files, `current` and `previous`, read at startup. An entry
//! is durable in the log before its batch can leave the spool; a batch whose entry cannot be written stays.
//! Until then, the name of the batch file contains the same information. So a crash never loses both.

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

use self::log::{DedupLog, LogEntry};
use super::{Header, Origin};
use crate::clock::{Clock, MonotonicTime};

/// The maximum number of remembered batches. It needs 14 MB of memory and 20 MB on disk (measured, see
/// docs/reliability.md), and is enough for two batches per second over a day. Beyond it, the oldest
/// batches are forgotten early.
const MAX_ENTRIES: usize = 200_000;

/// Identifies a batch. Not a `u128`, whose alignment would increase the memory by half.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct DedupKey([u8; 16]);

impl DedupKey {
    pub(super) fn of(header: &Header) -> Self {
        let mut hasher = blake3::Hasher::new();
        // No name contains a NUL.
        let Origin { endpoint, dataset, .. } = &header.origin;
        for part in [endpoint.as_bytes(), b"\0", dataset.as_bytes(), b"\0"] {
            hasher.update(part);
        }
        hasher.update(&header.digest.to_le_bytes());
        // A batch for a single sink differs from the same batch for all sinks.
        if let Some(sink) = &header.origin.sink {
            hasher.update(sink.name.as_bytes());
        }
        Header::short_digest(hasher.finalize().as_bytes()).into()
    }
}

impl From<u128> for DedupKey {
    fn from(number: u128) -> Self {
        Self(number.to_be_bytes())
    }
}

#[derive(Debug)]
pub(super) struct Dedup {
    clock: Clock,
    window_micros: AtomicI64,
    known: Mutex<DedupIndex>,
    /// Locked during writes to the log, which do not block claims.
    log: Mutex<DedupLog>,
    /// Notified when a claim ends.
    ended: Condvar,
}

#[derive(Debug)]
struct DedupIndex {
    states: HashMap<DedupKey, KeyState>,
    /// The committed batches, oldest first.
    order: VecDeque<LogEntry>,
    /// The number of entries that were removed from the front of `order`.
    forgotten: u64,
    /// The number of entries, of all that were ever in `order`, that are durable in the log.
    logged: u64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum KeyState {
    /// A thread is committing it.
    Claimed,
    Committed,
}

/// The right to commit a batch. Other threads with the same batch wait until it ends.
#[derive(Debug)]
pub(super) struct Claim<'a> {
    dedup: &'a Dedup,
    key: DedupKey,
}

impl Dedup {
    /// Reads the log of an earlier run. Unreadable entries are forgotten, which may cause duplicates but
    /// never loses records.
    pub(super) fn open(dir: PathBuf, window: Duration) -> Self {
        Self::open_at(dir, window, Clock::system())
    }

    fn open_at(dir: PathBuf, window: Duration, clock: Clock) -> Self {
        let window_micros = whole_micros(window);
        let now = clock.now();
        let oldest = now.moment().minus(window_micros);
        let mut known = DedupIndex::new();
        let log = DedupLog::open(dir, now, &mut |(at, key)| {
            if at >= oldest {
                known.remember(at, key);
            }
        });
        // A clock that was set back has written later entries with earlier times.
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

    /// Adds a batch from the spool, which an earlier run may not have logged.
    pub(super) fn seed(&self, header: &Header) {
        self.seed_key(DedupKey::of(header), header.origin.received);
    }

    fn seed_key(&self, key: DedupKey, received: Timestamp) {
        if self.window_micros() > 0 {
            let at = self.clock.now().moment_of(received.as_microsecond());
            self.known().remember(at, key);
        }
    }

    /// Claims a batch for a commit, and waits while another thread commits it. Returns `None` if it was
    /// committed within the window.
    pub(super) fn claim(&self, key: DedupKey) -> Option<Claim<'_>> {
        let mut known = self.known();
        known.forget(self.clock.now().moment().minus(self.window_micros()));
        loop {
            match known.states.get(&key) {
                None => break,
                Some(KeyState::Committed) => return None,
                Some(KeyState::Claimed) => {
                    known = self.ended.wait(known).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
        known.states.insert(key, KeyState::Claimed);
        Some(Claim { dedup: self, key })
    }

    /// Adds a committed batch, before any consumer can deliver it.
    pub(super) fn committed(&self, key: DedupKey) {
        if self.window_micros() > 0 {
            let now = self.clock.now().moment();
            self.known().remember(now, key);
        }
    }

    /// Writes all batches that were committed so far to the log, and makes it durable.
    ///
    /// # Errors
    /// A restart may forget some of them, unless their files are still in the spool.
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

    fn known(&self) -> MutexGuard<'_, DedupIndex> {
        lock(&self.known)
    }
}

impl DedupIndex {
    /// Allocates the maximum size at once; the system only provides the pages that are used. The table has
    /// twice the capacity, since deleted entries would make a table that is more than half full grow.
    fn new() -> Self {
        Self {
            states: HashMap::with_capacity(2 * MAX_ENTRIES),
            order: VecDeque::with_capacity(MAX_ENTRIES + 1),
            forgotten: 0,
            logged: 0,
        }
    }

    /// Returns the number of entries that were ever in `order`.
    fn end(&self) -> u64 {
        self.forgotten + self.order.len() as u64
    }

    /// Returns the entries that are not in the log yet.
    fn unlogged(&self) -> Vec<LogEntry> {
        let logged = usize::try_from(self.logged.saturating_sub(self.forgotten));
        self.order.iter().skip(logged.unwrap_or(usize::MAX)).copied().collect()
    }

    fn remember(&mut self, at: MonotonicTime, key: DedupKey) {
        if self.states.insert(key, KeyState::Committed) != Some(KeyState::Committed) {
            self.order.push_back((at, key));
        }
        while self.order.len() > MAX_ENTRIES {
            self.forget_first();
        }
    }

    fn forget(&mut self, oldest: MonotonicTime) {
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
        if known.states.get(&self.key) == Some(&KeyState::Claimed) {
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
    // No code between lock and unlock panics.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
