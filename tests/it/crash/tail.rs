//! Follows files as `tail -F` does, across all lives of the daemon.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use crate::support::{names_in, same_bytes};

const PAUSE: Duration = Duration::from_millis(3);

/// Follows every file of some folders.
pub(super) struct Tail {
    folders: Vec<PathBuf>,
    followed: BTreeMap<PathBuf, Followed>,
}

struct Followed {
    file: File,
    seen: Vec<u8>,
}

impl Tail {
    pub(super) fn new(folders: Vec<PathBuf>) -> Self {
        Self { folders, followed: BTreeMap::new() }
    }

    /// Reads what comes until it is told to stop.
    pub(super) fn follow(&mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            self.read();
            thread::sleep(PAUSE);
        }
    }

    fn read(&mut self) {
        for folder in &self.folders {
            for name in names_in(folder) {
                let path = folder.join(name);
                if !self.followed.contains_key(&path)
                    && let Ok(file) = File::open(&path)
                {
                    self.followed.insert(path, Followed { file, seen: Vec::new() });
                }
            }
        }
        for followed in self.followed.values_mut() {
            followed.file.read_to_end(&mut followed.seen).unwrap();
        }
    }

    /// Demands that what was seen is what is there: nothing was taken back or changed.
    pub(super) fn check(&mut self, read: impl Fn(&Path) -> Vec<u8>) {
        self.read();
        for (path, followed) in &self.followed {
            let what = format!("what was seen of {}", path.display());
            same_bytes(&what, &followed.seen, &read(path));
        }
    }
}
