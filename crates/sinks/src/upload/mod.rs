//! Delivers to systems that take records by requests, and answer each.
//!
//! [`Uploader`] is the sink of all of them. It cuts batches into chunks, keeps some requests in
//! flight, also of several batches at once, and tracks which records are settled. What is special about
//! a system is a [`Target`].
//!
//! Every record is delivered at least once, or is a dead letter. A chunk that was acknowledged is never sent
//! again by this process, nor after a restart if the last checkpoint knows it. Memory: as many chunks
//! as requests may be in flight, with their encoded requests, one chunk that is being filled, and one
//! block.

mod answer;
mod batches;
mod breaker;
mod chunk;
mod cut;
mod failure;
mod ranges;
mod requests;
mod sink;
mod state;
mod target;
mod window;

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use spool::log_throttle::LossThrottle;
use tokio_util::sync::CancellationToken;

use self::{
    batches::Batches,
    breaker::Breaker,
    cut::Cut,
    failure::Failure,
    requests::Requests,
    state::UploadState,
    window::{Place, Window},
};
pub use self::{
    chunk::{Chunk, ChunkId},
    cut::Limits,
    target::{Target, Verdict},
};
use super::{Begin, DeadLetters, SinkContext, SinkError};

/// The edition of the rules by which batches are cut: part of the fingerprint.
const CUT_EDITION: u32 = 1;

/// How an uploader sends.
#[derive(Clone, Debug)]
pub struct UploadOptions {
    /// How large a chunk may become.
    pub limits: Limits,
    /// How many requests may be in flight at once; at least 1.
    pub in_flight: usize,
    /// How long a request may take, with all that [`Target::send`] does.
    pub timeout: Duration,
}

/// How long the uploader may do without delivery, and delivery without the uploader.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// For room. Then delivery gets its turn for a checkpoint.
    wait: Duration,
    /// Until what was settled is to be in a checkpoint.
    checkpoint: Duration,
    /// Between two looks at the answers, while no batch arrives.
    look: Duration,
}

const PACE: Pace = Pace {
    wait: Duration::from_millis(500),
    checkpoint: Duration::from_secs(1),
    look: Duration::from_millis(100),
};

/// The sink of a target.
pub struct Uploader<T: Target> {
    target: Arc<T>,
    requests: Requests<T>,
    window: Window,
    batches: Batches,
    /// The batch that is being cut.
    cut: Option<Cut>,
    /// The batch that was begun last.
    current: u64,
    limits: Limits,
    fingerprint: u32,
    breaker: Breaker,
    /// Failures that delivery does not know yet.
    failure: Option<Failure>,
    /// Halved chunks, to be logged.
    halved: LossThrottle,
    stop: CancellationToken,
    dead_letters: DeadLetters,
    pace: Pace,
    looked_at: Instant,
    /// When the first record was settled that no checkpoint knows.
    unsaved_since: Option<Instant>,
}

impl<T: Target> Uploader<T> {
    /// Continues from the state of the last checkpoint. Sends nothing yet.
    pub fn new(target: T, options: &UploadOptions, context: SinkContext) -> Self {
        let fingerprint = fingerprint(options.limits, &context.selection);
        let state: UploadState = context.state.read();
        let in_flight = options.in_flight.max(1);
        let target = Arc::new(target);
        Self {
            requests: Requests::new(
                Arc::clone(&target),
                context.runtime,
                in_flight,
                options.timeout,
            ),
            target,
            window: Window::new(in_flight),
            batches: Batches::resume(&state, fingerprint),
            cut: None,
            current: 0,
            limits: options.limits,
            fingerprint,
            breaker: Breaker::resume(state.refused),
            failure: None,
            halved: LossThrottle::default(),
            stop: context.stop,
            dead_letters: context.dead_letters,
            pace: PACE,
            looked_at: Instant::now(),
            unsaved_since: None,
        }
    }

