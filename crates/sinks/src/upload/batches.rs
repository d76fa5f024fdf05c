//! Which records of which batches are settled.
//!
//! A record is settled when it is delivered or a dead letter. It is never sent again, whatever
//! becomes of its batch: neither when the batch is read again after a failure, nor after a restart
//! from a checkpoint that knows it.

use std::collections::BTreeMap;

use spool::Batch;
use tracing::info;

use super::{
    chunk::Chunk,
    cut::Part,
    ranges::Ranges,
    state::{BatchState, PartState, UploadState},
};

/// How many batches may be open: finished and not settled, or settled after one that is not.
const MAX_BATCHES: usize = 1024;

/// The batches that the cursor has not passed.
#[derive(Debug, Default)]
pub(super) struct Batches {
    batches: BTreeMap<u64, Progress>,
    /// The last batch that was finished.
    finished: u64,
}

/// How far a batch is.
#[derive(Debug)]
enum Progress {
    /// All of its records are settled.
    Settled,
    Partly(Partly),
}

#[derive(Debug, Default)]
struct Partly {
    digest: u128,
    settled: Ranges,
    /// Parts of split chunks that were not cut again since the start.
    parts: Vec<Part>,
    /// How many records the batch has, once it is cut to its end.
    records: Option<u64>,
}

impl Batches {
    /// Continues from a checkpoint. With another `cut`, what is partly settled begins again.
    pub(super) fn resume(state: &UploadState, cut: u32) -> Self {
        let mut batches = BTreeMap::new();
        for (first, end) in &state.settled {
            batches.extend((*first..*end).take(MAX_BATCHES).map(|at| (at, Progress::Settled)));
        }
        if state.cut == text(cut) {
            let partly = |batch: &BatchState| Some((batch.sequence, Partly::read(batch)?));
            batches.extend(
                state
                    .batches
                    .iter()
                    .filter_map(partly)
                    .map(|(at, batch)| (at, Progress::Partly(batch))),
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

    /// What is to be remembered. Forgets batches that the cursor passes now. `held` are the chunks in
    /// memory.
    pub(super) fn state(&mut self, cut: u32, refused: u32, held: &[&Chunk]) -> UploadState {
        let passed = self.in_doubt().unwrap_or(self.finished.saturating_add(1));
        self.batches = self.batches.split_off(&passed);
        let mut settled = Ranges::default();
        let mut partly = Vec::new();
        for (sequence, progress) in &self.batches {
            match progress {
                Progress::Settled => settled.insert(*sequence, sequence.saturating_add(1)),
                Progress::Partly(batch) => {
                    partly.extend(batch.state(*sequence, held));
                }
            }
        }
        UploadState { cut: text(cut), settled: settled.iter().collect(), batches: partly, refused }
    }

    /// Whether another batch may be begun.
    pub(super) fn have_room(&self) -> bool {
        self.batches.len() < MAX_BATCHES
    }

    /// Whether the batch was begun before.
    pub(super) fn contain(&self, sequence: u64) -> bool {
        self.batches.contains_key(&sequence)
    }

    /// Begins a batch, for the first time or again. Returns the positions of its settled records, and `None`
    /// if all are.
    pub(super) fn begin(&mut self, batch: &Batch) -> Option<Ranges> {
        let digest = batch.header.digest;
        let new = || Progress::Partly(Partly { digest, ..Partly::default() });
        let progress = self.batches.entry(batch.sequence).or_insert_with(new);
        match progress {
            Progress::Settled => None,
            Progress::Partly(partly) if partly.digest == digest => Some(partly.settled.clone()),
            Progress::Partly(_) => {
                *progress = new();
                Some(Ranges::default())
            }
        }
    }

    /// The parts of split chunks of a batch that were not cut again since the start.
    pub(super) fn parts(&mut self, sequence: u64) -> Option<&mut Vec<Part>> {
        match self.batches.get_mut(&sequence)? {
            Progress::Partly(partly) => Some(&mut partly.parts),
            Progress::Settled => None,
        }
    }

    /// The sink has got the whole batch.
    pub(super) fn finish(&mut self, sequence: u64) {
        self.finished = self.finished.max(sequence);
    }

    /// The batch is cut to its end, and has so many records.
    pub(super) fn end(&mut self, sequence: u64, records: u64) {
        if let Some(Progress::Partly(partly)) = self.batches.get_mut(&sequence) {
            partly.records = Some(records);
        }
        self.look(sequence);
    }

    /// Records are delivered or dead letters.
    pub(super) fn settle(&mut self, sequence: u64, positions: &Ranges) {
        if let Some(Progress::Partly(partly)) = self.batches.get_mut(&sequence) {
            partly.settled.union(positions);
        }
        self.look(sequence);
    }

    fn look(&mut self, sequence: u64) {
        if let Some(progress) = self.batches.get_mut(&sequence)
            && let Progress::Partly(partly) = progress
            && partly.records.is_some_and(|records| partly.settled.covers(records))
        {
            *progress = Progress::Settled;
        }
    }

    /// The first batch that is finished and not settled.
    pub(super) fn in_doubt(&self) -> Option<u64> {
        let mut finished = self.batches.range(..=self.finished);
        finished.find(|(_, progress)| matches!(progress, Progress::Partly(_))).map(|(at, _)| *at)
    }
}

impl Partly {
    fn read(state: &BatchState) -> Option<Self> {
        let part = |part: &PartState| Part {
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

/// A fingerprint, as a checkpoint has it.
fn text(cut: u32) -> String {
    format!("{cut:08x}")
}
