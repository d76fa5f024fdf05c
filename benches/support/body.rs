//! Decodes a body, or only inflates it.

#![expect(clippy::disallowed_types, reason = "measures inflating alone")]

use std::hint::black_box;

use flate2::{Decompress, FlushDecompress, Status};
use logpushd::decode::{Block, Decoder, Limits, Summary};

pub(crate) const LIMITS: Limits = Limits { inflated_bytes: 2 << 30, record_bytes: 8 << 20 };

/// About the size of a TLS record.
pub(crate) const CHUNK_BYTES: usize = 16 * 1024;

/// Inflates a body, and returns the number of bytes.
pub(crate) fn inflate(wire: &[u8]) -> u64 {
    let mut inflater = Decompress::new_gzip(15);
    let mut out = Vec::with_capacity(256 * 1024);
    let mut taken = 0;
    loop {
        out.clear();
        let status =
            inflater.decompress_vec(&wire[taken..], &mut out, FlushDecompress::None).unwrap();
        taken = usize::try_from(inflater.total_in()).unwrap();
        black_box(&out);
        if status == Status::StreamEnd {
            return inflater.total_out();
        }
    }
}

/// Decodes a body in chunks.
pub(crate) fn decode(mut decoder: Decoder, wire: &[u8]) -> Summary {
    let mut take = |block| drop::<Block>(black_box(block));
    for chunk in wire.chunks(CHUNK_BYTES) {
        decoder.push(chunk, &mut take).unwrap();
    }
    decoder.finish(&mut take).unwrap()
}

/// Converts lines to a JSON array.
pub(crate) fn array(lines: &[u8]) -> String {
    let text = std::str::from_utf8(lines).unwrap();
    format!("[{}]", text.trim_end().replace('\n', ","))
}
