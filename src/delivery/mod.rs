//! Delivers batches from the spool to the sinks, each with its own thread and cursor.
//!
//! A sink only attempts a delivery. This module decides when to retry, when to write a checkpoint
//! and what to count. A sink that fails delays only itself, and its attempts end only with the
//! daemon.

mod checkpoint;
mod consumers;
mod dead_letters;
mod handover;
mod opening;
mod retry;
mod stale_files;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;
use tracing::{error, error_span, warn};

pub use self::{
    checkpoint::last_batch,
    consumers::{QUARANTINE, endpoints_without, quarantine_consumer, sink_consumer},
    handover::Reopen,
    stale_files::forget_stale_files,
};
use self::{
    checkpoint::{Checkpoint, CheckpointFile},
    opening::Opening,
    retry::{Failure, Outcome, Stopped},
};
use crate::{
    decode::Block,
    log_throttle::FailureThrottle,
    metrics::{Arrival, SinkMetrics},
    quarantine::DeadLetterFile,
    retry::Backoff,
    select::{BatchInfo, Choice, Selection},
    sink::{Readiness, Resume, Sink, SinkContext, SinkEnvironment},
    spool::{
        Batch, BatchFilter, Consumer, ConsumerId, Header, NextBatch, QueuedBatch, ReadError, Spool,
    },
};

/// The longest time from a delivery to its checkpoint. Each checkpoint costs a few syncs, but
/// allows the spool to delete batches, and limits what is delivered again after a crash.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);

/// A consumer of the spool, ready to run.
pub struct Delivery {
    name: String,
    accepts: BatchFilter,
    sink: Box<dyn Sink>,
    dead_letters: DeadLetterFile,
    /// For the sinks that replace this one.
    environment: SinkEnvironment,
    /// The sink's stop token.
    stop: CancellationToken,
    /// Selects the records for the sink. `None` selects all.
    selection: Option<Selection>,
    /// Identifies the selection, if it changes records.
    fingerprint: Option<u32>,
    spool: Arc<Spool>,
    metrics: Arc<SinkMetrics>,
    id: ConsumerId,
    file: CheckpointFile,
    /// The contents of the file.
    saved: Checkpoint,
    /// How often the checkpoint has changed.
    checkpoint_changes: u64,
    /// The last batch that was handled.
    handled: u64,
    /// The last batch that was counted as delivered.
    counted: u64,
    /// Delays consecutive returns to a checkpoint.
    returns: Backoff,
    /// Set while the sink fails until an operator acts: where it resumes. Records that a sink has
    /// accepted may still fail to arrive, so an alarm for a return to a checkpoint lasts until the
    /// next checkpoint.
    alarm: Option<Resume>,
    /// Limits the log lines for failed attempts.
    failures: FailureThrottle,
    /// Limits the log lines for batches that the spool could not delete.
    release_failures: FailureThrottle,
    /// Time of the first change that no checkpoint covers.
    unsaved_since: Option<Instant>,
    reopen: Arc<AtomicBool>,
}

/// Work between batches.
type Task = fn(&mut Delivery) -> Result<(), Failure>;

/// The progress of an attempt.
#[derive(Default)]
struct Progress {
    begun: bool,
    /// Records that the sink's selection has accepted, if there is one.
    passed: u64,
    /// Records that it has excluded.
    filtered: u64,
}

impl Delivery {
    /// Registers a consumer with the spool at its last checkpoint. `open` creates the sink, which
    /// gets the records that `choice` selects.
    ///
    /// # Errors
    /// Those of `open`, or `quarantine.dir` cannot be part of a path pattern.
    pub fn new(
        consumer: Consumer,
        spool: Arc<Spool>,
        metrics: Arc<SinkMetrics>,
        environment: SinkEnvironment,
        choice: &Choice,
        open: impl FnOnce(SinkContext) -> Result<Box<dyn Sink>, String>,
    ) -> Result<Self, String> {
        let (name, accepts) = (consumer.name.clone(), Arc::clone(&consumer.accepts));
        let file = CheckpointFile::new(&spool.cursors(), &name);
        let saved = file.load();
        let batch = saved.batch;
        let stop = environment.stop.child_token();
        let registered = Arc::default();
        let waker = handover::waker(&spool, &registered);
        let opening =
            Opening { name: &name, spool: &spool, saved: &saved, metrics: &metrics, waker, choice };
        let (sink, dead_letters) = opening.run(&environment, stop.clone(), open)?;
        let id = *registered.get_or_init(|| spool.register(consumer, batch));
        Ok(Self {
            name,
            accepts,
            sink,
            dead_letters,
            environment,
            stop,
            selection: Selection::new(choice),
            fingerprint: choice.fingerprint(),
            spool,
            metrics,
            id,
            file,
            saved,
            checkpoint_changes: 0,
            handled: batch,
            counted: batch,
            returns: Backoff::default(),
            alarm: None,
            failures: FailureThrottle::default(),
            release_failures: FailureThrottle::default(),
            unsaved_since: None,
            reopen: Arc::default(),
        })
    }

