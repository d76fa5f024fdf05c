//! The places for connections of the admin listener. One more connection than there are places ends
//! another one, so that no local user can keep probes and scrapes waiting.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio_util::sync::CancellationToken;

/// A bounded number of places, oldest first.
#[derive(Debug)]
pub(super) struct Places {
    limit: usize,
    taken: Mutex<VecDeque<Arc<State>>>,
}

#[derive(Debug, Default)]
struct State {
    has_asked: AtomicBool,
    lost: CancellationToken,
}

/// The place of one connection, free again when dropped.
#[derive(Debug)]
pub(super) struct AdminPlace {
    state: Arc<State>,
    all: Arc<Places>,
}

impl Places {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, taken: Mutex::default() })
    }

    /// Gives a place to a new connection. If all are taken, the oldest connection that has not sent a
    /// whole request loses its place, else the oldest of all.
    pub(super) fn take(self: &Arc<Self>) -> AdminPlace {
        let mut taken = self.taken();
        if taken.len() >= self.limit {
            let silent = taken.iter().position(|state| !state.has_asked.load(Ordering::Relaxed));
            if let Some(loser) = taken.remove(silent.unwrap_or(0)) {
                loser.lost.cancel();
            }
        }
        let state = Arc::new(State::default());
        taken.push_back(Arc::clone(&state));
        AdminPlace { state, all: Arc::clone(self) }
    }

    fn taken(&self) -> MutexGuard<'_, VecDeque<Arc<State>>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AdminPlace {
    /// Notes that a whole request has arrived.
    pub(super) fn has_asked(&self) {
        self.state.has_asked.store(true, Ordering::Relaxed);
    }

    /// Waits until another connection has been given this place.
    pub(super) async fn lost(&self) {
        self.state.lost.cancelled().await;
    }
}

impl Drop for AdminPlace {
    fn drop(&mut self) {
        self.all.taken().retain(|state| !Arc::ptr_eq(state, &self.state));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_silent_connection_loses_its_place() {
        let places = Places::new(2);
        let is_lost = |place: &AdminPlace| place.state.lost.is_cancelled();
        let first = places.take();
        first.has_asked();
        let second = places.take();
        let third = places.take();
        assert_eq!([&first, &second, &third].map(is_lost), [false, true, false]);
        third.has_asked();
        let fourth = places.take();
        assert_eq!([&first, &third, &fourth].map(is_lost), [true, false, false]);
        drop((first, second, third));
        let fifth = places.take();
        assert_eq!([&fourth, &fifth].map(is_lost), [false, false]);
    }
}
