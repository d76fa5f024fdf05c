//! The uploader with a mock target and a delivery that can be killed before any call.

mod harness;
mod limits;
mod metrics;
mod mock_target;
mod recorded_metrics;
mod scenarios;
mod simulation;
mod socket;

use jiff::Timestamp;
use records::decode::{Edition, Encoding, Format};
use spool::{Batch, Header, Origin};

pub(super) fn batch(sequence: u64) -> Batch {
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
