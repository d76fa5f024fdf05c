//! The `file` sink: records as lines in files that people tail.
//!
//! Exactly once. For a file, the batches that go into it make one stream of bytes, the same on every
//! attempt. A checkpoint says how long the file was at a place in that stream. Whatever lies behind
//! that length was written after it: when the stream is written again, those bytes are compared
//! and passed over, and only what is missing is added. So nothing is written twice, and no byte that
//! somebody may have seen is taken back.

mod claim;
mod dates;
mod held;
mod inventory;
mod keeper;
mod open;
mod pack;
mod place;
mod prepare;
mod retain;
mod rotate;
mod route;
mod settings;
mod state;
mod target;
mod trouble;
mod unknown;
mod waiting;

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
    claim::Claimant, inventory::Inventory, keeper::Keeper, place::Place, rotate::Rotation,
    route::Router, target::Target,
};
pub use self::{
    settings::{Compress, CompressAfter, EventWindow, Fsync, RecordTime, Retain, Rotate, Settings},
    state::{FileState, Mark},
};
use super::{Begin, Sink, SinkCounters, SinkError, State, template::PathTemplate};

/// How many files are kept open. One a dataset is written at a time.
pub const MAX_OPEN_FILES: usize = 64;

/// How long a file stays open that nothing comes for: what somebody removed takes up room until then.
const IDLE: Duration = Duration::from_secs(60);

/// The least time between two looks at what is due: what cannot be done now is not tried in a loop.
const MIN_TEND: Duration = Duration::from_millis(100);

/// How many files a checkpoint remembers. One that was forgotten is only looked at anew.
const MAX_MARKS: usize = 1024;

/// What becomes of bytes that follow the mark of a file: an attempt, or an earlier life, wrote them after
/// the last checkpoint.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Unknown {
    /// They are compared with what is written again, and kept if they are the same.
    #[default]
    Compared,
    /// They are cut off.
    Cut,
}

/// A file sink.
pub struct FileSink {
    /// The template as it is written.
    pattern: String,
    template: PathTemplate,
    place: Place,
    claimant: Claimant,
    unknown: Unknown,
    fsync: Fsync,
    rotation: Rotation,
    /// Which failed rotations are logged.
    rotations: FailureThrottle,
    counters: SinkCounters,
    targets: HashMap<PathBuf, Target>,
    /// The files of the batch under way.
    current: Vec<PathBuf>,
    /// Which time paths are filled in with.
    time: RecordTime,
    window: EventWindow,
    /// Where the records of the batch under way go, if each goes by its own time.
    router: Option<Router>,
    /// Numbers uses, to know what was not used for long.
    clock: u64,
    /// What all files of this endpoint and dataset have in common.
    stream: String,
    /// When there is something to tend to.
    due: Option<Instant>,
    /// If there is something to be done with finished files.
    keeper: Option<Keeper>,
    /// When to look next for files whose date has passed.
    next_dates: Option<Instant>,
    /// A file was ended, and no checkpoint says so yet.
    rotated: bool,
}

impl FileSink {
    /// `list` is where it remembers which files it made, `marks` are those of the last checkpoint.
    ///
    /// # Errors
    /// The path is not one that passed validation, or there can be no more threads.
    pub fn new(
        config: &Settings,
        list: Option<&Path>,
        marks: Vec<Mark>,
        counters: SinkCounters,
    ) -> Result<Self, String> {
        let template = PathTemplate::parse(&config.path)?;
        let now = Instant::now();
        let targets = marks.into_iter().map(|mark| {
            let target = Target::of_mark(&mark, now);
            (PathBuf::from(mark.path), target)
        });
        let Settings { retain, compress, .. } = *config;
        let has_keeper = retain != Retain::default() || compress != Compress::None;
        let place = Place::new(config.mode, config.ownership(), template.base());
        let keeper = list.filter(|_| has_keeper).map(|list| {
            let ages = ages(list, config);
            let inventory = Inventory::open(list);
            let files = (inventory, place.clone(), template.clone());
            let failures = counters.compression_failures.clone();
            Keeper::start(files, config, ages, failures)
                .map_err(|error| format!("cannot start a thread: {error}"))
        });
        let keeper = keeper.transpose()?;
        let ends_dates = keeper.is_some() && compress != Compress::None && template.has_time();
        Ok(Self {
            place,
            claimant: Claimant::new(&config.path),
            unknown: Unknown::default(),
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
            next_dates: ends_dates.then_some(now),
            keeper,
            rotated: false,
        })
    }

    /// The same with another treatment of bytes that follow a mark.
    #[must_use]
    pub fn with_unknown(self, unknown: Unknown) -> Self {
        Self { unknown, ..self }
    }

    /// Makes what was finished durable, and returns how long each file is with it.
    pub fn sync_files(&mut self) -> Result<Vec<Mark>, SinkError> {
        for (path, target) in &mut self.targets {
            if let Some(open) = &mut target.open {
                open.sync(path)?;
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
            pattern: target.pattern.as_ref().unwrap_or(&self.pattern).clone(),
            inode: target.inode,
            length: target.finished,
            born: Some(target.born),
            made: target.made,
        });
        Ok(marks.collect())
    }

