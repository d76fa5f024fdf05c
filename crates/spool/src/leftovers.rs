//! Files of the folder of batches that could not be removed: they are kept in mind, and removed as
//! soon as the disk lets go of them. The next start would do it, but daemons run for years.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tracing::warn;

use crate::{durable, repeats::Failures};

/// What could not be removed. Each list is as long as the disk has room for names.
#[derive(Debug, Default)]
pub(super) struct Leftovers(Mutex<Paths>);

#[derive(Debug, Default)]
struct Paths {
    refused: Vec<PathBuf>,
    idle: Vec<PathBuf>,
    /// Which failures are logged.
    failures: Failures,
}

/// What a file is that has to go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Leftover {
    /// It bears a batch's name, and the sender was told that it is not stored. A start would deliver
    /// it, beside the one that the sender sends again.
    Refused,
    /// No start makes more of it than a file to remove.
    Idle,
}

impl Leftovers {
    /// Removes a file, now or later.
    pub(super) fn remove(&self, path: &Path, what: Leftover) {
        let Err(error) = durable::remove(path) else { return };
        let report = self.paths().failures.failed(&durable::cause(&error), Instant::now());
        if let Some(repeated) = report {
            warn!(%error, repeated, "cannot remove a file of the spool: tried again later");
        }
        self.add(path, what);
    }

    /// Has a file removed later.
    pub(super) fn add(&self, path: &Path, what: Leftover) {
        let mut paths = self.paths();
        match what {
            Leftover::Refused => paths.refused.push(path.to_owned()),
            Leftover::Idle => paths.idle.push(path.to_owned()),
        }
    }

    /// Tries again what did not work.
    ///
    /// # Errors
    /// Nothing may be committed now: it could be what lies there already.
    pub(super) fn tidy(&self) -> io::Result<()> {
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
