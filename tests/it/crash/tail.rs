//! Follows files as `tail -F` does, across all runs of the daemon.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    io::Read as _,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use super::check::datasets_in;
use crate::support::{names_in, same_bytes};

const PAUSE: Duration = Duration::from_millis(3);

/// Follows every file of some directories across renames.
pub(super) struct Tail {
    directories: Vec<PathBuf>,
    /// By inode: an open file's number is not reused.
    followed: HashMap<u64, Followed>,
    /// The content of files that were removed.
    gone: Vec<Followed>,
}

struct Followed {
    directory: PathBuf,
    dataset: String,
    file: Option<File>,
    seen: Vec<u8>,
}

fn is_plain(name: &str) -> bool {
    let ending = name.rsplit('.').next();
    name.contains(".ndjson") && !matches!(ending, Some("gz" | "tmp"))
}

impl Tail {
    pub(super) fn new(directories: Vec<PathBuf>) -> Self {
        Self { directories, followed: HashMap::new(), gone: Vec::new() }
    }

    /// Reads new data until it is stopped.
    pub(super) fn follow(&mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            self.read();
            thread::sleep(PAUSE);
        }
    }

    fn read(&mut self) {
        for directory in &self.directories {
            for name in names_in(directory).into_iter().filter(|name| is_plain(name)) {
                let path = directory.join(&name);
                let is_new = |file: &fs::Metadata| !self.followed.contains_key(&file.ino());
                if path.metadata().is_ok_and(|file| is_new(&file))
                    && let Ok(file) = File::open(&path)
                {
                    let inode = file.metadata().unwrap().ino();
                    let dataset = name.split(['-', '.']).next().unwrap().to_owned();
                    self.followed.entry(inode).or_insert(Followed {
                        directory: directory.clone(),
                        dataset,
                        file: Some(file),
                        seen: Vec::new(),
                    });
                }
            }
        }
        let mut gone = Vec::new();
        for (inode, followed) in &mut self.followed {
            let file = followed.file.as_mut().unwrap();
            let is_gone = file.metadata().unwrap().nlink() == 0;
            file.read_to_end(&mut followed.seen).unwrap();
            if is_gone {
                gone.push(*inode);
            }
        }
        for inode in gone {
            let followed = self.followed.remove(&inode).unwrap();
            self.gone.push(Followed { file: None, ..followed });
        }
    }

    /// Asserts that the bytes read are those on disk: none were removed or changed.
    pub(super) fn check(&mut self) {
        self.read();
        let of = |directory: &PathBuf| (directory.clone(), datasets_in(directory));
        let texts: BTreeMap<_, _> = self.directories.iter().map(of).collect();
        for followed in self.followed.values().chain(&self.gone) {
            let Followed { directory, dataset, file, seen } = followed;
            let what = format!("what was seen of {dataset} in {}", directory.display());
            if let Some(file) = file {
                let mut there = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
                file.read_exact_at(&mut there, 0).unwrap();
                same_bytes(&what, seen, &there);
            }
            let text = texts[directory].get(dataset).map(Vec::as_slice).unwrap_or_default();
            assert!(memchr::memmem::find(text, seen).is_some(), "{what} is not on disk");
        }
    }
}
