//! Prepares a file for the next records: opens it, gets its length, and rotates it if that is due.

use std::{io, path::Path, time::Instant};

use jiff::Timestamp;
use spool::durable;
use tracing::{debug, info, warn};

use super::{
    FileSink, IDLE, MAX_OPEN_FILES, UnknownBytes,
    inventory::Identity,
    not_prepared,
    open::OpenFile,
    opener::{Opened, file_name},
    rotate,
    target::{TargetFile, unix_now},
};
use crate::{Readiness, SinkError};

/// Adds advice to the error about a name that is too long. Validation finds such a name only if the
/// directory exists and no other filesystem is mounted there later.
fn explain(failure: SinkError) -> SinkError {
    failure.map(|error| {
        if error.kind() != io::ErrorKind::InvalidFilename {
            return error;
        }
        let text = format!(
            "{error}: the filesystem does not support names of this length; shorten the `path` of the \
             sink, or exclude the dataset with the sink's `datasets`"
        );
        io::Error::new(error.kind(), text)
    })
}

impl FileSink {
    /// Opens the file at `path`, and detects whether the path leads to another file than before.
    ///
    /// Only a successful open counts: a file that cannot be opened may reappear unchanged (on a
    /// disk that is not mounted yet), with bytes after its position that must not be written twice.
    fn open(&mut self, path: &Path) -> Result<(), SinkError> {
        let named = path.symlink_metadata();
        let is_finished = |named: &Path, it| {
            self.keeper.as_ref().is_some_and(|keeper| keeper.inventory().is_finished(named, it))
        };
        if let Some(target) = self.targets.get_mut(path) {
            let has_name = named.is_ok_and(|named| target.is_named_by(&named));
            let is_ready = if has_name {
                target.open.is_some()
            } else {
                let has_partial_batch =
                    target.has_partial_batch(path, (&self.opener, &self.claimant), &is_finished)?;
                if has_partial_batch && self.unknown_bytes == UnknownBytes::Truncate {
                    target.truncate(path)?;
                }
                has_partial_batch && self.unknown_bytes == UnknownBytes::Compare
            };
            if is_ready {
                return Ok(());
            }
        }
        let Opened { file, metadata, new, directory } = self.opener.open(path)?;
        let length = metadata.len();
        if let Some(target) = self.targets.get_mut(path)
            && (new || !target.is_named_by(&metadata))
        {
            // Another program has renamed or removed the file, or another disk is mounted. The
            // records in the old file stay there.
            if let Some(open) = &mut target.open {
                open.sync(path)?;
            }
            self.targets.remove(path);
        }
        let claim = self.claimant.claim(&metadata, path)?;
        // A file counts as created by the sink if it is empty now.
        let identity = Identity::of(&metadata);
        if length == 0
            && let Some(keeper) = &self.keeper
        {
            keeper.inventory().begin(path, identity, &self.stream)?;
        }
        // A late batch for a file whose date has passed: it is live again, so the keeper skips it.
        if is_finished(path, identity)
            && let Some(keeper) = &self.keeper
        {
            keeper.inventory().set_finished(path, None)?;
        }
        if let Some(target) = self.targets.get_mut(path) {
            target.open =
                Some(OpenFile::new((file, &metadata), claim, length, target.finished_len));
        } else {
            // Before a checkpoint contains the file.
            directory.sync()?;
            let mut open = OpenFile::new((file, &metadata), claim, length, length);
            // Before its length is stored: all later bytes are the sink's.
            open.end_line(path)?;
            self.targets.insert(path.to_owned(), TargetFile::new(Identity::of(&metadata), open));
        }
        let now = Instant::now();
        if let Some(target) = self.targets.get_mut(path) {
            target.last_batch = self.clock;
            let due = self.rotation.due_in(target, now).map_or(IDLE, |due| due.min(IDLE));
            self.due = self.due.into_iter().chain([now + due]).min();
        }
        self.close_some();
        Ok(())
    }

