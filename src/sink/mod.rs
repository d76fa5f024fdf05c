//! Where records go: one file a kind, one arm in [`open`].
//!
//! A sink makes single attempts. When to try again, how often, what to count and when to make things
//! durable belongs to [`crate::delivery`]. Sinks know batches and blocks, nothing of HTTP.

mod file;
pub mod longest;
pub mod message;
pub mod paths;
mod stdout;
mod syslog;
pub mod template;
mod text;

use std::{
    io,
    path::Path,
    sync::{Arc, atomic::AtomicU64},
    time::Instant,
};

use serde::{Deserialize, Serialize};
use tracing::error_span;

pub use self::file::{FileSink, MAX_OPEN_FILES};
pub(crate) use self::syslog::check_acknowledgements;
use crate::{
    config::{SinkConfig, SinkKind},
    decode::Block,
    spool::Batch,
};

/// A place for records. One thread uses it.
pub trait Sink: Send {
    /// Prepares for a batch: the first, the one after the last that was finished, or that same one
    /// again from its beginning, after an error.
    fn begin(&mut self, batch: &Batch) -> Result<Begin, SinkError>;

    /// Gets ready for the next records of the batch, before they come to [`Sink::write`].
    fn arrange(&mut self, _block: &Block) -> Result<Begin, SinkError> {
        Ok(Begin::Ready)
    }

    /// Takes the next records of the batch.
    fn write(&mut self, block: &Block) -> Result<(), SinkError>;

    /// Takes notice that the batch is whole.
    fn finish(&mut self) -> Result<(), SinkError>;

    /// Makes what was finished durable, and says what to remember in order to go on from here.
    fn sync(&mut self) -> Result<Vec<Mark>, SinkError>;

    /// Takes notice that what the last `sync` said is itself durable now.
    fn saved(&mut self) {}

    /// The sequence of the oldest batch that was finished and may still be lost on the way: no
    /// checkpoint goes beyond the batch before it. As of the last `sync`.
    fn in_doubt(&self) -> Option<u64> {
        None
    }

    /// When it wants [`Sink::tend`] to be called though no batch comes.
    fn due(&self) -> Option<Instant> {
        None
    }

    /// Does what time alone brings about. Called between batches: what was finished is all there is.
    fn tend(&mut self) -> Result<Begin, SinkError> {
        Ok(Begin::Ready)
    }

    /// Lets go of what it has open: somebody outside wants it to look anew.
    fn reopen(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    /// Ends in order, so that nothing is in doubt any more. Only `sync` is called after it.
    fn close(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    /// How many records of a batch it takes, to be counted.
    fn records(&self, batch: &Batch) -> u64 {
        batch.header.records
    }

    /// How many records were shortened or left out, for being longer than it may pass on, since this was
    /// last asked.
    fn oversize(&mut self) -> u64 {
        0
    }

    /// Where it counts what fails beside the way of the records.
    fn upkeep(&self) -> Upkeep {
        Upkeep::default()
    }
}

/// Counts what fails beside the way of the records, from any thread.
#[derive(Clone, Debug, Default)]
pub struct Upkeep {
    /// Files that could not be rotated.
    pub rotation_failures: Arc<AtomicU64>,
    /// Files that could not be compressed.
    pub compression_failures: Arc<AtomicU64>,
}

/// What a sink answers to a batch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Begin {
    /// The blocks may come.
    Ready,
    /// Something new is about to be written to, and recovery must know its state from before: make
    /// a checkpoint, then begin again.
    CheckpointFirst,
}

/// How far a file was durably written: part of a checkpoint.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Mark {
    /// The file, as the config's pattern named it.
    pub path: String,
    /// That pattern: with another one, the file may be another sink's. Empty in one from before this was
    /// kept.
    #[serde(default)]
    pub pattern: String,
    /// Which file that was: another one may have its name now.
    pub inode: u64,
    /// Bytes.
    pub length: u64,
    /// When its first record came, in Unix seconds; not known of a file from before this was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub born: Option<i64>,
    /// When the file was made, in nanoseconds, where the filesystem knows: numbers are used again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<u64>,
}

/// A failed attempt: says what was tried, where, and from where to try again.
#[derive(Debug)]
pub struct SinkError {
    error: io::Error,
    again: Again,
}

/// Where to begin again after a failure.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Again {
    /// With the batch that failed.
    Batch,
    /// Behind the last checkpoint: what was finished since then may be lost.
    Checkpoint,
}

impl SinkError {
    /// A failure that puts in doubt what was finished since the last checkpoint.
    pub fn since_checkpoint(error: io::Error) -> Self {
        Self { error, again: Again::Checkpoint }
    }

    /// Where to begin again.
    pub fn again(&self) -> Again {
        self.again
    }
}

impl From<io::Error> for SinkError {
    fn from(error: io::Error) -> Self {
        Self { error, again: Again::Batch }
    }
}

impl std::fmt::Display for SinkError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for SinkError {}

/// Makes the sink that the config describes. Touches nothing outside: a target that is not there
/// yet is no reason not to start. `state` is the folder where a sink may keep what it must remember
/// beside its marks.
///
/// # Errors
/// The config is not one that passed validation.
pub fn open(config: &SinkConfig, state: &Path, marks: Vec<Mark>) -> Result<Box<dyn Sink>, String> {
    Ok(match &config.kind {
        SinkKind::File(file) => {
            let list = state.join(format!("{}.files.json", config.name));
            // What the sink's own thread logs names it, too.
            let named = error_span!("sink", sink = config.name);
            Box::new(named.in_scope(|| FileSink::new(file, Some(&list), marks))?)
        }
        SinkKind::Stdout(form) => Box::new(stdout::Stdout::new(*form)),
        SinkKind::Syslog(config) => Box::new(syslog::SyslogSink::new((**config).clone())),
    })
}
