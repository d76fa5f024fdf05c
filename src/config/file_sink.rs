//! The keys of `[sink.NAME.file]`, as they are once they are valid.

use std::time::Duration;

/// `[sink.NAME.file]`
#[derive(Clone, Debug, PartialEq)]
pub struct FileSink {
    /// Absolute, with `{dataset}`, `{endpoint}` and strftime conversions of a time in UTC.
    /// Validation has rendered it once.
    pub path: String,
    /// Permission bits of a new file.
    pub mode: u32,
    /// What need not be said.
    pub options: FileOptions,
}

/// The keys that most do without.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FileOptions {
    /// Who gets new files and folders.
    pub owner: Owner,
    /// When what was written is synced.
    pub fsync: Fsync,
    /// When a file is ended.
    pub rotate: Rotate,
    /// Which finished files are kept.
    pub retain: Retain,
    /// What becomes of a file that was rotated.
    pub compress: Compress,
    /// How long a finished file stays plain before that.
    pub compress_after: CompressAfter,
    /// Which time the path is filled in with.
    pub time: RecordTime,
    /// Which times of records are taken, with [`RecordTime::Event`].
    pub event_window: EventWindow,
}

/// `event_window`: records outside of it go by the time of receipt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EventWindow {
    /// How long before the receipt; [`Duration::MAX`] is `"all"`.
    pub past: Duration,
    /// How long after it: clocks differ.
    pub future: Duration,
}

impl Default for EventWindow {
    fn default() -> Self {
        let day = Duration::from_secs(24 * 60 * 60);
        // Long enough for what comes back out of quarantine.
        Self { past: 31 * day, future: day }
    }
}

/// `time`
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum RecordTime {
    /// `"received"`: of the batch.
    #[default]
    Received,
    /// `"event"`: of each record.
    Event,
}

/// `compress`
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Compress {
    /// `"none"`
    #[default]
    None,
    /// `"gzip"`
    Gzip,
    /// `"zstd"`
    Zstd,
}

impl Compress {
    /// What is added to a file's name.
    pub fn extension(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Gzip => Some("gz"),
            Self::Zstd => Some("zst"),
        }
    }
}

/// `compress_after`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CompressAfter {
    /// `"10m"`: so long after the file has ended.
    Delay(Duration),
    /// `"next"`: when the next file of its endpoint and dataset has ended.
    Next,
}

impl Default for CompressAfter {
    fn default() -> Self {
        // A shipper that restarts still finds the file under its rotated name.
        Self::Delay(Duration::from_secs(600))
    }
}

/// `rotate`: whichever comes first; never, if neither is said.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Rotate {
    /// A file that has so many bytes is ended.
    pub max_bytes: Option<u64>,
    /// A file whose first record came so long ago is ended.
    pub max_age: Option<Duration>,
}

/// `retain`: what any rule does not keep goes. All is kept if none is said.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Retain {
    /// Finished files of each stream: those that differ in nothing but time.
    pub files: Option<usize>,
    /// How long ago a file was last written to.
    pub age: Option<Duration>,
    /// All files of the sink together.
    pub bytes: Option<u64>,
}

/// `owner` and `group`: ids, or nothing for those of the daemon.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Owner {
    /// `owner`
    pub user: Option<u32>,
    /// `group`
    pub group: Option<u32>,
}

/// `fsync`
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Fsync {
    /// `"checkpoint"`: once a second, before the checkpoint says how far the files are.
    #[default]
    Checkpoint,
    /// `"batch"`: behind each batch as well.
    Batch,
}
