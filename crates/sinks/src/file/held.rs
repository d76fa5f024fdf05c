//! Which files the sink may write to, so that the keeper leaves them alone.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// A file that something came for is not removed for so long. The sink has closed it by then.
const HOLD: Duration = Duration::from_secs(120);

/// The files that the sink may write to.
#[derive(Default)]
pub(super) struct Held(Mutex<HashMap<PathBuf, Instant>>);

impl Held {
    pub(super) fn hold(&self, path: &Path) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match held.get_mut(path) {
            Some(since) => *since = Instant::now(),
            None => {
                held.insert(path.to_owned(), Instant::now());
            }
        }
    }

    /// Says whether it was run: the sink cannot begin with the file meanwhile.
    pub(super) fn unless_held(
        &self,
        path: &Path,
        run: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<bool> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|_, since| since.elapsed() < HOLD);
        if held.contains_key(path) {
            return Ok(false);
        }
        run().map(|()| true)
    }

    #[cfg(test)]
    pub(super) fn let_go_for_test(&self) {
        self.0.lock().unwrap().clear();
    }
}
