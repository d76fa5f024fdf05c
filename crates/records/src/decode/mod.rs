//! Decodes the bytes of a body to blocks of records while they arrive.
//!
//! Pure: no clock, no files, no tokio, no hyper, so it can be fuzzed and benchmarked. The same decoder
//! reads a batch from the spool again. The same bytes and limits always give the same records in the
//! same order, however the bytes are split into chunks; recovery relies on that.

mod array;
mod edition;
mod format;
mod framing;
mod gunzip;
mod inflate;
mod json;
mod lines;
mod opening;
mod probe;
mod record;
mod rows;
mod totals;

pub use self::{
    edition::Edition,
    format::{Delimiter, Format, MAX_NAMES_BYTES, match_encoding},
    inflate::Inflate,
    record::{Reject, RejectReason},
};
use self::{framing::Framer, gunzip::Gunzip, record::Validation, totals::Totals};

/// The size of the buffer that is inflated to before its records are cut off: it fits into a core's
/// cache.
const BLOCK_BYTES: usize = 256 * 1024;

/// The limits on a body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// The maximum size of the inflated body, and of the records that are made of its rows or lines of
    /// text.
    pub inflated_bytes: u64,
    /// The maximum size of one record.
    pub record_bytes: usize,
}

impl Limits {
    fn check(self, bytes: u64, excess: Excess) -> Result<(), DecodeError> {
        let limit = self.inflated_bytes;
        if bytes > limit { Err(DecodeError::TooLarge { limit, excess }) } else { Ok(()) }
    }
}

/// The encoding of a body. The declared encoding is a hint: gzip is recognized by its first two bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Encoding {
    /// `Content-Encoding: gzip`.
    Gzip,
    /// `Content-Encoding: identity`, or no such header.
    Identity,
}

/// Consecutive records of a batch.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Block {
    /// The unchanged bytes of the records. One LF follows each record; none contains an LF.
    pub bytes: Vec<u8>,
    /// The number of records in `bytes`.
    pub records: u64,
    /// The rejected records between them.
    pub rejects: Vec<Reject>,
}

impl Block {
    /// Iterates over the records, without their line feeds.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let lines = self.bytes.split_inclusive(|byte| *byte == b'\n');
        lines.map(|line| line.strip_suffix(b"\n").unwrap_or(line))
    }
}

/// The result of decoding a whole body.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Summary {
    /// The number of valid records, which sinks receive.
    pub records: u64,
    /// The number of rejected records, which are quarantined.
    pub rejected: u64,
    /// The size of the inflated body.
    pub inflated_bytes: u64,
    /// The BLAKE3 digest of the inflated body. Zero from [`Decoder::for_replay`].
    pub digest: [u8; 32],
    /// The body is Cloudflare's destination check, so the blocks contain no records.
    pub destination_check: bool,
    /// The actual encoding of the body.
    pub encoding: Encoding,
    /// The first edition of the rules under which the body has these records.
    pub edition: Edition,
}

/// Why a body cannot be decoded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum DecodeError {
    /// The body is over [`Limits::inflated_bytes`].
    TooLarge {
        /// The limit.
        limit: u64,
        /// What is over the limit.
        excess: Excess,
    },
    /// The gzip data is damaged or truncated. The text describes the damage.
    Gzip(String),
}

/// What is over [`Limits::inflated_bytes`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Excess {
    /// The inflated body.
    Body,
    /// The records that are made of its rows or lines of text.
    Records,
}

impl std::fmt::Display for Excess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Body => "this body inflates to more",
            Self::Records => "the records made of this body come to more",
        })
    }
}

impl std::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLarge { limit, excess } => write!(f, "{excess} than {limit} bytes"),
            Self::Gzip(damage) => f.write_str(damage),
        }
    }
}

impl std::error::Error for DecodeError {}

/// Decodes one body, chunk by chunk. Its memory does not grow with the body.
pub struct Decoder {
    limits: Limits,
    source: Source,
    framer: Framer,
    hasher: Option<blake3::Hasher>,
    /// The first bytes of the body, to recognize a destination check.
    head: Vec<u8>,
    /// The number of inflated bytes before the sender's body.
    prefix_len: usize,
    inflated_bytes: u64,
}

enum Source {
    /// Too few bytes to detect the encoding.
    Sniff {
        declared: Encoding,
        first: Vec<u8>,
    },
    Gzip(Box<Gunzip>),
    Identity,
}

impl Decoder {
    /// Creates a decoder for a new body.
    pub fn new(limits: Limits, declared: Encoding) -> Self {
        Self {
            limits,
            source: Source::Sniff { declared, first: Vec::new() },
            framer: Framer::new(limits, Validation::Required),
            hasher: Some(blake3::Hasher::new()),
            head: Vec::new(),
            prefix_len: 0,
            inflated_bytes: 0,
        }
    }

    /// Creates a decoder for a body that was accepted before, with the record limit and the edition of the
    /// rules under which it was accepted, and the number of its rejects.
    ///
    /// A gzip body without rejects is split into records, but not validated again: gzip's checksum ensures
    /// that the records are the same.
    pub fn for_replay(
        record_bytes: usize,
        encoding: Encoding,
        rejected: u64,
        edition: Edition,
    ) -> Self {
        let limits = Limits { inflated_bytes: u64::MAX, record_bytes };
        let validation = match (encoding, rejected, edition) {
            (Encoding::Gzip, 0, Edition::First) => Validation::Done,
            _ => Validation::Required,
        };
        let framer = Framer::new(limits, validation).with_edition(edition);
        Self { hasher: None, framer, ..Self::new(limits, encoding) }
    }

