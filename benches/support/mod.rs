//! What a load test needs: batches, a client that sends as Logpush does, and a daemon to watch.

pub(crate) mod client;
pub(crate) mod corpus;
pub(crate) mod daemon;
pub(crate) mod load;
pub(crate) mod process;
