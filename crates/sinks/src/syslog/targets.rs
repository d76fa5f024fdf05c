//! Which of several targets is next: in the order of the config, those that failed lately last.

use std::time::{Duration, Instant};

/// What is known of the targets. They are meant by their place in the config.
#[derive(Debug)]
pub(super) struct Targets {
    failed: Vec<Option<Instant>>,
    /// How long a failure counts.
    failback: Duration,
}

impl Targets {
    pub(super) fn new(count: usize, failback: Duration) -> Self {
        Self { failed: vec![None; count], failback }
    }

    /// All of them, in the order in which to try.
    pub(super) fn order(&self, now: Instant) -> Vec<usize> {
        let mut order: Vec<_> = (0..self.failed.len()).collect();
        // Stable: the order of the config within each kind.
        order.sort_by_key(|target| self.failed_lately(*target, now));
        order
    }

    /// Those that are better than the one in use and worth a try again.
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
    fn one_that_failed_waits_behind_the_others_for_a_while() {
        let begin = Instant::now();
        let after = |seconds| begin + Duration::from_secs(seconds);
        let mut targets = Targets::new(3, Duration::from_secs(60));
        assert_eq!(targets.order(begin), [0, 1, 2]);
        targets.failed(0, begin);
        assert_eq!(targets.order(after(1)), [1, 2, 0]);
        assert_eq!(targets.better(1, after(1)), [0; 0]);
        targets.failed(1, after(30));
        assert_eq!(targets.order(after(59)), [2, 0, 1]);
        assert_eq!(targets.order(after(60)), [0, 2, 1]);
        assert_eq!(targets.better(2, after(60)), [0]);
        targets.failed(2, after(60));
        assert_eq!(targets.order(after(61)), [0, 1, 2], "all the same to it");
    }
}
