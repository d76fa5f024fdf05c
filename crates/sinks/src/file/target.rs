//! The state of a file that the sink writes to or has written to.

use std::{fs::Metadata, io, os::unix::fs::MetadataExt as _, path::Path, time::Instant};

use spool::log_throttle::LossThrottle;
use tracing::warn;

use super::{
    claim::Claimant,
    inventory::Identity,
    open::{self, OpenFile},
    opener::FileOpener,
    state::FilePosition,
};

pub(super) struct TargetFile {
    /// The pattern in the checkpoint; `None` once the sink has used the file under its own pattern.
    pub(super) pattern: Option<String>,
    pub(super) inode: u64,
    /// Its time of birth, if known; see [`Identity`].
    pub(super) made: Option<u64>,
    /// Its length with all finished batches.
    pub(super) finished_len: u64,
    /// The offset that the current attempt has reached.
    pub(super) written_len: u64,
    /// `finished_len` in the last checkpoint; `None` if that does not contain the file.
    pub(super) checkpoint_len: Option<u64>,
    /// When its first record was written, in Unix seconds.
    pub(super) born: i64,
    pub(super) open: Option<OpenFile>,
    /// The last batch that it was used for, by the sink's count.
    pub(super) last_batch: u64,
    /// When that was.
    pub(super) last_used: Instant,
    /// When to retry a rotation that failed.
    pub(super) not_before: Option<Instant>,
    /// Limits the log lines about changes by other processes.
    pub(super) interference: LossThrottle,
}

impl TargetFile {
    pub(super) fn from_position(position: &FilePosition, now: Instant) -> Self {
        Self {
            pattern: Some(position.pattern.clone()),
            inode: position.inode,
            made: position.made,
            finished_len: position.length,
            written_len: position.length,
            checkpoint_len: Some(position.length),
            // A time in the future, from a wrong clock, must not delay the rotation.
            born: position.born.map_or_else(unix_now, |born| born.min(unix_now())),
            open: None,
            last_batch: 0,
            last_used: now,
            not_before: None,
            interference: LossThrottle::default(),
        }
    }

    pub(super) fn new(identity: Identity, open: OpenFile) -> Self {
        Self {
            pattern: None,
            inode: identity.inode,
            made: identity.made,
            finished_len: open.length,
            written_len: open.length,
            checkpoint_len: None,
            born: unix_now(),
            open: Some(open),
            last_batch: 0,
            last_used: Instant::now(),
            not_before: None,
            interference: LossThrottle::default(),
        }
    }

    /// Whether `named` is this file. A checkpoint does not contain the device: its number can
    /// change with a restart.
    pub(super) fn is_named_by(&self, named: &Metadata) -> bool {
        named.ino() == self.inode
            && self.open.as_ref().is_none_or(|open| open.is_on_device_of(named))
    }

    /// Truncates the open file after the finished batches.
    pub(super) fn truncate(&mut self, path: &Path) -> io::Result<()> {
        match &mut self.open {
            Some(open) if open.length > self.finished_len => {
                let bytes = open.length - self.finished_len;
                open.truncate(self.finished_len, path)?;
                let path = path.display();
                warn!(%path, bytes, "truncated bytes that were written after the last checkpoint");
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Whether the last checkpoint covers all finished batches.
    pub(super) fn is_checkpointed(&self) -> bool {
        self.checkpoint_len == Some(self.finished_len)
    }

    /// Whether the file, which another program has renamed, contains more than the finished
    /// batches. An attempt or an earlier process then began a batch there, and the batch is
    /// completed there instead of being written again to another file. Does not apply to a file
    /// that only has the same inode number, nor to one that `is_finished`: the sink renamed that
    /// itself, when the checkpoint covered all of it.
    pub(super) fn has_partial_batch(
        &mut self,
        path: &Path,
        (opener, claimant): (&FileOpener, &Claimant),
        is_finished: &dyn Fn(&Path, Identity) -> bool,
    ) -> io::Result<bool> {
        if self.open.is_none() {
            let is_match = |named: &Path, it: &Metadata| {
                let it = Identity::of(it);
                let is_same = self.made.is_none() || self.made == it.made;
                self.inode == it.inode && is_same && !is_finished(named, it)
            };
            if let Some((file, metadata)) = open::renamed(path, opener, &is_match) {
                let claim = claimant.claim(&metadata, path)?;
                self.open = Some(OpenFile::new((file, &metadata), claim, 0, self.finished_len));
            }
        }
        let Some(open) = &mut self.open else { return Ok(false) };
        open.measure(path)?;
        Ok(open.length > self.finished_len && open.is_named(path)?)
    }
}

pub(super) fn unix_now() -> i64 {
    jiff::Timestamp::now().as_second()
}
