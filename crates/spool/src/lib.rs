//! The durable queue between the listener and the sinks, and the file operations that it rests on.
//!
//! A folder of the bodies that Cloudflare sent, one file a batch, and an index of them in memory.
//! Consumers read batches in the order of their commits, each at its own pace; a batch leaves when
//! the last of them says that it needs it no more. Knows nothing of HTTP, of what sinks do, nor of the
//! configuration: it takes [`Options`].
//!
//! Beside the queue are parts that its users need as well: [`durable`] file operations, a replaceable
//! [`clock`], the [`ages`] of files, and what keeps failures that repeat out of the log ([`repeats`]).

mod age;
pub mod ages;
mod backlog;
mod batch;
pub mod clock;
mod commit;
mod consumer;
mod dedup;
mod disk;
pub mod durable;
mod file;
mod leftovers;
mod lock;
mod memory;
mod recover;
pub mod repeats;
mod room;
mod shed;
mod survey;

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

use self::repeats::Failures;
use self::{
    age::Age,
    backlog::Backlog,
    commit::Commits,
    consumer::Cursor,
    dedup::Dedup,
    disk::Disk,
    leftovers::{Leftover, Leftovers},
    memory::Memory,
};
pub use self::{
    batch::{Batch, Header, MAX_JOINT_NAMES_BYTES, Origin},
    commit::Staging,
    consumer::{Consumer, ConsumerId, End, Lag, Wants},
    disk::Question,
    file::{ReadError, decode_file},
    memory::Blocks,
    room::{NoRoom, Room},
    survey::{Condition, Contents, Survey},
};

/// What a spool may hold, and for how long it knows a batch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Options {
    /// The most that the files of the batches that wait may come to, in bytes.
    pub max_bytes: u64,
    /// For how long a committed batch is recognized when it is sent again.
    pub dedup_window: Duration,
}

/// The spool of a running daemon, which alone may use the folder.
pub struct Spool {
    dir: PathBuf,
    batches: PathBuf,
    /// Held for as long as the spool is.
    _lock: File,
    max_bytes: AtomicU64,
    memory: Memory,
    commits: Commits,
    dedup: Dedup,
    leftovers: Arc<Leftovers>,
    disk: Arc<Disk>,
    /// Which failures to drop batches are logged.
    shedding: Mutex<Failures>,
    queue: Mutex<Queue>,
    /// Told when a batch is added, and when the spool closes.
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: BTreeMap<u64, Entry>,
    /// Those of `waiting` whose blocks are in memory, oldest first.
    resident: VecDeque<u64>,
    /// In the order in which they came.
    cursors: BTreeMap<ConsumerId, Cursor>,
    /// How many ever came.
    registered: u64,
    next_sequence: u64,
    bytes: u64,
    /// Records that were lost, by the name of the consumer: one that comes back counts on.
    dropped: HashMap<String, shed::Dropped>,
    closed: bool,
    /// Consumers that are to stop waiting once.
    woken: HashSet<ConsumerId>,
}

/// A batch that waits.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What is known of it.
    pub batch: Arc<Batch>,
    /// Size of its file.
    bytes: u64,
    age: Age,
    blocks: Option<Arc<Blocks>>,
}

impl Entry {
    /// A batch of whose blocks none is in memory.
    fn on_disk(batch: Batch, bytes: u64) -> Self {
        let age = Age::since(batch.header.origin.received, Timestamp::now());
        Self { batch: Arc::new(batch), bytes, age, blocks: None }
    }

    /// Size of its file.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// What a consumer gets when it asks for the next batch.
#[derive(Debug)]
pub enum Next {
    /// The batch after the one it named.
    Entry(Entry),
    /// None came in time, or before [`Spool::wake`].
    Timeout,
    /// None will come: the daemon stops.
    Closed,
}

impl Spool {
    fn remove(&self, gone: &[Entry]) {
        for entry in gone {
            self.leftovers.remove(&self.path(&entry.batch), Leftover::Idle);
        }
    }

    /// Hands the blocks of a batch to `take`, from memory or from its file.
    pub fn read<E>(
        &self,
        entry: &Entry,
        take: &mut dyn FnMut(&Block) -> Result<(), E>,
    ) -> Result<(), ReadError<E>> {
        if let Some(blocks) = &entry.blocks {
            return blocks.iter().try_for_each(take).map_err(ReadError::Taker);
        }
        let path = self.path(&entry.batch);
        let header = &entry.batch.header;
        let decoder =
            Decoder::again(header.record_limit, header.encoding, header.rejected, header.edition)
                .of(header.format);
        decode_file(&path, decoder, take).map(drop)
    }

    /// Keeps a copy of a damaged batch where nobody removes it.
    pub fn set_aside(&self, batch: &Batch) {
        let from = self.path(batch);
        let to = self.dir.join(recover::SET_ASIDE).join(batch.file_name());
        if let Err(error) = durable::link_or_copy(&from, &to) {
            error!(path = %from.display(), %error, "cannot keep a copy of a damaged batch");
        }
    }

    /// Ends the wait of every consumer that has read all there is. Nothing is committed after this.
    pub fn close(&self) {
        self.queue().closed = true;
        self.changed.notify_all();
        self.disk.close();
    }

    /// Whether nothing is done with the disk any more, after [`Spool::close`] and the end of all
    /// consumers.
    pub fn is_at_rest(&self) -> bool {
        self.disk.is_closed()
    }

    /// How many batches wait, and the bytes of their files.
    pub fn size(&self) -> (usize, u64) {
        let queue = self.queue();
        (queue.waiting.len(), queue.bytes)
    }

    /// The most that may wait.
    pub fn max_bytes(&self) -> u64 {
        self.max_bytes.load(Ordering::Relaxed)
    }

    /// Takes other values for what was given to [`Spool::open`]. What was forgotten under a shorter
    /// window is not remembered again.
    pub fn reconfigure(&self, options: Options) {
        self.max_bytes.store(options.max_bytes, Ordering::Relaxed);
        self.dedup.set_window(options.dedup_window);
    }

    /// Whether more batches may come.
    pub fn is_open(&self) -> bool {
        !self.queue().closed
    }

    /// The file of a batch.
    pub fn path(&self, batch: &Batch) -> PathBuf {
        self.batches.join(batch.file_name())
    }

    /// The folder of the consumers' cursors.
    pub fn cursors(&self) -> PathBuf {
        self.dir.join(recover::CURSORS)
    }

    /// The folder of the batches' files.
    pub fn batches(&self) -> &Path {
        &self.batches
    }

    /// Gathers blocks for a batch that may be committed, within the budget.
    pub fn gather(&self) -> Blocks {
        self.memory.gather()
    }

    /// Adds a block to those that were gathered. `false` if there is no room for it: the batch then
    /// does without any.
    pub fn keep(&self, blocks: &mut Blocks, block: Block) -> bool {
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
        // Nothing between lock and unlock leaves the queue half changed.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Lets go of the oldest blocks in memory that a consumer has had, and says how many bytes they
    /// were: who lags reads the file. What nobody has had stays, for it is needed next.
    fn evict(&mut self) -> Option<usize> {
        let place = self.resident.iter().position(|sequence| {
            self.waiting.get(sequence).is_none_or(|entry| {
                self.cursors.values().any(|cursor| {
                    cursor.handled >= *sequence && (cursor.consumer.wants)(&entry.batch)
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

    fn add(&mut self, entry: Entry) {
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
mod consumer_tests;
#[cfg(test)]
mod room_tests;
#[cfg(test)]
mod tests;
