//! Simulates random batches, limits, answers and kills.

use std::time::Duration;

use proptest::prelude::*;

use super::{
    super::{Intervals, Limits},
    harness::{Harness, ProcessEnd},
    mock_target::{MockTarget, Reply, Rules},
};

fn answer() -> impl Strategy<Value = Reply> {
    prop_oneof![
        4 => Just(Reply::Ordinary),
        3 => (1_u64..400).prop_map(Reply::Slow),
        2 => prop::option::of(1_u64..60).prop_map(Reply::Unavailable),
        2 => (1_usize..4).prop_map(Reply::Busy),
        1 => Just(Reply::TakeAndBreak),
        1 => Just(Reply::TakeAndHang),
        1 => Just(Reply::Hang),
        1 => Just(Reply::Unauthorized),
        1 => Just(Reply::Slow(35_000)),
    ]
}

/// A record of random length, which the target may refuse.
fn record() -> impl Strategy<Value = Vec<u8>> {
    (0_usize..30, prop::bool::weighted(0.1)).prop_map(|(length, bad)| {
        let mut record = vec![b'a'; length];
        if bad {
            record.extend_from_slice(b"bad");
        }
        record
    })
}

fn batches() -> impl Strategy<Value = Vec<Vec<Vec<u8>>>> {
    prop::collection::vec(prop::collection::vec(record(), 1..25), 1..6)
}

/// The number of calls before a process ends, and how it ends.
fn end() -> impl Strategy<Value = (usize, ProcessEnd)> {
    (0_usize..80, prop_oneof![3 => Just(ProcessEnd::Kill), 1 => Just(ProcessEnd::Stop)])
}

proptest! {
    #[test]
    fn every_record_is_delivered_or_a_dead_letter_whatever_happens(
        batches in batches(),
        (max_bytes, max_records, in_flight) in (1_usize..150, 1_usize..12, 1_usize..5),
        (too_large, per_record) in (20_usize..200, any::<bool>()),
        script in prop::collection::vec(answer(), 0..40),
        ends in prop::collection::vec(end(), 0..8),
        eager in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let rules = Rules { max_bytes: too_large, per_record, refuses_everything: false };
        let target = MockTarget::new(rules, script);
        let limits = Limits { max_bytes, max_records };
        let mut harness = Harness::new(target, limits, in_flight, seed);
        if eager {
            harness.intervals = Intervals { checkpoint: Duration::ZERO, ..harness.intervals };
        }
        harness.batches = batches;
        for (calls, end) in ends {
            if harness.live(calls, end).is_ok() {
                break;
            }
        }
        harness.live(usize::MAX, ProcessEnd::Kill).unwrap();
        harness.check_complete();
    }
}
