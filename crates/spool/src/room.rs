//! Whether another batch may come in: what waits already, what the disk has left, and whether it
//! takes anything at all.
//!
//! [`Room`] tells what is known and never waits for the disk: it is for async code. What looks at the
//! disk, or removes batches from it, is a method of [`Spool`].

use std::{io, sync::Arc, time::Duration};

use super::{Lag, Question, Spool};

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
    /// The disk does not answer.
    Hangs,
}

/// What is known of the spool, for whoever must not wait for a disk.
#[derive(Clone, Debug)]
pub struct Room(Arc<Spool>);

impl Room {
    /// That of a spool.
    pub fn of(spool: &Arc<Spool>) -> Self {
        Self(Arc::clone(spool))
    }

    /// Whether there is room for `bytes` more, or some could be made.
    pub fn may_have_room(&self, bytes: u64) -> Result<(), NoRoom> {
        self.0.may_have_room(bytes)
    }

    /// Whether the disk takes what it is given, as far as is known.
    pub fn writable(&self) -> Result<(), NoRoom> {
        match self.0.disk.failure() {
            _ if self.0.disk.hangs() => Err(NoRoom::Hangs),
            Some(error) => Err(NoRoom::CannotWrite { error }),
            None => Ok(()),
        }
    }

    /// Asks the disk, unless it has taken something within `age`. `None` if there is nothing to wait
    /// for.
    pub fn ask(&self, age: Duration) -> Option<Question> {
        self.0.disk.ask(age)
    }

    /// Whether a question is answered, or will not be: then the disk is known to hang. That takes a
    /// few seconds at the most.
    pub fn is_answered(&self, question: Question) -> bool {
        self.0.disk.is_answered(question)
    }

    /// Takes note that a batch could not be stored.
    pub fn failed(&self, error: &io::Error) {
        self.0.disk.failed(error);
    }

    /// How many batches wait, and the bytes of their files.
    pub fn size(&self) -> (usize, u64) {
        self.0.size()
    }

    /// The most that may wait.
    pub fn max_bytes(&self) -> u64 {
        self.0.max_bytes()
    }

    /// How many bytes more may wait, as far as the limit and the disk go.
    pub fn bytes(&self) -> u64 {
        self.0.room_bytes()
    }

    /// What each consumer lacks.
    pub fn lags(&self) -> Vec<Lag> {
        self.0.lags()
    }
}

impl Spool {
    /// Makes room for a batch of `bytes` if that costs only consumers that may lose batches, and
    /// says whether the batch may be committed: whoever got this far may exceed the limit once.
    pub fn make_room(&self, bytes: u64) -> Result<(), NoRoom> {
        self.room(bytes).or_else(|_| self.room_as_it_is(0))
    }

    /// Whether `bytes` more may be committed. If not, consumers that may lose batches lose some.
    pub fn room(&self, bytes: u64) -> Result<(), NoRoom> {
        if self.disk.hangs() {
            return Err(NoRoom::Hangs);
        }
        self.disk.look(&self.batches);
        match self.room_as_it_is(bytes) {
            Err(_) if self.shed(bytes) => {
                self.disk.look(&self.batches);
                self.room_as_it_is(bytes)
            }
            outcome => outcome,
        }
    }

    /// The same without losing any and without asking the disk: whether there is room, or some could
    /// be made.
    pub(super) fn may_have_room(&self, bytes: u64) -> Result<(), NoRoom> {
        match self.room_as_it_is(bytes) {
            Err(NoRoom::Hangs) => Err(NoRoom::Hangs),
            Err(_) if self.can_shed() => Ok(()),
            outcome => outcome,
        }
    }

    fn room_as_it_is(&self, bytes: u64) -> Result<(), NoRoom> {
        if self.disk.hangs() {
            return Err(NoRoom::Hangs);
        }
        let max_bytes = self.max_bytes();
        if self.size().1.saturating_add(bytes) > max_bytes {
            let behind = self.furthest_behind();
            return Err(NoRoom::SpoolFull { max_bytes, behind });
        }
        // Where that cannot be told, writing will tell.
        let Some((free, reserve)) = self.free_and_reserve() else { return Ok(()) };
        if free < reserve.saturating_add(bytes) {
            return Err(NoRoom::DiskFull { free, reserve });
        }
        Ok(())
    }

    /// How many bytes more may wait, as far as the limit and the disk go.
    pub(super) fn room_bytes(&self) -> u64 {
        let left = self.max_bytes().saturating_sub(self.size().1);
        self.free_and_reserve()
            .map_or(left, |(free, reserve)| left.min(free.saturating_sub(reserve)))
    }

    /// What is free on the disk, and what must stay so.
    fn free_and_reserve(&self) -> Option<(u64, u64)> {
        let (free, all) = self.disk.space()?;
        Some((free, RESERVE_BYTES.min(all / RESERVE_PART)))
    }
}
