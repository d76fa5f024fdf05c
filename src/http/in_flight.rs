//! Limits the bodies in flight, in bytes on the wire.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
};

/// Bodies that may be in flight, however small they are: each needs about half a megabyte of
/// memory, and a thread while it waits for a disk.
pub const MAX_UPLOADS: usize = 512;

/// Budget of `limits.max_in_flight_bytes`.
#[derive(Debug)]
pub(super) struct InFlight {
    used: Arc<Used>,
    limit: u64,
}

#[derive(Debug, Default)]
struct Used {
    bytes: AtomicU64,
    uploads: AtomicUsize,
}

/// Part of the budget. Returned when dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    used: Arc<Used>,
    limit: u64,
    bytes: u64,
}

impl InFlight {
    pub(super) fn new(limit: u64) -> Self {
        Self { used: Arc::default(), limit }
    }

    /// Returns a budget with another limit that also counts the bodies in flight here.
    pub(super) fn limited_to(&self, limit: u64) -> Self {
        Self { used: Arc::clone(&self.used), limit }
    }

    /// Returns the bytes in flight.
    pub(super) fn used(&self) -> u64 {
        self.used.bytes.load(Relaxed)
    }

    pub(super) fn is_full(&self) -> bool {
        self.used() >= self.limit
    }

    /// Reserves `bytes` for a new body. `None` if that exceeds the limit.
    pub(super) fn reserve(&self, bytes: u64) -> Option<Reservation> {
        let before = self.used.uploads.fetch_add(1, Relaxed);
        let used = Arc::clone(&self.used);
        let mut reservation = Reservation { used, limit: self.limit, bytes: 0 };
        (before < MAX_UPLOADS && reservation.cover(bytes)).then_some(reservation)
    }
}

impl Reservation {
    /// Grows to at least `bytes`. `false` if that exceeds the limit.
    pub(super) fn cover(&mut self, bytes: u64) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let limit = self.limit;
        let enough = |used: u64| used.checked_add(more).filter(|sum| *sum <= limit);
        let taken = self.used.bytes.fetch_update(Relaxed, Relaxed, enough).is_ok();
        if taken {
            self.bytes += more;
        }
        taken
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.used.bytes.fetch_sub(self.bytes, Relaxed);
        self.used.uploads.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_enforced_and_returned() {
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
    fn another_limit_counts_bodies_already_in_flight() {
        let budget = InFlight::new(100);
        let mut old = budget.reserve(60).unwrap();
        let lower = budget.limited_to(50);
        assert!(lower.is_full() && lower.reserve(0).is_none());
        assert!(old.cover(100), "a body keeps the limit that it started with");
        drop(old);
        assert!(lower.reserve(51).is_none());
        let _one = lower.reserve(50).unwrap();
        assert_eq!(budget.used(), 50);
    }

    #[test]
    fn empty_bodies_are_bounded_by_their_number() {
        let budget = InFlight::new(100);
        let mut all: Vec<_> = (0..MAX_UPLOADS).map(|_| budget.reserve(0).unwrap()).collect();
        assert!(budget.reserve(0).is_none());
        all.pop();
        assert!(budget.reserve(0).is_some());
    }
}