    /// Takes what the target has answered; waits up to `wait` for an answer.
    fn collect(&mut self, mut wait: Duration) {
        while let Some((key, verdict)) = self.requests.next(wait) {
            self.answered(key, verdict);
            wait = Duration::ZERO;
        }
        self.looked_at = Instant::now();
    }

    /// Sends what may be sent.
    fn send(&mut self) {
        while let Some((key, chunk)) = self.window.next() {
            self.requests.send(key, self.target.encode(chunk));
        }
    }

    /// Ends the chunk that is being filled. Whether there was room for it.
    fn close_chunk(&mut self) -> bool {
        let Some(cut) = &mut self.cut else { return true };
        if cut.holds_records() && !self.window.has_room() {
            return false;
        }
        for chunk in cut.close(self.batches.parts(cut.sequence())) {
            self.window.add(chunk, Place::Waiting, 0);
        }
        self.send();
        true
    }

    /// Cuts lines, as far as there is room. Returns the bytes that were taken.
    fn cut_lines(&mut self, lines: &[u8]) -> usize {
        let mut taken = 0;
        while let Some(left) = lines.get(taken..).filter(|left| !left.is_empty()) {
            let Some(cut) = &mut self.cut else { return lines.len() };
            taken += cut.fill(left);
            if taken < lines.len() && !self.close_chunk() {
                break;
            }
        }
        taken
    }

    /// Does what answers and room allow.
    fn advance(&mut self) {
        self.collect(Duration::ZERO);
        if let Some(cut) = &mut self.cut {
            let (block, taken) = cut.take_rest();
            let more = self.cut_lines(block.get(taken..).unwrap_or_default());
            if let Some(cut) = &mut self.cut {
                cut.keep(block, taken + more);
            }
        }
        self.end_batch();
        self.send();
    }

    /// Ends the batch that is being cut, once it has no more records and there is room for the last.
    fn end_batch(&mut self) {
        if self.cut.as_ref().is_some_and(|cut| cut.has_ended() && !cut.has_rest())
            && self.close_chunk()
            && let Some(cut) = self.cut.take()
        {
            self.batches.end(cut.sequence(), cut.taken());
        }
    }

    /// Waits a little until `is_ready`. If that takes longer, or what was settled is due to be in a
    /// checkpoint, delivery is asked for one.
    fn wait(&mut self, is_ready: impl Fn(&Self) -> bool) -> Result<Begin, SinkError> {
        let begin = Instant::now();
        loop {
            self.advance();
            if self.stop.is_cancelled() {
                return Err(io::Error::other("stopped before all records were sent").into());
            }
            let is_due = |since: Instant| since.elapsed() >= self.pace.checkpoint;
            if self.unsaved_since.is_some_and(is_due) {
                return Ok(Begin::CheckpointFirst);
            }
            if let Some(failure) = self.failure.take() {
                return Err(failure.into());
            }
            if is_ready(self) {
                return Ok(Begin::Ready);
            }
            let left = self.pace.wait.saturating_sub(begin.elapsed());
            if left.is_zero() {
                return Ok(Begin::CheckpointFirst);
            }
            self.collect(left.min(self.pace.look));
        }
    }

    /// Bytes of records in memory.
    #[cfg(test)]
    fn memory(&self) -> usize {
        let chunks = self.window.chunks().map(|chunk| chunk.bytes().len()).sum::<usize>();
        chunks + self.cut.as_ref().map_or(0, Cut::memory)
    }

    /// Delivery has waited after the failures that it knows.
    fn retry(&mut self) {
        if self.failure.is_none() {
            self.window.retry();
        }
    }
}

/// A fingerprint of what decides where batches are cut and what their records are.
fn fingerprint(limits: Limits, selection: &str) -> u32 {
    let Limits { max_bytes, max_records } = limits;
    let text = format!("{CUT_EDITION} {max_bytes} {max_records} {selection}");
    let [a, b, c, d, ..] = *blake3::hash(text.as_bytes()).as_bytes();
    u32::from_be_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests;
