//! Builds a batch. Compresses it while it grows, so that a large batch needs little memory.

use std::{io, io::Write as _};

use bytes::Bytes;

use crate::gzip::GzipBuffer;

/// A batch under construction.
pub(super) struct BatchBuilder {
    gzip: GzipBuffer,
    /// The number of records.
    pub(super) records: u64,
    /// The uncompressed length.
    pub(super) bytes: u64,
}

/// A finished batch.
#[derive(Clone, Debug)]
pub(super) struct GzippedBatch {
    /// The compressed bytes.
    pub(super) gzip: Bytes,
    /// The number of records; 0 if unknown.
    pub(super) records: u64,
    /// The uncompressed length; 0 if unknown.
    pub(super) bytes: u64,
}

impl BatchBuilder {
    /// Creates an empty batch with a compression level from 0 to 9.
    pub(super) fn new(level: u32) -> Self {
        Self { gzip: GzipBuffer::new(level), records: 0, bytes: 0 }
    }

    /// Adds bytes that do not count as a record.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes += bytes.len() as u64;
        self.gzip.write_all(bytes)
    }

    /// Adds a record, including its line end.
    pub(super) fn push(&mut self, record: &[u8]) -> io::Result<()> {
        self.records += 1;
        self.write(record)
    }

    /// Finishes the batch.
    pub(super) fn finish(self) -> io::Result<GzippedBatch> {
        let Self { gzip, records, bytes } = self;
        Ok(GzippedBatch { gzip: gzip.finish()?, records, bytes })
    }
}
