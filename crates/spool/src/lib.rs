//! The durable queue between the listener and the sinks, and the file operations that it rests on.
//!
//! The queue is a directory with one file for each batch, as received, and an index in memory.
//! Consumers read batches in commit order, each at its own pace. A batch is removed when no consumer
//! needs it any more. The crate does not depend on HTTP, sinks or the configuration: it takes
//! [`Options`].
//!
//! Other modules are useful without the queue: [`durable`] file operations, a replaceable [`clock`], the
//! age of files ([`file_ages`]), and rate limits for repeated log messages ([`log_throttle`]).

mod backlog;
mod batch;
mod batch_age;
pub mod clock;
mod commit;
mod consumer;
mod dedup;
mod disk;
pub mod durable;
mod file;
pub mod file_ages;
mod lock;
pub mod log_throttle;
mod memory;
mod read_only;
mod recover;
mod removals;
mod shed;
mod status;

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    fs::File,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use records::decode::{Block, Decoder};
use tracing::error;

use self::log_throttle::FailureThrottle;
use self::{
    backlog::Backlog,
    batch_age::BatchAge,
    commit::CommitQueue,
    consumer::Cursor,
    dedup::Dedup,
    disk::DiskMonitor,
    memory::MemoryBudget,
    removals::{PendingRemovals, StaleFile},
};
pub use self::{
    batch::{Batch, Header, MAX_JOINT_NAMES_BYTES, OnlySink, Origin},
    commit::Staging,
    consumer::{BatchFilter, Consumer, ConsumerId, Lag, StopAfter},
    disk::ProbeId,
    file::{ReadError, decode_file},
    memory::Blocks,
    read_only::{FileCondition, ReadOnlySpool, SpoolContents},
    status::{SpoolStatus, SpoolUnavailable},
};

/// The limits of a spool.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Options {
    /// The maximum total size of the batch files, in bytes.
    pub max_bytes: u64,
    /// The time during which a committed batch is recognized as a duplicate.
    pub dedup_window: Duration,
}

/// The spool of a running daemon, which has exclusive use of the directory.
pub struct Spool {
    dir: PathBuf,
    batches: PathBuf,
    /// The lock file; the lock is held until the spool is dropped.
    _lock: File,
    max_bytes: AtomicU64,
    memory: MemoryBudget,
    commits: CommitQueue,
    dedup: Dedup,
    removals: Arc<PendingRemovals>,
    disk: Arc<DiskMonitor>,
    /// Throttles the log of failures to drop batches.
    shedding: Mutex<FailureThrottle>,
    queue: Mutex<Queue>,
    /// Notified when a batch is added, a consumer changes, or the spool closes.
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: BTreeMap<u64, QueuedBatch>,
    /// The sequences in `waiting` whose blocks are in memory, oldest first.
    resident: VecDeque<u64>,
    /// The consumers, in the order of their registration.
    cursors: BTreeMap<ConsumerId, Cursor>,
    /// The number of consumers that were ever registered.
    registered: u64,
    next_sequence: u64,
    bytes: u64,
    /// The dropped records, by the name of the consumer, which keep counting when it is registered again.
    dropped: HashMap<String, shed::Dropped>,
    closed: bool,
    /// Consumers whose current wait must end.
    woken: HashSet<ConsumerId>,
}

/// A batch in the queue.
#[derive(Clone, Debug)]
pub struct QueuedBatch {
    /// The metadata of the batch.
    pub batch: Arc<Batch>,
    /// The size of its file.
    bytes: u64,
    age: BatchAge,
    blocks: Option<Arc<Blocks>>,
}

impl QueuedBatch {
    /// Creates an entry for a batch without blocks in memory.
    fn on_disk(batch: Batch, bytes: u64) -> Self {
        let age = BatchAge::since(batch.header.origin.received, Timestamp::now());
        Self { batch: Arc::new(batch), bytes, age, blocks: None }
    }

    /// Returns the size of its file.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// The result of [`Spool::next`].
#[derive(Debug)]
pub enum NextBatch {
    /// The next batch.
    Ready(QueuedBatch),
    /// The deadline passed, or [`Spool::wake`] was called.
    TimedOut,
    /// There will be no more batches: the consumer or the daemon stops.
    Closed,
}

impl Spool {
    fn remove(&self, gone: &[QueuedBatch]) {
        for entry in gone {
            self.removals.remove(&self.path(&entry.batch), StaleFile::Unused);
        }
    }

