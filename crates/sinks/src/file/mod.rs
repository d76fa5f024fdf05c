//! The `file` sink: writes records as lines to files, exactly once.
//!
//! The batches of one file form a stream of bytes that is the same on every attempt. A checkpoint
//! contains the length of the file at one position of that stream. Bytes after this length were
//! written after the checkpoint: when the sink writes the stream again, it compares these bytes,
//! skips them, and appends only the rest. So no byte is written twice, and none that a reader may
//! have seen is removed.

mod claim;
mod compress;
mod compression_delay;
mod dates;
mod in_use;
mod inventory;
mod keeper;
mod open;
mod opener;
mod prepare;
mod retain;
mod rotate;
mod round_failures;
mod route;
mod settings;
mod state;
mod target;
mod unknown;

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use records::decode::Block;
use spool::{Batch, clock::Clock, file_ages::FileAges, log_throttle::FailureThrottle};
use tracing::warn;

pub(super) use self::state::valid_state;
use self::{
    claim::Claimant, inventory::Inventory, keeper::Keeper, opener::FileOpener, rotate::Rotation,
    route::Router, target::TargetFile,
};
pub use self::{
    settings::{Compress, CompressAfter, Fsync, Retain, Rotate, Settings},
    state::{FilePosition, FileState},
    unknown::UnknownBytes,
};
use super::{
    Readiness, Sink, SinkCounters, SinkError, State,
    record_time::{EventWindow, RecordTime},
    template::PathTemplate,
};

/// The maximum number of files that stay open. The sink writes to one file per dataset at a time.
pub const MAX_OPEN_FILES: usize = 64;

/// How long a file stays open without a batch. A file that was removed occupies disk space until
/// then.
const IDLE: Duration = Duration::from_secs(60);

/// The minimum time between two calls of [`Sink::maintain`], so that failing work does not loop.
const MIN_MAINTAIN: Duration = Duration::from_millis(100);

/// The maximum number of files in a checkpoint. A file that is dropped from it is treated as new.
const MAX_POSITIONS: usize = 1024;

/// A file sink.
pub struct FileSink {
    /// The template as in the configuration.
    pattern: String,
    template: PathTemplate,
    opener: FileOpener,
    claimant: Claimant,
    unknown_bytes: UnknownBytes,
    fsync: Fsync,
    rotation: Rotation,
    /// Limits the log lines about failed rotations.
    rotations: FailureThrottle,
    counters: SinkCounters,
    targets: HashMap<PathBuf, TargetFile>,
    /// The files of the current batch.
    current: Vec<PathBuf>,
    /// The time that paths are filled in with.
    time: RecordTime,
    window: EventWindow,
    /// Assigns the records of the current batch to files, if each is filed by its own time.
    router: Option<Router>,
    /// Counts batches, to find the files that were not used for the longest time.
    clock: u64,
    /// Identifies the files of the current endpoint and dataset; see [`PathTemplate::stream`].
    stream: String,
    /// When [`Sink::maintain`] has work.
    due: Option<Instant>,
    /// Compresses and removes finished files, if the settings ask for it.
    keeper: Option<Keeper>,
    /// When to check next for files whose date has passed.
    next_dates: Option<Instant>,
    /// A file was finished since the last stored checkpoint.
    rotated: bool,
}

impl FileSink {
    /// Opens the sink. `list` is the file of its inventory; `positions` are from the last
    /// checkpoint.
    ///
    /// # Errors
    /// `path` did not pass validation, or a thread cannot be started.
    pub fn new(
        config: &Settings,
        list: Option<&Path>,
        positions: Vec<FilePosition>,
        counters: SinkCounters,
    ) -> Result<Self, String> {
        let template = PathTemplate::parse(&config.path)?;
        let now = Instant::now();
        let targets = positions.into_iter().map(|position| {
            let target = TargetFile::from_position(&position, now);
            (PathBuf::from(position.path), target)
        });
        let Settings { retain, compress, .. } = *config;
        let has_keeper = retain != Retain::default() || compress != Compress::None;
        let opener = FileOpener::new(config.mode, config.ownership(), template.base());
        let keeper = list.filter(|_| has_keeper).map(|list| {
            let ages = ages(list, config);
            let inventory = Inventory::open(list);
            let files = (inventory, opener.clone(), template.clone());
            let failures = counters.compression_failures.clone();
            Keeper::start(files, config, ages, failures)
                .map_err(|error| format!("cannot start a thread: {error}"))
        });
        let keeper = keeper.transpose()?;
        let finishes_dated_files =
            keeper.is_some() && compress != Compress::None && template.has_time();
        Ok(Self {
            opener,
            claimant: Claimant::new(&config.path),
            unknown_bytes: UnknownBytes::default(),
            pattern: config.path.clone(),
            template,
            fsync: config.fsync,
            rotation: Rotation::new(config.rotate),
            rotations: FailureThrottle::default(),
            counters,
            targets: targets.collect(),
            current: Vec::new(),
            time: config.time,
            window: config.event_window,
            router: None,
            clock: 0,
            stream: String::new(),
            due: Some(now),
            next_dates: finishes_dated_files.then_some(now),
            keeper,
            rotated: false,
        })
    }

