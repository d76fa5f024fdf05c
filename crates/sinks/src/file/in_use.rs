//! The files that the sink may be writing to, which the keeper must not compress or remove.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long a file counts as in use after a batch for it. The sink closes it sooner.
const IN_USE: Duration = Duration::from_secs(120);

/// The files in use, each with the time of its last batch.
#[derive(Default)]
pub(super) struct FilesInUse(Mutex<HashMap<PathBuf, Instant>>);

impl FilesInUse {
    /// Notes that a file is in use.
    pub(super) fn note_use(&self, path: &Path) {
        let mut in_use = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match in_use.get_mut(path) {
            Some(since) => *since = Instant::now(),
            None => {
                in_use.insert(path.to_owned(), Instant::now());
            }
        }
    }

    /// Calls `run` unless the file is in use, and returns whether it did. The sink cannot begin to
    /// use the file during the call.
    pub(super) fn unless_in_use(
        &self,
        path: &Path,
        run: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<bool> {
        let mut in_use = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        in_use.retain(|_, since| since.elapsed() < IN_USE);
        if in_use.contains_key(path) {
            return Ok(false);
        }
        run().map(|()| true)
    }

    #[cfg(test)]
    pub(super) fn release_for_test(&self) {
        self.0.lock().unwrap().clear();
    }
}
