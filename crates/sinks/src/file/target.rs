//! A file that is or was written to, as the sink knows it.

use std::{fs::Metadata, io, os::unix::fs::MetadataExt as _, path::Path, time::Instant};

use spool::log_throttle::LossThrottle;
use tracing::warn;

use super::{
    claim::Claimant,
    inventory::Identity,
    open::{self, Open},
    place::Place,
    state::Mark,
};

pub(super) struct Target {
    /// The pattern that it was marked under, until it is used under the sink's own.
    pub(super) pattern: Option<String>,
    pub(super) inode: u64,
    /// When it was made, if that is known.
    pub(super) made: Option<u64>,
    /// Up to where the finished batches reach.
    pub(super) finished: u64,
    /// Up to where the attempt under way has come.
    pub(super) reached: u64,
    /// Up to where they reached at the last checkpoint; `None` if that does not know the file.
    pub(super) saved: Option<u64>,
    /// When its first record came, in Unix seconds.
    pub(super) born: i64,
    pub(super) open: Option<Open>,
    /// The batch, as the sink numbers them, that it was used for last.
    pub(super) used: u64,
    /// When that was.
    pub(super) used_at: Instant,
    /// It could not be rotated: not again before this.
    pub(super) not_before: Option<Instant>,
    /// Which changes by other processes are logged.
    pub(super) interference: LossThrottle,
}

impl Target {
    pub(super) fn of_mark(mark: &Mark, now: Instant) -> Self {
        Self {
            pattern: Some(mark.pattern.clone()),
            inode: mark.inode,
            made: mark.made,
            finished: mark.length,
            reached: mark.length,
            saved: Some(mark.length),
            // A clock that was ahead must not put off the rotation until that time.
            born: mark.born.map_or_else(unix_now, |born| born.min(unix_now())),
            open: None,
            used: 0,
            used_at: now,
            not_before: None,
            interference: LossThrottle::default(),
        }
    }

    pub(super) fn of_new(identity: Identity, open: Open) -> Self {
        Self {
            pattern: None,
            inode: identity.inode,
            made: identity.made,
            finished: open.length,
            reached: open.length,
            saved: None,
            born: unix_now(),
            open: Some(open),
            used: 0,
            used_at: Instant::now(),
            not_before: None,
            interference: LossThrottle::default(),
        }
    }

    /// Whether this is the file. A checkpoint does not say on which device it was: that may have another
    /// number after a restart.
    pub(super) fn is_named_by(&self, named: &Metadata) -> bool {
        named.ino() == self.inode && self.open.as_ref().is_none_or(|open| open.is_beside(named))
    }

    /// Cuts off what the open file holds beyond the finished batches.
    pub(super) fn cut(&mut self, path: &Path) -> io::Result<()> {
        match &mut self.open {
            Some(open) if open.length > self.finished => {
                let bytes = open.length - self.finished;
                open.cut(self.finished, path)?;
                let path = path.display();
                warn!(%path, bytes, "cut off what was written after the last checkpoint");
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Whether the last checkpoint says how far it is.
    pub(super) fn is_saved(&self) -> bool {
        self.saved == Some(self.finished)
    }

    /// Whether the file, which lost its name, holds more than the finished batches: what an attempt or
    /// an earlier life began there is brought to its end there, and not written again elsewhere. Not so
    /// in a file that only has the number of the old one, which is soon used again, nor in one that
    /// `has_ended`: the sink renamed that itself, when it held no more than the checkpoint says.
    pub(super) fn goes_on(
        &mut self,
        path: &Path,
        (place, claimant): (&Place, &Claimant),
        has_ended: &dyn Fn(&Path, Identity) -> bool,
    ) -> io::Result<bool> {
        if self.open.is_none() {
            let is_it = |named: &Path, it: &Metadata| {
                let it = Identity::of(it);
                let is_same = self.made.is_none() || self.made == it.made;
                self.inode == it.inode && is_same && !has_ended(named, it)
            };
            if let Some((file, metadata)) = open::renamed(path, place, &is_it) {
                let claim = claimant.claim(&metadata, path)?;
                self.open = Some(Open::new((file, &metadata), claim, 0, self.finished));
            }
        }
        let Some(open) = &mut self.open else { return Ok(false) };
        open.measure(path)?;
        Ok(open.length > self.finished && open.is_named(path)?)
    }
}

pub(super) fn unix_now() -> i64 {
    jiff::Timestamp::now().as_second()
}