    /// Sets what happens to bytes that no checkpoint covers.
    #[must_use]
    pub fn with_unknown_bytes(self, unknown_bytes: UnknownBytes) -> Self {
        Self { unknown_bytes, ..self }
    }

    /// Makes all finished batches durable and returns the length of each file after them.
    pub fn sync_files(&mut self) -> Result<Vec<FilePosition>, SinkError> {
        for (path, target) in &mut self.targets {
            if let Some(open) = &mut target.open {
                open.sync(path)?;
            }
        }
        if self.targets.len() > MAX_POSITIONS {
            let mut used: Vec<u64> =
                self.targets.values().map(|target| target.last_batch).collect();
            used.sort_unstable();
            let keep_from = used.get(used.len() - MAX_POSITIONS / 2).copied().unwrap_or(0);
            self.targets.retain(|_, target| target.last_batch >= keep_from);
        }
        let positions = self.targets.iter().map(|(path, target)| FilePosition {
            path: path.to_string_lossy().into_owned(),
            pattern: target.pattern.as_ref().unwrap_or(&self.pattern).clone(),
            inode: target.inode,
            length: target.finished_len,
            born: Some(target.born),
            made: target.made,
        });
        Ok(positions.collect())
    }

    /// Prepares the files that the router has assigned records to and that are not prepared yet.
    fn prepare_all(&mut self, router: &mut Router) -> Result<Readiness, SinkError> {
        while let Some(path) = router.paths().get(self.current.len()) {
            if self.prepare(path)? == Readiness::CheckpointFirst {
                return Ok(Readiness::CheckpointFirst);
            }
            self.current.push(path.clone());
        }
        Ok(Readiness::Ready)
    }
}

impl Sink for FileSink {
    fn begin(&mut self, batch: &Batch) -> Result<Readiness, SinkError> {
        let origin = &batch.header.origin;
        self.clock += 1;
        if self.keeper.is_some() {
            self.stream = self.template.stream(&origin.endpoint, &origin.dataset);
        }
        self.current.clear();
        if self.time == RecordTime::Event {
            self.router = Some(Router::new(origin, self.window));
            return Ok(Readiness::Ready);
        }
        let path = self.template.render(&origin.endpoint, &origin.dataset, origin.received);
        let begin = self.prepare(&path)?;
        self.current.push(path);
        Ok(begin)
    }

    fn prepare_block(&mut self, block: &Block) -> Result<Readiness, SinkError> {
        let Some(mut router) = self.router.take() else { return Ok(Readiness::Ready) };
        router.route(&block.bytes, &self.template);
        let begin = self.prepare_all(&mut router);
        self.router = Some(router);
        begin
    }

    fn write(&mut self, block: &Block) -> Result<(), SinkError> {
        let Some(mut router) = self.router.take() else {
            let Some(path) = self.current.first() else { return Err(not_prepared()) };
            let Some(target) = self.targets.get_mut(path) else { return Err(not_prepared()) };
            return put(target, &block.bytes, path);
        };
        let parts = router.take(&block.bytes);
        for (index, part) in parts.ok_or_else(not_prepared)? {
            let Some(path) = self.current.get(index) else { return Err(not_prepared()) };
            let Some(target) = self.targets.get_mut(path) else { return Err(not_prepared()) };
            put(target, &part, path)?;
        }
        self.router = Some(router);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        if self.fsync == Fsync::Batch {
            for path in &self.current {
                if let Some(open) = self.targets.get_mut(path).and_then(|t| t.open.as_mut()) {
                    open.sync(path)?;
                }
            }
        }
        // All or none: after any failure, the batch is written again to every file.
        for path in self.current.drain(..) {
            if let Some(target) = self.targets.get_mut(&path) {
                target.finished_len = target.written_len;
            }
        }
        self.router = None;
        Ok(())
    }

    fn sync(&mut self) -> Result<State, SinkError> {
        let files = self.sync_files()?;
        Ok(State::of(&FileState { files })?)
    }

