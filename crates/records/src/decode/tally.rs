//! What those that cut records off a buffer have in common: their rules, and the count of what they found.

use super::{
    edition::Edition,
    record::{PREVIEW_BYTES, Reject, RejectReason, Trust},
};

/// How records are read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) record_bytes: usize,
    pub(super) trust: Trust,
    pub(super) edition: Edition,
    /// Only shorter lines may hold several objects. It is the limit on a record that the body was
    /// received under, so that a body that is read under a higher one has the same positions.
    pub(super) split_bytes: usize,
}

/// Whether the buffer holds the end of the body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    More,
    Last,
}

/// Counts records, and with them their positions.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) records: u64,
    pub(super) rejected: u64,
    /// Bytes that were made of rows and of lines of text. What passes through as it came is not made.
    pub(super) made_bytes: u64,
    /// The first edition whose rules read the body like this.
    pub(super) edition: Edition,
}

impl Tally {
    /// Counts one reject and describes it.
    pub(super) fn reject(&mut self, reason: RejectReason, bytes: &[u8], length: u64) -> Reject {
        self.rejected += 1;
        let kept = match reason {
            RejectReason::TooLong => bytes.get(..PREVIEW_BYTES).unwrap_or(bytes),
            _ => bytes,
        };
        Reject { reason, position: self.records + self.rejected, length, bytes: kept.into() }
    }
}

/// A record that is over the limit and has not ended: its start and its length so far.
#[derive(Debug)]
pub(super) struct Overlong {
    start: Vec<u8>,
    length: u64,
}

impl Overlong {
    pub(super) fn new(record: &[u8]) -> Self {
        let start = record.get(..PREVIEW_BYTES).unwrap_or(record).to_vec();
        Self { start, length: record.len() as u64 }
    }

    pub(super) fn skip(&mut self, bytes: usize) {
        self.length += bytes as u64;
    }

    /// The same, and keeps what is still missing of the start.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        let missing = PREVIEW_BYTES.saturating_sub(self.start.len());
        self.start.extend_from_slice(bytes.get(..missing).unwrap_or(bytes));
        self.skip(bytes.len());
    }

    pub(super) fn reject(self, tally: &mut Tally) -> Reject {
        tally.reject(RejectReason::TooLong, &self.start, self.length)
    }
}
