//! Where records go: one module for each kind of sink, listed in [`kinds`], with its keys.
//!
//! A [`Sink`] makes single attempts. Its caller, the daemon's delivery, decides when to retry, what to
//! count and when to store a checkpoint. [`SinkContext`] is all that a sink gets from the daemon.
//!
//! What several kinds share is here as well: paths ([`template`], [`paths`], [`longest`]), the formats of a
//! [`message`], the [`upload`]er, and the HTTP client of its targets ([`network`]). This crate knows
//! nothing of the HTTP server, of metrics, nor of the configuration beyond the keys of the kinds.

mod context;
mod dead_letters;
mod error;
pub mod file;
pub mod http;
pub mod kinds;
pub mod longest;
pub mod message;
pub mod network;
pub mod paths;
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
    context::{SinkContext, SinkCounter, SinkCounters, SinkEnvironment},
    dead_letters::{DeadLetter, DeadLetters, LetterId},
    error::{Resume, Retry, SinkError},
    file::{FileSink, FileState, MAX_OPEN_FILES, Mark, Unknown},
    kinds::SinkKind,
    state::State,
    syslog::check_acknowledgments,
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

    /// Makes what was finished durable, and returns what to remember in order to continue from here.
    fn sync(&mut self) -> Result<State, SinkError>;

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

/// Makes the sink that `kind` describes, for the records that `choice` leaves. Touches nothing outside: a
/// target that is not there yet is no reason not to start.
///
/// # Errors
/// The settings are not ones that passed validation.
pub fn open(kind: &SinkKind, context: SinkContext) -> Result<Box<dyn Sink>, String> {
    // What the sink logs while it is opened, and from threads of its own, names it.
    let _named = error_span!("sink", sink = context.name).entered();
    kind.open(context)
}

/// What is still valid of the state of a sink, which `kind` describes if the config has it: a sink may
/// continue only with what no other one can have changed since.
pub fn valid_state(kind: Option<&SinkKind>, state: &State) -> State {
    let files = kind.and_then(|kind| kind.claims().files);
    file::valid_state(files.map(|files| files.pattern), state)
}
