//! The `file` sink: records as lines in files that people tail.
//!
//! Exactly once. For a file, the batches that go into it make one stream of bytes, the same on every
//! attempt. A checkpoint says how long the file was at a place in that stream. Whatever lies behind
//! that length was written after it: when the stream is written again, those bytes are compared
//! and passed over, and only what is missing is added. So nothing is written twice, and no byte that
//! somebody may have seen is taken back.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, MetadataExt, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use tracing::warn;

use super::{Begin, Mark, Sink, SinkError, template::PathTemplate};
use crate::{decode::Block, durable, spool::Batch};

/// How many files are kept open. One a dataset is written at a time.
const MAX_OPEN_FILES: usize = 64;

/// How many files a checkpoint remembers. One that was forgotten is only looked at anew.
const MAX_MARKS: usize = 1024;

/// Folders that are made get the permission bits that the file has, and may be entered by whoever
/// may read it.
fn dir_mode(mode: u32) -> u32 {
    mode | (mode & 0o444) >> 2 | 0o700
}

/// A file sink.
pub struct FileSink {
    template: PathTemplate,
    mode: u32,
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

struct Open {
    file: File,
    /// Its length: `reached` or, when a stream is written again, more.
    length: u64,
    dirty: bool,
}

impl FileSink {
    /// `marks` are those of the last checkpoint.
    pub fn new(template: PathTemplate, mode: u32, marks: Vec<Mark>) -> Self {
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
        Self { template, mode, targets: targets.collect(), current: None, clock: 0 }
    }

    /// Opens the file at `path`, or notices that another one has its name now.
    ///
    /// Only a file that was opened says so: one that cannot be found or looked at may come back as it
    /// was (a disk that is not mounted yet), with bytes behind its mark that must not be doubled.
    fn open(&mut self, path: &Path) -> Result<(), SinkError> {
        let named = path.metadata();
        if let Ok(named) = &named
            && let Some(target) = self.targets.get(path)
            && target.open.is_some()
            && target.inode == named.ino()
        {
            return Ok(());
        }
        if named.is_err()
            && let Some(folder) = path.parent()
        {
            durable::create_dir(folder, dir_mode(self.mode))?;
        }
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(self.mode);
        let file = durable::open(&options, path)?;
        let metadata = file.metadata().map_err(durable::at("reading", path))?;
        if !metadata.is_file() {
            let error = io::Error::other("it is not a regular file");
            return Err(durable::at("opening", path)(error).into());
        }
        let mut open = Open { file, length: metadata.len(), dirty: false };
        if let Some(target) = self.targets.get_mut(path)
            && target.inode != metadata.ino()
        {
            // Somebody renamed or removed it: what we wrote there stays there.
            if let Some(open) = target.open.take_if(|open| open.dirty) {
                durable::sync(&open.file, path)?;
            }
            self.targets.remove(path);
        }
        if let Some(target) = self.targets.get_mut(path) {
            target.open = Some(open);
        } else {
            // Before its length goes on record: from there on the stream is ours alone.
            end_line(&mut open, path)?;
            let target = Target {
                inode: metadata.ino(),
                finished: open.length,
                reached: open.length,
                known: false,
                open: Some(open),
                used: 0,
            };
            self.targets.insert(path.to_owned(), target);
        }
        self.close_some();
        Ok(())
    }

