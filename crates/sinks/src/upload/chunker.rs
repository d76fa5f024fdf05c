//! Divides a batch into chunks.
//!
//! The end of a chunk depends on the lengths of the records and on [`Limits`] only: not on the
//! blocks in which the records arrive, not on settled records, and not on time.

use std::sync::Arc;

use spool::Batch;

use super::{
    chunk::{Chunk, Record},
    ranges::Ranges,
};

/// The memory that is reserved for a chunk until it exceeds this size.
const SMALL_BYTES: usize = 64 * 1024;

/// The maximum size of a chunk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// The maximum number of bytes, of records with their LFs. A longer record is a chunk of its
    /// own.
    pub max_bytes: usize,
    /// The maximum number of records; at least 1.
    pub max_records: usize,
}

/// A part of a chunk that was split before a restart and is not settled.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct ChunkPart {
    /// The part in the identity of the chunk.
    pub(super) part: String,
    pub(super) positions: Ranges,
}

/// Divides one batch into chunks.
#[derive(Debug)]
pub(super) struct Chunker {
    batch: Arc<Batch>,
    /// The fingerprint of the settings that determine the chunks.
    fingerprint: u32,
    limits: Limits,
    /// Positions of records that are skipped: they are settled, or in chunks that exist.
    skip: Ranges,
    /// The number of the chunk that is being filled.
    number: u64,
    /// The position of its first record, and the next position.
    first: u64,
    next: u64,
    /// Its length, including skipped records.
    length: usize,
    /// Its records, without skipped ones.
    bytes: Vec<u8>,
    records: Vec<Record>,
    /// The last block, if the window had no room for all of it, and the number of its bytes that
    /// were taken.
    rest: (Vec<u8>, usize),
    /// Whether no block follows.
    ended: bool,
}

impl Chunker {
    pub(super) fn new(batch: Arc<Batch>, fingerprint: u32, limits: Limits, skip: Ranges) -> Self {
        Self {
            batch,
            fingerprint,
            limits,
            skip,
            number: 0,
            first: 0,
            next: 0,
            length: 0,
            bytes: Vec::new(),
            records: Vec::new(),
            rest: (Vec::new(), 0),
            ended: false,
        }
    }

    /// The batch's sequence.
    pub(super) fn sequence(&self) -> u64 {
        self.batch.sequence
    }

    /// Removes and returns the last block, and the number of its bytes that were taken.
    pub(super) fn take_rest(&mut self) -> (Vec<u8>, usize) {
        std::mem::take(&mut self.rest)
    }

    /// Keeps a block, of which `taken` bytes were taken, until the window has room for the rest.
    pub(super) fn keep(&mut self, block: Vec<u8>, taken: usize) {
        self.rest = if taken < block.len() { (block, taken) } else { (Vec::new(), 0) };
    }

    /// Whether a part of the last block is waiting for room.
    pub(super) fn has_rest(&self) -> bool {
        !self.rest.0.is_empty()
    }

    /// Notes that no block follows.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    /// Whether no block follows.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// The number of records taken.
    pub(super) fn taken(&self) -> u64 {
        self.next
    }

    /// Takes records from the beginning of `lines` until the chunk is full. Returns the number of
    /// bytes taken.
    pub(super) fn fill(&mut self, lines: &[u8]) -> usize {
        let mut taken = 0;
        while let Some(left) = lines.get(taken..).filter(|left| !left.is_empty()) {
            let length = memchr::memchr(b'\n', left).map_or(left.len(), |at| at + 1);
            if self.is_full_for(length) {
                break;
            }
            self.add(left.get(..length).unwrap_or_default());
            taken += length;
        }
        taken
    }

    fn is_full_for(&self, length: usize) -> bool {
        let records = usize::try_from(self.next - self.first).unwrap_or(usize::MAX);
        records > 0
            && (records >= self.limits.max_records
                || self.length.saturating_add(length) > self.limits.max_bytes)
    }

    fn add(&mut self, line: &[u8]) {
        if !self.skip.contains(self.next) {
            self.reserve(line.len());
            self.bytes.extend_from_slice(line);
            self.records.push(Record { position: self.next, end: self.bytes.len() });
        }
        self.next += 1;
        self.length += line.len();
    }

    /// Reserves memory for a record: little for a small batch, otherwise once for the whole chunk.
    fn reserve(&mut self, length: usize) {
        let needed = self.bytes.len() + length;
        if needed > self.bytes.capacity() {
            let room = if needed <= SMALL_BYTES { SMALL_BYTES } else { self.limits.max_bytes };
            self.bytes.reserve_exact(room.max(needed) - self.bytes.len());
        }
    }

    /// Whether [`Chunker::close`] returns any chunk.
    pub(super) fn holds_records(&self) -> bool {
        !self.records.is_empty()
    }

    /// Ends the chunk and begins the next one. Returns the chunk, or those of its parts that have
    /// to be sent: records may be settled, or divided among `parts`. Removes the returned parts
    /// from `parts`.
    pub(super) fn close(&mut self, parts: Option<&mut Vec<ChunkPart>>) -> Vec<Chunk> {
        let (first, number) = (self.first, self.number);
        let (mut bytes, mut records) =
            (std::mem::take(&mut self.bytes), std::mem::take(&mut self.records));
        self.first = self.next;
        self.length = 0;
        self.number += 1;
        if records.is_empty() {
            return Vec::new();
        }
        bytes.shrink_to_fit();
        records.shrink_to_fit();
        let all = records.len() as u64 == self.next - first;
        let from = (&self.batch, self.fingerprint);
        let whole = Chunk::new(from, number, number.to_string(), (bytes, records));
        let is_here = |part: &mut ChunkPart| {
            part.positions.first().is_some_and(|at| (first..self.next).contains(&at))
        };
        let here: Vec<_> =
            parts.map(|parts| parts.extract_if(.., is_here).collect()).unwrap_or_default();
        if all && here.is_empty() {
            return vec![whole];
        }
        divide(&whole, &here)
    }

    /// The bytes of records in memory.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.bytes.len() + self.rest.0.len()
    }
}

/// Divides the records of a chunk among the parts that it had, and a part of the other records.
fn divide(chunk: &Chunk, parts: &[ChunkPart]) -> Vec<Chunk> {
    let positions: Vec<u64> = chunk.iter().map(|(position, _)| position).collect();
    let is_in = |part: &ChunkPart, index: usize| {
        positions.get(index).is_some_and(|position| part.positions.contains(*position))
    };
    let others = chunk.pick(|index| !parts.iter().any(|part| is_in(part, index)));
    let others = others.map(Chunk::named_by_positions);
    let mut chunks = Vec::new();
    for part in parts {
        let Some(picked) = chunk.pick(|index| is_in(part, index)) else { continue };
        // If records are missing, the part needs another identity.
        let is_all = picked.positions() == part.positions;
        chunks.push(if is_all {
            picked.named(part.part.clone())
        } else {
            picked.named_by_positions()
        });
    }
    chunks.extend(others);
    chunks
}