    /// Returns the name of the sink.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Allows the spool to delete the batches up to the last checkpoint. Must be called only when
    /// all consumers are registered, since the spool does not know which batches others need.
    pub fn release_delivered(&mut self) {
        self.unsaved_since = None;
        let released = self.spool.release(self.id, self.saved.batch);
        if released.is_ok() {
            self.release_failures.recovered();
        }
        if let Err(error) = released {
            let failures = &mut self.release_failures;
            if let Some(repeated) = failures.failed(&error.to_string(), Instant::now()) {
                warn!(sink = self.name, %error, repeated, "cannot delete delivered batches");
            }
            // Retried with the next checkpoint.
            self.unsaved_since = Some(Instant::now());
        }
    }

    /// Returns the identifier of the consumer in the spool.
    pub fn id(&self) -> ConsumerId {
        self.id
    }

    /// Delivers until the spool is closed or ends this consumer ([`Spool::stop_consumers`]). If the
    /// sink works, the backlog is delivered first. Returns `self` if the daemon continues.
    pub fn run(mut self) -> Option<Self> {
        // Adds the sink's name to the lines that the sink itself logs.
        let _named = error_span!("sink", sink = self.name).entered();
        loop {
            let checkpoint_at = self.unsaved_since.map(|since| since + CHECKPOINT_INTERVAL);
            let tend_at = self.sink.due();
            let is_past = |at: Option<Instant>| at.is_some_and(|at| at <= Instant::now());
            let due: Option<Task> = if self.reopen.swap(false, Ordering::Acquire) {
                Some(|this| this.sink.reopen().map_err(Failure::Sink))
            } else if is_past(checkpoint_at) {
                Some(Self::checkpoint)
            } else if is_past(tend_at) {
                Some(Self::maintain)
            } else {
                None
            };
            if let Some(mut due) = due {
                match self.persist(&mut due) {
                    Ok(_) => continue,
                    Err(Stopped) => break,
                }
            }
            let wake_at = checkpoint_at.into_iter().chain(tend_at).min();
            match self.spool.next(self.id, wake_at) {
                NextBatch::TimedOut => {}
                NextBatch::Closed => break,
                NextBatch::Ready(entry) => {
                    if (self.accepts)(&entry.batch) {
                        match self.persist(&mut |this| this.attempt(&entry)) {
                            Ok(Outcome::Done) => {}
                            Ok(Outcome::Returned) => continue,
                            Err(Stopped) => break,
                        }
                    }
                    self.handled = entry.batch.sequence;
                    self.spool.advance(self.id, self.handled);
                    self.unsaved_since.get_or_insert_with(Instant::now);
                }
            }
        }
        if let Err(error) = self.sink.close() {
            warn!(sink = self.name, %error, "cannot confirm the last records; they are sent again");
        }
        if self.unsaved_since.is_some()
            && let Err(failure) = self.checkpoint()
        {
            warn!(sink = self.name, error = %failure, "cannot write the last checkpoint");
        }
        self.spool.is_open().then_some(self)
    }

