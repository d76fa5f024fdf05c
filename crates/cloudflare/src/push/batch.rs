//! A batch that is being filled: gzipped as it grows, so that a large one costs little memory.

use std::{io, io::Write as _};

use bytes::Bytes;

use crate::gzip::Gzip;

/// A batch being filled.
pub(super) struct Batch {
    gzip: Gzip,
    /// How many records are in it.
    pub(super) records: u64,
    /// How long it is, inflated.
    pub(super) bytes: u64,
}

/// A batch that is ready.
#[derive(Clone, Debug)]
pub(super) struct Body {
    /// As it is sent.
    pub(super) gzip: Bytes,
    /// How many records are in it; 0 if that is not known.
    pub(super) records: u64,
    /// How long it is, inflated; 0 if that is not known.
    pub(super) bytes: u64,
}

impl Batch {
    /// `level`: from 0 to 9.
    pub(super) fn new(level: u32) -> Self {
        Self { gzip: Gzip::new(level), records: 0, bytes: 0 }
    }

    /// Adds bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes += bytes.len() as u64;
        self.gzip.write_all(bytes)
    }

    /// Adds a record, with its end.
    pub(super) fn push(&mut self, record: &[u8]) -> io::Result<()> {
        self.records += 1;
        self.write(record)
    }

    /// Ends it.
    pub(super) fn finish(self) -> io::Result<Body> {
        let Self { gzip, records, bytes } = self;
        Ok(Body { gzip: gzip.finish()?, records, bytes })
    }
}
