//! Where records go: one file a kind, one arm in [`open`].
//!
//! A sink makes single attempts. When to try again, how often, what to count and when to make things
//! durable belongs to [`crate::delivery`]. Sinks know batches and blocks, nothing of HTTP.

mod file;
pub mod message;
mod stdout;
pub mod template;

use std::io;

use serde::{Deserialize, Serialize};

pub use self::file::FileSink;
use self::template::PathTemplate;
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

    /// Takes the next records of the batch.
    fn write(&mut self, block: &Block) -> Result<(), SinkError>;

    /// Takes notice that the batch is whole.
    fn finish(&mut self) -> Result<(), SinkError>;

    /// Makes what was finished durable, and says what to remember in order to go on from here.
    fn sync(&mut self) -> Result<Vec<Mark>, SinkError>;

    /// Takes notice that what the last `sync` said is itself durable now.
    fn saved(&mut self) {}

    /// How many records of a batch it takes, to be counted.
    fn records(&self, batch: &Batch) -> u64 {
        batch.header.records
    }
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
    /// Which file that was: another one may have its name now.
    pub inode: u64,
    /// Bytes.
    pub length: u64,
}

/// A failed attempt: says what was tried, and where.
#[derive(Debug)]
pub struct SinkError(io::Error);

impl From<io::Error> for SinkError {
    fn from(error: io::Error) -> Self {
        Self(error)
    }
}

impl std::fmt::Display for SinkError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for SinkError {}

/// Makes the sink that the config describes. Touches nothing outside: a target that is not there
/// yet is no reason not to start.
///
/// # Errors
/// The config is not one that passed validation.
pub fn open(config: &SinkConfig, marks: Vec<Mark>) -> Result<Box<dyn Sink>, String> {
    Ok(match &config.kind {
        SinkKind::File(file) => {
            let template = PathTemplate::parse(&file.path)?;
            Box::new(FileSink::new(template, file.mode, marks))
        }
        SinkKind::Stdout => Box::new(stdout::Stdout),
    })
}
