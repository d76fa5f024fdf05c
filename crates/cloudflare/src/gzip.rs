//! Bodies as Cloudflare sends them.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};

/// Zips what is written to it.
pub(super) struct Gzip(GzEncoder<Vec<u8>>);

impl Gzip {
    /// `level`: from 0 to 9.
    pub(super) fn new(level: u32) -> Self {
        Self(GzEncoder::new(Vec::new(), Compression::new(level)))
    }

    /// The whole.
    pub(super) fn finish(self) -> io::Result<Bytes> {
        self.0.finish().map(Bytes::from)
    }
}

impl Write for Gzip {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Zips `plain`.
pub(super) fn gzip(plain: &[u8]) -> Bytes {
    let mut zipped = Gzip::new(Compression::default().level());
    // Writing into memory does not fail; were it to, an empty body says so to whoever reads it.
    zipped.write_all(plain).and_then(|()| zipped.finish()).unwrap_or_default()
}
