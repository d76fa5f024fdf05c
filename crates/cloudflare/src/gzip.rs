//! Compresses request bodies with gzip, as Cloudflare does.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};

/// A writer that compresses into memory.
pub(super) struct GzipBuffer(GzEncoder<Vec<u8>>);

impl GzipBuffer {
    /// Creates a buffer with a compression level from 0 to 9.
    pub(super) fn new(level: u32) -> Self {
        Self(GzEncoder::new(Vec::new(), Compression::new(level)))
    }

    /// Returns the compressed bytes.
    pub(super) fn finish(self) -> io::Result<Bytes> {
        self.0.finish().map(Bytes::from)
    }
}

impl Write for GzipBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Compresses `plain`.
pub(super) fn gzip(plain: &[u8]) -> Bytes {
    let mut buffer = GzipBuffer::new(Compression::default().level());
    // Writing to memory cannot fail. If it did, the receiver would reject the empty body.
    buffer.write_all(plain).and_then(|()| buffer.finish()).unwrap_or_default()
}
