//! Takes one body to the spool: decodes and stages it as it arrives, then commits it.
//!
//! Blocks, and knows nothing of HTTP: the caller passes the chunks from a blocking thread.

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

/// Number of rejected records by reason, in the order of [`RejectReason::ALL`].
pub type RejectCounts = [u64; RejectReason::ALL.len()];

/// Longest first record whose time is determined, in bytes.
const MAX_TIMED_RECORD: usize = 64 * 1024;

/// A body that is being received.
pub struct Ingest {
    spool: Arc<Spool>,
    bodies: Arc<Bodies>,
    limits: Limits,
    origin: Origin,
    format: Format,
    staging: Staging,
    decoding: Decoding,
    collected: CollectedBlocks,
    /// Row to insert before the body, until the first bytes of the body show whether it is gzip.
    header_row: Option<HeaderRow>,
}

/// Format of a body, as declared by the sender and configured for the endpoint.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BodyFormat {
    /// The `Content-Encoding` that the sender declares.
    pub encoding: Encoding,
    /// Format of the records.
    pub format: Format,
    /// Row of column names, if the body has none; otherwise empty. It is stored before the body, so
    /// that the batch decodes the same after the configuration changed.
    pub header_row: Vec<u8>,
}

struct HeaderRow {
    row: Vec<u8>,
    /// First bytes of the body.
    first: Vec<u8>,
}

/// Blocks from the decoder, and what is counted of them.
struct CollectedBlocks {
    /// All blocks so far, if they fit in memory.
    blocks: Option<Blocks>,
    rejects: RejectCounts,
    first: FirstRecord,
}

/// The first record, for the event lag.
enum FirstRecord {
    Awaited,
    Seen { time: Option<Timestamp> },
}

enum Decoding {
    Running(Box<Decoder>),
    /// The body is unreadable. It is still staged to its end, for quarantine.
    Failed(DecodeError),
}

/// Outcome of a body that was accepted.
#[derive(Debug)]
pub enum Receipt {
    /// The batch is durable.
    Committed {
        /// The batch in the spool.
        batch: Arc<Batch>,
        /// Inflated size.
        inflated_bytes: u64,
        /// Number of quarantined records.
        rejects: RejectCounts,
        /// Time of the first record, if it has one.
        first_event: Option<Timestamp>,
    },
    /// The same batch was committed before. Nothing is stored.
    Duplicate {
        /// Records that went to the sinks.
        records: u64,
        /// Records that were quarantined.
        rejected: u64,
    },
    /// The body contains no record. Nothing is stored.
    Empty,
    /// Cloudflare's destination check. Nothing is stored.
    DestinationCheck,
    /// The body is unreadable. It is durable in quarantine, unchanged.
    QuarantinedBody {
        /// Why the body is unreadable.
        why: String,
        /// Name of its file in quarantine.
        file_name: String,
    },
}

/// Why a body was refused. Nothing is stored.
#[derive(Debug)]
pub enum IngestError {
    /// The body exceeds a limit.
    TooLarge {
        /// The limit, in bytes.
        limit: u64,
        /// What exceeds the limit.
        excess: Excess,
    },
    /// The spool has no room now.
    SpoolUnavailable(SpoolUnavailable),
    /// Writing to the spool failed.
    Store(io::Error),
}

impl From<io::Error> for IngestError {
    fn from(error: io::Error) -> Self {
        Self::Store(error)
    }
}

impl Ingest {
    /// Starts to receive a body.
    pub fn new(
        spool: Arc<Spool>,
        bodies: Arc<Bodies>,
        limits: Limits,
        origin: Origin,
        body_format: BodyFormat,
    ) -> Self {
        let BodyFormat { encoding, format, header_row } = body_format;
        let staging = spool.stage();
        let collected = CollectedBlocks {
            blocks: Some(spool.new_blocks()),
            rejects: RejectCounts::default(),
            first: FirstRecord::Awaited,
        };
        let decoder =
            Decoder::new(limits, encoding).with_format(format).with_prefix_len(header_row.len());
        let decoding = Decoding::Running(Box::new(decoder));
        let header_row =
            (!header_row.is_empty()).then(|| HeaderRow { row: header_row, first: Vec::new() });
        Self { spool, bodies, limits, origin, format, staging, decoding, collected, header_row }
    }

