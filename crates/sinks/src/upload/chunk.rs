//! A chunk: the records of one request, and its identity.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use spool::Batch;

use super::ranges::Ranges;

/// The identity of a chunk. Equal identities always mean the same records in the same order. After
/// a retry, a restart or a crash, a chunk has the same identity as before, and no other chunk has
/// it.
///
/// Its text, `DIGEST-SEQUENCE-FINGERPRINT-PART`, consists of `[0-9a-z.-]` and can be an object key,
/// an idempotency key or a document id. It grows by two characters each time the chunk is halved.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ChunkId {
    /// The first half of the BLAKE3 of the batch's bytes.
    pub digest: u128,
    /// The batch's sequence in the spool.
    pub sequence: u64,
    /// The fingerprint of the settings that determine the chunks.
    pub fingerprint: u32,
    /// The number of the chunk in its batch, from 0. `3.0` and `3.1` are the halves of chunk 3.
    /// `3.r` with a hash contains the records of chunk 3 that have to be sent again.
    pub part: String,
}

impl fmt::Display for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { digest, sequence, fingerprint, part } = self;
        write!(f, "{digest:032x}-{sequence}-{fingerprint:08x}-{part}")
    }
}

/// Records of one batch that are sent in one request.
#[derive(Clone, Debug)]
pub struct Chunk {
    id: ChunkId,
    /// Its number in the batch, before it was split.
    number: u64,
    batch: Arc<Batch>,
    /// The records, each followed by one LF.
    bytes: Bytes,
    records: Vec<Record>,
}

/// The position of a record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    /// Its position in the batch, without records that the selection excludes.
    pub(super) position: u64,
    /// The offset after its LF in the chunk's bytes.
    pub(super) end: usize,
}

impl Chunk {
    pub(super) fn new(
        (batch, fingerprint): (&Arc<Batch>, u32),
        number: u64,
        part: String,
        (bytes, records): (Vec<u8>, Vec<Record>),
    ) -> Self {
        let (digest, sequence) = (batch.header.digest, batch.sequence);
        let id = ChunkId { digest, sequence, fingerprint, part };
        Self { id, number, batch: Arc::clone(batch), bytes: bytes.into(), records }
    }

    /// The chunk's identity.
    pub fn id(&self) -> &ChunkId {
        &self.id
    }

    /// The batch that the records belong to.
    pub fn batch(&self) -> &Arc<Batch> {
        &self.batch
    }

    /// The records as lines, each followed by one LF, none with an LF inside.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same bytes, without a copy, for the body of a request.
    pub fn shared_bytes(&self) -> Bytes {
        self.bytes.clone()
    }

    /// The number of records; at least one.
    pub fn records(&self) -> usize {
        self.records.len()
    }

