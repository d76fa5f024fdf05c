//! Any bytes as a body decode to valid blocks, the same ones however the body is divided into
//! chunks.
//!
//! The first bytes of the input choose how the rest is decoded. They are read modulo a power of
//! two, so that in a seed they can be digits: `0` is the first choice, `7` the eighth.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use logpushd::decode::{
    Block, DecodeError, Decoder, Delimiter, Encoding, Format, Limits, Reject, RejectReason, Summary,
};
use serde_json::value::RawValue;

use super::plain::{check_concatenated, check_lines, check_text};

/// About the size of the decoder's buffer. Fillers have this length, so that the end of the buffer
/// is within the fuzzer's bytes. With another size the tests still pass, but find less.
pub(super) const BLOCK_BYTES: usize = 256 * 1024;

/// A block of rows, or of lines of text, has no more.
const MAX_REJECTS: usize = 4096;

/// The preserved length of a record that is too long.
const PREVIEW_BYTES: usize = 64 * 1024;

/// Many small chunks after a filler would only take time.
const MAX_CHUNKS: usize = 4096;

type Decoded = Result<(Vec<Block>, Summary), DecodeError>;

/// Decodes any bytes as a body. Input: choices of declared encoding and format, limit on a record,
/// limit on the body, chunk size, filler, offset of the end of a block; then the body.
pub fn decode(data: &[u8]) {
    let Some((&[declared, record, inflated, chunk, filler, edge], body)) =
        data.split_first_chunk::<6>()
    else {
        return;
    };
    let format = match declared >> 1 & 7 {
        0 => Format::Json,
        1 => Format::Csv(Delimiter::Comma),
        2 => Format::Csv(Delimiter::Tab),
        3 => Format::Text,
        _ => Format::Concatenated,
    };
    let declared = (if declared & 1 == 0 { Encoding::Identity } else { Encoding::Gzip }, format);
    let limits = limits(record, inflated);
    let body = [filling(filler, edge), body.to_vec()].concat();

    let outcome = in_any_chunks(limits, declared, &body, chunk);
    let Ok((blocks, summary)) = outcome else { return };
    check_replay(limits, format, &body, &blocks, &summary);
    if summary.encoding == Encoding::Identity {
        assert_eq!(summary.inflated_bytes, body.len() as u64);
        assert_eq!(summary.digest, *blake3::hash(&body).as_bytes());
        match format {
            Format::Json if !body.contains(&b'[') => {
                check_lines(limits.record_bytes, &body, &blocks);
            }
            Format::Text => check_text(limits.record_bytes, &body, &blocks),
            Format::Concatenated => check_concatenated(limits.record_bytes, &body, &blocks),
            Format::Json | Format::Csv(_) => {}
        }
    }
}

/// Compresses any bytes and decodes them. Input: choices of limit on a record, limit on the body,
/// chunk size, damage, its offset (two bytes) and its value, members and padding; then the body.
pub fn gzip_body(data: &[u8]) {
    let Some((&[record, inflated, chunk, damage, high, low, value, members], body)) =
        data.split_first_chunk::<8>()
    else {
        return;
    };
    let limits = limits(record, inflated);
    let zipped = Zipped::new(body, usize::from(members & 7) + 1, usize::from(members >> 3 & 3));
    let place = usize::from(u16::from_be_bytes([high, low])) % zipped.wire.len();
    match damage & 3 {
        0 | 1 => {
            let outcome =
                in_any_chunks(limits, (Encoding::Gzip, Format::Json), &zipped.wire, chunk);
            assert_same(limits, &outcome, body);
        }
        2 => {
            let mut wire = zipped.wire;
            if let Some(byte) = wire.get_mut(place) {
                *byte ^= value;
            }
            let outcome = in_any_chunks(limits, (Encoding::Gzip, Format::Json), &wire, chunk);
            // Without the magic number it is text. With it, an accepted body equals the original.
            if matches!(&outcome, Ok((_, summary)) if summary.encoding == Encoding::Gzip) {
                assert_same(limits, &outcome, body);
            }
        }
        _ => {
            let wire = zipped.wire.get(..place).unwrap_or_default();
            let outcome = in_any_chunks(limits, (Encoding::Gzip, Format::Json), wire, chunk);
            let whole = zipped.ends.iter().rev().find(|(wire_end, _)| *wire_end <= place);
            match (&outcome, whole) {
                (Ok(_), Some((_, end))) => {
                    assert_same(limits, &outcome, body.get(..*end).unwrap_or_default());
                }
                (Ok((_, summary)), None) => assert_eq!((place, summary.inflated_bytes), (0, 0)),
                (Err(_), _) => {}
            }
        }
    }
}

