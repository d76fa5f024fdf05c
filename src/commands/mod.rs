//! Commands of `logpushd` besides `run`: those that work on the daemon's files, and those that set
//! up senders.
//!
//! A command writes its report to the writer that it gets, and returns its error. `main.rs` prints
//! the error and chooses the exit code.

pub mod cert;
pub mod destination;
pub mod job;
pub mod manual;
pub mod probe;
pub mod quarantine;
mod replay;
mod secret;
pub mod spool;
pub mod validate;

pub use cloudflare::{doctor, push};
use command::{Count, json, seconds, table};
