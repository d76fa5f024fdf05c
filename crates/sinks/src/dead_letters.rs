//! Records that a target refuses permanently, before they are in quarantine.

use std::{
    collections::BTreeSet,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use settings::printable::start;
use spool::Batch;

use super::SinkCounter;

/// The maximum length of a stored reason.
const MAX_REASON_BYTES: usize = 1024;

/// Takes the records that a target refuses permanently. Each becomes one line in quarantine, which
/// is durable before the checkpoint passes the record. The sink continues with the next record.
///
/// May be used from any thread and from tasks: it never waits for a disk. A sink adds a record
/// before the `sync` after which it will not send the record again. Adding it again is harmless,
/// also after a restart: the same record at the same position of the same batch is one line.
///
/// Records stay in memory until delivery writes them, after the sink's next `write` or `sync` at
/// the latest. So a sink must not have more in flight than fits in memory.
#[derive(Clone, Debug, Default)]
pub struct DeadLetters {
    queue: Arc<Mutex<Queue>>,
    refused: SinkCounter,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<DeadLetter>,
    bytes: usize,
    /// Letters of batches after the checkpoint, which the sink may add again.
    known: BTreeSet<LetterId>,
}

/// Identifies a dead letter: the sequence of its batch, its position, and a digest of the record.
/// The digest distinguishes records that get the same position after a change of the selection.
pub type LetterId = (u64, u64, u64);

/// A record that a target refuses permanently.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DeadLetter {
    /// The batch of the record.
    pub batch: Batch,
    /// Its position among the records of the batch that the sink got, from 1.
    pub position: u64,
    /// The record, as the sink got it.
    pub record: Box<[u8]>,
    /// The target's reason for the refusal.
    pub reason: String,
}

impl DeadLetter {
    /// The identity of the letter.
    pub fn id(&self) -> LetterId {
        let hash = blake3::hash(&self.record);
        let digest = hash.as_bytes().first_chunk().map_or(0, |first| u64::from_be_bytes(*first));
        (self.batch.sequence, self.position, digest)
    }
}

impl DeadLetters {
    /// `known` are the letters that are in quarantine and that the sink may add again. `refused`
    /// counts new letters.
    pub fn new(known: BTreeSet<LetterId>, refused: SinkCounter) -> Self {
        let queue = Queue { known, ..Queue::default() };
        Self { queue: Arc::new(Mutex::new(queue)), refused }
    }

    /// Adds a record that the target refuses permanently. `position` is its position among the
    /// records of the batch that the sink got, from 1. `reason` is the target's reason; its first
    /// 1,024 bytes are stored.
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

    /// The size of the records that are not written yet, in bytes.
    pub fn waiting_bytes(&self) -> usize {
        self.queue().bytes
    }

    /// Removes and returns the letters that are not written yet. The caller has to write them.
    pub fn take(&self) -> Vec<DeadLetter> {
        let mut queue = self.queue();
        queue.bytes = 0;
        mem::take(&mut queue.waiting)
    }

    /// Forgets the letters of the batches up to `batch`: the sink will not send these again.
    pub fn forget(&self, batch: u64) {
        let mut queue = self.queue();
        queue.known = queue.known.split_off(&(batch + 1, 0, 0));
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Every change is complete before anything in it can panic.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
