//! Bodies as Cloudflare sends them.

use std::io::Write as _;

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};

/// Zips `plain`.
pub(super) fn gzip(plain: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    // Writing into memory does not fail; were it to, an empty body says so to whoever reads it.
    let zipped = encoder.write_all(plain).and_then(|()| encoder.finish());
    zipped.unwrap_or_default().into()
}
