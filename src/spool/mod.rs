//! The durable queue between the listener and the sinks.
//!
//! A folder of the bodies that Cloudflare sent, one file a batch, and an index of them in memory.
//! Consumers read batches in the order of their commits, each at its own pace; a batch leaves when
//! the last of them says that it needs it no more. Knows nothing of HTTP, nor of what sinks do.

mod batch;
mod commit;
mod dedup;
mod file;
mod leftovers;
mod memory;
mod recover;
mod room;
mod shed;
mod survey;

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tracing::error;

pub use self::{
    batch::{Batch, Header},
    commit::Staging,
    file::{ReadError, decode_file},
    memory::Blocks,
    room::NoRoom,
    survey::{Condition, Contents, Survey},
};
use self::{
    commit::Commits,
    dedup::Dedup,
    leftovers::{Leftover, Leftovers},
    memory::Memory,
};
use crate::{
    config::WhenFull,
    decode::{Block, Decoder},
    durable,
};

/// The spool of a running daemon, which alone may use the folder.
pub struct Spool {
    dir: PathBuf,
    batches: PathBuf,
    /// Held for as long as the spool is.
    _lock: File,
    max_bytes: u64,
    memory: Memory,
    commits: Commits,
    dedup: Dedup,
    leftovers: Arc<Leftovers>,
    /// Why the last commit failed, until one works.
    failing: Mutex<Option<String>>,
    queue: Mutex<Queue>,
    /// Told when a batch is added, and when the spool closes.
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: BTreeMap<u64, Entry>,
    /// Those of `waiting` whose blocks are in memory, oldest first.
    resident: VecDeque<u64>,
    cursors: Vec<Cursor>,
    next_sequence: u64,
    bytes: u64,
    closed: bool,
    /// Consumers that are to stop waiting once.
    woken: HashSet<usize>,
}

/// Whoever reads batches.
pub struct Consumer {
    /// For the log.
    pub name: String,
    /// Which batches it takes.
    pub wants: Wants,
    /// Whether it may lose some to a full spool.
    pub when_full: WhenFull,
}

/// Tells the batches that a consumer takes.
pub type Wants = Arc<dyn Fn(&Batch) -> bool + Send + Sync>;

/// How far a consumer is.
struct Cursor {
    consumer: Consumer,
    /// The last batch that was handed to it.
    begun: u64,
    /// The last batch that it has handled.
    handled: u64,
    /// The last batch that it will not ask for again, not even after a crash.
    released: u64,
    /// Records that it lost.
    dropped: u64,
}

/// A consumer's place in the spool.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ConsumerId(usize);