    /// Sets the edition of the rules. Call it before [`Decoder::with_format`].
    #[must_use]
    pub fn with_edition(self, edition: Edition) -> Self {
        Self { framer: self.framer.with_edition(edition), ..self }
    }

    /// Raises the record limit above the one under which the body was accepted. Rejects that were too long
    /// become records; all positions stay the same. Call it before [`Decoder::with_format`].
    #[must_use]
    pub fn with_record_limit(self, record_bytes: usize) -> Self {
        Self { framer: self.framer.with_record_limit(record_bytes), ..self }
    }

    /// Sets the format of the records. Call it before [`Decoder::push`].
    #[must_use]
    pub fn with_format(self, format: Format) -> Self {
        Self { framer: self.framer.with_format(format), ..self }
    }

    /// Sets the number of inflated bytes that are pushed before the sender's body.
    #[must_use]
    pub fn with_prefix_len(self, prefix_len: usize) -> Self {
        Self { prefix_len, ..self }
    }

    /// Decodes the next bytes of the body and passes complete blocks to `out`.
    ///
    /// # Errors
    /// The body cannot be decoded. The decoder must not be used any more.
    pub fn push(&mut self, wire: &[u8], out: &mut dyn FnMut(Block)) -> Result<(), DecodeError> {
        let Source::Sniff { declared, first } = &mut self.source else {
            return self.read(wire, out);
        };
        first.extend_from_slice(wire);
        if first.len() < gunzip::MAGIC.len() {
            return Ok(());
        }
        let (declared, first) = (*declared, std::mem::take(first));
        self.source = sniff(declared, &first)?;
        self.read(&first, out)
    }

    fn read(&mut self, mut wire: &[u8], out: &mut dyn FnMut(Block)) -> Result<(), DecodeError> {
        loop {
            self.framer.make_room(out);
            self.limits.check(self.framer.made_bytes(), Excess::Records)?;
            let buffer = self.framer.buffer();
            let before = buffer.len();
            let taken = match &mut self.source {
                Source::Gzip(gunzip) => gunzip.inflate(wire, buffer).map_err(DecodeError::Gzip),
                Source::Identity | Source::Sniff { .. } => {
                    let taken = wire.len().min(buffer.capacity() - before);
                    buffer.extend_from_slice(wire.get(..taken).unwrap_or_default());
                    Ok(taken)
                }
            };
            let full = buffer.len() == buffer.capacity();
            let fresh = buffer.get(before..).unwrap_or_default();
            self.inflated_bytes += fresh.len() as u64;
            self.limits.check(self.inflated_bytes, Excess::Body)?;
            // Damage is reported after the limit, so the error does not depend on the chunks.
            let taken = taken?;
            if let Some(hasher) = &mut self.hasher {
                hasher.update(fresh);
            }
            let longest = self.prefix_len + probe::MAX_BYTES;
            if self.head.len() <= longest {
                let room = longest + 1 - self.head.len();
                self.head.extend_from_slice(fresh.get(..room.min(fresh.len())).unwrap_or_default());
            }
            wire = wire.get(taken..).unwrap_or_default();
            if wire.is_empty() && !full {
                return Ok(());
            }
        }
    }

    /// Ends the body and passes the last blocks to `out`.
    ///
    /// # Errors
    /// The body is truncated, or over the limit.
    pub fn finish(mut self, out: &mut dyn FnMut(Block)) -> Result<Summary, DecodeError> {
        if let Source::Sniff { declared, first } = &mut self.source {
            // At most one byte: not gzip, but it may be an empty line.
            let first = std::mem::take(first);
            if *declared == Encoding::Gzip && !first.is_empty() {
                return Err(not_gzip());
            }
            self.source = Source::Identity;
            self.push(&first, out)?;
        }
        let encoding = match &self.source {
            Source::Gzip(gunzip) => {
                gunzip.finish().map_err(DecodeError::Gzip)?;
                Encoding::Gzip
            }
            Source::Identity | Source::Sniff { .. } => Encoding::Identity,
        };
        let Totals { records, rejected, made_bytes, edition } = self.framer.finish(out);
        self.limits.check(made_bytes, Excess::Records)?;
        let sent = self.head.get(self.prefix_len..).unwrap_or_default();
        Ok(Summary {
            records,
            rejected,
            inflated_bytes: self.inflated_bytes,
            digest: self.hasher.map_or([0; 32], |hasher| *hasher.finalize().as_bytes()),
            destination_check: probe::is_destination_check(sent),
            encoding,
            edition,
        })
    }
}

/// Detects the encoding by the first bytes. Text that is declared as gzip is accepted as text.
fn sniff(declared: Encoding, first: &[u8]) -> Result<Source, DecodeError> {
    if first.starts_with(&gunzip::MAGIC) {
        return Ok(Source::Gzip(Box::new(Gunzip::new())));
    }
    // Looks only at bytes that are always available, so the result does not depend on the chunks.
    let head = first.get(..gunzip::MAGIC.len()).unwrap_or(first);
    let text = matches!(head.trim_ascii_start().first(), None | Some(b'{' | b'[' | b't'))
        || opening::BYTE_ORDER_MARK.starts_with(head);
    match declared {
        Encoding::Gzip if !text => Err(not_gzip()),
        Encoding::Gzip | Encoding::Identity => Ok(Source::Identity),
    }
}

fn not_gzip() -> DecodeError {
    DecodeError::Gzip(String::from("declared as gzip, but it does not begin with 1f 8b"))
}

/// Whether a body whose first line is this record is read as lines. Otherwise it is read as an array.
pub fn opens_as_lines(record: &[u8]) -> bool {
    opening::opens_as_lines(record)
}

#[cfg(test)]
mod tests;
