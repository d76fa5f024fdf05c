//! Tracks the batches that may not have arrived.
//!
//! Syslog has no acknowledgments. Messages that were written are in the buffers of two kernels and
//! in the memory of the server, and are lost if the server crashes. So a batch is in doubt until
//! the kernel of the server has acknowledged its last byte, and `resend_window` has passed without
//! a failure of the connection. By then the server has most likely read it.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// The batches in doubt, oldest first.
#[derive(Debug, Default)]
pub(super) struct InDoubt {
    batches: VecDeque<Sent>,
}

#[derive(Debug)]
struct Sent {
    sequence: u64,
    /// The offset after its last byte in all bytes of the connection.
    end: u64,
    at: Instant,
}

impl InDoubt {
    /// Adds a batch that was written completely. `end` is the number of bytes written to the
    /// connection.
    pub(super) fn add(&mut self, sequence: u64, end: u64, at: Instant) {
        self.batches.push_back(Sent { sequence, end, at });
    }

    /// Removes batches whose bytes are acknowledged and that are older than `window`.
    /// `acknowledged` counts bytes of the connection.
    pub(super) fn settle(&mut self, acknowledged: u64, window: Duration, now: Instant) {
        while self.batches.front().is_some_and(|sent| {
            sent.end <= acknowledged && now.saturating_duration_since(sent.at) >= window
        }) {
            self.batches.pop_front();
        }
    }

    /// The sequence of the oldest batch in doubt.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.batches.front().map(|sent| sent.sequence)
    }

    /// Removes all batches, which have arrived or have to be sent again.
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
        let mut in_doubt = InDoubt::default();
        in_doubt.add(7, 100, begin);
        in_doubt.add(8, 150, after(1));
        in_doubt.settle(150, window, after(4));
        assert_eq!(in_doubt.oldest(), Some(7), "too early");
        in_doubt.settle(99, window, after(60));
        assert_eq!(in_doubt.oldest(), Some(7), "not acknowledged");
        in_doubt.settle(120, window, after(60));
        assert_eq!(in_doubt.oldest(), Some(8));
        in_doubt.settle(150, window, after(60));
        assert!(in_doubt.is_empty());
    }
}
