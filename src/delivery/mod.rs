//! Brings batches from the spool to the sinks: a thread, a cursor and a pace of its own for each.
//!
//! What a sink only attempts is decided here: when to try again, when to make things durable, what
//! to count. A sink that fails delays only itself, and nothing but the end of the daemon stops the
//! attempts.

mod backoff;
mod checkpoint;
mod consumers;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tracing::{error, info, warn};

use self::{
    backoff::Backoff,
    checkpoint::{Checkpoint, CheckpointFile},
};
pub use self::{
    checkpoint::last_batch,
    consumers::{QUARANTINE, quarantine_consumer, sink_consumer},
};
use crate::{
    decode::Block,
    metrics::Metrics,
    select::Selection,
    sink::{Begin, Mark, Sink, SinkError},
    spool::{Batch, Consumer, ConsumerId, Entry, Next, ReadError, Spool, Wants},
};

/// How long what was delivered may wait for its checkpoint. That costs a few syncs; without it the
/// spool cannot let go of anything, and a crash makes more to compare.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);

/// A consumer of the spool, ready to run.
pub struct Delivery {
    name: String,
    wants: Wants,
    sink: Box<dyn Sink>,
    /// What it takes of the records; all if there is none.
    selection: Option<Selection>,
    spool: Arc<Spool>,
    metrics: Arc<Metrics>,
    /// The sink's place in the metrics.
    place: usize,
    id: ConsumerId,
    file: CheckpointFile,
    /// The last batch that was handled.
    handled: u64,
    /// When the first thing happened that no checkpoint covers.
    unsaved_since: Option<Instant>,
}

/// Why an attempt ended.
enum Failure {
    Sink(SinkError),
    Read(std::io::Error),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sink(error) => error.fmt(f),
            Self::Read(error) => error.fmt(f),
        }
    }
}

/// How far an attempt is.
#[derive(Default)]
struct Progress {
    begun: bool,
    /// Records that the sink's selection let pass, if there is one, and those that it did not.
    passed: u64,
    filtered: u64,
}

/// The daemon stops, and something is left to do.
struct Stopped;

impl Delivery {
    /// Registers a consumer with the spool, where its last checkpoint left it. `open` makes the sink
    /// from the checkpoint's marks; `place` is the sink's in the metrics.
    pub fn new<E>(
        consumer: Consumer,
        spool: Arc<Spool>,
        (metrics, place): (Arc<Metrics>, usize),
        open: impl FnOnce(Vec<Mark>) -> Result<Box<dyn Sink>, E>,
    ) -> Result<Self, E> {
        let (name, wants) = (consumer.name.clone(), Arc::clone(&consumer.wants));
        let file = CheckpointFile::new(&spool.cursors(), &name);
        let Checkpoint { batch, files } = file.load();
        let sink = open(files)?;
        let id = spool.register(consumer, batch);
        Ok(Self {
            name,
            wants,
            sink,
            selection: None,
            spool,
            metrics,
            place,
            id,
            file,
            handled: batch,
            unsaved_since: None,
        })
    }

    /// Lets the sink have what `selection` leaves of the records, and nothing else.
    #[must_use]
    pub fn selecting(self, selection: Option<Selection>) -> Self {
        Self { selection, ..self }
    }

    /// The sink's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Lets the spool go of what was delivered. Only once all consumers are registered:
    /// the spool keeps nothing for one that it does not know.
    pub fn release_delivered(&mut self) {
        self.unsaved_since = None;
        if let Err(error) = self.spool.release(self.id, self.handled) {
            warn!(sink = self.name, %error, "what was delivered stays in the spool for now");
            // Tried again with the next checkpoint.
            self.unsaved_since = Some(Instant::now());
        }
    }

    /// The consumer's place, to ask the spool about it.
    pub fn id(&self) -> ConsumerId {
        self.id
    }

