//! The lock that keeps a second daemon out of the spool.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use rustix::fs::{OFlags, major, minor};
use tracing::warn;

use crate::durable;

/// The mode of the lock file: every user who can read the file can lock it.
const LOCK_MODE: u32 = 0o600;

/// The interval between warnings while locking is slow.
const SLOW: Duration = Duration::from_secs(2);

/// Locks the file at `path` and creates it if it is missing. Dropping the file releases the lock.
///
/// # Errors
/// Another process holds the lock, or the file cannot be opened or locked.
pub(super) fn lock(path: &Path) -> io::Result<File> {
    log_while_slow(path, || try_lock(path))
}

fn try_lock(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(LOCK_MODE)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
        .map_err(durable::error_at("opening", path))?;
    // Earlier versions created a file that every user can read, and therefore lock.
    let metadata = file.metadata().map_err(durable::error_at("reading", path))?;
    if metadata.permissions().mode() & 0o777 != LOCK_MODE {
        let mode = Permissions::from_mode(LOCK_MODE);
        file.set_permissions(mode).map_err(durable::error_at("setting the mode of", path))?;
    }
    if durable::try_lock(&file, path)? {
        return Ok(file);
    }
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    let process = lock_holder(&locks, (metadata.dev(), metadata.ino()));
    let process = process.map_or(String::new(), |pid| format!(" (process {pid})"));
    Err(io::Error::new(
        io::ErrorKind::ResourceBusy,
        format!(
            "{} is locked: another logpushd{process} uses this spool.dir; stop it, or choose another directory",
            path.display()
        ),
    ))
}

/// Finds the process that holds the lock, in the kernel's list of locks.
fn lock_holder(locks: &str, (device, inode): (u64, u64)) -> Option<u32> {
    let file = format!("{:02x}:{:02x}:{inode}", major(device), minor(device));
    // NUMBER: FLOCK ADVISORY WRITE PID MAJOR:MINOR:INODE START END
    locks.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(4);
        let pid = words.next()?.parse().ok()?;
        // A process of another PID namespace has the number 0.
        (words.next()? == file && pid > 0).then_some(pid)
    })
}

/// Runs `work`, and logs a warning at intervals while it runs: a network filesystem may not answer, and
/// the daemon has not logged anything yet.
fn log_while_slow<T>(path: &Path, work: impl FnOnce() -> T) -> T {
    let (done, is_done) = mpsc::sync_channel::<()>(0);
    thread::scope(|scope| {
        let wait = move || {
            while is_done.recv_timeout(SLOW) == Err(RecvTimeoutError::Timeout) {
                let path = path.display();
                warn!(%path, "still waiting for the lock: the filesystem of spool.dir does not answer");
            }
        };
        // If the thread cannot be started, nothing is logged.
        let waiting = thread::Builder::new().name("slow lock".into()).spawn_scoped(scope, wait);
        let outcome = work();
        drop(done);
        drop(waiting);
        outcome
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_reports_the_process_that_holds_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = lock(&path).unwrap();
        let error = lock(&path).unwrap_err().to_string();
        let owner = format!("another logpushd (process {}) uses", std::process::id());
        assert!(error.contains(&owner), "{error}");
        drop(first);
        lock(&path).unwrap();
    }

    #[test]
    fn the_list_of_locks_is_parsed_by_device_and_inode() {
        let locks = "1: POSIX  ADVISORY  WRITE 12 fe:00:7 0 EOF\n\
                     1: -> FLOCK  ADVISORY  WRITE 99 fe:00:8 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 34 fe:00:8 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 0 fe:00:9 0 EOF\n\
                     torn";
        let device = rustix::fs::makedev(0xfe, 0);
        assert_eq!(lock_holder(locks, (device, 7)), Some(12));
        assert_eq!(lock_holder(locks, (device, 8)), Some(34));
        assert_eq!(lock_holder(locks, (device, 9)), None);
        assert_eq!(lock_holder(locks, (device + 1, 7)), None);
    }
}
