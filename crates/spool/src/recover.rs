//! Opening the spool: what an earlier life left behind is put in order, and nothing in the folder
//! can keep the daemon from starting.

use std::{
    fs::{self, DirEntry},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex},
};

use tracing::{info, warn};

use super::{
    Batch, Entry, Options, Queue, Spool, commit, dedup::Dedup, disk::Disk, lock::lock,
    memory::Memory,
};
use crate::durable;

/// Files of batches.
pub(super) const BATCHES: &str = "batches";
/// Checkpoints of consumers.
pub(super) const CURSORS: &str = "cursors";
/// Which batches were committed.
const DEDUP: &str = "dedup";
/// Files that are not ours, or damaged.
pub(super) const SET_ASIDE: &str = "set-aside";
/// Holds the lock that keeps a second daemon out.
const LOCK: &str = "lock";

/// Batches hold what visitors of a site did: no other user may look.
const DIR_MODE: u32 = 0o700;

impl Spool {
    /// Opens the spool in `dir`, which is made if it is missing.
    ///
    /// # Errors
    /// The folder cannot be used, or another daemon uses it.
    pub fn open(dir: &Path, options: Options) -> io::Result<Self> {
        let (batches, dedup) = (dir.join(BATCHES), dir.join(DEDUP));
        for folder in [dir, &batches, &dedup, &dir.join(CURSORS), &dir.join(SET_ASIDE)] {
            durable::create_dir(folder, DIR_MODE)?;
        }
        let lock = lock(&dir.join(LOCK))?;
        let mut queue = Queue { next_sequence: 1, ..Queue::default() };
        for file in fs::read_dir(&batches).map_err(durable::at("reading", &batches))? {
            let file = file?;
            match inspect(&file) {
                Ok(Found::Batch(entry)) => queue.add(entry),
                Ok(Found::Unfinished) => {
                    let path = file.path();
                    // Never acknowledged: the sender still has it.
                    durable::remove(&path)?;
                    info!(path = %path.display(), "removed a half-written batch");
                }
                Ok(Found::Foreign(why)) => set_aside(dir, &file.path(), why),
                Err(error) => set_aside(dir, &file.path(), &error.to_string()),
            }
        }
        if let Some((last, _)) = queue.waiting.last_key_value() {
            queue.next_sequence = last + 1;
        }
        let dedup = Dedup::open(dedup, options.dedup_window);
        for entry in queue.waiting.values() {
            dedup.seed(&entry.batch.header);
        }
        let leftovers = Arc::default();
        let disk = Arc::new(Disk::watch(&batches, Arc::clone(&leftovers))?);
        Ok(Self {
            dir: dir.to_owned(),
            batches,
            _lock: lock,
            max_bytes: options.max_bytes.into(),
            memory: Memory::default(),
            commits: commit::Commits::default(),
            dedup,
            leftovers,
            disk,
            shedding: Mutex::default(),
            queue: Mutex::new(queue),
            changed: Condvar::new(),
        })
    }
}

/// What a file in the folder of batches is.
pub(super) enum Found {
    Batch(Entry),
    Unfinished,
    Foreign(&'static str),
}

pub(super) fn inspect(file: &DirEntry) -> io::Result<Found> {
    let metadata = file.metadata()?;
    let name = file.file_name();
    let name = name.to_str().unwrap_or_default();
    if !metadata.is_file() {
        return Ok(Found::Foreign("not a file"));
    }
    if name.starts_with(commit::UNFINISHED_PREFIX) {
        return Ok(Found::Unfinished);
    }
    let Some(batch) = Batch::from_file_name(name) else {
        return Ok(Found::Foreign("its name is not that of a batch"));
    };
    if metadata.len() == 0 {
        return Ok(Found::Foreign("empty"));
    }
    Ok(Found::Batch(Entry::on_disk(batch, metadata.len())))
}

fn set_aside(dir: &Path, path: &Path, why: &str) {
    let to = free_name(dir, path);
    match fs::rename(path, &to) {
        Ok(()) => {
            let (path, to) = (path.display(), to.display());
            warn!(%path, %to, why, "set a file of the spool aside");
        }
        Err(error) => {
            warn!(path = %path.display(), why, %error, "a file of the spool cannot be set aside");
        }
    }
}

/// A name in the set-aside folder that nothing has.
fn free_name(dir: &Path, path: &Path) -> PathBuf {
    let folder = dir.join(SET_ASIDE);
    let name = path.file_name().unwrap_or_default();
    let mut to = folder.join(name);
    let mut count = 1_u32;
    while to.symlink_metadata().is_ok() {
        let mut numbered = name.to_owned();
        numbered.push(format!(".{count}"));
        to = folder.join(numbered);
        count += 1;
    }
    to
}
