//! Random batches, limits, answers and kills.

use std::time::Duration;

use proptest::prelude::*;

use super::{
    super::{Limits, Pace},
    stand_in::{Answer, Rules, StandIn},
    world::{End, World},
};

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        4 => Just(Answer::Ordinary),
        3 => (1_u64..400).prop_map(Answer::Slow),
        2 => prop::option::of(1_u64..60).prop_map(Answer::Unavailable),
        2 => (1_usize..4).prop_map(Answer::Busy),
        1 => Just(Answer::TakeAndBreak),
        1 => Just(Answer::TakeAndHang),
        1 => Just(Answer::Hang),
        1 => Just(Answer::Unauthorized),
        1 => Just(Answer::Slow(35_000)),
    ]
}

/// A record: its length, and whether the target refuses it.
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

/// After how many calls a process ends, and how.
fn end() -> impl Strategy<Value = (usize, End)> {
    (0_usize..80, prop_oneof![3 => Just(End::Kill), 1 => Just(End::Stop)])
}

proptest! {
    #[test]
    fn every_record_is_delivered_or_a_dead_letter_whatever_happens(
        batches in batches(),
        (max_bytes, max_records, in_flight) in (1_usize..150, 1_usize..12, 1_usize..5),
        (too_large, words) in (20_usize..200, any::<bool>()),
        script in prop::collection::vec(answer(), 0..40),
        ends in prop::collection::vec(end(), 0..8),
        eager in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let rules = Rules { max_bytes: too_large, words, refuses_everything: false };
        let target = StandIn::new(rules, script);
        let limits = Limits { max_bytes, max_records };
        let mut world = World::new(target, limits, in_flight, seed);
        if eager {
            world.pace = Pace { checkpoint: Duration::ZERO, ..world.pace };
        }
        world.batches = batches;
        for (calls, end) in ends {
            if world.live(calls, end).is_ok() {
                break;
            }
        }
        world.live(usize::MAX, End::Kill).unwrap();
        world.check_complete();
    }
}
