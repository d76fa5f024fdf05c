//! Opens the spool and recovers from the end of the previous run. No file in the directory can keep the
//! daemon from starting.

use std::{
    fs::{self, DirEntry},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex},
};

use tracing::{info, warn};

use super::{
    Batch, Options, Queue, QueuedBatch, Spool, commit, dedup::Dedup, disk::DiskMonitor, lock::lock,
    memory::MemoryBudget,
};
use crate::durable;

/// The directory of batch files.
pub(super) const BATCHES: &str = "batches";
/// The directory of the consumers' checkpoints.
pub(super) const CURSORS: &str = "cursors";
/// The directory of the deduplication log.
const DEDUP: &str = "dedup";
/// The directory of unusable files: damaged batches, and files of other programs.
pub(super) const SET_ASIDE: &str = "set-aside";
/// The lock file.
const LOCK: &str = "lock";

/// The mode of the directories. Batches contain data about visitors, so other users have no access.
const DIR_MODE: u32 = 0o700;

impl Spool {
    /// Opens the spool in `dir`, and creates the directory if it is missing.
    ///
    /// # Errors
    /// The directory cannot be used, or another daemon uses it.
    pub fn open(dir: &Path, options: Options) -> io::Result<Self> {
        let (batches, dedup) = (dir.join(BATCHES), dir.join(DEDUP));
        for folder in [dir, &batches, &dedup, &dir.join(CURSORS), &dir.join(SET_ASIDE)] {
            durable::create_dir(folder, DIR_MODE)?;
        }
        let lock = lock(&dir.join(LOCK))?;
        let mut queue = Queue { next_sequence: 1, ..Queue::default() };
        for file in fs::read_dir(&batches).map_err(durable::error_at("reading", &batches))? {
            let file = file?;
            match inspect(&file) {
                Ok(SpoolFile::Batch(entry)) => queue.add(entry),
                Ok(SpoolFile::Unfinished) => {
                    let path = file.path();
                    // The batch was never acknowledged, so the sender still has it.
                    durable::remove(&path)?;
                    info!(path = %path.display(), "removed an unfinished batch");
                }
                Ok(SpoolFile::Foreign(why)) => set_aside(dir, &file.path(), why),
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
        let removals = Arc::default();
        let disk = Arc::new(DiskMonitor::watch(&batches, Arc::clone(&removals))?);
        Ok(Self {
            dir: dir.to_owned(),
            batches,
            _lock: lock,
            max_bytes: options.max_bytes.into(),
            memory: MemoryBudget::default(),
            commits: commit::CommitQueue::default(),
            dedup,
            removals,
            disk,
            shedding: Mutex::default(),
            queue: Mutex::new(queue),
            changed: Condvar::new(),
        })
    }
}

/// The kinds of files in the batch directory.
pub(super) enum SpoolFile {
    Batch(QueuedBatch),
    Unfinished,
    Foreign(&'static str),
}

pub(super) fn inspect(file: &DirEntry) -> io::Result<SpoolFile> {
    let metadata = file.metadata()?;
    let name = file.file_name();
    let name = name.to_str().unwrap_or_default();
    if !metadata.is_file() {
        return Ok(SpoolFile::Foreign("not a file"));
    }
    if name.starts_with(commit::UNFINISHED_PREFIX) {
        return Ok(SpoolFile::Unfinished);
    }
    let Some(batch) = Batch::from_file_name(name) else {
        return Ok(SpoolFile::Foreign("its name is not that of a batch"));
    };
    if metadata.len() == 0 {
        return Ok(SpoolFile::Foreign("empty"));
    }
    Ok(SpoolFile::Batch(QueuedBatch::on_disk(batch, metadata.len())))
}

fn set_aside(dir: &Path, path: &Path, why: &str) {
    let to = free_name(dir, path);
    match fs::rename(path, &to) {
        Ok(()) => {
            let (path, to) = (path.display(), to.display());
            warn!(%path, %to, why, "moved an unusable file out of the spool");
        }
        Err(error) => {
            warn!(path = %path.display(), why, %error, "cannot move an unusable file out of the spool");
        }
    }
}

/// Returns an unused name in the directory for unusable files.
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
