//! The age of a batch, independent of steps of the wall clock.

use std::time::{Duration, Instant};

use jiff::Timestamp;

/// The age of a batch: its age at a point in time, and the time since then.
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchAge {
    at: Instant,
    then: Duration,
}

impl BatchAge {
    /// Returns the age of a batch that arrives now.
    pub(super) fn new() -> Self {
        Self { at: Instant::now(), then: Duration::ZERO }
    }

    /// Returns the age of a batch from an earlier run. A time in the future, from a wrong clock, counts as now.
    pub(super) fn since(received: Timestamp, wall: Timestamp) -> Self {
        let then = Duration::try_from(wall.duration_since(received)).unwrap_or_default();
        Self { at: Instant::now(), then }
    }

    /// Returns the age at a point in time.
    pub(super) fn at(self, now: Instant) -> Duration {
        self.then + now.saturating_duration_since(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_from_the_future_counts_as_new() {
        let hour = Duration::from_secs(3600);
        let wall = Timestamp::from_second(1_790_000_000).unwrap();
        for (received, then) in [(wall - hour, hour), (wall + hour, Duration::ZERO)] {
            let age = BatchAge::since(received, wall);
            assert_eq!(age.at(age.at), then);
            assert_eq!(age.at(age.at + hour), then + hour);
        }
    }
}
