//! Whether another batch may come in: what waits already, what the disk has left, and whether it
//! takes anything at all.

use std::{fs::OpenOptions, io, os::unix::fs::OpenOptionsExt as _, sync::PoisonError};

use tracing::{error, info};

use super::{Spool, commit};
use crate::{config::format_bytes, durable};

/// What is left free on the spool's disk, so that checkpoints and whatever else lives there go on:
/// this much, or a twentieth of a small disk.
const RESERVE_BYTES: u64 = 256 << 20;
const RESERVE_PART: u64 = 20;

/// Why batches are refused for now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum NoRoom {
    /// `spool.max_bytes`
    SpoolFull {
        /// The limit.
        max_bytes: u64,
        /// The sink that is furthest behind.
        behind: String,
    },
    /// The reserve of free disk.
    DiskFull {
        /// What is free, in bytes.
        free: u64,
        /// What must stay free, in bytes.
        reserve: u64,
    },
    /// The disk takes nothing.
    CannotWrite {
        /// What it says.
        error: String,
    },
}

impl std::fmt::Display for NoRoom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::SpoolFull { max_bytes, behind } => write!(
                f,
                "the spool is full (spool.max_bytes = {}): the sink {behind} lags, see the \
                 receiver's log",
                format_bytes(*max_bytes)
            ),
            Self::DiskFull { free, reserve } => write!(
                f,
                "the spool's disk is full: {} are free, and {} stay so",
                format_bytes(*free),
                format_bytes(*reserve)
            ),
            Self::CannotWrite { error } => write!(f, "the spool cannot be written to: {error}"),
        }
    }
}

impl Spool {
    /// Whether `bytes` more may be committed. If not, consumers that may lose batches lose some.
    pub fn room(&self, bytes: u64) -> Result<(), NoRoom> {
        match self.room_as_it_is(bytes) {
            Err(_) if self.shed(bytes) => self.room_as_it_is(bytes),
            outcome => outcome,
        }
    }

    /// The same without losing any: whether there is room, or some could be made.
    pub fn may_have_room(&self, bytes: u64) -> Result<(), NoRoom> {
        match self.room_as_it_is(bytes) {
            Err(_) if self.can_shed() => Ok(()),
            outcome => outcome,
        }
    }

    fn room_as_it_is(&self, bytes: u64) -> Result<(), NoRoom> {
        let max_bytes = self.max_bytes();
        if self.size().1.saturating_add(bytes) > max_bytes {
            let behind = self.furthest_behind();
            return Err(NoRoom::SpoolFull { max_bytes, behind });
        }
        // Where that cannot be told, writing will tell.
        let Some((free, reserve)) = self.disk() else { return Ok(()) };
        if free < reserve.saturating_add(bytes) {
            return Err(NoRoom::DiskFull { free, reserve });
        }
        Ok(())
    }

    /// How many bytes more may wait, as far as the limit and the disk go.
    pub fn room_bytes(&self) -> u64 {
        let left = self.max_bytes().saturating_sub(self.size().1);
        self.disk().map_or(left, |(free, reserve)| left.min(free.saturating_sub(reserve)))
    }

    /// What is free on the disk, and what must stay so.
    fn disk(&self) -> Option<(u64, u64)> {
        let disk = rustix::fs::statvfs(&self.batches).ok()?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let all = disk.f_blocks.saturating_mul(disk.f_frsize);
        Some((free, RESERVE_BYTES.min(all / RESERVE_PART)))
    }

    /// Whether the disk takes what it is given. Asked only after a failure, it tries.
    pub fn writable(&self) -> Result<(), NoRoom> {
        if !self.is_failing() {
            return Ok(());
        }
        let _trying = self.trying.lock().unwrap_or_else(PoisonError::into_inner);
        // Somebody else may have found out meanwhile.
        if !self.is_failing() {
            return Ok(());
        }
        // All that a commit does: a disk may take bytes and no names.
        let name = |end: &str| self.batches.join(format!("{}{end}", commit::UNFINISHED_PREFIX));
        let (path, renamed) = (name("probe"), name("probed"));
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let tried = self.leftovers.tidy().and_then(|()| {
            let file = durable::open(&options, &path)?;
            durable::write_all(&file, b"probe", &path)?;
            durable::sync(&file, &path)?;
            durable::rename(&path, &renamed)?;
            durable::sync_dir(&self.batches)
        });
        let removed = durable::remove(&path).and_then(|()| durable::remove(&renamed));
        let tried = tried.and(removed);
        match tried {
            Ok(()) => {
                self.works();
                Ok(())
            }
            Err(error) => Err(NoRoom::CannotWrite { error: durable::cause(&error) }),
        }
    }

    fn is_failing(&self) -> bool {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Takes notice that a batch could not be stored.
    pub fn failed(&self, error: &io::Error) {
        error!(%error, "cannot store a batch");
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        failing.get_or_insert_with(|| error.to_string());
    }

    /// Takes notice that a batch could be stored.
    pub(super) fn works(&self) {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = failing.take() {
            info!(error, "the spool can be written to again");
        }
    }
}
