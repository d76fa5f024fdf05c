//! Decodes the bytes of a body to records, reads fields of records, and selects records.
//!
//! Pure: the same bytes and settings always give the same records in the same order. The crate opens no
//! files, reads no clock and does not use tokio, so all of it can be fuzzed and benchmarked.

pub mod decode;
pub mod record;
pub mod select;

/// Whether `text` is a valid dataset name: `[a-z0-9_]{1,64}`.
pub fn is_dataset(text: &[u8]) -> bool {
    (1..=64).contains(&text.len())
        && text.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'_')
}
