//! What happens again and again is logged the first time and then once a minute: nobody can fill a disk
//! with it.

use std::time::{Duration, Instant};

/// How often a failure or a loss that repeats is reported.
const REPEAT: Duration = Duration::from_secs(60);

/// Which reports of a failure that repeats are logged: the first, each with another cause, and
/// otherwise one a minute.
#[derive(Debug, Default)]
pub struct Failures {
    reported: Option<Reported>,
}

#[derive(Debug)]
struct Reported {
    cause: String,
    at: Instant,
    /// Since then.
    unreported: u64,
}

impl Failures {
    /// Counts a failure. `Some` if it is to be logged: how many were not since the last that was.
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

    /// Takes notice of a success. Whether it is the first after a failure.
    pub fn recovered(&mut self) -> bool {
        self.reported.take().is_some()
    }
}

/// Adds up what is lost again and again: the first loss is logged, and then once a minute all that was
/// lost since.
#[derive(Debug, Default)]
pub struct Losses {
    reported_at: Option<Instant>,
    unreported: u64,
}

impl Losses {
    /// Counts a loss. `Some` if a line is to be logged: with all that no line contains yet.
    pub fn add(&mut self, amount: u64, now: Instant) -> Option<u64> {
        self.unreported += amount;
        if self.reported_at.is_some_and(|at| now.saturating_duration_since(at) < REPEAT) {
            return None;
        }
        self.reported_at = Some(now);
        self.rest()
    }

    /// What no line contains yet, if there is something: for a line after which no loss may come.
    pub fn rest(&mut self) -> Option<u64> {
        Some(std::mem::take(&mut self.unreported)).filter(|rest| *rest > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_added_up_for_a_line_a_minute() {
        let mut losses = Losses::default();
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
    fn a_failure_is_reported_with_each_change_and_then_once_a_minute() {
        let mut failures = Failures::default();
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
