//! The values that a sink gets from the daemon when it is opened.

use std::{
    fmt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::{DeadLetters, State, UploadMetrics};

/// Everything that one sink gets from the daemon.
#[derive(Clone, Debug)]
pub struct SinkContext {
    /// The sink's name: `[A-Za-z0-9_-]{1,64}`.
    pub name: String,
    /// The directory for the sink's own files, named `NAME.SOMETHING.json`.
    pub directory: PathBuf,
    /// The state in the last checkpoint.
    pub state: State,
    /// The selection of records and fields for the sink, as text that changes when these settings
    /// change. Not to be parsed.
    pub selection: String,
    /// The daemon's runtime, for sinks that use tasks. The methods of a sink run on a thread that
    /// may block.
    pub runtime: Handle,
    /// Cancelled when the sink has to stop: shortly before the daemon ends, and during a reload if
    /// the sink does not finish its batch in time. The sink then abandons requests in flight, and
    /// its methods return at once, with an error if their work is not complete. The daemon does not
    /// wait longer than its deadline for a sink that ignores the token.
    pub stop: CancellationToken,
    /// Wakes the thread of the sink, so that [`Sink::due`](super::Sink::due) is asked again.
    pub waker: SinkWaker,
    /// Counters that the sink itself adds to.
    pub counters: SinkCounters,
    /// The metrics of the requests of a sink. The uploader fills them.
    pub metrics: Arc<dyn UploadMetrics>,
    /// Takes records that the target refuses permanently.
    pub dead_letters: DeadLetters,
}

/// The values that all sinks share.
#[derive(Clone, Debug)]
pub struct SinkEnvironment {
    /// The daemon's runtime.
    pub runtime: Handle,
    /// The parent of each sink's stop token.
    pub stop: CancellationToken,
    /// `quarantine.dir`, for dead letters.
    pub quarantine: PathBuf,
}

/// Wakes the thread that calls a sink, from any thread or task.
///
/// A thread that waits for the next batch asks [`Sink::due`](super::Sink::due) again. A wake while
/// the thread works counts for its next wait, so none is lost.
#[derive(Clone)]
pub struct SinkWaker(Arc<dyn Fn() + Send + Sync>);

impl SinkWaker {
    /// Creates a waker that calls `wake`, which must not block.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(wake))
    }

    /// Wakes the thread.
    pub fn wake(&self) {
        (self.0)();
    }
}

impl fmt::Debug for SinkWaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SinkWaker")
    }
}

/// Counters of one sink that the sink itself adds to, from any thread.
#[derive(Clone, Debug, Default)]
pub struct SinkCounters {
    /// Failed attempts to rotate a file.
    pub rotation_failures: SinkCounter,
    /// Failed attempts to compress a file.
    pub compression_failures: SinkCounter,
    /// Records that were shortened or dropped because they exceed the sink's limit.
    pub oversize_records: SinkCounter,
    /// Records that the target has discarded without naming them.
    pub discarded_records: SinkCounter,
}

/// A counter that a sink adds to and metrics read.
#[derive(Clone, Debug, Default)]
pub struct SinkCounter(Arc<AtomicU64>);

impl SinkCounter {
    /// Adds to the counter.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Relaxed);
    }

    #[cfg(test)]
    pub(crate) fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl From<Arc<AtomicU64>> for SinkCounter {
    fn from(counter: Arc<AtomicU64>) -> Self {
        Self(counter)
    }
}
