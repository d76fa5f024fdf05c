//! Wall time and monotonic time, read together, and replaceable in tests.
//!
//! Ages within one run of the daemon use [`MonotonicTime`], which steps of the wall clock do not change.
//! Files that the next run reads contain wall time: it is converted with the wall clock at the time
//! of the write, and converted back with the wall clock at the time of the read.

use std::{
    fmt,
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

/// Microseconds since the clock was created; negative before that.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct MonotonicTime(pub i64);

/// The time of both clocks, read together, in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Since the clock was created. It never goes back, and stops while the machine is suspended.
    pub monotonic: i64,
    /// Since 1970.
    pub wall: i64,
}

/// Reads both clocks, either those of the system or, in a test, those of a closure.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Now + Send + Sync>);

impl Clock {
    /// Returns the clocks of the system.
    pub fn system() -> Self {
        let begun = Instant::now();
        Self::from(move || {
            let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let micros = |micros: u128| i64::try_from(micros).unwrap_or(i64::MAX);
            Now { monotonic: micros(begun.elapsed().as_micros()), wall: micros(wall.as_micros()) }
        })
    }

    /// Reads both clocks.
    pub fn now(&self) -> Now {
        self.0()
    }
}

impl<F: Fn() -> Now + Send + Sync + 'static> From<F> for Clock {
    fn from(read: F) -> Self {
        Self(Arc::new(read))
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clock").field(&self.now()).finish()
    }
}

impl Now {
    /// Returns the monotonic time.
    pub fn moment(self) -> MonotonicTime {
        MonotonicTime(self.monotonic)
    }

    /// Converts a wall time. A time in the future, from a wrong clock, counts as now.
    pub fn moment_of(self, wall: i64) -> MonotonicTime {
        MonotonicTime(self.monotonic.saturating_sub(self.wall.saturating_sub(wall).max(0)))
    }

    /// Converts a monotonic time to wall time.
    pub fn wall_of(self, MonotonicTime(monotonic): MonotonicTime) -> i64 {
        self.wall.saturating_sub(self.monotonic.saturating_sub(monotonic))
    }
}

impl MonotonicTime {
    /// Returns an earlier time.
    #[must_use]
    pub fn minus(self, micros: i64) -> Self {
        Self(self.0.saturating_sub(micros))
    }
}

/// Clocks for the tests of this crate and of its users.
pub mod test {
    use std::sync::{
        Arc,
        atomic::{AtomicI64, Ordering::Relaxed},
    };

    use super::{Clock, Now};

    /// Clocks that a test sets, in seconds.
    #[derive(Clone, Debug)]
    pub struct ManualClock {
        monotonic: Arc<AtomicI64>,
        wall: Arc<AtomicI64>,
    }

    impl ManualClock {
        /// Creates clocks with wall time `wall` and monotonic time 0.
        pub fn at(wall: i64) -> Self {
            Self { monotonic: Arc::default(), wall: Arc::new(wall.into()) }
        }

        /// Returns the clock that reads these times.
        pub fn clock(&self) -> Clock {
            let Self { monotonic, wall } = self.clone();
            let micros = |hand: &AtomicI64| hand.load(Relaxed) * 1_000_000;
            Clock::from(move || Now { monotonic: micros(&monotonic), wall: micros(&wall) })
        }

        /// Advances both clocks.
        pub fn advance(&self, seconds: i64) {
            self.monotonic.fetch_add(seconds, Relaxed);
            self.step(seconds);
        }

        /// Steps only the wall clock.
        pub fn step(&self, seconds: i64) {
            self.wall.fetch_add(seconds, Relaxed);
        }

        /// Sets the wall clock.
        pub fn set(&self, wall: i64) {
            self.wall.store(wall, Relaxed);
        }
    }
}
