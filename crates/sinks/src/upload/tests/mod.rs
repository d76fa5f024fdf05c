//! The uploader with a mock target and a delivery that can be killed before any call.

mod harness;
mod limits;
mod metrics;
mod mock_target;
mod recorded_metrics;
mod scenarios;
mod simulation;
mod socket;

use std::sync::Arc;

use jiff::Timestamp;
use records::decode::{Edition, Encoding, Format};
use spool::{Batch, Header, Origin};

use super::chunk::{Chunk, Record};

/// A batch without records.
pub(crate) fn batch(sequence: u64) -> Batch {
    let header = Header {
        origin: Origin {
            endpoint: "push".to_owned(),
            dataset: "http_requests".to_owned(),
            received: Timestamp::UNIX_EPOCH,
            sink: None,
        },
        records: 0,
        rejected: 0,
        record_limit: 1 << 20,
        digest: u128::from(sequence) + 0xd0,
        encoding: Encoding::Identity,
        format: Format::default(),
        edition: Edition::First,
    };
    Batch { sequence, header }
}

/// A chunk of these records, the first of their batch.
pub(crate) fn chunk_of(dataset: &str, records: &[&str]) -> Chunk {
    let mut batch = batch(1);
    batch.header.origin.dataset = dataset.to_owned();
    let (mut bytes, mut positions) = (Vec::new(), Vec::new());
    for (record, position) in records.iter().zip(0..) {
        bytes.extend_from_slice(record.as_bytes());
        bytes.push(b'\n');
        positions.push(Record { position, end: bytes.len() });
    }
    Chunk::new((&Arc::new(batch), 1), 0, "0".to_owned(), (bytes, positions))
}