/// Asserts that `outcome` equals the outcome of the uncompressed body `plain`.
fn assert_same(limits: Limits, outcome: &Decoded, plain: &[u8]) {
    if plain.starts_with(&[0x1f, 0x8b]) {
        // Uncompressed, this would be read as gzip, since the first bytes decide.
        return;
    }
    let want = in_chunks(limits, (Encoding::Identity, Format::Json), plain, plain.len());
    let want =
        want.map(|(blocks, summary)| (blocks, Summary { encoding: Encoding::Gzip, ..summary }));
    assert!(*outcome == want, "zipped {outcome:?}, plain {want:?}");
}

/// A body in several gzip members.
struct Zipped {
    wire: Vec<u8>,
    /// Where each member ends: in `wire`, and in the body.
    ends: Vec<(usize, usize)>,
}

impl Zipped {
    fn new(body: &[u8], members: usize, padding: usize) -> Self {
        let mut zipped = Self { wire: Vec::new(), ends: Vec::new() };
        let share = body.len().div_ceil(members).max(1);
        let mut taken = 0;
        let empty: [&[u8]; 1] = [&[]];
        let shares = body.chunks(share).chain(empty.into_iter().filter(|_| body.is_empty()));
        for share in shares {
            taken += share.len();
            let mut encoder = GzEncoder::new(zipped.wire, Compression::fast());
            let written = encoder.write_all(share).and_then(|()| encoder.finish());
            zipped.wire = match written {
                Ok(wire) => wire,
                Err(error) => unreachable!("zipping into memory: {error}"),
            };
            zipped.ends.push((zipped.wire.len(), taken));
        }
        zipped.wire.resize(zipped.wire.len() + padding, 0);
        zipped
    }
}

fn limits(record: u8, inflated: u8) -> Limits {
    let record_bytes = match record & 7 {
        0 => 1 << 20,
        1 => 1,
        2 => 8,
        3 => 64,
        4 => 1024,
        5 => 70_000,
        6 => BLOCK_BYTES - 1,
        _ => 300_000,
    };
    let inflated_bytes = match inflated & 7 {
        0 => 4 << 20,
        1 => 0,
        2 => 16,
        3 => 256,
        4 => 4096,
        5 => 1 << 18,
        6 => (1 << 18) + 64,
        _ => 1 << 20,
    };
    Limits { inflated_bytes, record_bytes }
}

/// Returns the filler before the fuzzer's bytes, so that the decoder's buffer is full `edge` bytes
/// after their start. It is empty for half of the choices. Its records are long, so that it is
/// decoded fast.
fn filling(filler: u8, edge: u8) -> Vec<u8> {
    let x = "x".repeat(1000);
    let (opening, unit) = match filler & 15 {
        1 => ("", format!("{{\"a\":\"{x}\"}}\n")),
        2 => ("", format!("{{\"a\":\"{x}\"}}\r\n")),
        3 => ("", format!("{}\r\n\n", " ".repeat(50))),
        4 => ("{\"a\":\"", x),
        5 => ("[", format!("{{\"a\":\"{x}\"}},")),
        6 => ("[", format!("{{\"a\":\n\"{x}\"\n}} ,\n")),
        7 => ("[{\"a\":\"", format!("{x}\\\\")),
        8 => ("{\"events\":[", format!("{{\"a\":[\"{x}\"]}},")),
        9 => ("", format!("{{\"event\":\"{x}\"}}")),
        _ => return Vec::new(),
    };
    let room = BLOCK_BYTES - usize::from(edge) - opening.len();
    let rest = room % unit.len();
    // The rest, into which no unit fits, is padding without effect.
    let blanks = if filler & 15 == 4 || filler & 15 == 7 { "x" } else { "\n" }.repeat(rest);
    [opening, &blanks, &unit.repeat(room / unit.len())].concat().into_bytes()
}

/// Decodes a body whole and in chunks, which must give the same blocks.
fn in_any_chunks(limits: Limits, declared: (Encoding, Format), wire: &[u8], chunk: u8) -> Decoded {
    let whole = in_chunks(limits, declared, wire, wire.len());
    let chunk = match chunk & 7 {
        0 => 7,
        1 => 1,
        2 => 2,
        3 => 3,
        4 => 64,
        5 => 1000,
        6 => 65_536,
        _ => usize::from(chunk),
    };
    let chunks = in_chunks(limits, declared, wire, chunk.max(wire.len() / MAX_CHUNKS));
    match (&whole, &chunks) {
        // The exact message about damage is zlib's.
        (Err(DecodeError::Gzip(_)), Err(DecodeError::Gzip(_))) => {}
        _ => assert!(whole == chunks, "whole {whole:?}, in chunks of {chunk} {chunks:?}"),
    }
    if let Ok((blocks, summary)) = &whole {
        check_blocks(limits, declared.1, blocks, summary);
    }
    whole
}

