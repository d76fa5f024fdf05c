//! When something came in, by both clocks.

use std::time::{Duration, Instant};

/// More than time servers correct at once: beyond this the wall clock was set.
const STEP: Duration = Duration::from_secs(60);

/// A moment by both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// By the clock that only rises.
    pub at: Instant,
    /// By the wall clock, in microseconds since 1970.
    pub wall_micros: u64,
}

impl Arrival {
    /// The wall time of this moment as the clock of `now` has it: what the clock said then, unless it
    /// was set since.
    pub(super) fn wall_micros_at(self, now: Self) -> u64 {
        let since = now.at.saturating_duration_since(self.at).as_micros();
        let counted = now.wall_micros.saturating_sub(u64::try_from(since).unwrap_or(u64::MAX));
        let is_set = u128::from(counted.abs_diff(self.wall_micros)) > STEP.as_micros();
        if is_set { counted } else { self.wall_micros }
    }
}
