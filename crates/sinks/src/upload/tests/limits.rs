//! The boundaries of chunks.

use std::sync::Arc;

use proptest::prelude::*;

use super::{
    super::{Limits, chunker::Chunker, ranges::Ranges},
    batch,
};

/// The records of each chunk by the rule: as many records as fit.
fn by_rule(lengths: &[usize], limits: Limits) -> Vec<Vec<u64>> {
    let mut chunks: Vec<Vec<u64>> = Vec::new();
    let mut bytes = 0;
    for (position, length) in (0..).zip(lengths) {
        bytes += length + 1;
        match chunks.last_mut() {
            Some(last) if bytes <= limits.max_bytes && last.len() < limits.max_records => {
                last.push(position);
            }
            _ => {
                chunks.push(vec![position]);
                bytes = length + 1;
            }
        }
    }
    chunks
}

fn divide(
    lengths: &[usize],
    limits: Limits,
    blocks: &[usize],
    skip: &Ranges,
) -> Vec<(String, Vec<u64>)> {
    let mut chunker = Chunker::new(Arc::new(batch(1)), 0, limits, skip.clone());
    let mut chunks = Vec::new();
    let mut sizes = blocks.iter().copied().cycle();
    let mut lengths = lengths;
    while !lengths.is_empty() {
        let (block, rest) = lengths.split_at(sizes.next().unwrap().min(lengths.len()));
        lengths = rest;
        let lines: Vec<u8> =
            block.iter().flat_map(|n| [vec![b'a'; *n], vec![b'\n']].concat()).collect();
        let mut taken = 0;
        while taken < lines.len() {
            taken += chunker.fill(&lines[taken..]);
            if taken < lines.len() {
                chunks.extend(chunker.close(None));
            }
        }
    }
    chunks.extend(chunker.close(None));
    chunks
        .iter()
        .map(|chunk| (chunk.id().part.clone(), chunk.iter().map(|(at, _)| at).collect()))
        .collect()
}

proptest! {
    #[test]
    fn blocks_and_settled_records_change_no_boundary(
        lengths in prop::collection::vec(0_usize..40, 1..60),
        max_bytes in 1_usize..200,
        max_records in 1_usize..20,
        blocks in prop::collection::vec(1_usize..9, 1..9),
        settled in prop::collection::vec(any::<bool>(), 60),
    ) {
        let limits = Limits { max_bytes, max_records };
        let expected = by_rule(&lengths, limits);
        let whole = divide(&lengths, limits, &blocks, &Ranges::default());
        for ((number, positions), (part, chunk)) in expected.iter().enumerate().zip(&whole) {
            prop_assert_eq!(part, &number.to_string());
            prop_assert_eq!(chunk, positions);
        }
        prop_assert_eq!(expected.len(), whole.len());
        // Settled records are missing from their chunks, and other chunks do not change.
        let is_settled = |at: &u64| settled[usize::try_from(*at).unwrap()];
        let skip = (0..lengths.len() as u64).filter(is_settled).collect();
        let mut rest = divide(&lengths, limits, &blocks, &skip).into_iter();
        for (number, mut positions) in expected.into_iter().enumerate() {
            let count = positions.len();
            positions.retain(|at| !is_settled(at));
            if positions.is_empty() {
                continue;
            }
            let (part, chunk) = rest.next().unwrap();
            prop_assert_eq!(part == number.to_string(), chunk.len() == count, "{}", part);
            prop_assert_eq!(chunk, positions);
        }
        prop_assert_eq!(rest.next(), None);
    }
}
