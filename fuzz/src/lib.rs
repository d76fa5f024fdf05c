//! The requirements for any input: one function per fuzz target.
//!
//! The targets feed them from libFuzzer, and `tests/it/fuzz_seeds.rs` includes this file to feed
//! them the seeds on a stable toolchain, so that fixed bugs stay fixed. A violated requirement
//! is a panic.

mod body;
mod destination;
mod message;
mod plain;
mod select;
mod text;

pub use self::{
    body::{decode, gzip_body},
    destination::destination,
    message::message,
    select::select,
    text::config,
};