    /// Makes the files ready that the batch has come to and that are not yet.
    fn prepare_all(&mut self, router: &mut Router) -> Result<Begin, SinkError> {
        while let Some(path) = router.paths().get(self.current.len()) {
            if self.prepare(path)? == Begin::CheckpointFirst {
                return Ok(Begin::CheckpointFirst);
            }
            self.current.push(path.clone());
        }
        Ok(Begin::Ready)
    }
}

impl Sink for FileSink {
    fn begin(&mut self, batch: &Batch) -> Result<Begin, SinkError> {
        let origin = &batch.header.origin;
        self.clock += 1;
        if self.keeper.is_some() {
            self.stream = self.template.stream(&origin.endpoint, &origin.dataset);
        }
        self.current.clear();
        if self.time == RecordTime::Event {
            self.router = Some(Router::new(origin, self.window));
            return Ok(Begin::Ready);
        }
        let path = self.template.render(&origin.endpoint, &origin.dataset, origin.received);
        let begin = self.prepare(&path)?;
        self.current.push(path);
        Ok(begin)
    }

    fn arrange(&mut self, block: &Block) -> Result<Begin, SinkError> {
        let Some(mut router) = self.router.take() else { return Ok(Begin::Ready) };
        router.route(&block.bytes, &self.template);
        let begin = self.prepare_all(&mut router);
        self.router = Some(router);
        begin
    }

    fn write(&mut self, block: &Block) -> Result<(), SinkError> {
        let Some(mut router) = self.router.take() else {
            let Some(path) = self.current.first() else { return Err(not_open()) };
            let Some(target) = self.targets.get_mut(path) else { return Err(not_open()) };
            return put(target, &block.bytes, path);
        };
        let parts = router.take(&block.bytes);
        for (place, part) in parts.ok_or_else(not_open)? {
            let Some(path) = self.current.get(place) else { return Err(not_open()) };
            let Some(target) = self.targets.get_mut(path) else { return Err(not_open()) };
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
        // All or none: whatever fails, the batch comes again to every file.
        for path in self.current.drain(..) {
            if let Some(target) = self.targets.get_mut(&path) {
                target.finished = target.reached;
            }
        }
        self.router = None;
        Ok(())
    }

    fn sync(&mut self) -> Result<State, SinkError> {
        let files = self.sync_files()?;
        Ok(State::of(&FileState { files })?)
    }

    fn saved(&mut self) {
        for target in self.targets.values_mut() {
            target.saved = Some(target.finished);
        }
        if std::mem::take(&mut self.rotated)
            && let Some(keeper) = &self.keeper
        {
            keeper.ask();
        }
    }

    fn due(&self) -> Option<Instant> {
        self.due
    }

    fn tend(&mut self) -> Result<Begin, SinkError> {
        let now = Instant::now();
        let time = Timestamp::now();
        let ended = self.end_dates(now, time);
        let mut due = Vec::new();
        let mut unsaved = false;
        for (path, target) in &mut self.targets {
            if now.duration_since(target.used_at) >= IDLE
                && target.open.as_ref().is_some_and(|open| !open.is_dirty())
            {
                target.open = None;
            }
            Rotation::correct(target);
            // A finished file keeps its name.
            let has_passed = self.template.has_passed(path, time);
            if has_passed || !self.rotation.is_due(target, now, false) {
                continue;
            }
            // One that is away may come back, and one that was added to awaits its batch.
            let is_whole = path.symlink_metadata().is_ok_and(|named| {
                named.is_file() && target.is_named_by(&named) && named.len() == target.finished
            });
            if !is_whole {
                target.not_before = Some(now + rotate::RETRY);
            } else if target.is_saved() {
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
        let of = |(path, target): (&PathBuf, &Target)| {
            let idle = target.open.as_ref().map(|_| {
                let idle = IDLE.saturating_sub(now.duration_since(target.used_at));
                idle.max(MIN_TEND)
            });
            let rotation = self.rotation.due_in(target, now).map(|due| due.max(MIN_TEND));
            let rotation = rotation.filter(|_| !self.template.has_passed(path, time));
            idle.into_iter().chain(rotation).min()
        };
        let due = self.targets.iter().filter_map(of).min().map(|wait| now + wait);
        self.due = due.into_iter().chain(self.next_dates).min();
        Ok(if unsaved || rotated || ended { Begin::CheckpointFirst } else { Begin::Ready })
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

/// How old the files are, if that matters. The ledger stands beside the list of the files.
fn ages(list: &Path, options: &Settings) -> Option<FileAges> {
    let ledger = list.with_extension("").with_extension("ages.json");
    options.retain.age.map(|_| FileAges::open(&ledger, Clock::system()))
}

/// Writes what of these bytes is not there yet.
fn put(target: &mut Target, bytes: &[u8], path: &Path) -> Result<(), SinkError> {
    let Some(open) = &mut target.open else { return Err(not_open()) };
    let mut rest = bytes;
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
            if let Some(times) = target.interference.add(1, Instant::now()) {
                let path = path.display();
                warn!(%path, times, "another process wrote to a file that is written to");
            }
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

/// Never silence: what is not written must not count as delivered.
fn not_open() -> SinkError {
    io::Error::other("a block came without its file").into()
}

/// The first `length` of the bytes, or all, and the rest.
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
