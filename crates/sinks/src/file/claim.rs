//! Which files the sinks of this process have open: a file is in one sink at a time.
//!
//! `validate` compares paths. What it cannot see is found here, by device and inode: a hard link, a
//! directory that is mounted twice, a directory that was moved.

use std::{
    collections::BTreeMap,
    fs::Metadata,
    io,
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use spool::durable;

/// The files that are open, by device and inode; whose they are, and how often that one has it open.
static OPEN: Mutex<BTreeMap<(u64, u64), (Claimant, usize)>> = Mutex::new(BTreeMap::new());

/// A sink, as it claims files.
#[derive(Clone, Debug)]
pub(super) struct Claimant {
    number: u64,
    pattern: Arc<str>,
}

impl Claimant {
    pub(super) fn new(pattern: &str) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        Self { number: COUNT.fetch_add(1, Ordering::Relaxed), pattern: pattern.into() }
    }

    /// Claims an open file for as long as the value lives.
    ///
    /// # Errors
    /// Another sink has it open.
    pub(super) fn claim(&self, file: &Metadata, path: &Path) -> io::Result<Claim> {
        let key = (file.dev(), file.ino());
        let mut open = open();
        let (holder, times) = open.entry(key).or_insert_with(|| (self.clone(), 0));
        if holder.number != self.number {
            let error = io::Error::other(format!(
                "the sink whose `path` is {} has this file open; give each sink files of its own",
                holder.pattern
            ));
            return Err(durable::error_at("opening", path)(error));
        }
        *times += 1;
        Ok(Claim { key })
    }
}

/// A file that one sink has open.
#[derive(Debug)]
pub(super) struct Claim {
    key: (u64, u64),
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut open = open();
        if let Some((_, times)) = open.get_mut(&self.key) {
            *times -= 1;
            if *times == 0 {
                open.remove(&self.key);
            }
        }
    }
}

fn open() -> MutexGuard<'static, BTreeMap<(u64, u64), (Claimant, usize)>> {
    // Every change is one step.
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}
