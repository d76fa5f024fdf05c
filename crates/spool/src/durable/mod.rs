//! The file operations that guarantees rest on. All of them go through this module, so that tests can
//! make each one fail, or kill the process before or after it (see `fault.rs`).
//!
//! Errors contain the operation and the path ([`FileError`]). In debug builds, an operation panics on a
//! thread that must not wait for a disk ([`forbid_blocking`]).

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

pub(crate) use self::error::clone_error;
pub use self::{
    directory::{Directory, MakeDirectory, PrivateDirectory},
    error::{FileError, cause, error_at},
    thread::{allow_blocking, forbid_blocking, is_blocking_forbidden},
};

/// The operations; the variants are the names in fault files.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum FileOperation {
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

impl FileOperation {
    /// Returns the operation for an error message, such as "writing PATH: ...".
    fn description(self) -> &'static str {
        match self {
            Self::Open => "opening",
            Self::MakeDir => "creating directory",
            Self::Write => "writing",
            Self::Sync => "syncing",
            Self::Rename => "renaming to",
            Self::SyncDir => "syncing directory",
            Self::Truncate => "truncating",
            Self::Link => "linking",
            Self::Remove => "removing",
            Self::Space => "reading the free space of",
            Self::Allocate => "allocating space in",
            Self::Lock => "locking",
        }
    }
}

/// Opens a file.
pub fn open(options: &OpenOptions, path: &Path) -> io::Result<File> {
    run_operation(FileOperation::Open, path, || options.open(path))
}

/// Writes some of the bytes, as `write(2)` does. `path` is for the error.
pub fn write(mut file: &File, bytes: &[u8], path: &Path) -> io::Result<usize> {
    #[cfg(debug_assertions)]
    let bytes = fault::tear(path, file, bytes)?;
    loop {
        match run_operation(FileOperation::Write, path, || file.write(bytes)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) if !bytes.is_empty() => {
                return Err(error_at("writing", path)(io::ErrorKind::WriteZero.into()));
            }
            outcome => return outcome,
        }
    }
}

/// Writes all bytes.
pub fn write_all(file: &File, mut bytes: &[u8], path: &Path) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = write(file, bytes, path)?;
        bytes = bytes.get(written..).unwrap_or_default();
    }
    Ok(())
}

/// Makes the bytes and the length of a file durable.
pub fn sync(file: &File, path: &Path) -> io::Result<()> {
    run_operation(FileOperation::Sync, path, || file.sync_data())
}

/// Makes changes of the directory `dir` (new names, renames) durable.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    ignore_invalid(run_operation(FileOperation::SyncDir, dir, || File::open(dir)?.sync_all()))
}

/// Treats EINVAL from the fsync of a directory as success, as databases do: some filesystems (SMB, old
/// NFS servers, FUSE) do not support the call, and store names by themselves.
fn ignore_invalid(synced: io::Result<()>) -> io::Result<()> {
    match synced {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        synced => synced,
    }
}

/// Allocates `length` bytes for a file, which then has that length. Does nothing if the filesystem does
/// not support that.
pub fn allocate(file: &File, length: u64, path: &Path) -> io::Result<()> {
    run_operation(FileOperation::Allocate, path, || {
        match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, length) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::NODEV) => Ok(()),
            outcome => Ok(outcome?),
        }
    })
}

/// Locks a file without waiting. Returns `false` if another process holds the lock. On a network
/// filesystem, the call itself may take long.
pub fn try_lock(file: &File, path: &Path) -> io::Result<bool> {
    run_operation(FileOperation::Lock, path, || match file.try_lock() {
        Ok(()) => Ok(true),
        Err(fs::TryLockError::WouldBlock) => Ok(false),
        Err(fs::TryLockError::Error(error)) => Err(error),
    })
}

/// Waits for a shared lock on a file. Dropping the file releases the lock.
pub fn lock_shared(file: &File, path: &Path) -> io::Result<()> {
    run_operation(FileOperation::Lock, path, || file.lock_shared())
}

/// Truncates a file to `length` bytes.
pub fn truncate(file: &File, length: u64, path: &Path) -> io::Result<()> {
    run_operation(FileOperation::Truncate, path, || file.set_len(length))
}