fn in_chunks(limits: Limits, declared: (Encoding, Format), wire: &[u8], chunk: usize) -> Decoded {
    let mut blocks = Vec::new();
    let mut decoder = Decoder::new(limits, declared.0).with_format(declared.1);
    for chunk in wire.chunks(chunk.max(1)) {
        decoder.push(chunk, &mut |block| blocks.push(block))?;
    }
    let summary = decoder.finish(&mut |block| blocks.push(block))?;
    Ok((blocks, summary))
}

/// Checks that a replay, as from the spool, gives the same blocks as the upload.
fn check_replay(limits: Limits, format: Format, wire: &[u8], blocks: &[Block], summary: &Summary) {
    let mut replayed = Vec::new();
    let mut decoder = Decoder::for_replay(
        limits.record_bytes,
        summary.encoding,
        summary.rejected,
        summary.edition,
    )
    .with_format(format);
    for chunk in wire.chunks(5000) {
        let pushed = decoder.push(chunk, &mut |block| replayed.push(block));
        assert_eq!(pushed, Ok(()), "accepted before");
    }
    let finished = decoder.finish(&mut |block| replayed.push(block));
    assert_eq!(finished, Ok(Summary { digest: [0; 32], ..summary.clone() }));
    assert!(replayed == blocks, "replayed {replayed:?}, first {blocks:?}");
}

fn check_blocks(limits: Limits, format: Format, blocks: &[Block], summary: &Summary) {
    assert!(summary.inflated_bytes <= limits.inflated_bytes);
    let is_made = matches!(format, Format::Csv(_) | Format::Text);
    let (mut records, mut rejected, mut position) = (0, 0, 0);
    let mut made_bytes = 0;
    for block in blocks {
        if is_made {
            made_bytes += block.bytes.len() as u64 - block.records;
            assert!(made_bytes <= limits.inflated_bytes, "{made_bytes} bytes were made");
            assert!(block.bytes.len() <= BLOCK_BYTES + limits.record_bytes + 1);
            assert!(block.rejects.len() <= MAX_REJECTS, "{} in a block", block.rejects.len());
        }
        assert!(block.bytes.is_empty() || block.bytes.ends_with(b"\n"));
        let mut lines = 0;
        for line in block.bytes.split_inclusive(|byte| *byte == b'\n') {
            let record = line.strip_suffix(b"\n").unwrap_or(line);
            assert!(record.len() <= limits.record_bytes, "{} bytes", record.len());
            assert!(is_object(record), "{:?} is no object", String::from_utf8_lossy(record));
            lines += 1;
        }
        assert_eq!(lines, block.records);
        records += lines;
        for reject in &block.rejects {
            check_reject(limits, is_made, reject);
            assert!(reject.position > position, "{} after {position}", reject.position);
            position = reject.position;
            rejected += 1;
        }
    }
    assert!(position <= records + rejected);
    assert_eq!((records, rejected), (summary.records, summary.rejected));
}

fn check_reject(limits: Limits, is_made: bool, reject: &Reject) {
    let Reject { reason, length, bytes, .. } = reject;
    match reason {
        RejectReason::TooLong => {
            // What would be made of a row can be too long, too.
            assert!(is_made || *length > limits.record_bytes as u64);
            assert_eq!(bytes.len() as u64, (*length).min(PREVIEW_BYTES as u64));
            return;
        }
        RejectReason::NotCsv => assert!(std::str::from_utf8(bytes).is_ok()),
        RejectReason::NotUtf8 => assert!(std::str::from_utf8(bytes).is_err()),
        RejectReason::NotJson | RejectReason::NotObject => {
            assert!(std::str::from_utf8(bytes).is_ok());
            assert!(!is_object(bytes));
        }
    }
    assert_eq!(bytes.len() as u64, *length);
}

/// Returns whether a record is a JSON object by its grammar, without a limit on depth. `1e400` and
/// lone surrogates are accepted.
pub(super) fn is_object(record: &[u8]) -> bool {
    let value = serde_json::from_slice::<&RawValue>(record);
    value.is_ok_and(|value| value.get().starts_with('{'))
}
