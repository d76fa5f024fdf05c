//! Delivers to systems that accept records in requests and answer each request.
//!
//! [`Uploader`] is the sink for all such systems. It divides batches into chunks, keeps several
//! requests
//! in flight, also of several batches at once, and tracks which records are settled. A [`Target`]
//! implements the rest for one system.
//!
//! Every record is delivered at least once, or is a dead letter. The process never sends an
//! acknowledged chunk again, and neither does the next one if the last checkpoint covers it.
//! Memory: one chunk and its encoded request per request in flight, one chunk that is being filled,
//! and one block.

mod answer;
mod batches;
mod breaker;
mod chunk;
mod chunker;
mod failure;
mod metrics;
mod ranges;
mod requests;
mod sink;
mod state;
mod target;
mod window;

use std::{
    io, mem,
    sync::Arc,
    time::{Duration, Instant},
};

use spool::log_throttle::LossThrottle;
use tokio_util::sync::CancellationToken;

use self::{
    batches::Batches,
    breaker::Breaker,
    chunker::Chunker,
    failure::UploadFailure,
    requests::Requests,
    state::UploadState,
    window::{ChunkState, Window},
};
pub use self::{
    chunk::{Chunk, ChunkId},
    chunker::Limits,
    metrics::{RequestErrorClass, RequestOutcome, RequestResult, UploadMetrics, note_error_class},
    target::{Target, Verdict},
};
use super::{DeadLetters, Readiness, SinkContext, SinkCounters, SinkError};

/// The version of the rules by which batches are divided into chunks; a part of the fingerprint.
const CHUNKING_VERSION: u32 = 1;

/// The options of an uploader.
#[derive(Clone, Debug)]
pub struct UploadOptions {
    /// The maximum size of a chunk.
    pub limits: Limits,
    /// The maximum number of concurrent requests; at least 1.
    pub in_flight: usize,
    /// The timeout of a request: of the whole [`Target::send`].
    pub timeout: Duration,
}

/// The intervals of the uploader.
#[derive(Clone, Copy, Debug)]
struct Intervals {
    /// The maximum time of a call, after which delivery is asked for a checkpoint.
    wait: Duration,
    /// The maximum time until settled records have to be in a checkpoint.
    checkpoint: Duration,
    /// The time between two checks of the stop token.
    poll: Duration,
}

const INTERVALS: Intervals = Intervals {
    wait: Duration::from_millis(500),
    checkpoint: Duration::from_secs(1),
    poll: Duration::from_millis(100),
};

/// The sink of a target.
pub struct Uploader<T: Target> {
    target: Arc<T>,
    requests: Requests<T>,
    window: Window,
    batches: Batches,
    /// Divides the current batch into chunks.
    chunker: Option<Chunker>,
    /// The sequence of the batch that was begun last.
    current: u64,
    limits: Limits,
    fingerprint: u32,
    breaker: Breaker,
    /// Failures that were not reported to delivery yet.
    failure: Option<UploadFailure>,
    /// Whether a failure was reported to delivery, which waits before it calls again.
    is_paused: bool,
    /// Limits the log lines about halved chunks.
    halved: LossThrottle,
    /// Limits the log lines about records that the target has discarded.
    discarded: LossThrottle,
    metrics: Arc<dyn UploadMetrics>,
    stop: CancellationToken,
    counters: SinkCounters,
    dead_letters: DeadLetters,
    intervals: Intervals,
    /// Whether answers were processed since [`Uploader::advance`]: chunks may wait for a request, or
    /// the current batch for room.
    must_advance: bool,
    /// When the first record was settled that no checkpoint covers.
    unsaved_since: Option<Instant>,
}

impl<T: Target> Uploader<T> {
    /// Creates an uploader that continues from the state in the last checkpoint. Sends nothing yet.
    pub fn new(target: T, options: &UploadOptions, context: SinkContext) -> Self {
        let fingerprint = fingerprint(options.limits, &context.selection);
        let state: UploadState = context.state.read();
        let in_flight = options.in_flight.max(1);
        let target = Arc::new(target);
        context.metrics.opened();
        Self {
            requests: Requests::new(
                Arc::clone(&target),
                context.runtime,
                in_flight,
                options.timeout,
                (Arc::clone(&context.metrics), context.waker),
            ),
            target,
            window: Window::new(in_flight),
            batches: Batches::resume(&state, fingerprint),
            chunker: None,
            current: 0,
            limits: options.limits,
            fingerprint,
            breaker: Breaker::resume(state.refused),
            failure: None,
            is_paused: false,
            halved: LossThrottle::default(),
            discarded: LossThrottle::default(),
            metrics: context.metrics,
            stop: context.stop,
            counters: context.counters,
            dead_letters: context.dead_letters,
            intervals: INTERVALS,
            must_advance: false,
            unsaved_since: None,
        }
    }

