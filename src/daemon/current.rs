//! A value that a reload replaces while others use it.

use std::sync::{Arc, PoisonError, RwLock};

/// The current value. Handles that [`Current::load`] returned earlier keep the previous value.
#[derive(Debug)]
pub(super) struct Current<T>(RwLock<Arc<T>>);

impl<T> Current<T> {
    pub(super) fn new(first: T) -> Self {
        Self(RwLock::new(Arc::new(first)))
    }

    pub(super) fn load(&self) -> Arc<T> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn store(&self, next: T) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
    }
}
