//! Makes a file ready for what comes next: opened, measured, and rotated if that is due.

use std::{io, path::Path, time::Instant};

use jiff::Timestamp;
use spool::durable;
use tracing::{debug, info, warn};

use super::{
    FileSink, IDLE, MAX_OPEN_FILES, Unknown,
    inventory::Identity,
    not_open,
    open::Open,
    place::{Found, file_name},
    rotate,
    target::{Target, unix_now},
};
use crate::{Begin, SinkError};

/// Says what to do about a name that is too long. Validation finds it where the directory is there, and
/// not if another filesystem is mounted later.
fn explain(failure: SinkError) -> SinkError {
    failure.map(|error| {
        if error.kind() != io::ErrorKind::InvalidFilename {
            return error;
        }
        let text = format!(
            "{error}: the filesystem takes no name of this length: shorten the `path` of the sink, or leave \
             the dataset out by the sink's `datasets`"
        );
        io::Error::new(error.kind(), text)
    })
}

impl FileSink {
    /// Opens the file at `path`, or notices that another one has its name now.
    ///
    /// Only a file that was opened says so: one that cannot be found or looked at may come back as it
    /// was (a disk that is not mounted yet), with bytes behind its mark that must not be doubled.
    fn open(&mut self, path: &Path) -> Result<(), SinkError> {
        let named = path.symlink_metadata();
        let has_ended = |named: &Path, it| {
            self.keeper.as_ref().is_some_and(|keeper| keeper.inventory().has_ended(named, it))
        };
        if let Some(target) = self.targets.get_mut(path) {
            let has_name = named.is_ok_and(|named| target.is_named_by(&named));
            let is_ready = if has_name {
                target.open.is_some()
            } else {
                let goes_on = target.goes_on(path, (&self.place, &self.claimant), &has_ended)?;
                if goes_on && self.unknown == Unknown::Cut {
                    target.cut(path)?;
                }
                goes_on && self.unknown == Unknown::Compared
            };
            if is_ready {
                return Ok(());
            }
        }
        let Found { file, metadata, new, directory } = self.place.open(path)?;
        let length = metadata.len();
        if let Some(target) = self.targets.get_mut(path)
            && (new || !target.is_named_by(&metadata))
        {
            // Somebody renamed or removed it, or it is on a disk that was exchanged for another one:
            // what we wrote there stays there.
            if let Some(open) = &mut target.open {
                open.sync(path)?;
            }
            self.targets.remove(path);
        }
        let claim = self.claimant.claim(&metadata, path)?;
        // What it holds from its first byte on is the sink's own, and nothing else is.
        let identity = Identity::of(&metadata);
        if length == 0
            && let Some(keeper) = &self.keeper
        {
            keeper.inventory().begin(path, identity, &self.stream)?;
        }
        // Its date has passed, and something comes for it all the same: the keeper leaves it alone.
        if has_ended(path, identity)
            && let Some(keeper) = &self.keeper
        {
            keeper.inventory().set_ended(path, None)?;
        }
        if let Some(target) = self.targets.get_mut(path) {
            target.open = Some(Open::new((file, &metadata), claim, length, target.finished));
        } else {
            // A checkpoint follows that names the file.
            directory.sync()?;
            let mut open = Open::new((file, &metadata), claim, length, length);
            // Before its length goes on record: from there on the stream is ours alone.
            open.end_line(path)?;
            self.targets.insert(path.to_owned(), Target::of_new(Identity::of(&metadata), open));
        }
        let now = Instant::now();
        if let Some(target) = self.targets.get_mut(path) {
            target.used = self.clock;
            let due = self.rotation.due_in(target, now).map_or(IDLE, |due| due.min(IDLE));
            self.due = self.due.into_iter().chain([now + due]).min();
        }
        self.close_some();
        Ok(())
    }

