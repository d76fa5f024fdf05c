//! Implements [`Sink`] for the uploader.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use records::decode::Block;
use spool::Batch;

use super::{Uploader, chunker::Chunker, target::Target};
use crate::{Readiness, Sink, SinkError, State};

impl<T: Target> Sink for Uploader<T> {
    /// Waits until failed chunks are settled: until then, the sink has not recovered.
    fn begin(&mut self, batch: &Batch) -> Result<Readiness, SinkError> {
        self.retry();
        // An unfinished batch begins again.
        self.chunker.take_if(|chunker| !chunker.has_ended());
        let sequence = batch.sequence;
        let begin = self.wait(|this| {
            let has_room = this.batches.have_room() || this.batches.contain(sequence);
            this.chunker.is_none() && has_room && !this.window.has_failed()
        })?;
        if begin == Readiness::CheckpointFirst {
            return Ok(begin);
        }
        self.current = sequence;
        self.chunker = self.batches.begin(batch).map(|settled| {
            let mut skip = settled;
            skip.union(&self.window.positions(sequence));
            Chunker::new(Arc::new(batch.clone()), self.fingerprint, self.limits, skip)
        });
        Ok(Readiness::Ready)
    }

    /// Waits until the last block is in chunks.
    fn prepare_block(&mut self, _block: &Block) -> Result<Readiness, SinkError> {
        self.wait(|this| !this.chunker.as_ref().is_some_and(Chunker::has_rest))
    }

    fn write(&mut self, block: &Block) -> Result<(), SinkError> {
        if self.chunker.as_ref().is_some_and(Chunker::has_rest) {
            return Err(io::Error::other("a block came before the last one was processed").into());
        }
        let taken = self.chunk_lines(&block.bytes);
        if let Some(chunker) = &mut self.chunker
            && taken < block.bytes.len()
        {
            chunker.keep(block.bytes.get(taken..).unwrap_or_default().to_vec(), 0);
        }
        Ok(())
    }

    /// Does not wait. The batch is in doubt until all of its records are settled.
    fn finish(&mut self) -> Result<(), SinkError> {
        self.batches.finish(self.current);
        if let Some(chunker) = &mut self.chunker {
            chunker.end();
        }
        self.advance();
        Ok(())
    }

    fn sync(&mut self) -> Result<State, SinkError> {
        self.collect(Duration::ZERO);
        self.unsaved_since = None;
        let refused = self.breaker.refused();
        let held: Vec<_> = self.window.chunks().collect();
        let state = self.batches.state(self.fingerprint, refused, &held);
        Ok(State::of(&state)?)
    }

    fn checkpoint_saved(&mut self) {
        self.must_advance |= self.window.has_unsaved();
        self.window.saved();
    }

    /// The records of a finished batch may still be on their way, or be refused.
    fn records(&self, _batch: &Batch) -> Option<u64> {
        None
    }

    fn in_doubt(&self) -> Option<u64> {
        self.batches.in_doubt()
    }

    /// Answers are processed at once, since each request wakes the thread when it ends.
    fn due(&self) -> Option<Instant> {
        let has_work = self.requests.has_result() || self.must_advance;
        (has_work || self.window.has_failed()).then(Instant::now)
    }

    fn maintain(&mut self) -> Result<Readiness, SinkError> {
        self.retry();
        self.wait(|this| !this.window.has_failed())
    }

    /// Sends the rest and waits for the answers, until the stop token is cancelled. Failed chunks
    /// are not retried: their batches stay in doubt.
    fn close(&mut self) -> Result<(), SinkError> {
        self.chunker.take_if(|chunker| !chunker.has_ended());
        loop {
            self.collect(Duration::ZERO);
            if self.failure.is_none() {
                self.advance();
            }
            if self.window.in_flight() == 0 {
                break;
            }
            if self.stop.is_cancelled() {
                self.requests.abandon();
                break;
            }
            self.collect(self.intervals.poll);
        }
        match self.failure.take() {
            Some(failure) => Err(failure.into()),
            None if self.window.is_empty() => Ok(()),
            None => Err(io::Error::other("stopped before all records were delivered").into()),
        }
    }
}
