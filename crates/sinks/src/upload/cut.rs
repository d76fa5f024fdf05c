//! Cuts a batch into chunks.
//!
//! Where a chunk ends depends on the lengths of the records and on [`Limits`] only: not on the blocks
//! in which the records arrive, not on what is already settled, not on time.

use std::sync::Arc;

use spool::Batch;

use super::{
    chunk::{Chunk, Record},
    ranges::Ranges,
};

/// What is reserved for a chunk before it is known to become larger.
const SMALL_BYTES: usize = 64 * 1024;

/// How large a chunk may become.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Bytes of the records as lines, each with its LF. A longer record is a chunk of its own.
    pub max_bytes: usize,
    /// Records; at least 1.
    pub max_records: usize,
}

/// A part of a chunk that was split before a restart, and is not settled.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Part {
    /// As in the identity of the chunk.
    pub(super) part: String,
    pub(super) positions: Ranges,
}

/// A batch that is being cut.
#[derive(Debug)]
pub(super) struct Cut {
    batch: Arc<Batch>,
    /// The fingerprint of what decides where the batch is cut.
    fingerprint: u32,
    limits: Limits,
    /// Positions of records that are passed over: they are settled, or in chunks that exist.
    skip: Ranges,
    /// The number of the chunk that is being filled.
    number: u64,
    /// The position of its first record, and the next position.
    first: u64,
    next: u64,
    /// Its length, with records that are passed over.
    length: usize,
    /// Its records without those that are passed over.
    bytes: Vec<u8>,
    records: Vec<Record>,
    /// The last block, if no chunk had room for all of it, and how many of its bytes were taken.
    rest: (Vec<u8>, usize),
    /// Whether nothing follows the rest.
    ended: bool,
}

impl Cut {
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

    /// Takes the rest of the last block, and how many of its bytes were taken already.
    pub(super) fn take_rest(&mut self) -> (Vec<u8>, usize) {
        std::mem::take(&mut self.rest)
    }

    /// Keeps a block of which so many bytes were taken, until there is room for the rest.
    pub(super) fn keep(&mut self, block: Vec<u8>, taken: usize) {
        self.rest = if taken < block.len() { (block, taken) } else { (Vec::new(), 0) };
    }

    /// Whether a part of the last block waits for room.
    pub(super) fn has_rest(&self) -> bool {
        !self.rest.0.is_empty()
    }

    /// The batch has no more records than those that were written.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    /// Whether the batch has no more records than those that were written.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// How many records were taken.
    pub(super) fn taken(&self) -> u64 {
        self.next
    }

    /// Takes records from the beginning of `lines` until the chunk is full. Returns the bytes that were
    /// taken: all, unless the chunk is full.
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

    /// Makes room for a record: a little for a small batch, else once for all of the chunk.
    fn reserve(&mut self, length: usize) {
        let needed = self.bytes.len() + length;
        if needed > self.bytes.capacity() {
            let room = if needed <= SMALL_BYTES { SMALL_BYTES } else { self.limits.max_bytes };
            self.bytes.reserve_exact(room.max(needed) - self.bytes.len());
        }
    }

    /// Whether [`Cut::close`] returns any chunk.
    pub(super) fn holds_records(&self) -> bool {
        !self.records.is_empty()
    }

    /// Ends the chunk and begins the next one. Returns the chunk, or what is to be sent of it: its
    /// records may be settled, or divided among `parts`, from which those that are returned are
    /// removed.
    pub(super) fn close(&mut self, parts: Option<&mut Vec<Part>>) -> Vec<Chunk> {
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
        let is_here = |part: &mut Part| {
            part.positions.first().is_some_and(|at| (first..self.next).contains(&at))
        };
        let here: Vec<_> =
            parts.map(|parts| parts.extract_if(.., is_here).collect()).unwrap_or_default();
        if all && here.is_empty() {
            return vec![whole];
        }
        divide(&whole, &here)
    }

    /// Bytes of records in memory.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.bytes.len() + self.rest.0.len()
    }
}

/// Divides what is left of a chunk into the parts that it had, and one of the records that are in none.
fn divide(chunk: &Chunk, parts: &[Part]) -> Vec<Chunk> {
    let positions: Vec<u64> = chunk.iter().map(|(position, _)| position).collect();
    let is_in = |part: &Part, index: usize| {
        positions.get(index).is_some_and(|position| part.positions.contains(*position))
    };
    let others = chunk.pick(|index| !parts.iter().any(|part| is_in(part, index)));
    let others = others.map(Chunk::named_by_positions);
    let mut chunks = Vec::new();
    for part in parts {
        let Some(picked) = chunk.pick(|index| is_in(part, index)) else { continue };
        // With records missing, the identity would mean two things.
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
