//! Processes the answers to requests.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use tracing::{error, warn};

use super::{
    Uploader,
    chunk::Chunk,
    failure::UploadFailure,
    target::{Target, Verdict},
    window::{ChunkState, Key},
};

impl<T: Target> Uploader<T> {
    /// Processes the answer to the request of a chunk.
    pub(super) fn answered(&mut self, key: Key, verdict: Verdict) {
        let Some((chunk, refusals)) = self.window.take(key) else { return };
        match verdict {
            Verdict::Delivered => {
                self.breaker.close();
                self.deliver(&chunk, |_| true);
            }
            Verdict::Retry { after, why } => {
                self.hold(chunk, refusals, UploadFailure::new(why, after));
            }
            Verdict::Alert { why, action } => {
                self.hold(chunk, refusals, UploadFailure::alert(why, action));
            }
            Verdict::TooLarge { why } => {
                self.report_too_large(&chunk);
                self.isolate(chunk, refusals, why);
            }
            Verdict::Refused { why } => self.isolate(chunk, refusals, why),
            Verdict::Discarded { records, why } => {
                self.breaker.close();
                self.report_discarded(records, &why);
                self.metrics.records_delivered((chunk.records() as u64).saturating_sub(records));
                self.settle(&chunk, |_| true);
            }
            Verdict::Partial { refused, retry, after, why, action } => {
                let refused = refused.into_iter().collect();
                let failure = match action {
                    Some(action) => UploadFailure::alert(why, action),
                    None => UploadFailure::new(why, after),
                };
                self.divide(chunk, refusals, refused, (retry, failure));
            }
        }
    }

    /// Settles the records whose index in the chunk passes: the target has them. Returns whether
    /// there are any.
    fn deliver(&mut self, chunk: &Chunk, passes: impl Fn(usize) -> bool) -> bool {
        let records = (0..chunk.records()).filter(|index| passes(*index)).count();
        if records > 0 {
            self.metrics.records_delivered(records as u64);
            self.settle(chunk, passes);
        }
        records > 0
    }

    /// Settles the records whose index in the chunk passes.
    fn settle(&mut self, chunk: &Chunk, passes: impl Fn(usize) -> bool) {
        let positions = chunk.positions_of(passes);
        if positions.is_empty() {
            return;
        }
        self.batches.settle(chunk.batch().sequence, &positions);
        self.unsaved_since.get_or_insert_with(Instant::now);
    }

    /// Keeps a chunk until delivery retries it.
    fn hold(&mut self, chunk: Chunk, refusals: u32, failure: UploadFailure) {
        self.window.add(chunk, ChunkState::Failed, refusals);
        self.fail(failure);
    }

    fn fail(&mut self, failure: UploadFailure) {
        match &mut self.failure {
            Some(first) => first.merge(failure),
            first => *first = Some(failure),
        }
    }

    fn report_too_large(&mut self, chunk: &Chunk) {
        if chunk.records() > 1
            && let Some(chunks) = self.halved.add(1, Instant::now())
        {
            let (records, bytes) = (chunk.records(), chunk.bytes().len());
            let event = "chunks are too large for the target and are halved; lower batch.max_bytes";
            warn!(chunks, records, bytes, "{event}");
        }
    }

    fn report_discarded(&mut self, records: u64, why: &str) {
        self.counters.discarded_records.add(records);
        if let Some(records) = self.discarded.add(records, Instant::now()) {
            error!(records, why, "the target has discarded records without naming them");
        }
    }

    /// Halves a chunk that was refused as a whole. A single record becomes a dead letter. The halves
    /// are sent when a checkpoint contains them: otherwise, after a crash, the whole chunk would be
    /// sent, and a target that has accepted a half and would now accept the chunk would have
    /// records twice.
    ///
    /// While the breaker is open, no record becomes a dead letter. Each half is then retried like a
    /// failed chunk, since the target may accept some of its records.
    fn isolate(&mut self, chunk: Chunk, refusals: u32, why: String) {
        let is_open = self.breaker.is_open();
        let (first, second) = chunk.split();
        let Some(second) = second else {
            if is_open {
                let failure = UploadFailure::refuses_everything(&why, self.breaker.refused());
                return self.hold(first, refusals.saturating_add(1), failure);
            }
            return self.discard(&first, &BTreeMap::from([(0, why)]));
        };
        let (state, refusals) = if is_open {
            self.fail(UploadFailure::refuses_everything(&why, self.breaker.refused()));
            (ChunkState::Failed, refusals.saturating_add(1))
        } else {
            (ChunkState::Waiting, refusals)
        };
        for half in [first, second] {
            self.window.add_part(half, state, refusals);
        }
    }

    /// Processes an answer with a result for each record of a chunk.
    fn divide(
        &mut self,
        chunk: Chunk,
        refusals: u32,
        mut refused: BTreeMap<usize, String>,
        (retry, failure): (Vec<usize>, UploadFailure),
    ) {
        let mut retry: BTreeSet<_> = retry.into_iter().collect();
        retry.retain(|index| !refused.contains_key(index));
        let last = refused.keys().chain(&retry).max();
        if let Some(last) = last.filter(|last| **last >= chunk.records()) {
            let (records, number) = (chunk.records(), last + 1);
            let why = format!("the answer has a result for record {number} of {records}");
            return self.hold(chunk, refusals, UploadFailure::new(why, None));
        }
        let is_delivered = |index| !refused.contains_key(&index) && !retry.contains(&index);
        let accepts_some = self.deliver(&chunk, is_delivered);
        if accepts_some {
            self.breaker.close();
        }
        if let Some(rest) = chunk.pick(|index| retry.contains(&index)) {
            self.hold(rest, refusals, failure);
        }
        // A target that accepts other records of the request does not refuse everything.
        let may_discard = if accepts_some { usize::MAX } else { self.breaker.left() };
        let first_kept = refused.keys().nth(may_discard).copied();
        let kept = first_kept.map(|first| refused.split_off(&first)).unwrap_or_default();
        self.discard(&chunk, &refused);
        if accepts_some {
            self.breaker.close();
        }
        if let Some(rest) = chunk.pick(|index| kept.contains_key(&index))
            && let Some(why) = kept.values().next()
        {
            let failure = UploadFailure::refuses_everything(why, self.breaker.refused());
            self.hold(rest, refusals.saturating_add(1), failure);
        }
    }

    /// Makes records of a chunk, by their indexes, dead letters.
    fn discard(&mut self, chunk: &Chunk, refused: &BTreeMap<usize, String>) {
        for (index, (position, record)) in chunk.iter().enumerate() {
            if let Some(why) = refused.get(&index) {
                // Positions of dead letters begin with 1.
                self.dead_letters.add(chunk.batch(), position + 1, record, why);
                self.breaker.count_refused();
            }
        }
        self.settle(chunk, |index| refused.contains_key(&index));
    }
}