    fn checkpoint_saved(&mut self) {
        for target in self.targets.values_mut() {
            target.checkpoint_len = Some(target.finished_len);
        }
        if std::mem::take(&mut self.rotated)
            && let Some(keeper) = &self.keeper
        {
            keeper.notify();
        }
    }

    fn due(&self) -> Option<Instant> {
        self.due
    }

    fn maintain(&mut self) -> Result<Readiness, SinkError> {
        let now = Instant::now();
        let time = Timestamp::now();
        let finished = self.finish_dated_files(now, time);
        let mut due = Vec::new();
        let mut unsaved = false;
        for (path, target) in &mut self.targets {
            if now.duration_since(target.last_used) >= IDLE
                && target.open.as_ref().is_some_and(|open| !open.is_dirty())
            {
                target.open = None;
            }
            Rotation::correct(target);
            // A file whose date has passed keeps its name.
            let has_passed = self.template.has_passed(path, time);
            if has_passed || !self.rotation.is_due(target, now, false) {
                continue;
            }
            // A missing file may reappear, and a longer file has a part of a batch that is not
            // finished.
            let is_complete = path.symlink_metadata().is_ok_and(|named| {
                named.is_file() && target.is_named_by(&named) && named.len() == target.finished_len
            });
            if !is_complete {
                target.not_before = Some(now + rotate::RETRY);
            } else if target.is_checkpointed() {
                due.push(path.clone());
            } else {
                unsaved = true;
            }
        }
        let mut rotated = false;
        for path in due {
            rotated |= self.rotate(&path)?;
        }
        let now = Instant::now();
        let of = |(path, target): (&PathBuf, &TargetFile)| {
            let idle = target.open.as_ref().map(|_| {
                let idle = IDLE.saturating_sub(now.duration_since(target.last_used));
                idle.max(MIN_MAINTAIN)
            });
            let rotation = self.rotation.due_in(target, now).map(|due| due.max(MIN_MAINTAIN));
            let rotation = rotation.filter(|_| !self.template.has_passed(path, time));
            idle.into_iter().chain(rotation).min()
        };
        let due = self.targets.iter().filter_map(of).min().map(|wait| now + wait);
        self.due = due.into_iter().chain(self.next_dates).min();
        Ok(if unsaved || rotated || finished {
            Readiness::CheckpointFirst
        } else {
            Readiness::Ready
        })
    }

    fn reopen(&mut self) -> Result<(), SinkError> {
        for (path, target) in &mut self.targets {
            if let Some(open) = &mut target.open {
                open.sync(path)?;
            }
            target.open = None;
        }
        Ok(())
    }
}

/// The ages of the files, if `retain.age` is set. They are stored in the directory of the
/// inventory.
fn ages(list: &Path, options: &Settings) -> Option<FileAges> {
    let ledger = list.with_extension("").with_extension("ages.json");
    options.retain.age.map(|_| FileAges::open(&ledger, Clock::system()))
}

/// Writes the bytes that the file does not contain yet.
fn put(target: &mut TargetFile, bytes: &[u8], path: &Path) -> Result<(), SinkError> {
    let Some(open) = &mut target.open else { return Err(not_prepared()) };
    let mut rest = bytes;
    if target.written_len < open.length {
        let (existing, missing) = split(rest, open.length - target.written_len);
        if open.contains(target.written_len, existing, path)? {
            target.written_len += existing.len() as u64;
            rest = missing;
        } else if open.truncate_zeros(target.written_len, existing, path)? {
            let (existing, missing) = split(rest, open.length - target.written_len);
            target.written_len += existing.len() as u64;
            rest = missing;
        } else {
            if let Some(times) = target.interference.add(1, Instant::now()) {
                let path = path.display();
                warn!(%path, times, "another process wrote to a file that is written to");
            }
            open.end_line(path)?;
            target.written_len = open.length;
        }
    }
    while !rest.is_empty() {
        let written = open.append(rest, path)?;
        target.written_len += written;
        rest = split(rest, written).1;
    }
    Ok(())
}

/// An error rather than nothing: a block that is not written must not count as delivered.
fn not_prepared() -> SinkError {
    io::Error::other("a block came without its file").into()
}

/// The first `length` bytes (all, if there are fewer), and the rest.
fn split(bytes: &[u8], length: u64) -> (&[u8], &[u8]) {
    bytes.split_at(usize::try_from(length).unwrap_or(usize::MAX).min(bytes.len()))
}

#[cfg(test)]
mod dates_tests;
#[cfg(test)]
mod event_tests;
#[cfg(test)]
mod rotation_tests;
#[cfg(test)]
mod tests;