    /// Processes the answers that have arrived. Waits up to `wait` for the first one.
    fn collect(&mut self, mut wait: Duration) {
        while let Some((key, verdict)) = self.requests.next(wait) {
            self.answered(key, verdict);
            self.must_advance = true;
            wait = Duration::ZERO;
        }
    }

    /// Sends waiting chunks, up to the maximum number of requests in flight.
    fn send(&mut self) {
        while let Some((key, chunk)) = self.window.next() {
            let bytes = chunk.bytes().len();
            self.requests.send(key, bytes, self.target.encode(chunk));
        }
    }

    /// Ends the chunk that is being filled. Returns whether the window had room for it.
    fn close_chunk(&mut self) -> bool {
        let Some(chunker) = &mut self.chunker else { return true };
        if chunker.holds_records() && !self.window.has_room() {
            return false;
        }
        for chunk in chunker.close(self.batches.parts(chunker.sequence())) {
            self.window.add(chunk, ChunkState::Waiting, 0);
        }
        self.send();
        true
    }

    /// Adds lines to chunks as long as the window has room. Returns the number of bytes taken.
    fn chunk_lines(&mut self, lines: &[u8]) -> usize {
        let mut taken = 0;
        while let Some(left) = lines.get(taken..).filter(|left| !left.is_empty()) {
            let Some(chunker) = &mut self.chunker else { return lines.len() };
            taken += chunker.fill(left);
            if taken < lines.len() && !self.close_chunk() {
                break;
            }
        }
        taken
    }

    /// Processes answers, continues with the current batch, and sends chunks, without waiting.
    fn advance(&mut self) {
        self.collect(Duration::ZERO);
        if let Some(chunker) = &mut self.chunker {
            let (block, taken) = chunker.take_rest();
            let more = self.chunk_lines(block.get(taken..).unwrap_or_default());
            if let Some(chunker) = &mut self.chunker {
                chunker.keep(block, taken + more);
            }
        }
        self.end_batch();
        self.send();
        self.must_advance = false;
    }

    /// Ends the current batch, once all of its records were written and the window has room for the
    /// last chunk.
    fn end_batch(&mut self) {
        if self.chunker.as_ref().is_some_and(|chunker| chunker.has_ended() && !chunker.has_rest())
            && self.close_chunk()
            && let Some(chunker) = self.chunker.take()
        {
            self.batches.end(chunker.sequence(), chunker.taken());
        }
    }

    /// Waits until `is_ready`, for at most [`Intervals::wait`]. Asks delivery for a checkpoint
    /// after that time, or when settled records or parts of chunks have to be in one.
    fn wait(&mut self, is_ready: impl Fn(&Self) -> bool) -> Result<Readiness, SinkError> {
        let begin = Instant::now();
        loop {
            self.advance();
            if self.stop.is_cancelled() {
                return Err(io::Error::other("stopped before all records were sent").into());
            }
            let is_due = |since: Instant| since.elapsed() >= self.intervals.checkpoint;
            if self.window.has_unsaved() || self.unsaved_since.is_some_and(is_due) {
                return Ok(Readiness::CheckpointFirst);
            }
            if let Some(failure) = self.failure.take() {
                self.is_paused = true;
                return Err(failure.into());
            }
            if is_ready(self) {
                return Ok(Readiness::Ready);
            }
            let left = self.intervals.wait.saturating_sub(begin.elapsed());
            if left.is_zero() {
                return Ok(Readiness::CheckpointFirst);
            }
            self.collect(left.min(self.intervals.poll));
        }
    }

    /// Whether all records are settled.
    #[cfg(test)]
    fn is_idle(&self) -> bool {
        self.window.is_empty() && self.chunker.is_none() && self.failure.is_none()
    }

    /// The bytes of records in memory.
    #[cfg(test)]
    fn memory(&self) -> usize {
        let chunks = self.window.chunks().map(|chunk| chunk.bytes().len()).sum::<usize>();
        chunks + self.chunker.as_ref().map_or(0, Chunker::memory)
    }

    /// Retries failed chunks. Delivery calls after the delay for the failures that were reported to
    /// it. That delay counts for requests that have failed meanwhile, unless they need another.
    fn retry(&mut self) {
        if mem::take(&mut self.is_paused) {
            self.collect(Duration::ZERO);
            self.failure.take_if(|failure| failure.is_ordinary());
        }
        if self.failure.is_none() {
            self.window.retry();
        }
    }
}

/// A fingerprint of the settings that determine the chunks and the records in them.
fn fingerprint(limits: Limits, selection: &str) -> u32 {
    let Limits { max_bytes, max_records } = limits;
    let text = format!("{CHUNKING_VERSION} {max_bytes} {max_records} {selection}");
    let [a, b, c, d, ..] = *blake3::hash(text.as_bytes()).as_bytes();
    u32::from_be_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use self::tests::{batch, chunk_of};