    /// The records without their LF, each with its position in the batch as the sink sees it.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let mut begin = 0;
        self.records.iter().map(move |record| {
            let line = self.bytes.get(begin..record.end).unwrap_or_default();
            begin = record.end;
            (record.position, line.strip_suffix(b"\n").unwrap_or(line))
        })
    }

    /// Its number in the batch, before it was split.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Whether it is not a part of a split chunk.
    pub(super) fn is_whole(&self) -> bool {
        self.id.part.bytes().all(|byte| byte.is_ascii_digit())
    }

    /// The positions of its records.
    pub(super) fn positions(&self) -> Ranges {
        self.positions_of(|_| true)
    }

    /// The positions of the records whose index in the chunk passes.
    pub(super) fn positions_of(&self, passes: impl Fn(usize) -> bool) -> Ranges {
        let records = self.records.iter().enumerate().filter(|(index, _)| passes(*index));
        records.map(|(_, record)| record.position).collect()
    }

    /// The position of the first record.
    pub(super) fn first(&self) -> u64 {
        self.records.first().map_or(0, |record| record.position)
    }

    /// Halves the chunk by records. A single record has no second half.
    pub(super) fn split(mut self) -> (Self, Option<Self>) {
        let half = self.records.len() / 2;
        let Some(at) = half.checked_sub(1).and_then(|last| self.records.get(last)) else {
            return (self, None);
        };
        let at = at.end;
        let mut records = self.records.split_off(half);
        for record in &mut records {
            record.end -= at;
        }
        let bytes = self.bytes.split_off(at);
        self.records.shrink_to_fit();
        let mut second = self.id.clone();
        self.id.part.push_str(".0");
        second.part.push_str(".1");
        let (number, batch) = (self.number, Arc::clone(&self.batch));
        (self, Some(Self { id: second, number, batch, bytes, records }))
    }

    /// The records whose index in the chunk passes, as a chunk whose identity depends on their
    /// positions, so that different parts have different identities. `None` if no record passes;
    /// the chunk itself if all do.
    pub(super) fn pick(&self, passes: impl Fn(usize) -> bool) -> Option<Self> {
        let (mut bytes, mut records) = (Vec::new(), Vec::new());
        for (index, (position, record)) in self.iter().enumerate() {
            if passes(index) {
                bytes.extend_from_slice(record);
                bytes.push(b'\n');
                records.push(Record { position, end: bytes.len() });
            }
        }
        if records.is_empty() {
            return None;
        }
        if records.len() == self.records.len() {
            return Some(self.clone());
        }
        let picked = Self {
            id: self.id.clone(),
            number: self.number,
            batch: Arc::clone(&self.batch),
            bytes: bytes.into(),
            records,
        };
        Some(picked.named_by_positions())
    }

    /// The same records with the part `part` in their identity.
    pub(super) fn named(mut self, part: String) -> Self {
        self.id.part = part;
        self
    }

    /// The same records with an identity that depends on their positions only.
    pub(super) fn named_by_positions(self) -> Self {
        let mut hasher = blake3::Hasher::new();
        for record in &self.records {
            hasher.update(&record.position.to_le_bytes());
        }
        let hash = hasher.finalize().to_hex();
        let part = format!("{}.r{}", self.number, hash.get(..16).unwrap_or_default());
        self.named(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upload::tests::batch;

    fn chunk(lengths: &[usize]) -> Chunk {
        let (mut bytes, mut records) = (Vec::new(), Vec::new());
        for (length, position) in lengths.iter().zip(7..) {
            bytes.extend(std::iter::repeat_n(b'a', *length));
            bytes.push(b'\n');
            records.push(Record { position, end: bytes.len() });
        }
        Chunk::new((&Arc::new(batch(5)), 0xab), 3, "3".to_owned(), (bytes, records))
    }

    fn content(chunk: &Chunk) -> Vec<(u64, usize)> {
        chunk.iter().map(|(position, record)| (position, record.len())).collect()
    }

    #[test]
    fn halves_are_split_down_to_one_record() {
        let (first, second) = chunk(&[1, 0, 3]).split();
        let second = second.unwrap();
        assert_eq!(content(&first), [(7, 1)]);
        assert_eq!(content(&second), [(8, 0), (9, 3)]);
        assert_eq!((first.id.part.as_str(), second.id.part.as_str()), ("3.0", "3.1"));
        assert_eq!(second.bytes(), b"\naaa\n");
        let (single, none) = first.split();
        assert_eq!((single.id.part.as_str(), none.is_none()), ("3.0", true));
        let last = second.split().1.unwrap();
        assert_eq!((content(&last), last.id.part.as_str()), (vec![(9, 3)], "3.1.1"));
    }

    #[test]
    fn a_pick_is_named_after_its_positions() {
        let whole = chunk(&[1, 2, 3, 4]);
        let picked = whole.pick(|index| index % 2 == 1).unwrap();
        assert_eq!(content(&picked), [(8, 2), (10, 4)]);
        let other = whole.pick(|index| index > 1).unwrap();
        assert_ne!(picked.id, other.id);
        assert_eq!(picked.id.part.len(), "3.r0123456789abcdef".len());
        // The same records have the same identity, however they were picked.
        let repicked = other.pick(|index| index == 1).unwrap();
        assert_eq!(repicked.id, whole.pick(|index| index == 3).unwrap().id);
        assert_eq!(whole.pick(|_| true).unwrap().id, whole.id);
        assert!(whole.pick(|_| false).is_none());
        assert!(whole.is_whole() && !picked.is_whole());
    }

    #[test]
    fn an_identity_is_printable() {
        let text = chunk(&[1]).id.to_string();
        assert_eq!(text, "000000000000000000000000000000d5-5-000000ab-3");
    }
}
