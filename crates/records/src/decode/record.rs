//! What a record is: one whole JSON object in UTF-8, no longer than the limit.

use super::json::{self, Kind};

/// Of a record that is too long this much is kept beside the reason; the whole of it stays in the
/// batch's own file.
pub(super) const PREVIEW_BYTES: usize = 64 * 1024;

/// A record that no sink may see, with all that quarantine needs to say of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reject {
    /// Why.
    pub reason: RejectReason,
    /// Its place among the batch's records, the first being 1.
    pub position: u64,
    /// Its length in the batch.
    pub length: u64,
    /// Its bytes: all of them, but for one that is too long its first 64 KiB.
    pub bytes: Box<[u8]>,
}

/// Why a record was rejected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RejectReason {
    /// Not JSON.
    NotJson,
    /// JSON, but no object.
    NotObject,
    /// Not UTF-8.
    NotUtf8,
    /// Over `limits.max_record_bytes`.
    TooLong,
    /// Not a row of as many cells as there are columns.
    NotCsv,
}

impl RejectReason {
    /// All of them, in the order of their values, for whoever keeps one counter each.
    pub const ALL: [Self; 5] =
        [Self::NotJson, Self::NotObject, Self::NotUtf8, Self::TooLong, Self::NotCsv];

    /// The word for metrics and quarantine.
    pub fn label(self) -> &'static str {
        match self {
            Self::NotJson => "not_json",
            Self::NotObject => "not_object",
            Self::NotUtf8 => "not_utf8",
            Self::TooLong => "too_long",
            Self::NotCsv => "not_csv",
        }
    }
}

/// What is known of the records of a body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Trust {
    /// Nothing.
    Nothing,
    /// All of them passed before, and a checksum says that they are the same.
    Passed,
}

/// Checks one record, whose UTF-8 the caller vouches for.
///
/// Grammar alone is checked, no value is built: `1e400`, 19 digits, duplicate keys and lone
/// surrogates are the sender's business and pass through as they are.
pub(super) fn check_json(record: &[u8]) -> Result<(), RejectReason> {
    match json::kind(record) {
        Some(Kind::Object) => Ok(()),
        Some(Kind::Other) => Err(RejectReason::NotObject),
        None => Err(RejectReason::NotJson),
    }
}

/// Checks one record.
pub(super) fn check(record: &[u8]) -> Result<(), RejectReason> {
    std::str::from_utf8(record).map_err(|_| RejectReason::NotUtf8)?;
    check_json(record)
}
