//! Inflates data that may be gzip without decoding records, for commands that send files.

use super::{
    DecodeError,
    gunzip::{self, Gunzip},
};

/// Inflates gzip, and passes other data on unchanged.
pub struct Inflate(Source);

enum Source {
    Gzip(Box<Gunzip>),
    Plain,
}

impl Inflate {
    /// Detects the encoding by the first bytes: at least two, unless the data is shorter.
    pub fn detect(start: &[u8]) -> Self {
        Self(if start.starts_with(&gunzip::MAGIC) {
            Source::Gzip(Box::new(Gunzip::new()))
        } else {
            Source::Plain
        })
    }

    /// Whether the data is gzip.
    pub fn is_gzip(&self) -> bool {
        matches!(self.0, Source::Gzip(_))
    }

    /// Decodes `input` and appends to `out` within its capacity. Returns the number of bytes consumed. If
    /// it consumes nothing and leaves room in `out`, it needs more input.
    ///
    /// # Errors
    /// The gzip data is damaged.
    pub fn inflate(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<usize, DecodeError> {
        match &mut self.0 {
            Source::Gzip(gunzip) => gunzip.inflate(input, out).map_err(DecodeError::Gzip),
            Source::Plain => {
                let taken = input.len().min(out.capacity() - out.len());
                out.extend_from_slice(input.get(..taken).unwrap_or_default());
                Ok(taken)
            }
        }
    }

    /// Ends the input.
    ///
    /// # Errors
    /// The gzip data is truncated.
    pub fn finish(&self) -> Result<(), DecodeError> {
        match &self.0 {
            Source::Gzip(gunzip) => gunzip.finish().map_err(DecodeError::Gzip),
            Source::Plain => Ok(()),
        }
    }
}