    /// Lets go of the files that were not used for longest.
    fn close_some(&mut self) {
        let mut open: Vec<_> = self
            .targets
            .values_mut()
            .filter(|target| target.open.as_ref().is_some_and(|open| !open.dirty))
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

impl Sink for FileSink {
    fn begin(&mut self, batch: &Batch) -> Result<Begin, SinkError> {
        let header = &batch.header;
        let path = self.template.render(&header.endpoint, &header.dataset, header.received);
        self.open(&path)?;
        self.clock += 1;
        let clock = self.clock;
        self.current = Some(path);
        let Some((path, target)) = self.current() else { return Ok(Begin::Ready) };
        target.used = clock;
        if let Some(open) = &mut target.open {
            let metadata = open.file.metadata().map_err(durable::at("reading", path))?;
            open.length = metadata.len();
            if open.length < target.finished {
                warn!(
                    path = %path.display(), expected = target.finished, found = open.length,
                    "somebody shortened a file that is written to"
                );
                end_line(open, path)?;
                target.finished = open.length;
                // What the checkpoint says of it is no longer so.
                target.known = false;
            }
        }
        target.reached = target.finished;
        Ok(if target.known { Begin::Ready } else { Begin::CheckpointFirst })
    }

    fn write(&mut self, block: &Block) -> Result<(), SinkError> {
        let Some((path, target)) = self.current() else { return Ok(()) };
        let Some(open) = &mut target.open else { return Ok(()) };
        let mut rest = block.bytes.as_slice();
        if target.reached < open.length {
            let (again, missing) = split(rest, open.length - target.reached);
            if holds(&open.file, target.reached, again).map_err(durable::at("reading", path))? {
                target.reached += again.len() as u64;
                rest = missing;
            } else if let Some(kept) = end_before_zeros(open, target.reached, again)
                .map_err(durable::at("reading", path))?
            {
                warn!(
                    path = %path.display(), bytes = open.length - kept,
                    "a power cut left zeros at the end of a file: cut them off"
                );
                open.dirty = true;
                durable::truncate(&open.file, kept, path)?;
                open.length = kept;
                let (again, missing) = split(rest, kept - target.reached);
                target.reached += again.len() as u64;
                rest = missing;
            } else {
                warn!(path = %path.display(), "somebody else wrote to a file that is written to");
                end_line(open, path)?;
                target.reached = open.length;
            }
        }
        while !rest.is_empty() {
            open.dirty = true;
            let written = durable::write(&open.file, rest, path)?;
            open.length += written as u64;
            target.reached += written as u64;
            rest = rest.get(written..).unwrap_or_default();
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        if let Some((_, target)) = self.current() {
            target.finished = target.reached;
        }
        self.current = None;
        Ok(())
    }

    fn sync(&mut self) -> Result<Vec<Mark>, SinkError> {
        for (path, target) in &mut self.targets {
            if let Some(open) = target.open.as_mut().filter(|open| open.dirty) {
                durable::sync(&open.file, path)?;
                open.dirty = false;
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

/// Whether the file holds `bytes` at `offset`.
fn holds(file: &File, offset: u64, bytes: &[u8]) -> io::Result<bool> {
    let mut there = vec![0; bytes.len()];
    file.read_exact_at(&mut there, offset)?;
    Ok(there == bytes)
}

/// The first `length` of the bytes, or all, and the rest.
fn split(bytes: &[u8], length: u64) -> (&[u8], &[u8]) {
    bytes.split_at(usize::try_from(length).unwrap_or(usize::MAX).min(bytes.len()))
}

/// Where the zeros begin, if the file holds the beginning of `bytes` at `offset` and behind that
/// nothing but zeros to its end: a power cut took what was written and not synced, and left the
/// length. No line of ours holds a zero, and who reads lines has seen none there.
fn end_before_zeros(open: &Open, offset: u64, bytes: &[u8]) -> io::Result<Option<u64>> {
    let mut there = vec![0; bytes.len()];
    open.file.read_exact_at(&mut there, offset)?;
    let same = there.iter().zip(bytes).take_while(|(there, byte)| there == byte).count();
    let end = offset + same as u64;
    let mut at = end;
    let mut piece = vec![0; 64 * 1024];
    while at < open.length {
        let read = open.file.read_at(&mut piece, at)?;
        let zeros = piece.iter().take(read).all(|byte| *byte == 0);
        if read == 0 || !zeros {
            return Ok(None);
        }
        at += read as u64;
    }
    Ok(Some(end))
}

/// A line that somebody else left open must not swallow the first of ours.
fn end_line(open: &mut Open, path: &Path) -> io::Result<()> {
    let mut last = [b'\n'];
    open.length = open.file.metadata()?.len();
    if open.length > 0 {
        open.file.read_exact_at(&mut last, open.length - 1)?;
    }
    if last != [b'\n'] {
        open.dirty = true;
        durable::write_all(&open.file, b"\n", path)?;
        open.length += 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
