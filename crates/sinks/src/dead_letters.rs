//! Records that a target refuses permanently, on their way into quarantine.

use std::{
    collections::BTreeSet,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use settings::printable::start;
use spool::Batch;

use super::SinkCounter;

/// How much of a target's words is kept.
const MAX_REASON_BYTES: usize = 1024;

/// Takes the records that a target refuses permanently. They become lines in quarantine, each once,
/// and durable before the checkpoint passes them; the sink continues with the next record.
///
/// May be used from any thread, and from tasks: nothing here waits for a disk. A sink adds a record
/// before the `sync` after which it will not send it again. To add it again is harmless, also after a
/// restart: the same record at the same place of the same batch is one line.
///
/// What was added waits in memory until delivery writes it, which is after the sink's next `write` or
/// `sync` at the latest: a sink must not have more in flight than it may hold in memory.
#[derive(Clone, Debug, Default)]
pub struct DeadLetters {
    queue: Arc<Mutex<Queue>>,
    refused: SinkCounter,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<DeadLetter>,
    bytes: usize,
    /// Those that were added and that the sink may add again: of batches after the checkpoint.
    known: BTreeSet<LetterId>,
}

/// Identifies a dead letter: the sequence of its batch, its position, and a digest of the record. With
/// the digest, another selection (by which other records get the position) loses none.
pub type LetterId = (u64, u64, u64);

/// A record that a target refuses permanently.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DeadLetter {
    /// The batch that it came in.
    pub batch: Batch,
    /// Its place among the records that the sink got of the batch, the first being 1.
    pub position: u64,
    /// The record, as the sink got it.
    pub record: Box<[u8]>,
    /// Why the target refuses it, in the target's words.
    pub reason: String,
}

impl DeadLetter {
    /// Identifies it.
    pub fn id(&self) -> LetterId {
        let hash = blake3::hash(&self.record);
        let digest = hash.as_bytes().first_chunk().map_or(0, |first| u64::from_be_bytes(*first));
        (self.batch.sequence, self.position, digest)
    }
}

impl DeadLetters {
    /// `known` are those that were written and that the sink may add again; `refused` counts.
    pub fn new(known: BTreeSet<LetterId>, refused: SinkCounter) -> Self {
        let queue = Queue { known, ..Queue::default() };
        Self { queue: Arc::new(Mutex::new(queue)), refused }
    }

    /// Adds a record that the target refuses permanently. `position` is its place among the records that
    /// the sink got of the batch, the first being 1; `reason` are the target's words, of which the first
    /// 1,024 bytes are kept.
    pub fn add(&self, batch: &Batch, position: u64, record: &[u8], reason: &str) {
        let reason = start(reason, MAX_REASON_BYTES).to_owned();
        let letter = DeadLetter { batch: batch.clone(), position, record: record.into(), reason };
        let mut queue = self.queue();
        if queue.known.insert(letter.id()) {
            queue.bytes += record.len();
            queue.waiting.push(letter);
            self.refused.add(1);
        }
    }

    /// Bytes of the records that wait to be written.
    pub fn waiting_bytes(&self) -> usize {
        self.queue().bytes
    }

    /// Takes all that wait to be written. Who takes them has to write them.
    pub fn take(&self) -> Vec<DeadLetter> {
        let mut queue = self.queue();
        queue.bytes = 0;
        mem::take(&mut queue.waiting)
    }

    /// Forgets those of the batches up to `batch`: the sink will not send them again.
    pub fn forget(&self, batch: u64) {
        let mut queue = self.queue();
        queue.known = queue.known.split_off(&(batch + 1, 0, 0));
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Every change is complete before anything in it can panic.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
