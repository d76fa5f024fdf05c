//! Turns the bytes of a body into blocks of records, as they arrive.
//!
//! Pure: no clock, no files, no tokio, no hyper, so that it can be fuzzed and benchmarked. The same
//! decoder reads a batch again from the spool: for the same bytes and limits it always gives the
//! same records in the same order, whatever the pieces that the bytes arrived in. Recovery relies
//! on that.

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
mod tally;

pub use self::{
    edition::Edition,
    format::{Delimiter, Format, MAX_NAMES_BYTES, before},
    inflate::Inflate,
    record::{Reject, RejectReason},
};
use self::{framing::Framer, gunzip::Gunzip, record::Trust, tally::Tally};

/// How much is inflated before it is looked at: a block of this size stays in a core's cache.
const BLOCK_BYTES: usize = 256 * 1024;

/// What one body may come to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Bytes of the whole body, inflated; and of the records that are made of rows or of text.
    pub inflated_bytes: u64,
    /// Bytes of one record.
    pub record_bytes: usize,
}

impl Limits {
    fn check(self, bytes: u64, excess: Excess) -> Result<(), DecodeError> {
        let limit = self.inflated_bytes;
        if bytes > limit { Err(DecodeError::TooLarge { limit, excess }) } else { Ok(()) }
    }
}

/// What the sender says the bytes are. A gzip body that says nothing is known by its magic.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Encoding {
    /// `Content-Encoding: gzip`
    Gzip,
    /// `Content-Encoding: identity`, or none
    Identity,
}

/// Some records of a batch, in order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Block {
    /// The records as they came, each followed by one LF, none with an LF inside.
    pub bytes: Vec<u8>,
    /// How many they are.
    pub records: u64,
    /// Those between them that are no records.
    pub rejects: Vec<Reject>,
}

impl Block {
    /// The records, without their ends.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let lines = self.bytes.split_inclusive(|byte| *byte == b'\n');
        lines.map(|line| line.strip_suffix(b"\n").unwrap_or(line))
    }
}

/// What a whole body came to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Summary {
    /// Records that sinks get.
    pub records: u64,
    /// Records that quarantine gets.
    pub rejected: u64,
    /// Length of the body, inflated.
    pub inflated_bytes: u64,
    /// BLAKE3 of the body, inflated. Zero from [`Decoder::again`].
    pub digest: [u8; 32],
    /// The body is Cloudflare's destination check; what came out as blocks is no record.
    pub destination_check: bool,
    /// Whether the bytes were gzip.
    pub encoding: Encoding,
    /// The first edition of the rules that reads the body like this.
    pub edition: Edition,
}

/// Why a whole body cannot be read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum DecodeError {
    /// There is more of it than [`Limits::inflated_bytes`].
    TooLarge {
        /// The limit.
        limit: u64,
        /// What there is more of.
        excess: Excess,
    },
    /// It is not, or not whole, gzip. The text says what is wrong.
    Gzip(String),
}

/// What is over [`Limits::inflated_bytes`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Excess {
    /// The body, inflated.
    Body,
    /// The records that its rows or its lines of text become.
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
            Self::Gzip(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for DecodeError {}

/// A push-style decoder of one body: memory does not grow with the body.
pub struct Decoder {
    limits: Limits,
    source: Source,
    framer: Framer,
    hasher: Option<blake3::Hasher>,
    /// The start of the body, to know a destination check by.
    head: Vec<u8>,
    /// What stands before the body that the sender sent.
    added_bytes: usize,
    inflated_bytes: u64,
}

enum Source {
    /// Too few bytes to tell.
    Sniff {
        declared: Encoding,
        first: Vec<u8>,
    },
    Gzip(Box<Gunzip>),
    Identity,
}

impl Decoder {
    /// For a body that arrives.
    pub fn new(limits: Limits, declared: Encoding) -> Self {
        Self {
            limits,
            source: Source::Sniff { declared, first: Vec::new() },
            framer: Framer::new(limits, Trust::Nothing),
            hasher: Some(blake3::Hasher::new()),
            head: Vec::new(),
            added_bytes: 0,
            inflated_bytes: 0,
        }
    }

    /// For a body that was accepted before, with the limit on a record and the rules that it was accepted
    /// under, and the number of its rejects.
    ///
    /// Where there were none, records are told apart but not checked again: that they are the same
    /// is what gzip's checksum says, at the latest at the end.
    pub fn again(record_bytes: usize, encoding: Encoding, rejected: u64, edition: Edition) -> Self {
        let limits = Limits { inflated_bytes: u64::MAX, record_bytes };
        let trust = match (encoding, rejected, edition) {
            (Encoding::Gzip, 0, Edition::First) => Trust::Passed,
            _ => Trust::Nothing,
        };
        let framer = Framer::new(limits, trust).under(edition);
        Self { hasher: None, framer, ..Self::new(limits, encoding) }
    }

    /// The same under the rules of another edition; before [`Decoder::of`].
    #[must_use]
    pub fn under(self, edition: Edition) -> Self {
        Self { framer: self.framer.under(edition), ..self }
    }

    /// The same with a higher limit on a record than the body was accepted under: what was too long for that
    /// one comes out as a record, and all others have the same positions. Before [`Decoder::of`].
    #[must_use]
    pub fn taking(self, record_bytes: usize) -> Self {
        Self { framer: self.framer.taking(record_bytes), ..self }
    }

    /// The same for records of another form; before anything is pushed.
    #[must_use]
    pub fn of(self, format: Format) -> Self {
        Self { framer: self.framer.of(format), ..self }
    }

    /// The same for a body before which so many bytes, inflated, are pushed that are not the sender's.
    #[must_use]
    pub fn behind(self, added_bytes: usize) -> Self {
        Self { added_bytes, ..self }
    }

    /// Takes the next bytes of the body and hands over the blocks that they complete.
    ///
    /// # Errors
    /// The body as a whole cannot be read; the decoder is of no more use.
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
            // Only now: what came out before the damage counts, in whatever pieces it came.
            let taken = taken?;
            if let Some(hasher) = &mut self.hasher {
                hasher.update(fresh);
            }
            let longest = self.added_bytes + probe::MAX_BYTES;
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

    /// Says that the body is whole, and hands over the last blocks.
    ///
    /// # Errors
    /// The body ends too early, or there is more of it than the limit.
    pub fn finish(mut self, out: &mut dyn FnMut(Block)) -> Result<Summary, DecodeError> {
        if let Source::Sniff { declared, first } = &mut self.source {
            // At most one byte: no gzip, whatever was declared, but perhaps an empty line.
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
        let Tally { records, rejected, made_bytes, edition } = self.framer.finish(out);
        self.limits.check(made_bytes, Excess::Records)?;
        let sent = self.head.get(self.added_bytes..).unwrap_or_default();
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

/// Bytes decide, not the header: a sender that names gzip and sends text is taken at its bytes.
fn sniff(declared: Encoding, first: &[u8]) -> Result<Source, DecodeError> {
    if first.starts_with(&gunzip::MAGIC) {
        return Ok(Source::Gzip(Box::new(Gunzip::new())));
    }
    // Not a byte more than there always is: the first piece may be of any length.
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

/// Whether a body that begins with this record, in a line of its own, is read as lines. Others begin
/// as an array does.
pub fn opens_as_lines(record: &[u8]) -> bool {
    opening::opens_as_lines(record)
}

#[cfg(test)]
mod tests;
