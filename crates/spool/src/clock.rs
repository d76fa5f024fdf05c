//! Wall time and steady time, read together and replaceable in tests.
//!
//! Whatever ages within one run of the daemon ages by [`Moment`]s of a clock that only rises: a step of
//! the wall clock does not change it. A file that the next run reads holds wall time, converted by the
//! wall clock of the moment of writing, and converted back by that of the moment of reading.

use std::{
    fmt,
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

/// Microseconds since the clock was made; less than zero before that.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Moment(pub i64);

/// What both clocks say at the same time, in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Since the clock was made. It only rises, and stands still while the machine is suspended.
    pub steady: i64,
    /// Since 1970.
    pub wall: i64,
}

/// Reads both clocks: those of the system, or in a test those of a closure.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Now + Send + Sync>);

impl Clock {
    /// The clocks of the system.
    pub fn system() -> Self {
        let begun = Instant::now();
        Self::from(move || {
            let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let micros = |micros: u128| i64::try_from(micros).unwrap_or(i64::MAX);
            Now { steady: micros(begun.elapsed().as_micros()), wall: micros(wall.as_micros()) }
        })
    }

    /// Reads both.
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
    /// The present moment.
    pub fn moment(self) -> Moment {
        Moment(self.steady)
    }

    /// The moment of a wall time. The future is a mistake of some clock, and counts as now.
    pub fn moment_of(self, wall: i64) -> Moment {
        Moment(self.steady.saturating_sub(self.wall.saturating_sub(wall).max(0)))
    }

    /// The wall time of a moment.
    pub fn wall_of(self, Moment(steady): Moment) -> i64 {
        self.wall.saturating_sub(self.steady.saturating_sub(steady))
    }
}

impl Moment {
    /// An earlier moment.
    #[must_use]
    pub fn minus(self, micros: i64) -> Self {
        Self(self.0.saturating_sub(micros))
    }
}

/// Clocks for tests, of this crate and of those that use it.
pub mod test {
    use std::sync::{
        Arc,
        atomic::{AtomicI64, Ordering::Relaxed},
    };

    use super::{Clock, Now};

    /// Clocks that a test sets, in seconds.
    #[derive(Clone, Debug)]
    pub struct Hands {
        steady: Arc<AtomicI64>,
        wall: Arc<AtomicI64>,
    }

    impl Hands {
        /// The wall clock shows `wall`, and the steady one 0.
        pub fn at(wall: i64) -> Self {
            Self { steady: Arc::default(), wall: Arc::new(wall.into()) }
        }

        /// The clock that they move.
        pub fn clock(&self) -> Clock {
            let Self { steady, wall } = self.clone();
            let micros = |hand: &AtomicI64| hand.load(Relaxed) * 1_000_000;
            Clock::from(move || Now { steady: micros(&steady), wall: micros(&wall) })
        }

        /// Lets time pass on both.
        pub fn wait(&self, seconds: i64) {
            self.steady.fetch_add(seconds, Relaxed);
            self.step(seconds);
        }

        /// Steps the wall clock alone.
        pub fn step(&self, seconds: i64) {
            self.wall.fetch_add(seconds, Relaxed);
        }

        /// Steps the wall clock to a time.
        pub fn set(&self, wall: i64) {
            self.wall.store(wall, Relaxed);
        }
    }
}
