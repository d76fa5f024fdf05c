//! One body on its way from the wire to the spool: decoded and staged as it arrives, then committed.
//!
//! Blocking, and free of HTTP: the caller feeds it from a thread that may wait for a disk.

use std::{io, sync::Arc};

use jiff::Timestamp;

use crate::{
    decode::{
        self, Block, DecodeError, Decoder, Encoding, Excess, Format, Limits, RejectReason, Summary,
    },
    quarantine::Bodies,
    record,
    spool::{Batch, Blocks, Header, Origin, Spool, SpoolUnavailable, Staging},
};

/// How many records were rejected, by reason, in the order of [`RejectReason::ALL`].
pub type RejectCounts = [u64; RejectReason::ALL.len()];

/// A first record that is longer than this is not looked into for its time.
const MAX_TIMED_RECORD: usize = 64 * 1024;

/// A body that arrives.
pub struct Ingest {
    spool: Arc<Spool>,
    bodies: Arc<Bodies>,
    limits: Limits,
    origin: Origin,
    format: Format,
    staging: Staging,
    reading: Reading,
    gathered: Gathered,
    /// What goes before the body, until the body's first bytes say in which form.
    header_row: Option<HeaderRow>,
}

/// What the endpoint knows of the form of a body.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BodyFormat {
    /// What the sender declares.
    pub encoding: Encoding,
    /// The form of the records.
    pub format: Format,
    /// Names the columns, if the body itself does not: it is kept in front of the body, so that the
    /// batch reads the same after the config has changed. Else empty.
    pub header_row: Vec<u8>,
}

struct HeaderRow {
    row: Vec<u8>,
    first: Vec<u8>,
}

/// What came out of the decoder.
struct Gathered {
    /// All blocks so far, if there is room for them in memory.
    blocks: Option<Blocks>,
    rejects: RejectCounts,
    first: First,
}

/// The first record.
enum First {
    Awaited,
    Seen { time: Option<Timestamp> },
}

enum Reading {
    Decoding(Box<Decoder>),
    /// The body cannot be read; it is still taken to its end, as it comes.
    Broken(DecodeError),
}

/// What became of a body.
#[derive(Debug)]
pub enum Receipt {
    /// It is durable.
    Committed {
        /// Its place and its counts.
        batch: Arc<Batch>,
        /// Its size, inflated.
        inflated_bytes: u64,
        /// What quarantine gets of it.
        rejects: RejectCounts,
        /// The time in its first record, if there is one.
        first_event: Option<Timestamp>,
    },
    /// The same batch is durable already; this one is not stored.
    Duplicate {
        /// Records that sinks got.
        records: u64,
        /// Records that quarantine got.
        rejected: u64,
    },
    /// There was no record in it; nothing is stored.
    Empty,
    /// It was Cloudflare's destination check; nothing is stored.
    DestinationCheck,
    /// It cannot be read; it is durable in quarantine as it came.
    QuarantinedBody {
        /// What is wrong with it.
        why: String,
        /// The name of its file in quarantine.
        file_name: String,
    },
}

/// Why a body was not taken. Nothing of it is left.
#[derive(Debug)]
pub enum IngestError {
    /// There is more of it than the limit.
    TooLarge {
        /// The limit, in bytes.
        limit: u64,
        /// What there is more of.
        excess: Excess,
    },
    /// There is no room for it now.
    SpoolUnavailable(SpoolUnavailable),
    /// It cannot be stored now.
    Store(io::Error),
}

impl From<io::Error> for IngestError {
    fn from(error: io::Error) -> Self {
        Self::Store(error)
    }
}

impl Ingest {
    /// Starts on a body of the form `form`.
    pub fn new(
        spool: Arc<Spool>,
        bodies: Arc<Bodies>,
        limits: Limits,
        origin: Origin,
        form: BodyFormat,
    ) -> Self {
        let BodyFormat { encoding, format, header_row } = form;
        let staging = spool.stage();
        let gathered = Gathered {
            blocks: Some(spool.new_blocks()),
            rejects: RejectCounts::default(),
            first: First::Awaited,
        };
        let decoder =
            Decoder::new(limits, encoding).with_format(format).with_prefix_len(header_row.len());
        let reading = Reading::Decoding(Box::new(decoder));
        let header_row =
            (!header_row.is_empty()).then(|| HeaderRow { row: header_row, first: Vec::new() });
        Self { spool, bodies, limits, origin, format, staging, reading, gathered, header_row }
    }

