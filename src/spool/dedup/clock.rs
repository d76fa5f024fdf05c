//! The time by which entries age: steps of the wall clock do not change it.
//!
//! Entries of this life are dated by a clock that only rises. In the log, which the next life reads,
//! the same moments stand as wall time: converted by the wall clock of the moment of writing, and back
//! by that of the moment of reading.

use std::{
    fmt,
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

/// Microseconds since the spool was opened; less than zero before that.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Moment(pub(super) i64);

/// What both clocks say at the same time, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) steady: i64,
    pub(super) wall: i64,
}

#[derive(Clone)]
pub(super) struct Clock(Arc<dyn Fn() -> Now + Send + Sync>);

impl Clock {
    pub(super) fn system() -> Self {
        let begun = Instant::now();
        Self::from(move || {
            let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let micros = |micros: u128| i64::try_from(micros).unwrap_or(i64::MAX);
            Now { steady: micros(begun.elapsed().as_micros()), wall: micros(wall.as_micros()) }
        })
    }

    pub(super) fn now(&self) -> Now {
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
    pub(super) fn moment(self) -> Moment {
        Moment(self.steady)
    }

    /// The moment of a wall time. The future is a mistake of some clock, and counts as now.
    pub(super) fn moment_of(self, wall: i64) -> Moment {
        Moment(self.steady.saturating_sub(self.wall.saturating_sub(wall).max(0)))
    }

    /// The wall time of a moment.
    pub(super) fn wall_of(self, Moment(steady): Moment) -> i64 {
        self.wall.saturating_sub(self.steady.saturating_sub(steady))
    }
}

impl Moment {
    pub(super) fn minus(self, micros: i64) -> Self {
        Self(self.0.saturating_sub(micros))
    }
}
