//! Inflates a gzip body in chunks. Only this file uses flate2's decoder.
//!
//! The output is appended to a buffer within the capacity that the caller chose, so a decompression bomb
//! cannot produce more than that before the caller checks its limit.

#![expect(clippy::disallowed_types, reason = "this is the file that the rule points to")]

use std::io::{self, Write as _};

use flate2::{Compression, Decompress, FlushDecompress, Status, write::GzEncoder};

/// RFC 1952, section 2.3.1.
pub(super) const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// The largest window of deflate, 32 KiB.
const WINDOW_BITS: u8 = 15;

/// Compresses bytes to a gzip member.
pub(super) fn member(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes)?;
    encoder.finish()
}

/// Inflates any number of gzip members, chunk by chunk.
pub(super) struct Gunzip {
    member: Decompress,
    state: State,
}

enum State {
    /// In a member: a body that ends here is truncated.
    Member,
    /// After a member's trailer: another member, padding or the end may follow.
    Between,
    /// In zeros after the last member, which gzip(1) also ignores.
    Padding,
}

impl Gunzip {
    pub(super) fn new() -> Self {
        Self { member: Decompress::new_gzip(WINDOW_BITS), state: State::Member }
    }

    /// Inflates `input` and appends to `out` within its capacity. Returns the number of bytes consumed.
    /// If it consumes nothing and leaves room in `out`, it needs more input.
    ///
    /// # Errors
    /// A description of the damage.
    pub(super) fn inflate(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<usize, String> {
        let mut taken = 0;
        loop {
            let rest = input.get(taken..).unwrap_or_default();
            match (&self.state, rest.first()) {
                (State::Member, _) => {}
                (_, None) => return Ok(taken),
                (State::Between, Some(&first)) if first == MAGIC[0] => {
                    self.member = Decompress::new_gzip(WINDOW_BITS);
                    self.state = State::Member;
                }
                (_, Some(0)) => {
                    self.state = State::Padding;
                    taken += 1;
                    continue;
                }
                (_, Some(other)) => {
                    return Err(format!("byte {other:#04x} after the end of the gzip data"));
                }
            }
            let (in_before, out_before) = (self.member.total_in(), out.len());
            let status =
                self.member.decompress_vec(rest, out, FlushDecompress::None).map_err(|error| {
                    match error.message() {
                        Some(detail) => format!("damaged gzip data: {detail}"),
                        None => String::from("damaged gzip data"),
                    }
                })?;
            let step = usize::try_from(self.member.total_in() - in_before).unwrap_or(rest.len());
            taken += step;
            match status {
                Status::StreamEnd => self.state = State::Between,
                Status::Ok | Status::BufError => {
                    let stuck = step == 0 && out.len() == out_before;
                    if stuck || taken == input.len() || out.len() == out.capacity() {
                        return Ok(taken);
                    }
                }
            }
            if out.len() == out.capacity() {
                return Ok(taken);
            }
        }
    }

    /// Checks that the last member is complete.
    ///
    /// # Errors
    /// The body is truncated.
    pub(super) fn finish(&self) -> Result<(), String> {
        match self.state {
            State::Member => Err(String::from("gzip data ends in the middle")),
            State::Between | State::Padding => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn gunzip(wire: &[u8], chunk: usize, room: usize) -> Result<Vec<u8>, String> {
        let mut gunzip = Gunzip::new();
        let mut all = Vec::new();
        for mut input in wire.chunks(chunk) {
            loop {
                let mut out = Vec::with_capacity(room);
                let capacity = out.capacity();
                let taken = gunzip.inflate(input, &mut out)?;
                assert!(out.capacity() == capacity, "grew the buffer");
                input = &input[taken..];
                let full = out.len() == capacity;
                all.extend_from_slice(&out);
                if input.is_empty() && !full {
                    break;
                }
            }
        }
        gunzip.finish()?;
        Ok(all)
    }

    #[test]
    fn members_padding_and_small_chunks_are_inflated() {
        let text: Vec<u8> = (0..20_000_u32).flat_map(u32::to_le_bytes).collect();
        let mut wire = gzip(&text);
        wire.extend(gzip(b""));
        wire.extend(gzip(b"tail"));
        wire.extend([0; 100]);
        let mut want = text;
        want.extend(b"tail");
        for (chunk, room) in [(1, 1), (1, 4096), (7, 13), (65_536, 64), (usize::MAX, 1 << 20)] {
            assert_eq!(gunzip(&wire, chunk, room).unwrap(), want, "chunk {chunk} room {room}");
        }
    }

    #[test]
    fn damage_is_described() {
        let good = gzip(b"some text that is long enough to be cut in the middle");
        let mut flipped = good.clone();
        let crc = flipped.len() - 6;
        flipped[crc] ^= 1;
        let mut trailed = good.clone();
        trailed.extend(b"xyz");
        let cases: [(&[u8], &str); 5] = [
            (&good[..good.len() - 1], "ends in the middle"),
            (&good[..20], "ends in the middle"),
            (&flipped, "damaged"),
            (&trailed, "after the end"),
            (b"\x1f\x8bnonsense", "damaged"),
        ];
        for (wire, want) in cases {
            let error = gunzip(wire, 5, 100).unwrap_err();
            assert!(error.contains(want), "{error:?} should contain {want:?}");
        }
    }
}