    fn attempt(&mut self, entry: &QueuedBatch) -> Result<(), Failure> {
        let batch = &entry.batch;
        let mut progress = Progress::default();
        let spool = Arc::clone(&self.spool);
        match spool.read(entry, &mut |block| self.hand_over(batch, block, &mut progress)) {
            Ok(()) => {}
            Err(ReadError::Consumer(failure)) => return Err(failure),
            Err(ReadError::Damaged(error)) => {
                // The disk lost acknowledged data. The readable part has been delivered.
                let path = self.spool.path(batch);
                error!(sink = self.name, path = %path.display(), %error, "damaged batch");
                self.spool.keep_damaged_copy(batch);
            }
            Err(ReadError::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => {
                error!(sink = self.name, %error, "a batch is missing from the spool");
            }
            Err(ReadError::Io(error)) => return Err(Failure::Read(error)),
        }
        if progress.begun {
            self.sink.finish().map_err(Failure::Sink)?;
        }
        self.count(batch, &progress);
        Ok(())
    }

    /// Counts a finished batch.
    fn count(&mut self, batch: &Batch, progress: &Progress) {
        let is_first = batch.sequence > self.counted;
        if is_first {
            self.counted = batch.sequence;
            self.metrics.filtered(progress.filtered);
        }
        let Some(records) = self.sink.records(batch) else { return };
        let records = self.selection_for(batch).map_or(records, |_| progress.passed);
        if is_first {
            self.metrics.delivered(records);
        } else {
            self.metrics.resent(records);
        }
        if progress.begun {
            self.metrics.succeeded(Arrival::now());
        }
    }

    /// Writes the selected records of a block to the sink. A batch without selected records is not
    /// begun, since that would create empty files.
    fn hand_over(
        &mut self,
        batch: &Batch,
        block: &Block,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        let selection = self.selection_for(batch);
        let selected = selection.map(|selection| selection.apply(block, &info(batch)));
        if let Some(selected) = &selected {
            progress.passed += selected.records;
            progress.filtered += block.records - selected.records;
            if selected.records == 0 {
                return Ok(());
            }
        }
        if !progress.begun {
            self.begin(batch)?;
            progress.begun = true;
        }
        let block = selected.as_deref().unwrap_or(block);
        while self.sink.prepare_block(block).map_err(Failure::Sink)? == Readiness::CheckpointFirst {
            // It covers the batches before this one.
            self.checkpoint()?;
        }
        self.sink.write(block).map_err(Failure::Sink)?;
        self.bound_dead_letters()
    }

    /// Returns the selection to apply to a batch. Dead letters that have been through this selection do not
    /// go through it again.
    fn selection_for(&self, batch: &Batch) -> Option<&Selection> {
        let passed = batch.header.origin.sink.as_ref().and_then(|only| only.selection);
        let is_selected = passed.is_some() && passed == self.fingerprint;
        self.selection.as_ref().filter(|_| !is_selected)
    }

    fn begin(&mut self, batch: &Batch) -> Result<(), Failure> {
        while self.sink.begin(batch).map_err(Failure::Sink)? == Readiness::CheckpointFirst {
            self.checkpoint()?;
        }
        Ok(())
    }

    fn maintain(&mut self) -> Result<(), Failure> {
        while self.sink.maintain().map_err(Failure::Sink)? == Readiness::CheckpointFirst {
            self.checkpoint()?;
        }
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<(), Failure> {
        let state = self.sink.sync().map_err(Failure::Sink)?;
        let in_doubt = self.sink.in_doubt();
        // Unconfirmed batches stay in the spool until a later checkpoint.
        let batch = in_doubt.map_or(self.handled, |oldest| oldest.saturating_sub(1));
        let dead_letters = self.sync_dead_letters(batch)?;
        let checkpoint = Checkpoint { batch, state, dead_letters };
        let must_store = in_doubt.is_none() || checkpoint != self.saved;
        if must_store {
            self.file.store(&checkpoint).map_err(Failure::Read)?;
            if batch > self.saved.batch {
                self.returns = Backoff::default();
                self.end_alarm();
            }
            self.checkpoint_changes += u64::from(checkpoint != self.saved);
            self.saved = checkpoint;
        }
        self.sink.checkpoint_saved();
        if must_store {
            self.dead_letters.saved(batch).map_err(Failure::Sink)?;
        }
        self.release_delivered();
        if in_doubt.is_some() {
            self.unsaved_since = Some(Instant::now());
        }
        Ok(())
    }
}

/// Returns the properties of a batch that a selection adds to records.
fn info(batch: &Batch) -> BatchInfo<'_> {
    let Header { origin, digest, .. } = &batch.header;
    BatchInfo {
        dataset: &origin.dataset,
        endpoint: &origin.endpoint,
        received: origin.received,
        sequence: batch.sequence,
        digest: *digest,
    }
}

#[cfg(test)]
mod dead_letter_tests;
#[cfg(test)]
mod tests;