    /// Takes the next bytes of the body.
    pub fn push(&mut self, wire: &[u8]) -> Result<(), IngestError> {
        let Some(header_row) = &mut self.header_row else { return self.take(wire) };
        header_row.first.extend_from_slice(wire);
        // One byte does not say whether it is gzip.
        if header_row.first.len() > 1 { self.begin() } else { Ok(()) }
    }

    /// Takes the header row, if there is one to be added, and what has come of the body.
    fn begin(&mut self) -> Result<(), IngestError> {
        match self.header_row.take() {
            Some(HeaderRow { row, first }) if !first.is_empty() => {
                self.take(&decode::match_encoding(&row, &first)?)?;
                self.take(&first)
            }
            _ => Ok(()),
        }
    }

    fn take(&mut self, wire: &[u8]) -> Result<(), IngestError> {
        self.staging.write(wire)?;
        if let Reading::Decoding(decoder) = &mut self.reading {
            let pushed = decoder.push(wire, &mut self.gathered.taker(&self.spool, &self.origin));
            match pushed {
                Ok(()) => {}
                Err(DecodeError::TooLarge { limit, excess }) => {
                    return Err(IngestError::TooLarge { limit, excess });
                }
                Err(broken @ DecodeError::Gzip(_)) => self.broken(broken),
            }
        }
        Ok(())
    }

    /// Says that the body is whole, and makes it durable.
    pub fn finish(mut self) -> Result<Receipt, IngestError> {
        self.begin()?;
        let why = match self.reading {
            Reading::Broken(why) => why,
            Reading::Decoding(decoder) => {
                let finished = decoder.finish(&mut self.gathered.taker(&self.spool, &self.origin));
                match finished {
                    Ok(summary) => {
                        let Self { spool, limits, origin, format, staging, gathered, .. } = self;
                        let form = (limits, format);
                        return store(&spool, form, origin, staging, gathered, &summary);
                    }
                    Err(DecodeError::TooLarge { limit, excess }) => {
                        return Err(IngestError::TooLarge { limit, excess });
                    }
                    Err(broken @ DecodeError::Gzip(_)) => broken,
                }
            }
        };
        let file_name = self.bodies.keep(self.staging, &self.origin)?;
        Ok(Receipt::QuarantinedBody { why: why.to_string(), file_name })
    }

    fn broken(&mut self, why: DecodeError) {
        self.reading = Reading::Broken(why);
        self.gathered.blocks = None;
    }
}

fn store(
    spool: &Spool,
    (limits, format): (Limits, Format),
    origin: Origin,
    staging: Staging,
    gathered: Gathered,
    summary: &Summary,
) -> Result<Receipt, IngestError> {
    if summary.destination_check {
        return Ok(Receipt::DestinationCheck);
    }
    if summary.records + summary.rejected == 0 {
        return Ok(Receipt::Empty);
    }
    spool.admit(staging.bytes()).map_err(IngestError::SpoolUnavailable)?;
    let header = Header {
        origin,
        records: summary.records,
        rejected: summary.rejected,
        record_limit: limits.record_bytes,
        digest: Header::short_digest(&summary.digest),
        encoding: summary.encoding,
        format,
        edition: summary.edition,
    };
    let Some(batch) = spool.commit(staging, header, gathered.blocks)? else {
        let Summary { records, rejected, .. } = *summary;
        return Ok(Receipt::Duplicate { records, rejected });
    };
    let inflated_bytes = summary.inflated_bytes;
    let Gathered { rejects, first, .. } = gathered;
    let first_event = match first {
        First::Awaited => None,
        First::Seen { time } => time,
    };
    Ok(Receipt::Committed { batch, inflated_bytes, rejects, first_event })
}

impl Gathered {
    /// Takes blocks, and keeps them for as long as there is room for all of them.
    fn taker(&mut self, spool: &Spool, origin: &Origin) -> impl FnMut(Block) {
        |block| {
            if matches!(self.first, First::Awaited)
                && let Some(record) = block.iter().next()
            {
                let is_short = record.len() <= MAX_TIMED_RECORD;
                let time = is_short.then(|| record::time_of(&origin.dataset, record));
                self.first = First::Seen { time: time.flatten() };
            }
            for reject in &block.rejects {
                if let Some(count) = self.rejects.get_mut(reject.reason as usize) {
                    *count += 1;
                }
            }
            if let Some(blocks) = &mut self.blocks
                && !spool.cache_block(blocks, block)
            {
                self.blocks = None;
            }
        }
    }
}
