//! Makes a batch durable: writes it to a staging file, syncs it, renames it, and syncs the directory.
//!
//! Batches that are ready at the same time share the last two steps (group commit): one thread leads and
//! commits the whole group, and the others wait for their results.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    Batch, Blocks, Header, QueuedBatch, Spool,
    batch_age::BatchAge,
    dedup::DedupKey,
    disk::DiskMonitor,
    removals::{PendingRemovals, StaleFile},
};
use crate::durable;

/// The prefix of the file name until the batch is committed.
pub(super) const UNFINISHED_PREFIX: &str = ".unfinished-";

/// The size of the write buffer.
const WRITE_BYTES: usize = 256 * 1024;

/// The staging file of an arriving batch. Dropping it before the commit removes the file.
#[derive(Debug)]
pub struct Staging {
    path: PathBuf,
    /// Created by the first write, so that bodies that are no batches never touch the disk.
    file: Option<File>,
    buffer: Vec<u8>,
    bytes: u64,
    removals: Arc<PendingRemovals>,
    disk: Arc<DiskMonitor>,
}

/// The queue for the group commit.
#[derive(Debug, Default)]
pub(super) struct CommitQueue {
    pending_commits: Mutex<PendingCommits>,
    /// Notified when a leader has finished.
    done: Condvar,
    /// The number of staging files so far, for their names.
    staged: AtomicU64,
}

#[derive(Debug, Default)]
struct PendingCommits {
    waiting: Vec<Arc<PendingCommit>>,
    has_leader: bool,
}

/// A batch that waits for the group commit.
#[derive(Debug)]
struct PendingCommit {
    key: DedupKey,
    header: Header,
    staged: PathBuf,
    outcome: Mutex<Option<io::Result<Arc<Batch>>>>,
    blocks: Mutex<Option<Blocks>>,
    bytes: u64,
}

impl Spool {
    /// Creates a staging file for an arriving batch.
    pub fn stage(&self) -> Staging {
        let number = self.commits.staged.fetch_add(1, Ordering::Relaxed);
        let path = self.batches.join(format!("{UNFINISHED_PREFIX}{number}"));
        let (removals, disk) = (Arc::clone(&self.removals), Arc::clone(&self.disk));
        Staging { path, file: None, buffer: Vec::new(), bytes: 0, removals, disk }
    }

    /// Commits a batch. On return, the batch survives a power failure.
    ///
    /// Returns `None` if the same batch was committed before, within the deduplication window. Nothing of
    /// the duplicate is left.
    ///
    /// # Errors
    /// The batch is not stored, and nothing of it is left.
    pub fn commit(
        &self,
        mut staging: Staging,
        header: Header,
        blocks: Option<Blocks>,
    ) -> io::Result<Option<Arc<Batch>>> {
        let key = DedupKey::of(&header);
        let Some(_claim) = self.dedup.claim(key) else { return Ok(None) };
        let _busy = self.disk.start_operation();
        // After the claim: a failed attempt at the same batch may have left a file.
        self.removals.retry()?;
        staging.sync()?;
        let pending = Arc::new(PendingCommit {
            key,
            header,
            staged: staging.path.clone(),
            outcome: Mutex::new(None),
            blocks: Mutex::new(blocks),
            bytes: staging.bytes,
        });
        let mut pending_commits = lock(&self.commits.pending_commits);
        pending_commits.waiting.push(Arc::clone(&pending));
        while pending_commits.has_leader {
            pending_commits =
                self.commits.done.wait(pending_commits).unwrap_or_else(PoisonError::into_inner);
            if lock(&pending.outcome).is_some() {
                break;
            }
        }
        if lock(&pending.outcome).is_none() {
            pending_commits.has_leader = true;
            let group = std::mem::take(&mut pending_commits.waiting);
            drop(pending_commits);
            self.commit_group(&group);
            lock(&self.commits.pending_commits).has_leader = false;
            self.commits.done.notify_all();
        }
        match lock(&pending.outcome).take() {
            Some(Ok(batch)) => {
                // The file has its final name.
                staging.file = None;
                self.disk.succeeded();
                Ok(Some(batch))
            }
            Some(Err(error)) => Err(error),
            None => Err(io::Error::other("the commit was abandoned")),
        }
    }

    fn commit_group(&self, group: &[Arc<PendingCommit>]) {
        let first = self.queue().next_sequence;
        let mut renamed = Vec::with_capacity(group.len());
        let mut sequence = first;
        for pending in group {
            let batch = Arc::new(Batch { sequence, header: pending.header.clone() });
            let path = self.path(&batch);
            match durable::rename(&pending.staged, &path) {
                Ok(()) => {
                    sequence += 1;
                    renamed.push((pending, batch));
                }
                Err(error) => pending.fail(&error),
            }
        }
        let synced = durable::sync_dir(&self.batches);
        let mut queue = self.queue();
        // A sequence is never reused, even if its batch was not acknowledged.
        queue.next_sequence = queue.next_sequence.max(sequence);
        match synced {
            Ok(()) => {
                for (pending, batch) in renamed {
                    self.dedup.committed(pending.key);
                    let blocks = lock(&pending.blocks).take().map(Arc::new);
                    let (bytes, age) = (pending.bytes, BatchAge::new());
                    queue.add(QueuedBatch { batch: Arc::clone(&batch), bytes, age, blocks });
                    *lock(&pending.outcome) = Some(Ok(batch));
                }
                drop(queue);
                self.changed.notify_all();
            }
            Err(error) => {
                drop(queue);
                for (pending, batch) in renamed {
                    self.removals.remove(&self.path(&batch), StaleFile::Unacknowledged);
                    pending.fail(&error);
                }
            }
        }
    }
}

impl PendingCommit {
    fn fail(&self, error: &io::Error) {
        *lock(&self.outcome) = Some(Err(durable::clone_error(error)));
    }
}

impl Staging {
    /// Returns the number of bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Appends received bytes.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes += bytes.len() as u64;
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= WRITE_BYTES { self.flush() } else { Ok(()) }
    }

    /// Makes the bytes durable under the staging name. Returns the path of the file.
    pub fn sync(&mut self) -> io::Result<&Path> {
        self.flush()?;
        if let Some(file) = &self.file {
            durable::sync(file, &self.path)?;
        }
        Ok(&self.path)
    }

    fn flush(&mut self) -> io::Result<()> {
        let _busy = self.disk.start_operation();
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let mut options = OpenOptions::new();
                options.write(true).create_new(true).mode(0o640);
                none.insert(durable::open(&options, &self.path)?)
            }
        };
        durable::write_all(file, &self.buffer, &self.path)?;
        self.buffer.clear();
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if self.file.take().is_none() {
            return;
        }
        // The body was abandoned, because its sender is gone or too slow.
        if durable::is_blocking_forbidden() {
            self.removals.add(&self.path, StaleFile::Unused);
            self.disk.request_cleanup();
        } else {
            self.removals.remove(&self.path, StaleFile::Unused);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code between lock and unlock panics.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
