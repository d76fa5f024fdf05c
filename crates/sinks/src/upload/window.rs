//! The chunks in memory: those that wait, those in flight, and those that failed.

use std::collections::BTreeMap;

use super::{chunk::Chunk, ranges::Ranges};

/// Identifies a chunk in memory: its batch's sequence and the position of its first record. No two chunks
/// in memory share a record.
pub(super) type Key = (u64, u64);

/// The chunks in memory.
#[derive(Debug)]
pub(super) struct Window {
    held: BTreeMap<Key, Held>,
    /// How many chunks there may be, and how many requests at once.
    limit: usize,
}

#[derive(Debug)]
struct Held {
    chunk: Chunk,
    place: Place,
    /// Whether a request of it has failed.
    failed: bool,
    /// How often it was refused while nothing was accepted. Chunks that were refused less often are
    /// tried first, so that each has its turn.
    refusals: u32,
}

/// Where a chunk is on its way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Place {
    /// It waits for a request.
    Waiting,
    /// A request is in flight.
    Sent,
    /// Its request failed, and delivery decides when it is retried.
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

    /// Adds a chunk, in `place`.
    pub(super) fn add(&mut self, chunk: Chunk, place: Place, refusals: u32) {
        let key = (chunk.batch().sequence, chunk.first());
        self.held.insert(key, Held { chunk, place, failed: place == Place::Failed, refusals });
    }

    /// Takes out a chunk, with the number of its refusals.
    pub(super) fn take(&mut self, key: Key) -> Option<(Chunk, u32)> {
        self.held.remove(&key).map(|held| (held.chunk, held.refusals))
    }

    /// The chunk to send next, which counts as in flight now; `None` if there is none, or as many as
    /// there may be are in flight.
    pub(super) fn next(&mut self) -> Option<(Key, &Chunk)> {
        if self.in_flight() >= self.limit {
            return None;
        }
        let waiting = self.held.iter_mut().filter(|(_, held)| held.place == Place::Waiting);
        let (key, held) = waiting.min_by_key(|(key, held)| (held.refusals, **key))?;
        held.place = Place::Sent;
        Some((*key, &held.chunk))
    }

    pub(super) fn in_flight(&self) -> usize {
        self.held.values().filter(|held| held.place == Place::Sent).count()
    }

    /// Whether a chunk is here of which a request has failed.
    pub(super) fn has_failed(&self) -> bool {
        self.held.values().any(|held| held.failed)
    }

    /// Lets the chunks whose requests failed wait for their next request.
    pub(super) fn retry(&mut self) {
        for held in self.held.values_mut().filter(|held| held.place == Place::Failed) {
            held.place = Place::Waiting;
        }
    }

    /// The chunks, in the order of their records.
    pub(super) fn chunks(&self) -> impl Iterator<Item = &Chunk> {
        self.held.values().map(|held| &held.chunk)
    }

    /// The positions of all records of a batch that are here.
    pub(super) fn positions(&self, sequence: u64) -> Ranges {
        let mut positions = Ranges::default();
        for (_, held) in self.held.range((sequence, 0)..=(sequence, u64::MAX)) {
            positions.union(&held.chunk.positions());
        }
        positions
    }
}
