//! Validation of records: a record is one complete JSON object in UTF-8 within the limit.

use super::json::{self, JsonKind};

/// The number of bytes that are stored of a record that is too long. The batch's file contains the
/// whole record.
pub(super) const PREVIEW_BYTES: usize = 64 * 1024;

/// A rejected record: quarantine receives it instead of the sinks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reject {
    /// The reason.
    pub reason: RejectReason,
    /// The position among the batch's records and rejects, from 1.
    pub position: u64,
    /// The length in the batch.
    pub length: u64,
    /// The bytes; only the first 64 KiB of a record that is too long.
    pub bytes: Box<[u8]>,
}

/// Why a record was rejected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RejectReason {
    /// Not JSON.
    NotJson,
    /// JSON, but not an object.
    NotObject,
    /// Not UTF-8.
    NotUtf8,
    /// Over `limits.max_record_bytes`.
    TooLong,
    /// Not a row with one cell for each column.
    NotCsv,
}

impl RejectReason {
    /// All reasons, in the order of their values.
    pub const ALL: [Self; 5] =
        [Self::NotJson, Self::NotObject, Self::NotUtf8, Self::TooLong, Self::NotCsv];

    /// The label in metrics and quarantine.
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

/// Whether the records of a body must be validated.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Validation {
    /// The records are new or unverified.
    Required,
    /// All records were valid before, and a checksum ensures that they are the same.
    Done,
}

/// Validates one record. The caller must have checked its UTF-8.
///
/// Only the grammar is checked: `1e400`, numbers of 19 digits, duplicate keys and lone surrogates are
/// valid and passed on unchanged.
pub(super) fn check_json(record: &[u8]) -> Result<(), RejectReason> {
    match json::kind(record) {
        Some(JsonKind::Object) => Ok(()),
        Some(JsonKind::Other) => Err(RejectReason::NotObject),
        None => Err(RejectReason::NotJson),
    }
}

/// Validates one record, including its UTF-8.
pub(super) fn check(record: &[u8]) -> Result<(), RejectReason> {
    std::str::from_utf8(record).map_err(|_| RejectReason::NotUtf8)?;
    check_json(record)
}
