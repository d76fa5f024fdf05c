//! The chunks in memory: waiting, in flight, or failed.

use std::collections::BTreeMap;

use super::{chunk::Chunk, ranges::Ranges};

/// Identifies a chunk in memory: its batch's sequence and the position of its first record. No two
/// chunks in memory share a record.
pub(super) type Key = (u64, u64);

/// The chunks in memory.
#[derive(Debug)]
pub(super) struct Window {
    held: BTreeMap<Key, HeldChunk>,
    /// The maximum number of chunks, and of concurrent requests.
    limit: usize,
}

#[derive(Debug)]
struct HeldChunk {
    chunk: Chunk,
    state: ChunkState,
    /// Whether a restart makes the same chunk: it is no part of another, or a checkpoint contains
    /// it. Otherwise it is not sent.
    is_saved: bool,
    /// Whether a request of it has failed.
    failed: bool,
    /// How often it was refused while the breaker was open. Chunks that were refused less often are
    /// sent first, so that each is tried.
    refusals: u32,
}

/// The state of a chunk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ChunkState {
    /// It waits for a request.
    Waiting,
    /// A request is in flight.
    Sent,
    /// Its request failed. Delivery decides when it is retried.
    Failed,
}

impl Window {
    /// `limit` is at least 1.
    pub(super) fn new(limit: usize) -> Self {
        Self { held: BTreeMap::new(), limit: limit.max(1) }
    }

    /// Whether there is room for one more chunk. The parts of a chunk that was split count as one.
    pub(super) fn has_room(&self) -> bool {
        let mut count = 0;
        let mut last = None;
        for held in self.held.values() {
            let chunk = Some((held.chunk.batch().sequence, held.chunk.number()));
            if chunk != last {
                count += 1;
                last = chunk;
            }
        }
        count < self.limit
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Adds a chunk in `state`.
    pub(super) fn add(&mut self, chunk: Chunk, state: ChunkState, refusals: u32) {
        let failed = state == ChunkState::Failed;
        self.insert(HeldChunk { chunk, state, is_saved: true, failed, refusals });
    }

    /// Adds a part of a split chunk in `state`. It is sent after [`Window::saved`].
    pub(super) fn add_part(&mut self, chunk: Chunk, state: ChunkState, refusals: u32) {
        let failed = state == ChunkState::Failed;
        self.insert(HeldChunk { chunk, state, is_saved: false, failed, refusals });
    }

    fn insert(&mut self, held: HeldChunk) {
        self.held.insert((held.chunk.batch().sequence, held.chunk.first()), held);
    }

    /// Whether a part of a chunk waits for a checkpoint.
    pub(super) fn has_unsaved(&self) -> bool {
        self.held.values().any(|held| !held.is_saved)
    }

    /// Notes that a checkpoint contains all parts of chunks.
    pub(super) fn saved(&mut self) {
        for held in self.held.values_mut() {
            held.is_saved = true;
        }
    }

    /// Removes and returns a chunk, with the number of its refusals.
    pub(super) fn take(&mut self, key: Key) -> Option<(Chunk, u32)> {
        self.held.remove(&key).map(|held| (held.chunk, held.refusals))
    }

    /// Returns the chunk to send next, and counts it as in flight. `None` if no chunk is waiting,
    /// or if the maximum number of requests is in flight.
    pub(super) fn next(&mut self) -> Option<(Key, &Chunk)> {
        if self.in_flight() >= self.limit {
            return None;
        }
        let may_be_sent = |held: &HeldChunk| held.state == ChunkState::Waiting && held.is_saved;
        let waiting = self.held.iter_mut().filter(|(_, held)| may_be_sent(held));
        let (key, held) = waiting.min_by_key(|(key, held)| (held.refusals, **key))?;
        held.state = ChunkState::Sent;
        Some((*key, &held.chunk))
    }

    pub(super) fn in_flight(&self) -> usize {
        self.held.values().filter(|held| held.state == ChunkState::Sent).count()
    }

    /// Whether a request of one of the chunks has failed.
    pub(super) fn has_failed(&self) -> bool {
        self.held.values().any(|held| held.failed)
    }

    /// Makes failed chunks wait for their next request.
    pub(super) fn retry(&mut self) {
        for held in self.held.values_mut().filter(|held| held.state == ChunkState::Failed) {
            held.state = ChunkState::Waiting;
        }
    }

    /// The chunks, in the order of their records.
    pub(super) fn chunks(&self) -> impl Iterator<Item = &Chunk> {
        self.held.values().map(|held| &held.chunk)
    }

    /// The positions of all records of a batch that are in these chunks.
    pub(super) fn positions(&self, sequence: u64) -> Ranges {
        let mut positions = Ranges::default();
        for (_, held) in self.held.range((sequence, 0)..=(sequence, u64::MAX)) {
            positions.union(&held.chunk.positions());
        }
        positions
    }
}
