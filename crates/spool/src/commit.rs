//! Makes a batch durable: written beside its final name, synced, renamed, folder synced.
//!
//! Batches that are ready at the same time share the last step: one of them leads, does it for all
//! that wait, and the others find their answer.

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
    Batch, Blocks, Entry, Header, Spool,
    age::Age,
    dedup::Key,
    disk::Disk,
    leftovers::{Leftover, Leftovers},
};
use crate::durable;

/// What a file's name begins with until its batch is committed.
pub(super) const UNFINISHED_PREFIX: &str = ".unfinished-";

/// How much is gathered before it is written.
const WRITE_BYTES: usize = 256 * 1024;

/// The file of a batch that arrives. It is gone when this is dropped before it is committed.
#[derive(Debug)]
pub struct Staging {
    path: PathBuf,
    /// Made with the first write: what turns out to be no batch never touches the disk.
    file: Option<File>,
    buffer: Vec<u8>,
    bytes: u64,
    leftovers: Arc<Leftovers>,
    disk: Arc<Disk>,
}

/// The queue of those who wait for the last step.
#[derive(Debug, Default)]
pub(super) struct Commits {
    line: Mutex<Line>,
    /// Told when a leader has done its work.
    done: Condvar,
    /// Numbers unfinished files.
    staged: AtomicU64,
}

#[derive(Debug, Default)]
struct Line {
    waiting: Vec<Arc<Ticket>>,
    led: bool,
}

/// One batch in the queue.
#[derive(Debug)]
struct Ticket {
    key: Key,
    header: Header,
    staged: PathBuf,
    outcome: Mutex<Option<io::Result<Arc<Batch>>>>,
    blocks: Mutex<Option<Blocks>>,
    bytes: u64,
}

impl Spool {
    /// A file for a batch that arrives.
    pub fn stage(&self) -> Staging {
        let number = self.commits.staged.fetch_add(1, Ordering::Relaxed);
        let path = self.batches.join(format!("{UNFINISHED_PREFIX}{number}"));
        let (leftovers, disk) = (Arc::clone(&self.leftovers), Arc::clone(&self.disk));
        Staging { path, file: None, buffer: Vec::new(), bytes: 0, leftovers, disk }
    }

    /// Commits a batch. When this returns its place, it survives a power cut. `None` if the same
    /// batch was committed before, within the window; nothing is left of this one then.
    ///
    /// # Errors
    /// The batch is not stored, and nothing of it is left.
    pub fn commit(
        &self,
        mut staging: Staging,
        header: Header,
        blocks: Option<Blocks>,
    ) -> io::Result<Option<Arc<Batch>>> {
        let key = Key::of(&header);
        let Some(_claim) = self.dedup.claim(key) else { return Ok(None) };
        let _busy = self.disk.busy();
        // Behind the claim: an attempt at the same batch that failed until now may have left it.
        self.leftovers.tidy()?;
        staging.sync()?;
        let ticket = Arc::new(Ticket {
            key,
            header,
            staged: staging.path.clone(),
            outcome: Mutex::new(None),
            blocks: Mutex::new(blocks),
            bytes: staging.bytes,
        });
        let mut line = lock(&self.commits.line);
        line.waiting.push(Arc::clone(&ticket));
        while line.led {
            line = self.commits.done.wait(line).unwrap_or_else(PoisonError::into_inner);
            if lock(&ticket.outcome).is_some() {
                break;
            }
        }
        if lock(&ticket.outcome).is_none() {
            line.led = true;
            let group = std::mem::take(&mut line.waiting);
            drop(line);
            self.commit_group(&group);
            lock(&self.commits.line).led = false;
            self.commits.done.notify_all();
        }
        match lock(&ticket.outcome).take() {
            Some(Ok(batch)) => {
                // Its file bears another name now.
                staging.file = None;
                self.disk.works();
                Ok(Some(batch))
            }
            Some(Err(error)) => Err(error),
            None => Err(io::Error::other("the commit was abandoned")),
        }
    }

    fn commit_group(&self, group: &[Arc<Ticket>]) {
        let first = self.queue().next_sequence;
        let mut renamed = Vec::with_capacity(group.len());
        let mut sequence = first;
        for ticket in group {
            let batch = Arc::new(Batch { sequence, header: ticket.header.clone() });
            let path = self.path(&batch);
            match durable::rename(&ticket.staged, &path) {
                Ok(()) => {
                    sequence += 1;
                    renamed.push((ticket, batch));
                }
                Err(error) => ticket.fail(&error),
            }
        }
        let synced = durable::sync_dir(&self.batches);
        let mut queue = self.queue();
        // A number is never used twice, even if what bore it was not acknowledged.
        queue.next_sequence = queue.next_sequence.max(sequence);
        match synced {
            Ok(()) => {
                for (ticket, batch) in renamed {
                    self.dedup.committed(ticket.key);
                    let blocks = lock(&ticket.blocks).take().map(Arc::new);
                    let (bytes, age) = (ticket.bytes, Age::new());
                    queue.add(Entry { batch: Arc::clone(&batch), bytes, age, blocks });
                    *lock(&ticket.outcome) = Some(Ok(batch));
                }
                drop(queue);
                self.changed.notify_all();
            }
            Err(error) => {
                drop(queue);
                for (ticket, batch) in renamed {
                    self.leftovers.remove(&self.path(&batch), Leftover::Refused);
                    ticket.fail(&error);
                }
            }
        }
    }
}

impl Ticket {
    fn fail(&self, error: &io::Error) {
        *lock(&self.outcome) = Some(Err(durable::share(error)));
    }
}

impl Staging {
    /// How many bytes there are.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds bytes as they came.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes += bytes.len() as u64;
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= WRITE_BYTES { self.flush() } else { Ok(()) }
    }

    /// Makes the bytes last; the name is still a temporary one. Gives back the file's path.
    pub fn sync(&mut self) -> io::Result<&Path> {
        self.flush()?;
        if let Some(file) = &self.file {
            durable::sync(file, &self.path)?;
        }
        Ok(&self.path)
    }

    fn flush(&mut self) -> io::Result<()> {
        let _busy = self.disk.busy();
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
        // A body that is given up, because its sender is gone or too slow.
        if durable::is_forbidden() {
            self.leftovers.add(&self.path, Leftover::Idle);
            self.disk.tidy();
        } else {
            self.leftovers.remove(&self.path, Leftover::Idle);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing between lock and unlock panics.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
