//! Reads a source in chunks, and decompresses gzip.

use std::io::{self, Read};

use records::decode::Inflate;

/// The sizes of an input chunk and of a decompressed chunk.
pub(super) const INPUT_BYTES: usize = 128 * 1024;
pub(super) const INFLATED_BYTES: usize = 256 * 1024;

/// The chunks of a source, decompressed if it is gzip.
pub(super) struct Chunks<R> {
    from: R,
    inflate: Option<Inflate>,
    input: Vec<u8>,
    /// The number of input bytes that were read, and of those that were consumed.
    filled: usize,
    taken: usize,
    output: Vec<u8>,
}

impl<R: Read> Chunks<R> {
    pub(super) fn new(from: R) -> Self {
        Self {
            from,
            inflate: None,
            input: vec![0; INPUT_BYTES],
            filled: 0,
            taken: 0,
            output: Vec::with_capacity(INFLATED_BYTES),
        }
    }

    /// Reads the next input bytes, without waiting for a full buffer. Returns `false` at the end.
    fn refill(&mut self) -> io::Result<bool> {
        (self.filled, self.taken) = (0, 0);
        loop {
            let room = self.input.get_mut(self.filled..).unwrap_or_default();
            match self.from.read(room) {
                Ok(0) => break,
                Ok(read) => self.filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            // Detecting gzip needs two bytes.
            if self.inflate.is_some() || self.filled > 1 {
                break;
            }
        }
        Ok(self.filled > 0)
    }

    /// Returns the next chunk, and `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<&[u8]>> {
        let damaged = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        self.output.clear();
        loop {
            let rest = self.input.get(self.taken..self.filled).unwrap_or_default();
            if let Some(inflate) = &mut self.inflate {
                self.taken += inflate.inflate(rest, &mut self.output).map_err(damaged)?;
                if !self.output.is_empty() {
                    return Ok(Some(&self.output));
                }
            }
            if !self.refill()? {
                let end = self.inflate.as_ref().map_or(Ok(()), Inflate::finish);
                return end.map(|()| None).map_err(damaged);
            }
            let start = self.input.get(..self.filled).unwrap_or_default();
            self.inflate.get_or_insert_with(|| Inflate::detect(start));
        }
    }
}
