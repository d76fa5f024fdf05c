//! Finishes files whose date has passed, so that the keeper compresses them. They keep their names.

use std::{path::PathBuf, time::Instant};

use jiff::Timestamp;
use spool::durable;
use tracing::warn;

use super::{
    FileSink, IDLE,
    inventory::{InventoryEntry, Stage},
    target::unix_now,
};

impl FileSink {
    /// Finishes the files whose date has passed and that got no batch for a while. Returns whether
    /// there was one. A late batch is appended to such a file, or begins a new one if it is
    /// compressed by then.
    ///
    /// As with a rotation, a file is finished only when the stored checkpoint covers all of it.
    pub(super) fn finish_dated_files(&mut self, now: Instant, time: Timestamp) -> bool {
        if self.next_dates.is_none_or(|next| next > now) {
            return false;
        }
        self.next_dates = Some(now + IDLE);
        let Some(keeper) = &self.keeper else { return false };
        let has_passed = |(path, entry): &(PathBuf, InventoryEntry)| {
            // A file of an earlier `path` may belong to another sink by now.
            entry.stage == Stage::Live
                && self.template.has_stream(&entry.stream)
                && self.template.has_passed(path, time)
        };
        let files = keeper.inventory().files().into_iter().filter(has_passed);
        let passed: Vec<PathBuf> = files.map(|(path, _)| path).collect();
        let mut finished = false;
        for path in passed {
            if let Some(target) = self.targets.get(&path) {
                let is_complete = path.symlink_metadata().is_ok_and(|named| {
                    target.is_named_by(&named) && named.len() == target.finished_len
                });
                let is_idle = now.duration_since(target.last_used) >= IDLE;
                let is_clean = target.open.as_ref().is_none_or(|open| !open.is_dirty());
                if !(is_complete && is_idle && is_clean && target.is_checkpointed()) {
                    continue;
                }
            }
            if let Err(error) = keeper.inventory().set_finished(&path, Some(unix_now())) {
                let error = durable::cause(&error);
                warn!(path = %path.display(), error, "cannot store that a file is finished");
                break;
            }
            self.targets.remove(&path);
            finished = true;
        }
        self.rotated |= finished;
        finished
    }
}
