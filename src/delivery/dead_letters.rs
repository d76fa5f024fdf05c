//! Brings the records that a target refuses into quarantine, with the checkpoint that passes them.

use super::{Checkpoint, Delivery, Failure};
use crate::{quarantine::DeadLetterState, sink::Begin};

/// What a sink has refused is written without waiting for a checkpoint when it is more than this.
const MAX_WAITING_BYTES: usize = 1 << 20;

impl Delivery {
    /// Writes what the sink has refused, and makes it durable. Returns what belongs into a checkpoint
    /// after `batch`.
    pub(super) fn sync_dead_letters(&mut self, batch: u64) -> Result<DeadLetterState, Failure> {
        self.write_dead_letters()?;
        self.dead_letters.sync(batch).map_err(Failure::Sink)
    }

    /// Keeps what the sink has refused from growing in memory.
    pub(super) fn bound_dead_letters(&mut self) -> Result<(), Failure> {
        if self.dead_letters.waiting_bytes() > MAX_WAITING_BYTES {
            self.write_dead_letters()?;
        }
        Ok(())
    }

    fn write_dead_letters(&mut self) -> Result<(), Failure> {
        while self.dead_letters.write().map_err(Failure::Sink)? == Begin::CheckpointFirst {
            // Of the last checkpoint nothing changes but the files: the sink is not asked, since it may
            // be in the middle of a batch.
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
