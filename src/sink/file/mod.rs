//! The `file` sink: records as lines in files that people tail.
//!
//! Exactly once. For a file, the batches that go into it make one stream of bytes, the same on every
//! attempt. A checkpoint says how long the file was at a place in that stream. Whatever lies behind
//! that length was written after it: when the stream is written again, those bytes are compared
//! and passed over, and only what is missing is added. So nothing is written twice, and no byte that
//! somebody may have seen is taken back.

mod open;
mod place;

use std::{
    collections::HashMap,
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use tracing::warn;

use self::{
    open::Open,
    place::{Found, Place},
};
use super::{Begin, Mark, Sink, SinkError, template::PathTemplate};
use crate::{
    config::{self, Fsync},
    decode::Block,
    durable,
    spool::Batch,
};

/// How many files are kept open. One a dataset is written at a time.
const MAX_OPEN_FILES: usize = 64;

/// How many files a checkpoint remembers. One that was forgotten is only looked at anew.
const MAX_MARKS: usize = 1024;

/// A file sink.
pub struct FileSink {
    template: PathTemplate,
    place: Place,
    fsync: Fsync,
    targets: HashMap<PathBuf, Target>,
    /// The file of the batch under way.
    current: Option<PathBuf>,
    /// Numbers uses, to know what was not used for long.
    clock: u64,
}

/// A file that is or was written to.
struct Target {
    inode: u64,
    /// Up to where the finished batches reach.
    finished: u64,
    /// Up to where the attempt under way has come.
    reached: u64,
    /// Whether a checkpoint knows it.
    known: bool,
    open: Option<Open>,
    used: u64,
}

impl FileSink {
    /// `marks` are those of the last checkpoint.
    ///
    /// # Errors
    /// The path is not one that passed validation.
    pub fn new(config: &config::FileSink, marks: Vec<Mark>) -> Result<Self, String> {
        let template = PathTemplate::parse(&config.path)?;
        let targets = marks.into_iter().map(|mark| {
            let target = Target {
                inode: mark.inode,
                finished: mark.length,
                reached: mark.length,
                known: true,
                open: None,
                used: 0,
            };
            (PathBuf::from(mark.path), target)
        });
        Ok(Self {
            place: Place::new(config.mode, config.options.owner, template.base()),
            template,
            fsync: config.options.fsync,
            targets: targets.collect(),
            current: None,
            clock: 0,
        })
    }

    /// Opens the file at `path`, or notices that another one has its name now.
    ///
    /// Only a file that was opened says so: one that cannot be found or looked at may come back as it
    /// was (a disk that is not mounted yet), with bytes behind its mark that must not be doubled.
    fn open(&mut self, path: &Path) -> Result<(), SinkError> {
        let named = path.metadata();
        if let Some(target) = self.targets.get_mut(path) {
            let has_name = named.as_ref().is_ok_and(|named| named.ino() == target.inode);
            if if has_name { target.open.is_some() } else { target.goes_on(path)? } {
                return Ok(());
            }
        }
        let Found { file, inode, length, new } = self.place.open(path)?;
        if let Some(target) = self.targets.get_mut(path)
            && (new || target.inode != inode)
        {
            // Somebody renamed or removed it: what we wrote there stays there.
            if let Some(open) = &mut target.open {
                open.sync(path)?;
            }
            self.targets.remove(path);
        }
        if let Some(target) = self.targets.get_mut(path) {
            target.open = Some(Open::new(file, length, target.finished));
        } else {
            let mut open = Open::new(file, length, length);
            // Before its length goes on record: from there on the stream is ours alone.
            open.end_line(path)?;
            let target = Target {
                inode,
                finished: open.length,
                reached: open.length,
                known: false,
                open: Some(open),
                used: 0,
            };
            self.targets.insert(path.to_owned(), target);
        }
        if let Some(target) = self.targets.get_mut(path) {
            target.used = self.clock;
        }
        self.close_some();
        Ok(())
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

    fn current(&mut self) -> Option<(&Path, &mut Target)> {
        let path = self.current.as_deref()?;
        Some((path, self.targets.get_mut(path)?))
    }
}

impl Target {
    /// Whether the file, which lost its name, holds more than the finished batches: what an attempt or
    /// an earlier life began there is brought to its end there, and not written again elsewhere.
    fn goes_on(&mut self, path: &Path) -> io::Result<bool> {
        if self.open.is_none() {
            let file = open::renamed(path, self.inode);
            self.open = file.map(|file| Open::new(file, 0, self.finished));
        }
        let Some(open) = &mut self.open else { return Ok(false) };
        open.measure(path)?;
        Ok(open.length > self.finished && open.is_named(path)?)
    }
}

impl Sink for FileSink {
    fn begin(&mut self, batch: &Batch) -> Result<Begin, SinkError> {
        let header = &batch.header;
        let path = self.template.render(&header.endpoint, &header.dataset, header.received);
        self.clock += 1;
        let clock = self.clock;
        self.open(&path)?;
        self.current = Some(path);
        let Some((path, target)) = self.current() else { return Ok(Begin::Ready) };
        target.used = clock;
        if let Some(open) = &mut target.open {
            open.measure(path)?;
            if open.length < target.finished {
                warn!(
                    path = %path.display(), expected = target.finished, found = open.length,
                    "somebody shortened a file that is written to"
                );
                open.end_line(path)?;
                target.finished = open.length;
                // What the checkpoint says of it is no longer so.
                target.known = false;
            }
        }
        target.reached = target.finished;
        Ok(if target.known { Begin::Ready } else { Begin::CheckpointFirst })
    }

    fn write(&mut self, block: &Block) -> Result<(), SinkError> {
        let Some((path, target)) = self.current() else { return Err(not_open()) };
        let Some(open) = &mut target.open else { return Err(not_open()) };
        let mut rest = block.bytes.as_slice();
        if target.reached < open.length {
            let (again, missing) = split(rest, open.length - target.reached);
            if open.holds(target.reached, again, path)? {
                target.reached += again.len() as u64;
                rest = missing;
            } else if open.cut_zeros(target.reached, again, path)? {
                let (again, missing) = split(rest, open.length - target.reached);
                target.reached += again.len() as u64;
                rest = missing;
            } else {
                warn!(path = %path.display(), "somebody else wrote to a file that is written to");
                open.end_line(path)?;
                target.reached = open.length;
            }
        }
        while !rest.is_empty() {
            let written = open.append(rest, path)?;
            target.reached += written;
            rest = split(rest, written).1;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        let fsync = self.fsync;
        if let Some((path, target)) = self.current() {
            if fsync == Fsync::Batch
                && let Some(open) = &mut target.open
            {
                open.sync(path)?;
            }
            target.finished = target.reached;
        }
        self.current = None;
        Ok(())
    }

    fn sync(&mut self) -> Result<Vec<Mark>, SinkError> {
        for (path, target) in &mut self.targets {
            if let Some(open) = &mut target.open {
                open.sync(path)?;
            }
            if !target.known {
                let folder = path.parent().unwrap_or(Path::new("/"));
                durable::sync_dir(folder)?;
            }
        }
        if self.targets.len() > MAX_MARKS {
            let mut used: Vec<u64> = self.targets.values().map(|target| target.used).collect();
            used.sort_unstable();
            let keep_from = used.get(used.len() - MAX_MARKS / 2).copied().unwrap_or(0);
            self.targets.retain(|_, target| target.used >= keep_from);
        }
        let marks = self.targets.iter().map(|(path, target)| Mark {
            path: path.to_string_lossy().into_owned(),
            inode: target.inode,
            length: target.finished,
        });
        Ok(marks.collect())
    }

    fn saved(&mut self) {
        for target in self.targets.values_mut() {
            target.known = true;
        }
    }
}

/// Never silence: what is not written must not count as delivered.
fn not_open() -> SinkError {
    io::Error::other("a block came without its file").into()
}

/// The first `length` of the bytes, or all, and the rest.
fn split(bytes: &[u8], length: u64) -> (&[u8], &[u8]) {
    bytes.split_at(usize::try_from(length).unwrap_or(usize::MAX).min(bytes.len()))
}

#[cfg(test)]
mod tests;
