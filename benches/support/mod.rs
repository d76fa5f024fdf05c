//! Support for load tests: batches, a client that sends like Logpush, and a daemon.

pub(crate) mod client;
pub(crate) mod collector;
pub(crate) mod corpus;
pub(crate) mod daemon;
pub(crate) mod load;
pub(crate) mod process;
