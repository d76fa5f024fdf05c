//! What the uploader remembers in a checkpoint.

use serde::{Deserialize, Serialize};

/// Which records behind the checkpoint's batch are settled: delivered, or dead letters.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct UploadState {
    /// The fingerprint of what decides where batches are cut.
    #[serde(default)]
    pub(super) cut: String,
    /// Sequences of batches that are settled, while one before them is not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) settled: Vec<(u64, u64)>,
    /// Batches of which some records are settled, or some chunks are split.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) batches: Vec<BatchState>,
    /// How many records were refused in a row.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) refused: u32,
}

/// A batch of which some records are settled.
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
    /// As in the identity of the chunk.
    pub(super) part: String,
    /// Positions of its records: first, and end.
    pub(super) records: Vec<(u64, u64)>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}
