//! The sinks: one module per kind, with its keys. [`kinds`] lists them.
//!
//! A [`Sink`] makes single attempts. Its caller, the daemon's delivery, decides when to retry, what
//! to count and when to store a checkpoint. A sink gets everything else from its [`SinkContext`].
//!
//! The crate also contains the code that several kinds share: paths ([`template`], [`paths`],
//! [`name_lengths`]), message formats ([`message`]), the uploader ([`upload`]) and the HTTP client
//! of its
//! targets ([`network`]). It does not know the HTTP server, the metrics, or keys that belong to no
//! sink.

pub mod clickhouse;
mod context;
mod dead_letters;
pub mod elasticsearch;
mod error;
pub mod file;
pub mod http;
pub mod kinds;
pub mod loki;
pub mod message;
pub mod name_lengths;
pub mod network;
mod origin_text;
pub mod otlp;
pub mod paths;
mod probe;
pub mod record_time;
pub mod splunk_hec;
mod state;
pub mod stdout;
pub mod syslog;
pub mod template;
mod text;
pub mod upload;

use std::time::Instant;

use records::decode::Block;
use spool::Batch;
use tracing::error_span;

pub use self::{
    context::{SinkContext, SinkCounter, SinkCounters, SinkEnvironment, SinkWaker},
    dead_letters::{DeadLetter, DeadLetters, LetterId},
    error::{Resume, Retry, SinkError},
    file::{FilePosition, FileSink, FileState, MAX_OPEN_FILES, UnknownBytes},
    kinds::SinkKind,
    probe::{Probe, ProbeError},
    state::State,
    syslog::check_acknowledgments,
    upload::{RequestErrorClass, RequestOutcome, RequestResult, UploadMetrics},
};

/// Delivers records to one destination. All calls are made on one thread.
pub trait Sink: Send {
    /// Begins a batch: the next one, or, after an error, one that was begun before, from its
    /// beginning.
    fn begin(&mut self, batch: &Batch) -> Result<Readiness, SinkError>;

    /// Prepares for the next records of the batch. [`Sink::write`] gets the same block afterwards.
    fn prepare_block(&mut self, _block: &Block) -> Result<Readiness, SinkError> {
        Ok(Readiness::Ready)
    }

    /// Writes the next records of the batch.
    fn write(&mut self, block: &Block) -> Result<(), SinkError>;

    /// Ends the batch: all of its records were written.
    fn finish(&mut self) -> Result<(), SinkError>;

    /// Makes all finished batches durable, and returns the state from which the sink can continue.
    fn sync(&mut self) -> Result<State, SinkError>;

    /// Called when the checkpoint with the state from the last [`Sink::sync`] is durable.
    fn checkpoint_saved(&mut self) {}

    /// The sequence of the oldest finished batch that may still be lost, as of the last
    /// [`Sink::sync`]. The cursor of a checkpoint stays before this batch.
    fn in_doubt(&self) -> Option<u64> {
        None
    }

    /// When to call [`Sink::maintain`], even if no batch is pending. Asked again after each call, and
    /// when the sink wakes its thread ([`SinkWaker`]).
    fn due(&self) -> Option<Instant> {
        None
    }

    /// Does work that is due by time, such as a rotation. Called only between batches.
    fn maintain(&mut self) -> Result<Readiness, SinkError> {
        Ok(Readiness::Ready)
    }

    /// Closes its files, so that the next write opens them again by name (after a log rotation).
    fn reopen(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    /// Shuts down gracefully, so that no finished batch is in doubt. Only [`Sink::sync`] may
    /// follow.
    fn close(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    /// The number of records of a finished batch that the metrics count as delivered. `None` for a
    /// sink that counts them itself when its target has them
    /// ([`UploadMetrics::records_delivered`]).
    fn records(&self, batch: &Batch) -> Option<u64> {
        Some(batch.header.records)
    }
}

/// Whether a sink is ready to continue.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Readiness {
    /// The sink is ready.
    Ready,
    /// A checkpoint is needed first, for example because the sink is about to write to a new file
    /// and recovery must know its previous length. The caller stores one and repeats the call.
    CheckpointFirst,
}

/// Creates the sink that `kind` describes. Opens no file and no connection: the daemon starts even
/// if the target is unavailable.
///
/// # Errors
/// The settings did not pass validation.
pub fn open(kind: &SinkKind, context: SinkContext) -> Result<Box<dyn Sink>, String> {
    // For log lines while the sink is opened, and from its own threads.
    let _named = error_span!("sink", sink = context.name).entered();
    kind.open(context)
}

/// Returns the part of a sink's state that is still valid. `kind` is the sink of the same name in
/// the configuration, if there is one. A sink may continue only with files that no other sink can
/// have changed since.
pub fn valid_state(kind: Option<&SinkKind>, state: &State) -> State {
    let files = kind.and_then(|kind| kind.claims().files);
    file::valid_state(files.map(|files| files.pattern), state)
}
