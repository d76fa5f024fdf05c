//! The file operations that promises rest on: every one of them goes through here, so that each can
//! be made to fail, or to be the last thing that the process does (see `fault.rs`).
//!
//! Errors carry the step and the path ([`FileError`]). In debug builds an operation panics on a thread that must not
//! wait for a disk ([`forbid`]).

mod directory;
mod error;
#[cfg(debug_assertions)]
mod fault;
mod thread;

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    hash::{BuildHasher as _, Hasher as _, RandomState},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
    sync::{Mutex, PoisonError},
};

use rustix::{fs::FallocateFlags, io::Errno};

pub(crate) use self::error::share;
pub use self::{
    directory::{Directory, MakeDirectory, Private},
    error::{FileError, at, cause},
    thread::{forbid, is_forbidden, permit},
};

/// The operations, by the names that faults are asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    Open,
    MakeDir,
    Write,
    Sync,
    Rename,
    SyncDir,
    Truncate,
    Link,
    Remove,
    Space,
    Allocate,
    Lock,
}

impl Step {
    /// As in "cannot be done: writing PATH".
    fn gerund(self) -> &'static str {
        match self {
            Self::Open => "opening",
            Self::MakeDir => "making directory",
            Self::Write => "writing",
            Self::Sync => "syncing",
            Self::Rename => "renaming to",
            Self::SyncDir => "syncing folder",
            Self::Truncate => "cutting off",
            Self::Link => "linking",
            Self::Remove => "removing",
            Self::Space => "asking for the free space of",
            Self::Allocate => "allocating space in",
            Self::Lock => "locking",
        }
    }
}

/// Opens a file.
pub fn open(options: &OpenOptions, path: &Path) -> io::Result<File> {
    step(Step::Open, path, || options.open(path))
}

/// Writes what the file takes at once, as `write(2)` does. `path` is the file's, for the error.
pub fn write(mut file: &File, bytes: &[u8], path: &Path) -> io::Result<usize> {
    #[cfg(debug_assertions)]
    let bytes = fault::tear(path, file, bytes)?;
    loop {
        match step(Step::Write, path, || file.write(bytes)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) if !bytes.is_empty() => {
                return Err(at("writing", path)(io::ErrorKind::WriteZero.into()));
            }
            outcome => return outcome,
        }
    }
}

/// Writes all of it.
pub fn write_all(file: &File, mut bytes: &[u8], path: &Path) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = write(file, bytes, path)?;
        bytes = bytes.get(written..).unwrap_or_default();
    }
    Ok(())
}

/// Makes the file's bytes, and its length, survive a power cut.
pub fn sync(file: &File, path: &Path) -> io::Result<()> {
    step(Step::Sync, path, || file.sync_data())
}

/// Makes what happened in the folder `dir` (new names, renames) survive a power cut.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    unless_invalid(step(Step::SyncDir, dir, || File::open(dir)?.sync_all()))
}

/// Takes EINVAL from a directory's fsync for success, as databases do: some filesystems (SMB, old NFS
/// servers, FUSE) have no such call, and store names by themselves.
fn unless_invalid(synced: io::Result<()>) -> io::Result<()> {
    match synced {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        synced => synced,
    }
}

/// Reserves space for `length` bytes of a file, which then has that length. Where the filesystem cannot
/// do that, nothing is reserved, and that is no error.
pub fn allocate(file: &File, length: u64, path: &Path) -> io::Result<()> {
    step(Step::Allocate, path, || {
        match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, length) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::NODEV) => Ok(()),
            outcome => Ok(outcome?),
        }
    })
}

/// Locks a file, without waiting for another process that has locked it. `false` if one has. On a network
/// filesystem the call itself may take long.
pub fn try_lock(file: &File, path: &Path) -> io::Result<bool> {
    step(Step::Lock, path, || match file.try_lock() {
        Ok(()) => Ok(true),
        Err(fs::TryLockError::WouldBlock) => Ok(false),
        Err(fs::TryLockError::Error(error)) => Err(error),
    })
}

/// Locks a file together with others that do so, once nobody has it to themselves. The lock ends with
/// the file.
pub fn lock_shared(file: &File, path: &Path) -> io::Result<()> {
    step(Step::Lock, path, || file.lock_shared())
}

