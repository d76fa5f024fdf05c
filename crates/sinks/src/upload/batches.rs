//! Tracks which records of which batches are settled.
//!
//! A record is settled when it is delivered or a dead letter. It is never sent again, neither when
//! its batch is read again after a failure, nor after a restart from a checkpoint that covers it.

use std::collections::BTreeMap;

use spool::Batch;
use tracing::info;

use super::{
    chunk::Chunk,
    chunker::ChunkPart,
    ranges::Ranges,
    state::{BatchState, PartState, UploadState},
};

/// The maximum number of tracked batches: finished but not settled, or settled after one that is
/// not.
const MAX_BATCHES: usize = 1024;

/// The batches that the cursor of the checkpoint has not passed.
#[derive(Debug, Default)]
pub(super) struct Batches {
    batches: BTreeMap<u64, BatchProgress>,
    /// The last batch that was finished.
    finished: u64,
}

/// The progress of a batch.
#[derive(Debug)]
enum BatchProgress {
    /// All of its records are settled.
    Settled,
    Partial(PartialBatch),
}

#[derive(Debug, Default)]
struct PartialBatch {
    digest: u128,
    settled: Ranges,
    /// Parts of chunks that were split before the start, until the chunk is made again.
    parts: Vec<ChunkPart>,
    /// The number of its records, once all are in chunks.
    records: Option<u64>,
}

impl Batches {
    /// Continues from a checkpoint. With another fingerprint, batches that are settled in part
    /// begin again.
    pub(super) fn resume(state: &UploadState, fingerprint: u32) -> Self {
        let mut batches = BTreeMap::new();
        for (first, end) in &state.settled {
            batches.extend((*first..*end).take(MAX_BATCHES).map(|at| (at, BatchProgress::Settled)));
        }
        if state.fingerprint == text(fingerprint) {
            let partly = |batch: &BatchState| Some((batch.sequence, PartialBatch::read(batch)?));
            batches.extend(
                state
                    .batches
                    .iter()
                    .filter_map(partly)
                    .map(|(at, batch)| (at, BatchProgress::Partial(batch))),
            );
        } else {
            for batch in &state.batches {
                let batch = batch.sequence;
                info!(
                    batch,
                    "settings that decide the chunks have changed: the batch is sent again"
                );
            }
        }
        Self { batches, finished: 0 }
    }

    /// Returns the state for a checkpoint, and removes batches that its cursor passes. `held` are
    /// the chunks in memory.
    pub(super) fn state(&mut self, fingerprint: u32, refused: u32, held: &[&Chunk]) -> UploadState {
        let passed = self.in_doubt().unwrap_or(self.finished.saturating_add(1));
        self.batches = self.batches.split_off(&passed);
        let mut settled = Ranges::default();
        let mut partly = Vec::new();
        for (sequence, progress) in &self.batches {
            match progress {
                BatchProgress::Settled => settled.insert(*sequence, sequence.saturating_add(1)),
                BatchProgress::Partial(batch) => {
                    partly.extend(batch.state(*sequence, held));
                }
            }
        }
        UploadState {
            fingerprint: text(fingerprint),
            settled: settled.iter().collect(),
            batches: partly,
            refused,
        }
    }

    /// Whether another batch can be begun.
    pub(super) fn have_room(&self) -> bool {
        self.batches.len() < MAX_BATCHES
    }

    /// Whether the batch was begun before.
    pub(super) fn contain(&self, sequence: u64) -> bool {
        self.batches.contains_key(&sequence)
    }

    /// Begins a batch, for the first time or again. Returns the positions of its settled records,
    /// or `None` if all are settled.
    pub(super) fn begin(&mut self, batch: &Batch) -> Option<Ranges> {
        let digest = batch.header.digest;
        let new = || BatchProgress::Partial(PartialBatch { digest, ..PartialBatch::default() });
        let progress = self.batches.entry(batch.sequence).or_insert_with(new);
        match progress {
            BatchProgress::Settled => None,
            BatchProgress::Partial(partly) if partly.digest == digest => {
                Some(partly.settled.clone())
            }
            BatchProgress::Partial(_) => {
                *progress = new();
                Some(Ranges::default())
            }
        }
    }

    /// The parts of split chunks of a batch that were not made again since the start.
    pub(super) fn parts(&mut self, sequence: u64) -> Option<&mut Vec<ChunkPart>> {
        match self.batches.get_mut(&sequence)? {
            BatchProgress::Partial(partly) => Some(&mut partly.parts),
            BatchProgress::Settled => None,
        }
    }

    /// Notes that the sink got the whole batch.
    pub(super) fn finish(&mut self, sequence: u64) {
        self.finished = self.finished.max(sequence);
    }

    /// Notes that all `records` records of the batch are in chunks.
    pub(super) fn end(&mut self, sequence: u64, records: u64) {
        if let Some(BatchProgress::Partial(partly)) = self.batches.get_mut(&sequence) {
            partly.records = Some(records);
        }
        self.update(sequence);
    }

    /// Notes that records of a batch are delivered or dead letters.
    pub(super) fn settle(&mut self, sequence: u64, positions: &Ranges) {
        if let Some(BatchProgress::Partial(partly)) = self.batches.get_mut(&sequence) {
            partly.settled.union(positions);
        }
        self.update(sequence);
    }

    fn update(&mut self, sequence: u64) {
        if let Some(progress) = self.batches.get_mut(&sequence)
            && let BatchProgress::Partial(partly) = progress
            && partly.records.is_some_and(|records| partly.settled.covers(records))
        {
            *progress = BatchProgress::Settled;
        }
    }

    /// The sequence of the first batch that is finished and not settled.
    pub(super) fn in_doubt(&self) -> Option<u64> {
        let mut finished = self.batches.range(..=self.finished);
        finished
            .find(|(_, progress)| matches!(progress, BatchProgress::Partial(_)))
            .map(|(at, _)| *at)
    }
}

impl PartialBatch {
    fn read(state: &BatchState) -> Option<Self> {
        let part = |part: &PartState| ChunkPart {
            part: part.part.clone(),
            positions: part.records.iter().copied().collect(),
        };
        Some(Self {
            digest: u128::from_str_radix(&state.digest, 16).ok()?,
            settled: state.settled.iter().copied().collect(),
            parts: state.parts.iter().map(part).collect(),
            records: None,
        })
    }

    /// `held` are the chunks in memory, of all batches.
    fn state(&self, sequence: u64, held: &[&Chunk]) -> Option<BatchState> {
        let state = |part: &str, positions: &Ranges| PartState {
            part: part.to_owned(),
            records: positions.iter().collect(),
        };
        let is_part = |chunk: &&&Chunk| chunk.batch().sequence == sequence && !chunk.is_whole();
        let parts =
            held.iter().filter(is_part).map(|chunk| state(&chunk.id().part, &chunk.positions()));
        let parts = parts.chain(self.parts.iter().map(|part| state(&part.part, &part.positions)));
        let parts: Vec<_> = parts.collect();
        let settled: Vec<_> = self.settled.iter().collect();
        let digest = format!("{:032x}", self.digest);
        let is_new = parts.is_empty() && settled.is_empty();
        (!is_new).then_some(BatchState { sequence, digest, settled, parts })
    }
}

/// Formats a fingerprint for a checkpoint.
fn text(fingerprint: u32) -> String {
    format!("{fingerprint:08x}")
}
