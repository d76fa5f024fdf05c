//! Files of the batch directory that could not be removed. The spool retries their removal, since the
//! next start may be years away.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tracing::warn;

use crate::{durable, log_throttle::FailureThrottle};

/// Files to remove. Their number is bounded by the number of names that the disk has room for.
#[derive(Debug, Default)]
pub(super) struct PendingRemovals(Mutex<Paths>);

#[derive(Debug, Default)]
struct Paths {
    refused: Vec<PathBuf>,
    idle: Vec<PathBuf>,
    /// Throttles the log of failures.
    failures: FailureThrottle,
}

/// A file that has to be removed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum StaleFile {
    /// A file with the name of a batch that was answered with an error. A start would deliver it in
    /// addition to the sender's retry.
    Unacknowledged,
    /// A file that a start would also remove.
    Unused,
}

impl PendingRemovals {
    /// Removes a file now, or later if that fails.
    pub(super) fn remove(&self, path: &Path, what: StaleFile) {
        let Err(error) = durable::remove(path) else { return };
        let report = self.paths().failures.failed(&durable::cause(&error), Instant::now());
        if let Some(repeated) = report {
            warn!(%error, repeated, "cannot remove a file of the spool; retrying later");
        }
        self.add(path, what);
    }

    /// Registers a file for later removal.
    pub(super) fn add(&self, path: &Path, what: StaleFile) {
        let mut paths = self.paths();
        match what {
            StaleFile::Unacknowledged => paths.refused.push(path.to_owned()),
            StaleFile::Unused => paths.idle.push(path.to_owned()),
        }
    }

    /// Retries all removals.
    ///
    /// # Errors
    /// An unacknowledged batch is still on disk. Nothing may be committed, since it could be the same
    /// batch.
    pub(super) fn retry(&self) -> io::Result<()> {
        let mut paths = self.paths();
        while let Some(path) = paths.refused.last() {
            durable::remove(path)?;
            paths.refused.pop();
        }
        while paths.idle.last().is_some_and(|path| durable::remove(path).is_ok()) {
            paths.idle.pop();
        }
        if paths.idle.is_empty() {
            paths.failures.recovered();
        }
        Ok(())
    }

    fn paths(&self) -> MutexGuard<'_, Paths> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
