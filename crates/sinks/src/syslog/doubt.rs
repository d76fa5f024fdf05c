//! Which batches are not certain to have arrived.
//!
//! Syslog has no acknowledgment. What was written lies in the buffers of two kernels and in the
//! memory of the server, and is lost if the server dies now. So a batch is in doubt until the other
//! side's kernel has acknowledged its last byte and, after that, some time has passed in which the
//! connection did not break: then the server has most likely taken it.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// The batches in doubt, oldest first.
#[derive(Debug, Default)]
pub(super) struct Doubt {
    batches: VecDeque<Sent>,
}

#[derive(Debug)]
struct Sent {
    sequence: u64,
    /// Where its last byte stands among all bytes of this connection.
    end: u64,
    at: Instant,
}

impl Doubt {
    /// A batch was written as a whole. `end` counts the bytes written to this connection.
    pub(super) fn add(&mut self, sequence: u64, end: u64, at: Instant) {
        self.batches.push_back(Sent { sequence, end, at });
    }

    /// Takes out what was acknowledged (bytes of this connection) and is older than `window`.
    pub(super) fn settle(&mut self, acknowledged: u64, window: Duration, now: Instant) {
        while self.batches.front().is_some_and(|sent| {
            sent.end <= acknowledged && now.saturating_duration_since(sent.at) >= window
        }) {
            self.batches.pop_front();
        }
    }

    /// The oldest of them.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.batches.front().map(|sent| sent.sequence)
    }

    /// They have arrived, or are to be sent again.
    pub(super) fn clear(&mut self) {
        self.batches.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_certain_when_it_is_acknowledged_and_the_time_has_passed() {
        let (begin, window) = (Instant::now(), Duration::from_secs(5));
        let after = |seconds| begin + Duration::from_secs(seconds);
        let mut doubt = Doubt::default();
        doubt.add(7, 100, begin);
        doubt.add(8, 150, after(1));
        doubt.settle(150, window, after(4));
        assert_eq!(doubt.oldest(), Some(7), "too early");
        doubt.settle(99, window, after(60));
        assert_eq!(doubt.oldest(), Some(7), "not acknowledged");
        doubt.settle(120, window, after(60));
        assert_eq!(doubt.oldest(), Some(8));
        doubt.settle(150, window, after(60));
        assert!(doubt.is_empty());
    }
}