/// A batch that waits.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What is known of it.
    pub batch: Arc<Batch>,
    /// Size of its file.
    bytes: u64,
    blocks: Option<Arc<Blocks>>,
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
    /// Registers a consumer that has handled the batches up to `released` in an earlier life, or
    /// none (0). All consumers are registered before the first batch is committed, and before the
    /// first of them releases any.
    pub fn register(&self, consumer: Consumer, released: u64) -> ConsumerId {
        let mut queue = self.queue();
        queue.next_sequence = queue.next_sequence.max(released + 1);
        let cursor = Cursor { consumer, begun: released, handled: released, released, dropped: 0 };
        queue.cursors.push(cursor);
        ConsumerId(queue.cursors.len() - 1)
    }

    /// Waits, up to `deadline`, for the batch after the last that the consumer has handled.
    pub fn next(&self, consumer: ConsumerId, deadline: Option<Instant>) -> Next {
        let mut queue = self.queue();
        loop {
            if let Some(entry) = queue.begin_next(consumer) {
                return Next::Entry(entry);
            }
            if queue.closed {
                return Next::Closed;
            }
            if queue.woken.remove(&consumer.0) {
                return Next::Timeout;
            }
            queue = match deadline {
                None => self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Next::Timeout;
                    }
                    let waited = self.changed.wait_timeout(queue, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Ends the wait of a consumer, so that it looks at what else there is to do.
    pub fn wake(&self, consumer: ConsumerId) {
        self.queue().woken.insert(consumer.0);
        self.changed.notify_all();
    }

    /// Says that a consumer has handled the batches up to `sequence`: what lies in memory for it
    /// may go. It may say less than before, down to what it has released: it gets the rest again.
    pub fn advance(&self, consumer: ConsumerId, sequence: u64) {
        let mut queue = self.queue();
        if let Some(cursor) = queue.cursors.get_mut(consumer.0) {
            cursor.handled = sequence;
        }
        let handled = queue.cursors.iter().map(|cursor| cursor.handled).min().unwrap_or(0);
        while let Some(oldest) = queue.resident.front().copied().filter(|at| *at <= handled) {
            queue.resident.pop_front();
            queue.forget_blocks(oldest);
        }
    }

    /// Says that a consumer will never ask again for the batches up to `sequence`. Those that no
    /// consumer needs are removed.
    ///
    /// # Errors
    /// It cannot be written down that they were committed: they stay, until a later release.
    pub fn release(&self, consumer: ConsumerId, sequence: u64) -> io::Result<()> {
        let mut queue = self.queue();
        if let Some(cursor) = queue.cursors.get_mut(consumer.0) {
            cursor.released = sequence;
        }
        let released = queue.cursors.iter().map(|cursor| cursor.released).min().unwrap_or(0);
        if queue.waiting.range(..=released).next().is_none() {
            return Ok(());
        }
        drop(queue);
        // That they were committed must be known when their files no longer say so.
        self.dedup.sync()?;
        let mut queue = self.queue();
        let kept = queue.waiting.split_off(&(released + 1));
        let gone = std::mem::replace(&mut queue.waiting, kept);
        queue.bytes -= gone.values().map(|entry| entry.bytes).sum::<u64>();
        drop(queue);
        self.remove(&gone.into_values().collect::<Vec<_>>());
        Ok(())
    }

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
            Decoder::again(header.record_limit, header.encoding, header.rejected).of(header.format);
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

    /// Waits for `pause`, and says whether the daemon goes on.
    pub fn pause(&self, pause: Duration) -> bool {
        let queue = self.queue();
        let waited = self.changed.wait_timeout_while(queue, pause, |queue| !queue.closed);
        !waited.unwrap_or_else(PoisonError::into_inner).0.closed
    }

    /// Ends the wait of every consumer that has read all there is. Nothing is committed after this.
    pub fn close(&self) {
        self.queue().closed = true;
        self.changed.notify_all();
        // What still lies there then is removed at the next start.
        self.leftovers.tidy().ok();
    }

    /// How many batches wait, and the bytes of their files.
    pub fn size(&self) -> (usize, u64) {
        let queue = self.queue();
        (queue.waiting.len(), queue.bytes)
    }

    /// When the oldest batch arrived that a consumer has not handled.
    pub fn oldest_for(&self, consumer: ConsumerId) -> Option<Timestamp> {
        let queue = self.queue();
        let handled = queue.cursors.get(consumer.0)?.handled;
        let (_, entry) = queue.waiting.range(handled + 1..).next()?;
        Some(entry.batch.header.received)
    }

    /// The most that may wait.
    pub fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    fn furthest_behind(&self) -> String {
        let queue = self.queue();
        let last = queue.cursors.iter().min_by_key(|cursor| cursor.handled);
        last.map(|cursor| cursor.consumer.name.clone()).unwrap_or_default()
    }

    /// How many records a consumer has lost to a full spool.
    pub fn dropped_by(&self, consumer: ConsumerId) -> u64 {
        self.queue().cursors.get(consumer.0).map_or(0, |cursor| cursor.dropped)
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
    fn begin_next(&mut self, consumer: ConsumerId) -> Option<Entry> {
        let cursor = self.cursors.get_mut(consumer.0)?;
        let (sequence, entry) = self.waiting.range(cursor.handled + 1..).next()?;
        cursor.begun = *sequence;
        Some(entry.clone())
    }

    /// Lets go of the oldest blocks in memory that a consumer has had, and says how many bytes they
    /// were: who lags reads the file. What nobody has had stays, for it is needed next.
    fn evict(&mut self) -> Option<usize> {
        let place = self.resident.iter().position(|sequence| {
            self.waiting.get(sequence).is_none_or(|entry| {
                self.cursors.iter().any(|cursor| {
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
        self.waiting.insert(sequence, entry);
    }
}

impl std::fmt::Debug for Spool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spool").field("dir", &self.dir).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
