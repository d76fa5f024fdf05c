//! When something came in, by both clocks.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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
    /// This moment.
    pub fn now() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall_micros = u64::try_from(wall.as_micros()).unwrap_or(u64::MAX);
        Self { at: Instant::now(), wall_micros }
    }

    /// The moment when the wall clock, as it goes now, said `wall_micros`; this one if it is yet to come.
    pub(super) fn earlier(self, wall_micros: u64) -> Self {
        let since = Duration::from_micros(self.wall_micros.saturating_sub(wall_micros));
        match self.at.checked_sub(since) {
            Some(at) => Self { at, wall_micros: wall_micros.min(self.wall_micros) },
            None => self,
        }
    }

    /// The wall time of this moment as the clock of `now` has it: what the clock said then, unless it
    /// was set since.
    pub(super) fn wall_micros_at(self, now: Self) -> u64 {
        let since = now.at.saturating_duration_since(self.at).as_micros();
        let counted = now.wall_micros.saturating_sub(u64::try_from(since).unwrap_or(u64::MAX));
        let is_set = u128::from(counted.abs_diff(self.wall_micros)) > STEP.as_micros();
        if is_set { counted } else { self.wall_micros }
    }
}
