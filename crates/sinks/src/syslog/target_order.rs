//! Chooses between several targets: in the order of the configuration, recently failed ones last.

use std::time::{Duration, Instant};

/// The recent failures of the targets. A target is identified by its index in the configuration.
#[derive(Debug)]
pub(super) struct TargetOrder {
    failed: Vec<Option<Instant>>,
    /// How long a failure counts as recent.
    failback: Duration,
}

impl TargetOrder {
    pub(super) fn new(count: usize, failback: Duration) -> Self {
        Self { failed: vec![None; count], failback }
    }

    /// All targets, in the order in which to try them.
    pub(super) fn order(&self, now: Instant) -> Vec<usize> {
        let mut order: Vec<_> = (0..self.failed.len()).collect();
        // The sort is stable: it keeps the order of the configuration otherwise.
        order.sort_by_key(|target| self.failed_lately(*target, now));
        order
    }

    /// The targets that are preferred to the one in use and have not failed recently.
    pub(super) fn better(&self, than: usize, now: Instant) -> Vec<usize> {
        (0..than).filter(|target| !self.failed_lately(*target, now)).collect()
    }

    pub(super) fn failed(&mut self, target: usize, now: Instant) {
        if let Some(failed) = self.failed.get_mut(target) {
            *failed = Some(now);
        }
    }

    fn failed_lately(&self, target: usize, now: Instant) -> bool {
        let failed = self.failed.get(target).copied().flatten();
        failed.is_some_and(|at| now.saturating_duration_since(at) < self.failback)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_target_comes_after_the_others_for_a_while() {
        let begin = Instant::now();
        let after = |seconds| begin + Duration::from_secs(seconds);
        let mut targets = TargetOrder::new(3, Duration::from_secs(60));
        assert_eq!(targets.order(begin), [0, 1, 2]);
        targets.failed(0, begin);
        assert_eq!(targets.order(after(1)), [1, 2, 0]);
        assert_eq!(targets.better(1, after(1)), [0; 0]);
        targets.failed(1, after(30));
        assert_eq!(targets.order(after(59)), [2, 0, 1]);
        assert_eq!(targets.order(after(60)), [0, 2, 1]);
        assert_eq!(targets.better(2, after(60)), [0]);
        targets.failed(2, after(60));
        assert_eq!(targets.order(after(61)), [0, 1, 2], "all have failed recently");
    }
}
