//! The keys of `[sink.NAME.file]`, as they are once they are valid.

/// `[sink.NAME.file]`
#[derive(Clone, Debug, PartialEq)]
pub struct FileSink {
    /// Absolute, with `{dataset}`, `{endpoint}` and strftime conversions of the time of receipt, UTC.
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
