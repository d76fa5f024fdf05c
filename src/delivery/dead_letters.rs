//! Writes the records that a target refuses to the quarantine, before the checkpoint that covers
//! them.

use super::{Checkpoint, Delivery, Failure};
use crate::{quarantine::DeadLetterState, sink::Readiness};

/// More refused records than this are written without waiting for a checkpoint.
const MAX_WAITING_BYTES: usize = 1 << 20;

impl Delivery {
    /// Writes the refused records durably, and returns their state for a checkpoint after `batch`.
    pub(super) fn sync_dead_letters(&mut self, batch: u64) -> Result<DeadLetterState, Failure> {
        self.write_dead_letters()?;
        self.dead_letters.sync(batch).map_err(Failure::Sink)
    }

    /// Limits the memory of refused records.
    pub(super) fn bound_dead_letters(&mut self) -> Result<(), Failure> {
        if self.dead_letters.waiting_bytes() > MAX_WAITING_BYTES {
            self.write_dead_letters()?;
        }
        Ok(())
    }

    fn write_dead_letters(&mut self) -> Result<(), Failure> {
        while self.dead_letters.write().map_err(Failure::Sink)? == Readiness::CheckpointFirst {
            // Only the files of the dead letters change in the last checkpoint. The sink's own
            // state stays, since the sink may be in the middle of a batch.
            let batch = self.saved.batch;
            let dead_letters = self.dead_letters.sync(batch).map_err(Failure::Sink)?;
            let checkpoint = Checkpoint { dead_letters, ..self.saved.clone() };
            self.file.store(&checkpoint).map_err(Failure::Read)?;
            self.saved = checkpoint;
            self.dead_letters.saved(batch).map_err(Failure::Sink)?;
        }
        Ok(())
    }
}
