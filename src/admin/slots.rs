//! Connection slots of the admin listener. When all are in use, a new connection replaces another,
//! so that no local user can block probes and scrapes.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio_util::sync::CancellationToken;

/// A fixed number of slots, oldest first.
#[derive(Debug)]
pub(super) struct Slots {
    limit: usize,
    taken: Mutex<VecDeque<Arc<State>>>,
}

#[derive(Debug, Default)]
struct State {
    has_request: AtomicBool,
    replaced: CancellationToken,
}

/// Slot of one connection. Freed when dropped.
#[derive(Debug)]
pub(super) struct AdminSlot {
    state: Arc<State>,
    all: Arc<Slots>,
}

impl Slots {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, taken: Mutex::default() })
    }

    /// Assigns a slot to a new connection. If all are in use, it replaces the oldest connection
    /// that has not sent a complete request, or else the oldest connection.
    pub(super) fn take(self: &Arc<Self>) -> AdminSlot {
        let mut taken = self.taken();
        if taken.len() >= self.limit {
            let silent = taken.iter().position(|state| !state.has_request.load(Ordering::Relaxed));
            if let Some(oldest) = taken.remove(silent.unwrap_or(0)) {
                oldest.replaced.cancel();
            }
        }
        let state = Arc::new(State::default());
        taken.push_back(Arc::clone(&state));
        AdminSlot { state, all: Arc::clone(self) }
    }

    fn taken(&self) -> MutexGuard<'_, VecDeque<Arc<State>>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AdminSlot {
    /// Records that a complete request has arrived.
    pub(super) fn request_arrived(&self) {
        self.state.has_request.store(true, Ordering::Relaxed);
    }

    /// Waits until another connection replaces this one.
    pub(super) async fn replaced(&self) {
        self.state.replaced.cancelled().await;
    }
}

impl Drop for AdminSlot {
    fn drop(&mut self) {
        self.all.taken().retain(|state| !Arc::ptr_eq(state, &self.state));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_silent_connection_is_replaced() {
        let slots = Slots::new(2);
        let is_replaced = |slot: &AdminSlot| slot.state.replaced.is_cancelled();
        let first = slots.take();
        first.request_arrived();
        let second = slots.take();
        let third = slots.take();
        assert_eq!([&first, &second, &third].map(is_replaced), [false, true, false]);
        third.request_arrived();
        let fourth = slots.take();
        assert_eq!([&first, &third, &fourth].map(is_replaced), [true, false, false]);
        drop((first, second, third));
        let fifth = slots.take();
        assert_eq!([&fourth, &fifth].map(is_replaced), [false, false]);
    }
}
