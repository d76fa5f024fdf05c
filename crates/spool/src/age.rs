//! How old a batch is, whatever steps the wall clock makes.

use std::time::{Duration, Instant};

use jiff::Timestamp;

/// The age of a batch: what it was at some moment, and how long ago that is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Age {
    at: Instant,
    then: Duration,
}

impl Age {
    /// That of a batch that arrives now.
    pub(super) fn new() -> Self {
        Self { at: Instant::now(), then: Duration::ZERO }
    }

    /// That of a batch from an earlier life. One from the future is new: some clock was wrong.
    pub(super) fn since(received: Timestamp, wall: Timestamp) -> Self {
        let then = Duration::try_from(wall.duration_since(received)).unwrap_or_default();
        Self { at: Instant::now(), then }
    }

    /// The age at a moment.
    pub(super) fn at(self, now: Instant) -> Duration {
        self.then + now.saturating_duration_since(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_from_the_future_ages_too() {
        let hour = Duration::from_secs(3600);
        let wall = Timestamp::from_second(1_790_000_000).unwrap();
        for (received, then) in [(wall - hour, hour), (wall + hour, Duration::ZERO)] {
            let age = Age::since(received, wall);
            assert_eq!(age.at(age.at), then);
            assert_eq!(age.at(age.at + hour), then + hour);
        }
    }
}