    /// Makes the file at `path` ready for what comes next.
    pub(super) fn prepare(&mut self, path: &Path) -> Result<Begin, SinkError> {
        if let Some(keeper) = &self.keeper {
            keeper.hold(path);
        }
        self.open(path).map_err(explain)?;
        let now = Instant::now();
        let Some(target) = self.targets.get_mut(path) else { return Err(not_open()) };
        let Some(open) = &mut target.open else { return Err(not_open()) };
        (target.used, target.used_at) = (self.clock, now);
        target.pattern = None;
        open.measure(path)?;
        if self.unknown == Unknown::Cut {
            target.cut(path)?;
        }
        let Some(open) = &mut target.open else { return Err(not_open()) };
        if open.length < target.finished {
            if let Some(times) = target.interference.add(1, now) {
                let (expected, found) = (target.finished, open.length);
                let what = "another process shortened a file that is written to";
                warn!(path = %path.display(), expected, found, times, "{what}");
            }
            open.end_line(path)?;
            target.finished = open.length;
            // What the checkpoint says of it is no longer so.
            target.saved = None;
        }
        if target.finished == 0 && target.saved.is_none() {
            target.born = unix_now();
        }
        // What is behind the finished batches is a part of this one.
        let has_passed = self.template.has_passed(path, Timestamp::now());
        if open.length == target.finished && self.rotation.is_due(target, now, has_passed) {
            if !target.is_saved() {
                return Ok(Begin::CheckpointFirst);
            }
            if self.rotate(path)? {
                return self.prepare(path);
            }
        }
        let Some(target) = self.targets.get_mut(path) else { return Err(not_open()) };
        target.reached = target.finished;
        Ok(if target.saved.is_some() { Begin::Ready } else { Begin::CheckpointFirst })
    }

    /// Ends the file at `path`: its name is free then, for another. Says whether that worked. A file
    /// that cannot be renamed goes on as it is: that it grows harms less than that nothing comes.
    pub(super) fn rotate(&mut self, path: &Path) -> Result<bool, SinkError> {
        let Some(target) = self.targets.get_mut(path) else { return Ok(false) };
        let renamed = self.place.directory(path).and_then(|directory| {
            let name = file_name(path)?;
            if directory.metadata(name).is_ok_and(|named| !target.is_named_by(&named)) {
                // Somebody else did it meanwhile.
                return Ok(None);
            }
            let to = self.rotation.free_name(path, &directory)?;
            // No empty file is made for a date that has passed.
            let goes_on = !self.template.has_passed(path, Timestamp::now());
            let mut not_made = None;
            let mut rename = || {
                let to = file_name(&to)?;
                if goes_on {
                    let new = self.place.replace(&directory, name, to)?;
                    return Ok(new.map_err(|error| not_made = Some(error)).ok());
                }
                directory.rename_no_replace(&directory, name, to).map(|()| None)
            };
            match &self.keeper {
                Some(keeper) => keeper.inventory().rename(path, &to, rename)?,
                None => {
                    rename()?;
                }
            }
            // If somebody else has made it meanwhile, it is there.
            not_made.take_if(|error| error.kind() == io::ErrorKind::AlreadyExists);
            Ok(Some((directory, to, not_made)))
        });
        match renamed {
            Ok(None) => Ok(false),
            Ok(Some((directory, to, not_made))) => {
                debug!(path = %path.display(), to = %to.display(), "rotated");
                self.targets.remove(path);
                self.rotated = true;
                // Another file may still wait for its next attempt.
                let fails = self.targets.values().any(|target| target.not_before.is_some());
                if let Some(error) = not_made {
                    self.rotation_failed(
                        &error,
                        "a file was rotated and has no new one: the next record makes it",
                    );
                } else if !fails && self.rotations.recovered() {
                    info!("files can be rotated again");
                }
                directory.sync()?;
                Ok(true)
            }
            Err(error) => {
                target.not_before = Some(Instant::now() + rotate::RETRY);
                self.rotation_failed(&error, "a file cannot be rotated: it goes on as it is");
                Ok(false)
            }
        }
    }

    fn rotation_failed(&mut self, error: &io::Error, message: &str) {
        self.counters.rotation_failures.add(1);
        // Each file has its own path in the error, and all of them may fail.
        if let Some(repeated) = self.rotations.failed(&durable::cause(error), Instant::now()) {
            warn!(%error, repeated, "{message}");
        }
    }

    /// Lets go of the files that were not used for longest, and never of one of this batch.
    fn close_some(&mut self) {
        let clock = self.clock;
        let mut open: Vec<_> = self
            .targets
            .values_mut()
            .filter(|target| target.used < clock)
            .filter(|target| target.open.as_ref().is_some_and(|open| !open.is_dirty()))
            .collect();
        if open.len() > MAX_OPEN_FILES {
            open.sort_unstable_by_key(|target| std::cmp::Reverse(target.used));
            for target in open.into_iter().skip(MAX_OPEN_FILES / 2) {
                target.open = None;
            }
        }
    }
}
