//! What a sink gets from the daemon when it is opened.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::{DeadLetters, State};

/// What the daemon gives to each sink.
#[derive(Clone, Debug)]
pub struct SinkContext {
    /// The sink's name: `[A-Za-z0-9_-]{1,64}`.
    pub name: String,
    /// The directory where a sink may keep files of its own, as `NAME.SOMETHING.json`.
    pub directory: PathBuf,
    /// What the last `sync` before the checkpoint returned.
    pub state: State,
    /// Which records of a batch the sink gets and what is changed in them, as text: it changes when these
    /// settings do. Not to be parsed.
    pub selection: String,
    /// The daemon's runtime, for sinks that do their work in tasks. The methods of a sink run on a thread
    /// that may block.
    pub runtime: Handle,
    /// Cancelled when the sink's time is up: at a stop shortly before the daemon ends, at a reload when
    /// the sink has not finished its batch in time. The sink then abandons what is in flight, and its
    /// methods return at once, with an error for what was not done. The daemon waits for no sink longer
    /// than its deadline, whether the sink heeds this or not.
    pub stop: CancellationToken,
    /// What the sink counts itself.
    pub counters: SinkCounters,
    /// Where records go that the target refuses permanently.
    pub dead_letters: DeadLetters,
}

/// What all sinks share.
#[derive(Clone, Debug)]
pub struct SinkEnvironment {
    /// The daemon's runtime.
    pub runtime: Handle,
    /// The parent of each sink's stop token.
    pub stop: CancellationToken,
    /// `quarantine.dir`, for dead letters.
    pub quarantine: PathBuf,
}

/// Counters of one sink that the sink itself adds to, from any thread.
#[derive(Clone, Debug, Default)]
pub struct SinkCounters {
    /// Files that could not be rotated, each time it was tried.
    pub rotation_failures: SinkCounter,
    /// Files that could not be compressed, each time it was tried.
    pub compression_failures: SinkCounter,
    /// Records that were shortened or left out, since they are longer than the sink may pass on.
    pub oversize_records: SinkCounter,
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
