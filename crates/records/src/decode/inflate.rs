//! The bytes of what may be gzip, and nothing of what they mean: for whoever sends files rather than
//! takes records.

use super::{
    DecodeError,
    gunzip::{self, Gunzip},
};

/// Inflates, or passes on what is no gzip.
pub struct Inflate(Source);

enum Source {
    Gzip(Box<Gunzip>),
    Plain,
}

impl Inflate {
    /// For what begins so: at least two bytes, unless there are no more.
    pub fn of(start: &[u8]) -> Self {
        Self(if start.starts_with(&gunzip::MAGIC) {
            Source::Gzip(Box::new(Gunzip::new()))
        } else {
            Source::Plain
        })
    }

    /// Whether it inflates.
    pub fn is_gzip(&self) -> bool {
        matches!(self.0, Source::Gzip(_))
    }

    /// Appends to `out`, within its capacity, what `input` holds, and says how much of `input` it
    /// took. Once it takes nothing and leaves room in `out`, it needs more input.
    ///
    /// # Errors
    /// The bytes are damaged.
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

    /// Says that there is no more input.
    ///
    /// # Errors
    /// It ends too early.
    pub fn finish(&self) -> Result<(), DecodeError> {
        match &self.0 {
            Source::Gzip(gunzip) => gunzip.finish().map_err(DecodeError::Gzip),
            Source::Plain => Ok(()),
        }
    }
}
