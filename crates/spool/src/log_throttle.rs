//! Throttles repeated log messages: logs the first one, then one per minute.

use std::time::{Duration, Instant};

/// The interval between log messages.
const REPEAT: Duration = Duration::from_secs(60);

/// Throttles the log of a repeated failure: logs the first one, each one with another cause, and
/// otherwise one per minute.
#[derive(Debug, Default)]
pub struct FailureThrottle {
    reported: Option<Reported>,
}

#[derive(Debug)]
struct Reported {
    cause: String,
    at: Instant,
    /// The number of failures since then that were not logged.
    unreported: u64,
}

impl FailureThrottle {
    /// Counts a failure. Returns `Some` if it is to be logged, with the number of failures since the last
    /// logged one.
    pub fn failed(&mut self, cause: &str, now: Instant) -> Option<u64> {
        let unreported = match &mut self.reported {
            None => 0,
            Some(last)
                if last.cause == cause && now.saturating_duration_since(last.at) < REPEAT =>
            {
                last.unreported += 1;
                return None;
            }
            Some(last) => last.unreported,
        };
        self.reported = Some(Reported { cause: cause.to_owned(), at: now, unreported: 0 });
        Some(unreported)
    }

    /// Records a success. Returns `true` if it is the first one after a failure.
    pub fn recovered(&mut self) -> bool {
        self.reported.take().is_some()
    }
}

/// Throttles the log of repeated losses: logs the first one, then once per minute their sum.
#[derive(Debug, Default)]
pub struct LossThrottle {
    reported_at: Option<Instant>,
    unreported: u64,
}

impl LossThrottle {
    /// Counts a loss. Returns `Some` if a line is to be logged, with the sum that has not been logged yet.
    pub fn add(&mut self, amount: u64, now: Instant) -> Option<u64> {
        self.unreported += amount;
        if self.reported_at.is_some_and(|at| now.saturating_duration_since(at) < REPEAT) {
            return None;
        }
        self.reported_at = Some(now);
        self.rest()
    }

    /// Returns the sum that has not been logged yet, if any, for a last line.
    pub fn rest(&mut self) -> Option<u64> {
        Some(std::mem::take(&mut self.unreported)).filter(|rest| *rest > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_summed_for_one_line_per_minute() {
        let mut losses = LossThrottle::default();
        let start = Instant::now();
        let reported = (0..=120).filter_map(|second| {
            let now = start + Duration::from_secs(second);
            Some((second, losses.add(2, now)?))
        });
        assert_eq!(reported.collect::<Vec<_>>(), [(0, 2), (60, 120), (120, 120)]);
        assert_eq!(losses.rest(), None);
        assert_eq!(losses.add(3, start + Duration::from_secs(121)), None);
        assert_eq!((losses.rest(), losses.rest()), (Some(3), None));
    }

    #[test]
    fn a_failure_is_logged_when_its_cause_changes_and_once_per_minute() {
        let mut failures = FailureThrottle::default();
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        assert!(!failures.recovered());
        assert_eq!(failures.failed("full", at(0)), Some(0));
        assert_eq!(failures.failed("full", at(1)), None);
        assert_eq!(failures.failed("full", at(59)), None);
        assert_eq!(failures.failed("read-only", at(59)), Some(2));
        assert_eq!(failures.failed("read-only", at(118)), None);
        assert_eq!(failures.failed("read-only", at(119)), Some(1));
        assert!(failures.recovered());
        assert!(!failures.recovered());
        assert_eq!(failures.failed("read-only", at(120)), Some(0));
    }
}
