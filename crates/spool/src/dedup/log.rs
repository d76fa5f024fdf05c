//! The log of what was committed, as two files: `current` is written to, `previous` is the one before.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead as _, BufReader},
    iter,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use tracing::warn;

use super::{Key, MAX_ENTRIES};
use crate::{
    clock::{Moment, Now},
    durable,
};

pub(super) const CURRENT: &str = "current";
pub(super) const PREVIOUS: &str = "previous";

/// When a batch was committed, and what it is known by.
pub(super) type Entry = (Moment, Key);

#[derive(Debug)]
pub(super) struct Log {
    dir: PathBuf,
    file: Option<File>,
    /// Up to where `current` counts: what is behind came of an attempt that failed.
    bytes: u64,
    /// How many it holds.
    entries: usize,
    /// When the first of them was made.
    begun: Moment,
    /// An earlier life wrote to it, and may not have synced it.
    in_doubt: bool,
}

impl Log {
    /// Reads what an earlier life wrote, entry by entry: a list of them would cost more than what
    /// is remembered. What cannot be read is left out.
    pub(super) fn open(dir: PathBuf, now: Now, each: &mut dyn FnMut(Entry)) -> Self {
        let mut log = Self::of(dir);
        for name in [PREVIOUS, CURRENT] {
            // What is counted is that of the last one.
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
                    warn!(path = %path.display(), %error, "cannot read which batches were committed");
                    // It may be readable the next time: no byte of it is taken away.
                    log.bytes = u64::MAX;
                }
            }
        }
        log.in_doubt = log.bytes > 0;
        log
    }

    /// Adds what is `owed` to it, and makes all of it survive a power cut.
    ///
    /// # Errors
    /// All that was owed still is: a file that could not be synced may have lost it, whatever the
    /// next sync says.
    pub(super) fn add(&mut self, owed: &[Entry], window_micros: i64, now: Now) -> io::Result<()> {
        if owed.is_empty() && !self.in_doubt {
            return Ok(());
        }
        let current = self.dir.join(CURRENT);
        let newest = owed.last().map_or(self.begun, |(at, _)| *at);
        let is_full = self.entries + owed.len() > MAX_ENTRIES;
        if self.entries > 0 && (is_full || newest.minus(window_micros) > self.begun) {
            durable::sync(self.file()?, &current)?;
            // What is in `previous` then is older than the window, or one of too many.
            durable::rename(&current, &self.dir.join(PREVIOUS))?;
            *self = Self::of(std::mem::take(&mut self.dir));
        }
        let counts = self.bytes;
        let file = self.file()?;
        let there = file.metadata().map_err(durable::at("reading", &current))?.len();
        if there > counts {
            durable::truncate(file, counts, &current)?;
        }
        // A line that a crash tore must not take the first of these with it.
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
        Self { dir, file: None, bytes: 0, entries: 0, begun: Moment(0), in_doubt: false }
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

/// Hands over the entries of a file in order, and gives back its length. A line that is not whole was
/// never synced, and is passed over.
fn read(path: &Path, each: &mut dyn FnMut((i64, Key))) -> io::Result<u64> {
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
