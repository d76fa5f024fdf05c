//! From the bytes of a body to records, and a choice among them.
//!
//! Pure: the same bytes and settings always give the same records in the same order. Nothing here opens
//! a file, reads a clock or knows tokio, so that all of it can be fuzzed and benchmarked.

pub mod decode;
pub mod record;
pub mod select;

/// Whether `text` can be the name of a dataset: `[a-z0-9_]{1,64}`.
pub fn is_dataset(text: &[u8]) -> bool {
    (1..=64).contains(&text.len())
        && text.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'_')
}