    /// Takes the next bytes of the body.
    pub fn push(&mut self, wire: &[u8]) -> Result<(), IngestError> {
        let Some(header_row) = &mut self.header_row else { return self.process(wire) };
        header_row.first.extend_from_slice(wire);
        // Two bytes show whether the body is gzip.
        if header_row.first.len() > 1 { self.insert_header_row() } else { Ok(()) }
    }

    /// Processes the header row, if there is one to insert, and the first bytes of the body.
    fn insert_header_row(&mut self) -> Result<(), IngestError> {
        match self.header_row.take() {
            Some(HeaderRow { row, first }) if !first.is_empty() => {
                self.process(&decode::match_encoding(&row, &first)?)?;
                self.process(&first)
            }
            _ => Ok(()),
        }
    }

    /// Stages and decodes bytes.
    fn process(&mut self, wire: &[u8]) -> Result<(), IngestError> {
        self.staging.write(wire)?;
        if let Decoding::Running(decoder) = &mut self.decoding {
            let pushed =
                decoder.push(wire, &mut self.collected.collector(&self.spool, &self.origin));
            match pushed {
                Ok(()) => {}
                Err(DecodeError::TooLarge { limit, excess }) => {
                    return Err(IngestError::TooLarge { limit, excess });
                }
                Err(error @ DecodeError::Gzip(_)) => self.fail_decoding(error),
            }
        }
        Ok(())
    }

    /// Ends the body, and makes it durable.
    pub fn finish(mut self) -> Result<Receipt, IngestError> {
        self.insert_header_row()?;
        let why = match self.decoding {
            Decoding::Failed(why) => why,
            Decoding::Running(decoder) => {
                let finished =
                    decoder.finish(&mut self.collected.collector(&self.spool, &self.origin));
                match finished {
                    Ok(summary) => {
                        let Self { spool, limits, origin, format, staging, collected, .. } = self;
                        let decoding = (limits, format);
                        return store(&spool, decoding, origin, staging, collected, &summary);
                    }
                    Err(DecodeError::TooLarge { limit, excess }) => {
                        return Err(IngestError::TooLarge { limit, excess });
                    }
                    Err(error @ DecodeError::Gzip(_)) => error,
                }
            }
        };
        let file_name = self.bodies.keep(self.staging, &self.origin)?;
        Ok(Receipt::QuarantinedBody { why: why.to_string(), file_name })
    }

    fn fail_decoding(&mut self, why: DecodeError) {
        self.decoding = Decoding::Failed(why);
        self.collected.blocks = None;
    }
}

/// Commits a decoded body, unless there is nothing to store.
fn store(
    spool: &Spool,
    (limits, format): (Limits, Format),
    origin: Origin,
    staging: Staging,
    collected: CollectedBlocks,
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
    let Some(batch) = spool.commit(staging, header, collected.blocks)? else {
        let Summary { records, rejected, .. } = *summary;
        return Ok(Receipt::Duplicate { records, rejected });
    };
    let inflated_bytes = summary.inflated_bytes;
    let CollectedBlocks { rejects, first, .. } = collected;
    let first_event = match first {
        FirstRecord::Awaited => None,
        FirstRecord::Seen { time } => time,
    };
    Ok(Receipt::Committed { batch, inflated_bytes, rejects, first_event })
}

impl CollectedBlocks {
    /// Returns the function that collects blocks, in memory as long as all of them fit.
    fn collector(&mut self, spool: &Spool, origin: &Origin) -> impl FnMut(Block) {
        |block| {
            if matches!(self.first, FirstRecord::Awaited)
                && let Some(record) = block.iter().next()
            {
                let is_short = record.len() <= MAX_TIMED_RECORD;
                let time = is_short.then(|| record::time_of(&origin.dataset, record));
                self.first = FirstRecord::Seen { time: time.flatten() };
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