    /// Prepares the file at `path` for the next records.
    pub(super) fn prepare(&mut self, path: &Path) -> Result<Readiness, SinkError> {
        if let Some(keeper) = &self.keeper {
            keeper.note_use(path);
        }
        self.open(path).map_err(explain)?;
        let now = Instant::now();
        let Some(target) = self.targets.get_mut(path) else { return Err(not_prepared()) };
        let Some(open) = &mut target.open else { return Err(not_prepared()) };
        (target.last_batch, target.last_used) = (self.clock, now);
        target.pattern = None;
        open.measure(path)?;
        if self.unknown_bytes == UnknownBytes::Truncate {
            target.truncate(path)?;
        }
        let Some(open) = &mut target.open else { return Err(not_prepared()) };
        if open.length < target.finished_len {
            if let Some(times) = target.interference.add(1, now) {
                let (expected, found) = (target.finished_len, open.length);
                let event = "another process shortened a file that is written to";
                warn!(path = %path.display(), expected, found, times, "{event}");
            }
            open.end_line(path)?;
            target.finished_len = open.length;
            // The length in the checkpoint is no longer true.
            target.checkpoint_len = None;
        }
        if target.finished_len == 0 && target.checkpoint_len.is_none() {
            target.born = unix_now();
        }
        // Bytes after the finished batches are a part of this batch.
        let has_passed = self.template.has_passed(path, Timestamp::now());
        if open.length == target.finished_len && self.rotation.is_due(target, now, has_passed) {
            if !target.is_checkpointed() {
                return Ok(Readiness::CheckpointFirst);
            }
            if self.rotate(path)? {
                return self.prepare(path);
            }
        }
        let Some(target) = self.targets.get_mut(path) else { return Err(not_prepared()) };
        target.written_len = target.finished_len;
        Ok(if target.checkpoint_len.is_some() {
            Readiness::Ready
        } else {
            Readiness::CheckpointFirst
        })
    }

    /// Rotates the file at `path`, and returns whether it did. If the file cannot be renamed, the
    /// sink continues to write to it: a file that grows does less harm than a sink that stops.
    pub(super) fn rotate(&mut self, path: &Path) -> Result<bool, SinkError> {
        let Some(target) = self.targets.get_mut(path) else { return Ok(false) };
        let renamed = self.opener.directory(path).and_then(|directory| {
            let name = file_name(path)?;
            if directory.metadata(name).is_ok_and(|named| !target.is_named_by(&named)) {
                // Another program has renamed it.
                return Ok(None);
            }
            let to = self.rotation.free_name(path, &directory)?;
            // No empty file is created for a date that has passed.
            let needs_new = !self.template.has_passed(path, Timestamp::now());
            let mut not_created = None;
            let mut rename = || {
                let to = file_name(&to)?;
                if needs_new {
                    let new = self.opener.replace(&directory, name, to)?;
                    return Ok(new.map_err(|error| not_created = Some(error)).ok());
                }
                directory.rename_no_replace(&directory, name, to).map(|()| None)
            };
            match &self.keeper {
                Some(keeper) => keeper.inventory().rename(path, &to, rename)?,
                None => {
                    rename()?;
                }
            }
            // If another program has created it, it exists.
            not_created.take_if(|error| error.kind() == io::ErrorKind::AlreadyExists);
            Ok(Some((directory, to, not_created)))
        });
        match renamed {
            Ok(None) => Ok(false),
            Ok(Some((directory, to, not_created))) => {
                debug!(path = %path.display(), to = %to.display(), "rotated");
                self.targets.remove(path);
                self.rotated = true;
                // Another file may still be waiting for its next attempt.
                let fails = self.targets.values().any(|target| target.not_before.is_some());
                if let Some(error) = not_created {
                    self.rotation_failed(
                        &error,
                        "cannot create a new file after a rotation: the next record creates it",
                    );
                } else if !fails && self.rotations.recovered() {
                    info!("files can be rotated again");
                }
                directory.sync()?;
                Ok(true)
            }
            Err(error) => {
                target.not_before = Some(Instant::now() + rotate::RETRY);
                self.rotation_failed(
                    &error,
                    "cannot rotate a file: the sink continues to write to it",
                );
                Ok(false)
            }
        }
    }

    fn rotation_failed(&mut self, error: &io::Error, message: &str) {
        self.counters.rotation_failures.add(1);
        // Without the path, since all files may fail for the same cause.
        if let Some(repeated) = self.rotations.failed(&durable::cause(error), Instant::now()) {
            warn!(%error, repeated, "{message}");
        }
    }

    /// Closes the files that were not used for the longest time, but none of the current batch.
    fn close_some(&mut self) {
        let clock = self.clock;
        let mut open: Vec<_> = self
            .targets
            .values_mut()
            .filter(|target| target.last_batch < clock)
            .filter(|target| target.open.as_ref().is_some_and(|open| !open.is_dirty()))
            .collect();
        if open.len() > MAX_OPEN_FILES {
            open.sort_unstable_by_key(|target| std::cmp::Reverse(target.last_batch));
            for target in open.into_iter().skip(MAX_OPEN_FILES / 2) {
                target.open = None;
            }
        }
    }
}