/// Renames a file.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    run_operation(FileOperation::Rename, to, || fs::rename(from, to))
}

/// Removes a file. Succeeds if the file does not exist.
pub fn remove(path: &Path) -> io::Result<()> {
    run_operation(FileOperation::Remove, path, || match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    })
}

/// Returns the free and the total bytes of the disk of a directory.
pub fn space(dir: &Path) -> io::Result<(u64, u64)> {
    run_operation(FileOperation::Space, dir, || {
        let disk = rustix::fs::statvfs(dir)?;
        let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
        Ok((bytes(disk.f_bavail), bytes(disk.f_blocks)))
    })
}

/// Creates a directory and its missing parents, and makes them durable. Only for directories that no
/// other user may write to; see [`Directory`] for others.
pub fn create_dir(dir: &Path, mode: u32) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = parent(dir);
    create_dir(parent, mode)?;
    match run_operation(FileOperation::MakeDir, dir, || {
        fs::DirBuilder::new().mode(mode).create(dir)
    }) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => {}
        outcome => outcome?,
    }
    sync_dir(parent)
}

/// Replaces the contents of the file at `path`: after a crash, it contains the old or the new bytes. Only
/// for directories of the daemon, since it uses the name `NAME.new`.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    match replace_via(&beside, path, bytes, 0o600) {
        // A previous run left the file.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            remove(&beside)?;
            replace_via(&beside, path, bytes, 0o600)
        }
        outcome => outcome,
    }
}

/// Like [`replace`], with a mode, and for directories that other users may write to: it uses an
/// unpredictable name.
pub fn replace_with_mode(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{:016x}.new", RandomState::new().build_hasher().finish()));
    let beside = path.with_file_name(name);
    let replaced = replace_via(&beside, path, bytes, mode);
    if replaced.is_err() {
        fs::remove_file(&beside).ok();
    }
    replaced
}

fn replace_via(beside: &Path, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(mode);
    let file = open(&options, beside)?;
    write_all(&file, bytes, beside)?;
    sync(&file, beside)?;
    rename(beside, path)?;
    sync_dir(parent(path))
}

/// Creates a hard link to `from` and makes it durable. Succeeds if `to` exists.
///
/// Creates a copy if the filesystem does not support links, the two directories are on different ones, or
/// the file has the maximum number of links.
pub fn link_or_copy(from: &Path, to: &Path) -> io::Result<()> {
    /// Serializes copies, which use the same temporary name.
    static COPYING: Mutex<()> = Mutex::new(());

    match run_operation(FileOperation::Link, to, || fs::hard_link(from, to)) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) if can_copy_instead(error.kind()) => {
            let _alone = COPYING.lock().unwrap_or_else(PoisonError::into_inner);
            let beside = to.with_extension("new");
            // A previous run may have left one.
            remove(&beside)?;
            let mut options = OpenOptions::new();
            let file = open(options.write(true).create_new(true).mode(0o640), &beside)?;
            io::copy(&mut File::open(from).map_err(error_at("opening", from))?, &mut &file)
                .map_err(error_at("copying to", &beside))?;
            sync(&file, &beside)?;
            rename(&beside, to)?;
        }
        Err(error) => return Err(error),
    }
    sync_dir(parent(to))
}

/// Reports whether a copy may succeed after this error of a hard link.
fn can_copy_instead(error: io::ErrorKind) -> bool {
    matches!(
        error,
        io::ErrorKind::CrossesDevices
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::TooManyLinks
            | io::ErrorKind::Unsupported
    )
}

/// Returns the parent directory of a path; `.` for a bare name.
pub fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn run_operation<T>(
    operation: FileOperation,
    path: &Path,
    run: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    debug_assert!(
        !is_blocking_forbidden(),
        "{} {}: from async code",
        operation.description(),
        path.display()
    );
    #[cfg(debug_assertions)]
    fault::before(operation, path)?;
    let outcome = run();
    #[cfg(debug_assertions)]
    fault::after(operation, path);
    outcome.map_err(error_at(operation.description(), path))
}
