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

/// How many batches are remembered at most: about 17 MB of memory and, in two files, 20 MB of disk.
/// Beyond that the oldest is forgotten before its time. A day has room for two batches a second.
const MAX_ENTRIES: usize = 200_000;

/// What a batch is known by.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Key(u128);

impl Key {
    pub(super) fn of(header: &Header) -> Self {
        let mut hasher = blake3::Hasher::new();
        // No name holds a NUL.
        for part in [header.endpoint.as_bytes(), b"\0", header.dataset.as_bytes(), b"\0"] {
            hasher.update(part);
        }
        hasher.update(&header.digest.to_le_bytes());
        Self(Header::short_digest(hasher.finalize().as_bytes()))
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

#[derive(Debug, Default)]
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
            known: Mutex::new(Known::default()),
            syncing: Mutex::new(()),
            ended: Condvar::new(),
        };
        let oldest = micros(Timestamp::now()).saturating_sub(dedup.window_micros());
        let mut known = dedup.known();
        for name in [PREVIOUS, CURRENT] {
            let path = dedup.dir.join(name);
            match read(&path) {
                Ok(entries) => {
                    if name == CURRENT {
                        known.logged = entries.len();
                        known.log_begun = entries.first().map_or(0, |(at, _)| *at);
                    }
                    for (at, key) in entries.into_iter().filter(|(at, _)| *at >= oldest) {
                        known.remember(at, key);
                    }
                }
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
        let line = format!("\n{at} {:032x}\n", key.0);
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

/// Entries of a file, in order. A line that is not whole was never synced, and is passed over.
fn read(path: &Path) -> io::Result<Vec<(i64, Key)>> {
    let mut entries = Vec::new();
    for line in BufReader::new(File::open(path)?).split(b'\n').take(2 * MAX_ENTRIES) {
        let line = line?;
        let entry = std::str::from_utf8(&line).ok().and_then(|line| {
            let (at, key) = line.split_once(' ').filter(|(_, key)| key.len() == 32)?;
            Some((at.parse().ok()?, Key(u128::from_str_radix(key, 16).ok()?)))
        });
        entries.extend(entry);
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::mpsc, thread};

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn open(dir: &Path, window: Duration) -> Dedup {
        Dedup::open(dir.to_owned(), window)
    }

    fn commit(dedup: &Dedup, key: u128) -> bool {
        let Some(_claim) = dedup.claim(Key(key)) else { return false };
        dedup.committed(Key(key), Timestamp::now());
        true
    }

    #[test]
    fn a_batch_is_known_after_its_commit_and_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let dedup = open(dir.path(), DAY);
        assert!(commit(&dedup, 1) && commit(&dedup, 2));
        assert!(!commit(&dedup, 1) && !commit(&dedup, 2));
        dedup.sync().unwrap();
        let dedup = open(dir.path(), DAY);
        assert!(!commit(&dedup, 1) && !commit(&dedup, 2) && commit(&dedup, 3));
    }

    #[test]
    fn a_commit_that_failed_is_no_commit() {
        let dir = tempfile::tempdir().unwrap();
        let dedup = open(dir.path(), DAY);
        drop(dedup.claim(Key(1)).unwrap());
        assert!(commit(&dedup, 1));
    }

    #[test]
    fn whoever_brings_the_same_batch_waits_for_the_outcome() {
        let dir = tempfile::tempdir().unwrap();
        let dedup = open(dir.path(), DAY);
        for commits in [true, false] {
            let key = Key(u128::from(commits));
            let claim = dedup.claim(key).unwrap();
            thread::scope(|scope| {
                let (tell, told) = mpsc::sync_channel(0);
                let second = scope.spawn({
                    let dedup = &dedup;
                    move || {
                        tell.send(()).unwrap();
                        dedup.claim(key).is_none()
                    }
                });
                told.recv().unwrap();
                if commits {
                    dedup.committed(key, Timestamp::now());
                }
                drop(claim);
                assert_eq!(second.join().unwrap(), commits);
            });
        }
    }

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let dedup = open(dir.path(), DAY);
        let now = Timestamp::now();
        dedup.committed(Key(1), now - Duration::from_secs(25 * 3600));
        dedup.committed(Key(2), now - Duration::from_secs(23 * 3600));
        assert!(dedup.claim(Key(1)).is_some() && dedup.claim(Key(2)).is_none());
        let dedup = open(dir.path(), DAY);
        assert!(dedup.claim(Key(1)).is_some() && dedup.claim(Key(2)).is_none());
        let never = open(dir.path(), Duration::ZERO);
        assert!(commit(&never, 9) && commit(&never, 9));
    }

    #[test]
    fn memory_and_disk_are_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let dedup = open(dir.path(), DAY);
        for key in 0..MAX_ENTRIES * 2 + 10 {
            dedup.committed(Key(key as u128), Timestamp::now());
        }
        assert_eq!(dedup.known().order.len(), MAX_ENTRIES);
        assert_eq!(dedup.known().states.len(), MAX_ENTRIES);
        let size = |name| fs::metadata(dir.path().join(name)).unwrap().len();
        assert!(size(CURRENT) + size(PREVIOUS) <= 2 * 51 * MAX_ENTRIES as u64);
        assert!(dedup.claim(Key(5)).is_some(), "the oldest");
        assert!(dedup.claim(Key(MAX_ENTRIES as u128 * 2)).is_none());
    }

    #[test]
    fn a_torn_or_damaged_log_is_read_as_far_as_it_goes() {
        let dir = tempfile::tempdir().unwrap();
        let dedup = open(dir.path(), DAY);
        assert!(commit(&dedup, 1) && commit(&dedup, 2));
        let path = dir.path().join(CURRENT);
        let mut bytes = fs::read(&path).unwrap();
        bytes.truncate(bytes.len() - 7);
        bytes.extend(b"\n\xff\xfe nonsense\n\n");
        fs::write(&path, bytes).unwrap();
        let dedup = open(dir.path(), DAY);
        assert!(!commit(&dedup, 1) && commit(&dedup, 2));
    }
}
