//! The rules and totals that the parsers for lines, arrays and rows share.

use super::{
    edition::Edition,
    record::{PREVIEW_BYTES, Reject, RejectReason, Validation},
};

/// The rules for reading records.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) record_bytes: usize,
    pub(super) validation: Validation,
    pub(super) edition: Edition,
    /// The maximum length of a line with several objects. It is the record limit under which the body was
    /// received, so that positions stay the same under a higher limit.
    pub(super) split_bytes: usize,
}

/// Whether the buffer contains the end of the body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    More,
    Last,
}

/// Counts records and rejects, which determine positions.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) records: u64,
    pub(super) rejected: u64,
    /// The size of the records that were made of rows and lines of text, including rejects.
    pub(super) made_bytes: u64,
    /// The first edition of the rules under which the body has these records.
    pub(super) edition: Edition,
}

impl Totals {
    /// Counts and creates a reject.
    pub(super) fn reject(&mut self, reason: RejectReason, bytes: &[u8], length: u64) -> Reject {
        self.rejected += 1;
        let bytes = match reason {
            RejectReason::TooLong => bytes.get(..PREVIEW_BYTES).unwrap_or(bytes),
            _ => bytes,
        };
        Reject { reason, position: self.records + self.rejected, length, bytes: bytes.into() }
    }
}

/// An incomplete record that is over the limit: its first bytes and its length so far.
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

    /// Counts bytes without storing them.
    pub(super) fn skip(&mut self, bytes: usize) {
        self.length += bytes as u64;
    }

    /// Counts bytes, and stores them while the preview is incomplete.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        let missing = PREVIEW_BYTES.saturating_sub(self.start.len());
        self.start.extend_from_slice(bytes.get(..missing).unwrap_or(bytes));
        self.skip(bytes.len());
    }

    pub(super) fn reject(self, totals: &mut Totals) -> Reject {
        totals.reject(RejectReason::TooLong, &self.start, self.length)
    }
}
