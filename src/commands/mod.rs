//! The commands: those that look after a daemon's files, beside it or while it is down, and those that
//! set up what pushes to it.
//!
//! They write to what they are given and say how it ended; printing errors and exit codes are the
//! business of `main.rs`.

pub mod cert;
pub mod destination;
pub mod job;
pub mod manual;
pub mod quarantine;
mod replay;
mod secret;
pub mod spool;
pub mod validate;

pub use cloudflare::{doctor, push};
use command::{Count, json, seconds, table};
