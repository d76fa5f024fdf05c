//! The uploader against a stand-in target, under a delivery that can be killed at any step.

mod limits;
mod scenarios;
mod simulation;
mod socket;
mod stand_in;
mod world;

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
