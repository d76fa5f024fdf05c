//! Measures times by the monotonic clock and the wall clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A larger difference between the clocks means that the wall clock was set. Time servers correct
/// less at once.
const STEP: Duration = Duration::from_secs(60);

/// A time by both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// By the monotonic clock.
    pub at: Instant,
    /// By the wall clock, in microseconds since 1970.
    pub wall_micros: u64,
}

impl Arrival {
    /// Returns the current time.
    pub fn now() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall_micros = u64::try_from(wall.as_micros()).unwrap_or(u64::MAX);
        Self { at: Instant::now(), wall_micros }
    }

    /// Returns the time `wall_micros` by the current wall clock. A time in the future becomes
    /// `self`.
    pub(super) fn earlier(self, wall_micros: u64) -> Self {
        let since = Duration::from_micros(self.wall_micros.saturating_sub(wall_micros));
        match self.at.checked_sub(since) {
            Some(at) => Self { at, wall_micros: wall_micros.min(self.wall_micros) },
            None => self,
        }
    }

    /// Returns the wall clock time of `self`: as recorded, or by the wall clock of `now` if that
    /// was set since.
    pub(super) fn wall_micros_at(self, now: Self) -> u64 {
        let since = now.at.saturating_duration_since(self.at).as_micros();
        let counted = now.wall_micros.saturating_sub(u64::try_from(since).unwrap_or(u64::MAX));
        let is_set = u128::from(counted.abs_diff(self.wall_micros)) > STEP.as_micros();
        if is_set { counted } else { self.wall_micros }
    }
}
