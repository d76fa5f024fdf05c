//! The state of an uploader in a checkpoint.

use serde::{Deserialize, Serialize};

/// The records after the cursor of the checkpoint that are settled: delivered, or dead letters.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct UploadState {
    /// The fingerprint of the settings that determine the chunks.
    #[serde(default, rename = "cut")]
    pub(super) fingerprint: String,
    /// Sequences of settled batches after one that is not settled: first, and end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) settled: Vec<(u64, u64)>,
    /// Batches with settled records or split chunks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) batches: Vec<BatchState>,
    /// The number of records that were refused in a row.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) refused: u32,
}

/// A batch with settled records or split chunks.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct BatchState {
    pub(super) sequence: u64,
    /// The batch's digest in hexadecimal.
    pub(super) digest: String,
    /// Positions of the records that are settled: first, and end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) settled: Vec<(u64, u64)>,
    /// Parts of split chunks that are not settled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) parts: Vec<PartState>,
}

/// A part of a split chunk.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct PartState {
    /// The part in the identity of the chunk.
    pub(super) part: String,
    /// Positions of its records: first, and end.
    pub(super) records: Vec<(u64, u64)>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}
