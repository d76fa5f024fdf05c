//! The interface of a target.

use std::{future::Future, time::Duration};

use super::chunk::Chunk;

/// A system that accepts records in requests: an encoder, and the interpretation of its answers.
///
/// The uploader does the rest. It calls the methods repeatedly for the same chunk, with the same
/// identity and the same bytes, until an answer settles all records.
pub trait Target: Send + Sync + 'static {
    /// A request that is ready to be sent, with its headers and its body.
    type Request: Send + 'static;

    /// Encodes and compresses a chunk. Runs on the sink's own thread. The same chunk must always
    /// result in the same request.
    fn encode(&self, chunk: &Chunk) -> Self::Request;

    /// Sends a request and interprets the answer. Runs on the runtime and must not block; the
    /// uploader drops the future at the deadline.
    fn send(&self, request: Self::Request) -> impl Future<Output = Verdict> + Send;
}

/// The meaning of the answer to a request, for the records of its chunk. Texts contain the target,
/// its answer, and what to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// The target has stored all records durably.
    Delivered,
    /// No record is known to be delivered. The same request may succeed later: a failed connection,
    /// 408, 429, 5xx.
    Retry {
        /// The delay that the target has requested (`Retry-After`).
        after: Option<Duration>,
        /// The failure.
        why: String,
    },
    /// Like [`Verdict::Retry`], but only the operator can fix the cause: 401, 403, 404, a redirect,
    /// a wrong index or topic.
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
    /// The target refuses the chunk permanently, has stored none of its records, and does not name
    /// the faulty record. The uploader halves the chunk repeatedly to find it. Do not return this
    /// for a target where sending records again does harm.
    Refused {
        /// The answer.
        why: String,
    },
    /// The target has stored the records except some, which it does not name, and the request must
    /// not be sent again. The uploader counts and logs their number: they are lost.
    Discarded {
        /// The number of records that are lost.
        records: u64,
        /// The answer.
        why: String,
    },
    /// The answer has a result for each record. Records in neither list are delivered. An index is
    /// the record's position in the chunk, from 0.
    Partial {
        /// Records that are refused permanently, with the target's reasons.
        refused: Vec<(usize, String)>,
        /// Records that have to be sent again. They become a chunk of their own.
        retry: Vec<usize>,
        /// The delay that the target has requested.
        after: Option<Duration>,
        /// The failure, if `retry` is not empty.
        why: String,
        /// What the operator has to do, if only the operator can fix the cause of the failure.
        action: Option<String>,
    },
}
