//! Ensures that only one sink of this process has a file open.
//!
//! `validate` compares paths. This module compares device and inode, and so also finds hard links,
//! directories that are mounted twice, and directories that were moved.

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

/// The open files by device and inode, each with the sink that claims it and the number of its
/// claims.
static OPEN: Mutex<BTreeMap<(u64, u64), (Claimant, usize)>> = Mutex::new(BTreeMap::new());

/// A sink that claims files.
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
                "the sink whose `path` is {} has this file open; give each sink its own files",
                holder.pattern
            ));
            return Err(durable::error_at("opening", path)(error));
        }
        *times += 1;
        Ok(Claim { key })
    }
}

/// The claim of one sink on an open file, until it is dropped.
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
    // A panic cannot interrupt a change.
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::{
        Sink as _, SinkCounters,
        file::{
            FileSink, Settings,
            tests::{batch, defaults, deliver, read},
        },
    };

    #[test]
    fn a_file_that_another_sink_has_open_is_refused_until_it_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let sink = |name: &str| {
            let path = at(name).to_str().unwrap().to_owned();
            let settings = Settings { path, ..defaults() };
            FileSink::new(&settings, None, vec![], SinkCounters::default()).unwrap()
        };
        fs::write(at("one"), "").unwrap();
        fs::hard_link(at("one"), at("other")).unwrap();
        let (mut one, mut other) = (sink("one"), sink("other"));
        deliver(&mut one, &batch(1, "a"), "{\"n\":1}\n");
        let error = other.begin(&batch(1, "a")).unwrap_err().to_string();
        assert!(error.contains("/other: the sink whose `path` is"), "{error}");
        assert!(error.contains("/one has"), "{error}");
        deliver(&mut one, &batch(2, "a"), "{\"n\":2}\n");
        drop(one);
        deliver(&mut other, &batch(1, "a"), "{\"n\":1}\n");
        assert_eq!(read(&at("other")), "{\"n\":1}\n{\"n\":2}\n{\"n\":1}\n");
        // With another file of that name, both work.
        fs::remove_file(at("one")).unwrap();
        deliver(&mut sink("one"), &batch(1, "a"), "{\"n\":1}\n");
    }
}
