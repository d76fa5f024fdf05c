//! A set of record positions.

/// Positions of records in a batch, as half-open ranges in ascending order, which are not adjacent.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Ranges {
    ranges: Vec<(u64, u64)>,
}

impl Ranges {
    /// Adds the positions from `first` up to, but not including, `end`.
    pub(super) fn insert(&mut self, first: u64, end: u64) {
        if first >= end {
            return;
        }
        match self.ranges.last_mut() {
            // The usual case: records are settled roughly in the order of their positions.
            Some(last) if last.0 <= first && first <= last.1 => last.1 = last.1.max(end),
            Some(last) if first < last.0 => {
                self.ranges.push((first, end));
                self.normalize();
            }
            _ => self.ranges.push((first, end)),
        }
    }

    /// Adds all positions of `other`.
    pub(super) fn union(&mut self, other: &Self) {
        self.ranges.extend_from_slice(&other.ranges);
        self.normalize();
    }

    fn normalize(&mut self) {
        self.ranges.sort_unstable();
        self.ranges.dedup_by(|next, last| {
            let touches = next.0 <= last.1;
            if touches {
                last.1 = last.1.max(next.1);
            }
            touches
        });
    }

    /// Whether the position is in the set.
    pub(super) fn contains(&self, position: u64) -> bool {
        let after = self.ranges.partition_point(|range| range.0 <= position);
        let range = after.checked_sub(1).and_then(|index| self.ranges.get(index));
        range.is_some_and(|range| position < range.1)
    }

    /// Whether all positions below `end` are in the set.
    pub(super) fn covers(&self, end: u64) -> bool {
        end == 0 || self.ranges.first().is_some_and(|range| range.0 == 0 && range.1 >= end)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The smallest position.
    pub(super) fn first(&self) -> Option<u64> {
        self.ranges.first().map(|range| range.0)
    }

    /// The ranges, in ascending order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.ranges.iter().copied()
    }
}

impl FromIterator<u64> for Ranges {
    fn from_iter<I: IntoIterator<Item = u64>>(positions: I) -> Self {
        let mut ranges = Self::default();
        for position in positions {
            ranges.insert(position, position.saturating_add(1));
        }
        ranges
    }
}

impl FromIterator<(u64, u64)> for Ranges {
    fn from_iter<I: IntoIterator<Item = (u64, u64)>>(all: I) -> Self {
        let mut ranges = Self::default();
        for (first, end) in all {
            ranges.insert(first, end);
        }
        ranges
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(inserts in prop::collection::vec((0_u64..60, 0_u64..8), 0..20), cut in 0_usize..20) {
            let mut set = BTreeSet::new();
            let (mut left, mut right) = (Ranges::default(), Ranges::default());
            for (index, (first, length)) in inserts.iter().enumerate() {
                set.extend(*first..first + length);
                let half = if index < cut { &mut left } else { &mut right };
                half.insert(*first, first + length);
            }
            left.union(&right);
            for position in 0..70 {
                prop_assert_eq!(left.contains(position), set.contains(&position));
            }
            prop_assert_eq!(left.first(), set.first().copied());
            let covered = (0..70).take_while(|position| set.contains(position)).count() as u64;
            prop_assert!(left.covers(covered) && !left.covers(covered + 1));
            let apart: Vec<_> = left.iter().collect();
            prop_assert!(apart.windows(2).all(|pair| pair[0].1 < pair[1].0));
            prop_assert_eq!(left, set.into_iter().collect());
        }
    }
}
