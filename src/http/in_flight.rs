//! The budget for bodies that are under way, in bytes on the wire.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// How many bodies may be under way, however few bytes they send: each needs about half a megabyte of
/// memory.
pub(super) const MAX_UPLOADS: usize = 512;

#[derive(Debug)]
pub(super) struct InFlight {
    used: Arc<AtomicU64>,
    limit: u64,
}

/// A part of the budget, given back when dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    used: Arc<AtomicU64>,
    limit: u64,
    bytes: u64,
}

impl InFlight {
    pub(super) fn new(limit: u64) -> Self {
        Self { used: Arc::default(), limit }
    }

    /// What is under way.
    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub(super) fn is_full(&self) -> bool {
        self.used() >= self.limit
    }

    /// `None` if it would go over the limit.
    pub(super) fn reserve(&self, bytes: u64) -> Option<Reservation> {
        let mut reservation =
            Reservation { used: Arc::clone(&self.used), limit: self.limit, bytes: 0 };
        // Every reservation holds one more.
        let uploads = Arc::strong_count(&self.used) - 2;
        (uploads < MAX_UPLOADS && reservation.cover(bytes)).then_some(reservation)
    }
}

impl Reservation {
    /// Grows to at least `bytes`. `false` if that would go over the limit.
    pub(super) fn cover(&mut self, bytes: u64) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let limit = self.limit;
        let enough = |used: u64| used.checked_add(more).filter(|sum| *sum <= limit);
        let taken = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, enough).is_ok();
        if taken {
            self.bytes += more;
        }
        taken
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_kept_and_given_back() {
        let budget = InFlight::new(100);
        let mut first = budget.reserve(60).unwrap();
        assert!(budget.reserve(41).is_none());
        assert!(first.cover(10), "it covers that already");
        assert!(first.cover(90));
        assert!(!first.cover(101));
        let second = budget.reserve(10).unwrap();
        assert!(budget.reserve(1).is_none());
        drop((first, second));
        assert!(budget.reserve(u64::MAX).is_none());
        assert!(budget.reserve(100).is_some());
    }

    #[test]
    fn bodies_of_no_size_are_bounded_by_their_number() {
        let budget = InFlight::new(100);
        let mut all: Vec<_> = (0..MAX_UPLOADS).map(|_| budget.reserve(0).unwrap()).collect();
        assert!(budget.reserve(0).is_none());
        all.pop();
        assert!(budget.reserve(0).is_some());
    }
}