    /// Passes the blocks of a batch to `take`, from memory or from its file.
    pub fn read<E>(
        &self,
        entry: &QueuedBatch,
        take: &mut dyn FnMut(&Block) -> Result<(), E>,
    ) -> Result<(), ReadError<E>> {
        if let Some(blocks) = &entry.blocks {
            return blocks.iter().try_for_each(take).map_err(ReadError::Consumer);
        }
        let path = self.path(&entry.batch);
        let header = &entry.batch.header;
        let decoder = Decoder::for_replay(
            header.record_limit,
            header.encoding,
            header.rejected,
            header.edition,
        )
        .with_format(header.format);
        decode_file(&path, decoder, take).map(drop)
    }

    /// Keeps a copy of a damaged batch in the directory for unusable files.
    pub fn keep_damaged_copy(&self, batch: &Batch) {
        let from = self.path(batch);
        let to = self.dir.join(recover::SET_ASIDE).join(batch.file_name());
        if let Err(error) = durable::link_or_copy(&from, &to) {
            error!(path = %from.display(), %error, "cannot keep a copy of a damaged batch");
        }
    }

    /// Ends the wait of every consumer that has read everything. Nothing is committed afterwards.
    pub fn close(&self) {
        self.queue().closed = true;
        self.changed.notify_all();
        self.disk.close();
    }

    /// Reports whether all disk operations have ended, after [`Spool::close`] and the end of all consumers.
    pub fn is_disk_idle(&self) -> bool {
        self.disk.is_closed()
    }

    /// Returns the number of batches in the queue and the total size of their files.
    pub fn size(&self) -> (usize, u64) {
        let queue = self.queue();
        (queue.waiting.len(), queue.bytes)
    }

    /// Returns the maximum total size of the batch files.
    pub fn max_bytes(&self) -> u64 {
        self.max_bytes.load(Ordering::Relaxed)
    }

    /// Replaces the options. Duplicates that a shorter window has forgotten stay forgotten.
    pub fn reconfigure(&self, options: Options) {
        self.max_bytes.store(options.max_bytes, Ordering::Relaxed);
        self.dedup.set_window(options.dedup_window);
    }

    /// Reports whether the spool accepts batches.
    pub fn is_open(&self) -> bool {
        !self.queue().closed
    }

    /// Returns the path of a batch file.
    pub fn path(&self, batch: &Batch) -> PathBuf {
        self.batches.join(batch.file_name())
    }

    /// Returns the directory of the consumers' checkpoints.
    pub fn cursors(&self) -> PathBuf {
        self.dir.join(recover::CURSORS)
    }

    /// Returns the directory of the batch files.
    pub fn batches(&self) -> &Path {
        &self.batches
    }

    /// Creates an empty set of blocks, within the memory budget.
    pub fn new_blocks(&self) -> Blocks {
        self.memory.new_blocks()
    }

    /// Adds a block to the blocks of a batch. Returns `false` if the memory budget is exhausted; the batch
    /// is then read from its file.
    pub fn cache_block(&self, blocks: &mut Blocks, block: Block) -> bool {
        blocks.push(block, |bytes| {
            let mut queue = self.queue();
            let mut freed = 0;
            while freed < bytes {
                match queue.evict() {
                    Some(evicted) => freed += evicted,
                    None => break,
                }
            }
        })
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // No code between lock and unlock leaves the queue inconsistent.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Drops the oldest cached blocks that some consumer has already handled, and returns their size. Slower
    /// consumers read the file. Blocks that no consumer has handled stay, since they are needed next.
    fn evict(&mut self) -> Option<usize> {
        let place = self.resident.iter().position(|sequence| {
            self.waiting.get(sequence).is_none_or(|entry| {
                self.cursors.values().any(|cursor| {
                    cursor.handled >= *sequence && (cursor.consumer.accepts)(&entry.batch)
                })
            })
        })?;
        let sequence = self.resident.remove(place)?;
        Some(self.forget_blocks(sequence))
    }

    fn forget_blocks(&mut self, sequence: u64) -> usize {
        let blocks = self.waiting.get_mut(&sequence).and_then(|entry| entry.blocks.take());
        blocks.map_or(0, |blocks| blocks.bytes())
    }

    fn add(&mut self, entry: QueuedBatch) {
        let sequence = entry.batch.sequence;
        if entry.blocks.is_some() {
            self.resident.push_back(sequence);
        }
        self.bytes += entry.bytes;
        for cursor in self.cursors.values_mut() {
            cursor.added(&entry);
        }
        self.waiting.insert(sequence, entry);
    }
}

impl std::fmt::Debug for Spool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spool").field("dir", &self.dir).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod capacity_tests;
#[cfg(test)]
mod consumer_tests;
#[cfg(test)]
mod tests;
