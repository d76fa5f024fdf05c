//! The deduplication log: two files, `current`, which is appended to, and `previous`, which came before.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead as _, BufReader},
    iter,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use tracing::warn;

use super::{DedupKey, MAX_ENTRIES};
use crate::{
    clock::{MonotonicTime, Now},
    durable,
};

pub(super) const CURRENT: &str = "current";
pub(super) const PREVIOUS: &str = "previous";

/// The commit time of a batch, and its key.
pub(super) type LogEntry = (MonotonicTime, DedupKey);

#[derive(Debug)]
pub(super) struct DedupLog {
    dir: PathBuf,
    file: Option<File>,
    /// The valid length of `current`. Bytes after it are from a failed attempt.
    bytes: u64,
    /// The number of entries in `current`.
    entries: usize,
    /// The time of its first entry.
    begun: MonotonicTime,
    /// Whether an earlier run wrote to it, and may not have synced it.
    in_doubt: bool,
}

impl DedupLog {
    /// Reads the log of an earlier run, one entry at a time, since a list of them would need more memory
    /// than the index. Skips unreadable entries.
    pub(super) fn open(dir: PathBuf, now: Now, each: &mut dyn FnMut(LogEntry)) -> Self {
        let mut log = Self::of(dir);
        for name in [PREVIOUS, CURRENT] {
            // The counters are those of the last file, `current`.
            (log.bytes, log.entries) = (0, 0);
            let path = log.dir.join(name);
            let read = read(&path, &mut |(wall, key)| {
                let entry = (now.moment_of(wall), key);
                if log.entries == 0 {
                    log.begun = entry.0;
                }
                log.entries += 1;
                each(entry);
            });
            match read {
                Ok(bytes) => log.bytes = bytes,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    warn!(path = %path.display(), %error, "cannot read the deduplication log");
                    // It may be readable the next time, so nothing of it is truncated.
                    log.bytes = u64::MAX;
                }
            }
        }
        log.in_doubt = log.bytes > 0;
        log
    }

    /// Appends the `owed` entries and makes the log durable.
    ///
    /// # Errors
    /// All of `owed` is still to be written: a file whose sync failed may have lost the entries, even if
    /// the next sync succeeds.
    pub(super) fn add(
        &mut self,
        owed: &[LogEntry],
        window_micros: i64,
        now: Now,
    ) -> io::Result<()> {
        if owed.is_empty() && !self.in_doubt {
            return Ok(());
        }
        let current = self.dir.join(CURRENT);
        let newest = owed.last().map_or(self.begun, |(at, _)| *at);
        let is_full = self.entries + owed.len() > MAX_ENTRIES;
        if self.entries > 0 && (is_full || newest.minus(window_micros) > self.begun) {
            durable::sync(self.file()?, &current)?;
            // The entries in `previous` are older than the window, or exceed `MAX_ENTRIES`.
            durable::rename(&current, &self.dir.join(PREVIOUS))?;
            *self = Self::of(std::mem::take(&mut self.dir));
        }
        let counts = self.bytes;
        let file = self.file()?;
        let there = file.metadata().map_err(durable::error_at("reading", &current))?.len();
        if there > counts {
            durable::truncate(file, counts, &current)?;
        }
        // The line end separates the first entry from a line that a crash has torn.
        let lines = owed
            .iter()
            .map(|(at, key)| format!("{} {:032x}\n", now.wall_of(*at), u128::from_be_bytes(key.0)));
        let text: String = iter::once("\n".to_owned()).chain(lines).collect();
        durable::write_all(file, text.as_bytes(), &current)?;
        durable::sync(file, &current)?;
        if let (0, Some((at, _))) = (self.entries, owed.first()) {
            self.begun = *at;
        }
        self.bytes = there.min(counts) + text.len() as u64;
        self.entries += owed.len();
        self.in_doubt = false;
        Ok(())
    }

    fn of(dir: PathBuf) -> Self {
        Self { dir, file: None, bytes: 0, entries: 0, begun: MonotonicTime(0), in_doubt: false }
    }

    fn file(&mut self) -> io::Result<&File> {
        Ok(match &mut self.file {
            Some(file) => file,
            none => {
                let mut options = OpenOptions::new();
                options.append(true).create(true).mode(0o600);
                let file = durable::open(&options, &self.dir.join(CURRENT))?;
                durable::sync_dir(&self.dir)?;
                none.insert(file)
            }
        })
    }
}

/// Passes the entries of a file to `each`, in order, and returns the length of the file. Skips
/// incomplete lines, which were never synced.
fn read(path: &Path, each: &mut dyn FnMut((i64, DedupKey))) -> io::Result<u64> {
    let file = File::open(path)?;
    let bytes = file.metadata()?.len();
    for line in BufReader::new(file).split(b'\n').take(2 * MAX_ENTRIES) {
        let line = line?;
        let entry = std::str::from_utf8(&line).ok().and_then(|line| {
            let (at, key) = line.split_once(' ').filter(|(_, key)| key.len() == 32)?;
            Some((at.parse().ok()?, u128::from_str_radix(key, 16).ok()?.into()))
        });
        entry.into_iter().for_each(&mut *each);
    }
    Ok(bytes)
}