    /// Delivers until the spool is closed and, if the sink works, empty.
    pub fn run(mut self) {
        loop {
            let checkpoint_at = self.unsaved_since.map(|since| since + CHECKPOINT_INTERVAL);
            if checkpoint_at.is_some_and(|at| at <= Instant::now()) {
                if self.persist(&mut |this| this.checkpoint()).is_err() {
                    return;
                }
                continue;
            }
            match self.spool.next(self.id, checkpoint_at) {
                Next::Timeout => {}
                Next::Closed => break,
                Next::Entry(entry) => {
                    if (self.wants)(&entry.batch)
                        && self.persist(&mut |this| this.attempt(&entry)).is_err()
                    {
                        break;
                    }
                    self.handled = entry.batch.sequence;
                    self.spool.advance(self.id, self.handled);
                    self.unsaved_since.get_or_insert_with(Instant::now);
                }
            }
        }
        if self.unsaved_since.is_some()
            && let Err(failure) = self.checkpoint()
        {
            warn!(sink = self.name, error = %failure, "no checkpoint at the end");
        }
    }

    /// Tries until it works or the daemon stops.
    fn persist(
        &mut self,
        attempt: &mut dyn FnMut(&mut Self) -> Result<(), Failure>,
    ) -> Result<(), Stopped> {
        let mut backoff = Backoff::new();
        let mut failed = false;
        loop {
            let Err(failure) = attempt(self) else {
                if failed {
                    info!(sink = self.name, "the sink works again");
                }
                return Ok(());
            };
            failed = true;
            self.metrics.sink_error(self.place);
            let wait = backoff.next();
            let retry_in = format_args!("{}ms", wait.as_millis());
            warn!(sink = self.name, error = %failure, %retry_in, "the sink failed");
            if !self.spool.pause(wait) {
                warn!(sink = self.name, "stopping: what the sink lacks stays in the spool");
                return Err(Stopped);
            }
        }
    }

    fn attempt(&mut self, entry: &Entry) -> Result<(), Failure> {
        let batch = &entry.batch;
        let mut progress = Progress::default();
        let spool = Arc::clone(&self.spool);
        match spool.read(entry, &mut |block| self.hand_over(batch, block, &mut progress)) {
            Ok(()) => {}
            Err(ReadError::Taker(failure)) => return Err(failure),
            Err(ReadError::Damaged(what)) => {
                // The disk lost what was acknowledged. What is readable has been delivered.
                let path = self.spool.path(batch);
                error!(sink = self.name, path = %path.display(), error = %what, "damaged batch");
                self.spool.set_aside(batch);
            }
            Err(ReadError::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => {
                error!(sink = self.name, %error, "a batch is gone from the spool");
            }
            Err(ReadError::Io(error)) => return Err(Failure::Read(error)),
        }
        if progress.begun {
            self.sink.finish().map_err(Failure::Sink)?;
        }
        let records =
            if self.selection.is_some() { progress.passed } else { self.sink.records(batch) };
        self.metrics.sink_delivered(self.place, records);
        self.metrics.sink_filtered(self.place, progress.filtered);
        Ok(())
    }

    /// Gives the sink what it is to have of a block. A batch of which it has nothing is not begun:
    /// else there would be empty files.
    fn hand_over(
        &mut self,
        batch: &Batch,
        block: &Block,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        let selected = self.selection.as_ref().map(|selection| selection.apply(block));
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
        self.sink.write(selected.as_deref().unwrap_or(block)).map_err(Failure::Sink)
    }

    fn begin(&mut self, batch: &Batch) -> Result<(), Failure> {
        if self.sink.begin(batch).map_err(Failure::Sink)? == Begin::CheckpointFirst {
            self.checkpoint()?;
            self.sink.begin(batch).map_err(Failure::Sink)?;
        }
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<(), Failure> {
        let files = self.sink.sync().map_err(Failure::Sink)?;
        let checkpoint = Checkpoint { batch: self.handled, files };
        self.file.store(&checkpoint).map_err(Failure::Read)?;
        self.sink.saved();
        self.release_delivered();
        Ok(())
    }
}
