//! Whether the spool accepts another batch: its size, the free space, and the state of the disk.
//!
//! [`SpoolStatus`] is for async code: it returns what is known and never waits for the disk. Methods of
//! [`Spool`] may read the disk and drop batches.

use std::{io, sync::Arc, time::Duration};

use super::{Lag, ProbeId, Spool};

/// The space to keep free on the disk for checkpoints and other programs: this many bytes, or a twentieth
/// of a small disk.
const RESERVE_BYTES: u64 = 256 << 20;
const RESERVE_PART: u64 = 20;

/// The reason why the spool refuses batches.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SpoolUnavailable {
    /// The spool has reached `spool.max_bytes`.
    SpoolFull {
        /// The limit, in bytes.
        max_bytes: u64,
        /// The sink with the largest lag.
        slowest_sink: String,
    },
    /// The free space has reached the reserve.
    DiskFull {
        /// The free space, in bytes.
        free: u64,
        /// The reserve, in bytes.
        reserve: u64,
    },
    /// The disk refuses writes.
    CannotWrite {
        /// The error, without a path.
        error: String,
    },
    /// The disk does not answer.
    DiskHangs,
}

/// The state of the spool for code that must not wait for a disk.
#[derive(Clone, Debug)]
pub struct SpoolStatus(Arc<Spool>);

impl SpoolStatus {
    /// Creates the status of a spool.
    pub fn new(spool: &Arc<Spool>) -> Self {
        Self(Arc::clone(spool))
    }

    /// Reports whether the spool may accept `bytes` more, perhaps after dropping batches.
    pub fn may_accept(&self, bytes: u64) -> Result<(), SpoolUnavailable> {
        self.0.may_accept(bytes)
    }

    /// Reports whether the disk accepts writes, as far as is known.
    pub fn writable(&self) -> Result<(), SpoolUnavailable> {
        match self.0.disk.failure() {
            _ if self.0.disk.is_hung() => Err(SpoolUnavailable::DiskHangs),
            Some(error) => Err(SpoolUnavailable::CannotWrite { error }),
            None => Ok(()),
        }
    }

    /// Requests a probe of the disk, unless a write succeeded within `age`. Returns `None` if there is
    /// nothing to wait for.
    pub fn probe(&self, age: Duration) -> Option<ProbeId> {
        self.0.disk.probe(age)
    }

    /// Reports whether a probe has finished, or the disk hangs. That takes a few seconds at most.
    pub fn is_finished(&self, probe: ProbeId) -> bool {
        self.0.disk.is_finished(probe)
    }

    /// Records that a batch could not be stored.
    pub fn failed(&self, error: &io::Error) {
        self.0.disk.failed(error);
    }

    /// Returns the number of batches in the queue and the total size of their files.
    pub fn size(&self) -> (usize, u64) {
        self.0.size()
    }

    /// Returns the maximum total size of the batch files.
    pub fn max_bytes(&self) -> u64 {
        self.0.max_bytes()
    }

    /// Returns the number of bytes that the limit and the disk leave for batches.
    pub fn available_bytes(&self) -> u64 {
        self.0.available_bytes()
    }

    /// Returns the lag of each consumer.
    pub fn lags(&self) -> Vec<Lag> {
        self.0.lags()
    }
}

impl Spool {
    /// Decides whether a batch of `bytes` may be committed, and drops batches to make room for it if the
    /// consumers allow that. A batch that has been received may exceed the limit once.
    pub fn admit(&self, bytes: u64) -> Result<(), SpoolUnavailable> {
        self.free_capacity(bytes).or_else(|_| self.check_capacity(0))
    }

    /// Checks whether `bytes` more may be committed. If not, drops batches of consumers that allow it.
    pub fn free_capacity(&self, bytes: u64) -> Result<(), SpoolUnavailable> {
        if self.disk.is_hung() {
            return Err(SpoolUnavailable::DiskHangs);
        }
        self.disk.refresh_space(&self.batches);
        match self.check_capacity(bytes) {
            Err(_) if self.shed(bytes) => {
                self.disk.refresh_space(&self.batches);
                self.check_capacity(bytes)
            }
            outcome => outcome,
        }
    }

    /// Like [`Self::free_capacity`], but neither drops batches nor reads the disk.
    pub(super) fn may_accept(&self, bytes: u64) -> Result<(), SpoolUnavailable> {
        match self.check_capacity(bytes) {
            Err(SpoolUnavailable::DiskHangs) => Err(SpoolUnavailable::DiskHangs),
            Err(_) if self.can_shed() => Ok(()),
            outcome => outcome,
        }
    }

    fn check_capacity(&self, bytes: u64) -> Result<(), SpoolUnavailable> {
        if self.disk.is_hung() {
            return Err(SpoolUnavailable::DiskHangs);
        }
        let max_bytes = self.max_bytes();
        if self.size().1.saturating_add(bytes) > max_bytes {
            let slowest_sink = self.slowest_consumer();
            return Err(SpoolUnavailable::SpoolFull { max_bytes, slowest_sink });
        }
        // If the free space is unknown, the write decides.
        let Some((free, reserve)) = self.free_and_reserve() else { return Ok(()) };
        if free < reserve.saturating_add(bytes) {
            return Err(SpoolUnavailable::DiskFull { free, reserve });
        }
        Ok(())
    }

    /// Returns the number of bytes that the limit and the disk leave for batches.
    pub(super) fn available_bytes(&self) -> u64 {
        let left = self.max_bytes().saturating_sub(self.size().1);
        self.free_and_reserve()
            .map_or(left, |(free, reserve)| left.min(free.saturating_sub(reserve)))
    }

    /// Returns the free space and the reserve.
    fn free_and_reserve(&self) -> Option<(u64, u64)> {
        let (free, all) = self.disk.space()?;
        Some((free, RESERVE_BYTES.min(all / RESERVE_PART)))
    }
}
