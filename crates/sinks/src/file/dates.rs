//! Ends files whose date has passed, so that the keeper compresses them. They keep their names.

use std::{path::PathBuf, time::Instant};

use jiff::Timestamp;
use spool::durable;
use tracing::warn;

use super::{
    FileSink, IDLE,
    inventory::{Kept, Stage},
    target::unix_now,
};

impl FileSink {
    /// Ends the files whose date has passed and for which nothing came for a while, and returns whether there
    /// was one. What comes for one of them later is appended to it, or begins a new file if it was compressed
    /// by then.
    ///
    /// As with a rotation, a file is ended only when it holds what the stored checkpoint says, and no more.
    pub(super) fn end_dates(&mut self, now: Instant, time: Timestamp) -> bool {
        if self.next_dates.is_none_or(|next| next > now) {
            return false;
        }
        self.next_dates = Some(now + IDLE);
        let Some(keeper) = &self.keeper else { return false };
        let has_passed = |(path, kept): &(PathBuf, Kept)| {
            // With another `path`, the file may be another sink's by now.
            kept.stage == Stage::Live
                && self.template.has_stream(&kept.stream)
                && self.template.has_passed(path, time)
        };
        let files = keeper.inventory().files().into_iter().filter(has_passed);
        let passed: Vec<PathBuf> = files.map(|(path, _)| path).collect();
        let mut ended = false;
        for path in passed {
            if let Some(target) = self.targets.get(&path) {
                let is_whole = path.symlink_metadata().is_ok_and(|named| {
                    target.is_named_by(&named) && named.len() == target.finished
                });
                let is_idle = now.duration_since(target.used_at) >= IDLE;
                let is_clean = target.open.as_ref().is_none_or(|open| !open.is_dirty());
                if !(is_whole && is_idle && is_clean && target.is_saved()) {
                    continue;
                }
            }
            if let Err(error) = keeper.inventory().set_ended(&path, Some(unix_now())) {
                let error = durable::cause(&error);
                warn!(path = %path.display(), error, "cannot note that a file has ended");
                break;
            }
            self.targets.remove(&path);
            ended = true;
        }
        self.rotated |= ended;
        ended
    }
}