/// Cuts a file off behind `length` bytes.
pub fn truncate(file: &File, length: u64, path: &Path) -> io::Result<()> {
    step(Step::Truncate, path, || file.set_len(length))
}

/// Gives a file its final name.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    step(Step::Rename, to, || fs::rename(from, to))
}

/// Removes a file. It is no error if it is gone.
pub fn remove(path: &Path) -> io::Result<()> {
    step(Step::Remove, path, || match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    })
}

/// The bytes that are free on the disk of a directory, and all of them.
pub fn space(dir: &Path) -> io::Result<(u64, u64)> {
    step(Step::Space, dir, || {
        let disk = rustix::fs::statvfs(dir)?;
        let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
        Ok((bytes(disk.f_bavail), bytes(disk.f_blocks)))
    })
}

/// Makes the directory and those above it that are missing, and makes them durable. For directories
/// that nobody else may write to: others are walked by [`Directory`].
pub fn create_dir(dir: &Path, mode: u32) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = folder(dir);
    create_dir(parent, mode)?;
    match step(Step::MakeDir, dir, || fs::DirBuilder::new().mode(mode).create(dir)) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => {}
        outcome => outcome?,
    }
    sync_dir(parent)
}

/// Replaces the file at `path` by one with these bytes: after a crash it is the old or the new one. For
/// a directory of the daemon's own, where `NAME.new` is nobody else's.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    match replace_by_way_of(&beside, path, bytes, 0o600) {
        // An earlier life left it.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            remove(&beside)?;
            replace_by_way_of(&beside, path, bytes, 0o600)
        }
        outcome => outcome,
    }
}

/// The same for a directory that others may write to, and with a mode of its own: by way of a name that
/// nobody can know beforehand.
pub fn replace_with_mode(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{:016x}.new", RandomState::new().build_hasher().finish()));
    let beside = path.with_file_name(name);
    let replaced = replace_by_way_of(&beside, path, bytes, mode);
    if replaced.is_err() {
        fs::remove_file(&beside).ok();
    }
    replaced
}

fn replace_by_way_of(beside: &Path, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(mode);
    let file = open(&options, beside)?;
    write_all(&file, bytes, beside)?;
    sync(&file, beside)?;
    rename(beside, path)?;
    sync_dir(folder(path))
}

/// Puts a second name to `from`, or a copy where the filesystem cannot do that: the two directories are
/// on different ones, it has no hard links, or the file has as many names as it can have. Makes it
/// durable. It is no error if `to` is there already.
pub fn link_or_copy(from: &Path, to: &Path) -> io::Result<()> {
    /// One copy at a time: two may go by the same temporary name.
    static COPYING: Mutex<()> = Mutex::new(());

    match step(Step::Link, to, || fs::hard_link(from, to)) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) if is_without_links(error.kind()) => {
            let _alone = COPYING.lock().unwrap_or_else(PoisonError::into_inner);
            let beside = to.with_extension("new");
            // An earlier life may have left one.
            remove(&beside)?;
            let mut options = OpenOptions::new();
            let file = open(options.write(true).create_new(true).mode(0o640), &beside)?;
            io::copy(&mut File::open(from).map_err(at("opening", from))?, &mut &file)
                .map_err(at("copying to", &beside))?;
            sync(&file, &beside)?;
            rename(&beside, to)?;
        }
        Err(error) => return Err(error),
    }
    sync_dir(folder(to))
}

/// Whether a hard link that failed so may be a copy instead.
fn is_without_links(error: io::ErrorKind) -> bool {
    matches!(
        error,
        io::ErrorKind::CrossesDevices
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::TooManyLinks
            | io::ErrorKind::Unsupported
    )
}

/// The folder that a path's name stands in.
pub fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn step<T>(step: Step, path: &Path, run: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    debug_assert!(!is_forbidden(), "{} {}: from async code", step.gerund(), path.display());
    #[cfg(debug_assertions)]
    fault::before(step, path)?;
    let outcome = run();
    #[cfg(debug_assertions)]
    fault::after(step, path);
    outcome.map_err(at(step.gerund(), path))
}
