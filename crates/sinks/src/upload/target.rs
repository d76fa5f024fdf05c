//! What a kind of target implements.

use std::{future::Future, time::Duration};

use super::chunk::Chunk;

/// A system that takes records by requests: an encoder, and an interpretation of its answers.
///
/// The uploader does the rest. It calls each method again and again for the same chunk, with the
/// same identity and the same bytes, until the target has an answer that settles all records.
pub trait Target: Send + Sync + 'static {
    /// A request that is ready to be sent, with its headers and its body.
    type Request: Send + 'static;

    /// Encodes and compresses a chunk. Runs on the sink's own thread. The same chunk always gives the
    /// same request.
    fn encode(&self, chunk: &Chunk) -> Self::Request;

    /// Sends a request and interprets the answer. Runs on the runtime and must not block; the
    /// uploader drops the future at the deadline.
    fn send(&self, request: Self::Request) -> impl Future<Output = Verdict> + Send;
}

/// What the answer to a request says about the records of its chunk. Texts name the target, say what
/// it answered, and what to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// The target has all records, durably.
    Delivered,
    /// Nothing is known to be delivered. The same request may succeed later: a connection that
    /// failed, 408, 429, 5xx.
    Retry {
        /// How long the target wants to be left alone (`Retry-After`).
        after: Option<Duration>,
        /// The failure.
        why: String,
    },
    /// As [`Verdict::Retry`], but only the operator can fix the cause: 401, 403, 404, a redirect, a
    /// wrong index or topic.
    Alert {
        /// The failure.
        why: String,
        /// What the operator has to do.
        action: String,
    },
    /// The request is too large (413). The uploader halves the chunk; a single record is refused.
    TooLarge {
        /// The answer.
        why: String,
    },
    /// The target refuses the chunk for good, has kept none of its records, and does not say which record
    /// is the cause. The uploader halves the chunk down to the refused records. A target where sending
    /// again does harm must answer otherwise.
    Refused {
        /// The answer.
        why: String,
    },
    /// The answer has a word for each record. Those in neither list are delivered. An index is the
    /// record's place in the chunk, from 0.
    Partial {
        /// Records that are refused for good, with the target's words.
        refused: Vec<(usize, String)>,
        /// Records that are to be sent again. They become a chunk of their own.
        retry: Vec<usize>,
        /// How long the target wants to be left alone.
        after: Option<Duration>,
        /// The failure, if `retry` is not empty.
        why: String,
    },
}
