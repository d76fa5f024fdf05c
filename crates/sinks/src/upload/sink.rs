//! The uploader as a sink: what delivery calls.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use records::decode::Block;
use spool::Batch;

use super::{Uploader, cut::Cut, target::Target};
use crate::{Begin, Sink, SinkError, State};

impl<T: Target> Sink for Uploader<T> {
    /// Waits until the chunks that have failed are settled: until then the sink does not work again.
    fn begin(&mut self, batch: &Batch) -> Result<Begin, SinkError> {
        self.retry();
        // What was begun and not finished begins again.
        self.cut.take_if(|cut| !cut.has_ended());
        let sequence = batch.sequence;
        let begin = self.wait(|this| {
            let has_place = this.batches.have_room() || this.batches.contain(sequence);
            this.cut.is_none() && has_place && !this.window.has_failed()
        })?;
        if begin == Begin::CheckpointFirst {
            return Ok(begin);
        }
        self.current = sequence;
        self.cut = self.batches.begin(batch).map(|settled| {
            let mut skip = settled;
            skip.union(&self.window.positions(sequence));
            Cut::new(Arc::new(batch.clone()), self.fingerprint, self.limits, skip)
        });
        Ok(Begin::Ready)
    }

    /// Waits until the last block is cut.
    fn arrange(&mut self, _block: &Block) -> Result<Begin, SinkError> {
        self.wait(|this| !this.cut.as_ref().is_some_and(Cut::has_rest))
    }

    fn write(&mut self, block: &Block) -> Result<(), SinkError> {
        if self.cut.as_ref().is_some_and(Cut::has_rest) {
            return Err(io::Error::other("the last block is not cut yet").into());
        }
        let taken = self.cut_lines(&block.bytes);
        if let Some(cut) = &mut self.cut
            && taken < block.bytes.len()
        {
            cut.keep(block.bytes.get(taken..).unwrap_or_default().to_vec(), 0);
        }
        Ok(())
    }

    /// Does not wait: the batch is in doubt until all of its records are settled.
    fn finish(&mut self) -> Result<(), SinkError> {
        self.batches.finish(self.current);
        if let Some(cut) = &mut self.cut {
            cut.end();
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

    fn in_doubt(&self) -> Option<u64> {
        self.batches.in_doubt()
    }

    fn due(&self) -> Option<Instant> {
        let is_idle = self.window.is_empty() && self.cut.is_none() && self.failure.is_none();
        (!is_idle).then(|| self.looked_at + self.pace.look)
    }

    fn tend(&mut self) -> Result<Begin, SinkError> {
        self.retry();
        self.wait(|this| !this.window.has_failed())
    }

    /// Sends what is left and waits for the answers, until the sink's time is up. What fails, or has failed
    /// before, is not retried: it stays in doubt.
    fn close(&mut self) -> Result<(), SinkError> {
        self.cut.take_if(|cut| !cut.has_ended());
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
            self.collect(self.pace.look);
        }
        match self.failure.take() {
            Some(failure) => Err(failure.into()),
            None if self.window.is_empty() => Ok(()),
            None => Err(io::Error::other("stopped before all records were delivered").into()),
        }
    }
}
