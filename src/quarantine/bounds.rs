//! Keeps the quarantine within its size and age.
//!
//! What goes first is what was not written to for longest. A records file is large when it has an
//! eighth of the bound: it then gets another name, and the daemon begins a new one. So a flood of
//! rejects costs the oldest eighth at a time, and never all at once because it happened on one day.
//! Names by the hour would not do that: a flood passes any bound within an hour. Between two looks
//! the bound may be passed by as much as arrives meanwhile.
//!
//! A body that belongs to a batch in the spool has a second name there: removing it here harms
//! nothing, and frees nothing until the batch is delivered.

use std::{io, time::SystemTime};

use tracing::{info, warn};

use super::{Kind, Shelf, shelf::roll};
use crate::{
    config::{self, format_bytes},
    durable,
};

/// The part of the bound that makes a file large.
const LARGE_PART: u64 = 8;

/// What [`enforce`] left, and took.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Outcome {
    /// Length of the files that are there.
    pub bytes: u64,
    /// Length of those that were removed.
    pub removed_bytes: u64,
}

/// Removes what is too old or too much. What cannot be removed is tried again the next time.
///
/// # Errors
/// The folder cannot be read.
pub fn enforce(config: &config::Quarantine, now: SystemTime) -> io::Result<Outcome> {
    let mut shelf = Shelf::read(&config.dir)?;
    for kept in &mut shelf.files {
        let is_large = kept.bytes > config.max_bytes / LARGE_PART;
        if is_large && kept.kind == (Kind::Records { aside: false }) {
            match roll(&kept.path) {
                Ok(Some(path)) => {
                    info!(path = %path.display(), "a quarantine file is large: another one begins");
                    kept.path = path;
                }
                Ok(None) => {}
                Err(error) => warn!(%error, "cannot begin another quarantine file"),
            }
        }
    }
    let mut outcome = Outcome { bytes: shelf.bytes(), removed_bytes: 0 };
    let mut failures = Vec::new();
    for kept in &shelf.files {
        let age = now.duration_since(kept.modified).unwrap_or_default();
        let why = if age > config.max_age {
            "older than quarantine.max_age"
        } else if outcome.bytes > config.max_bytes {
            "the quarantine is over quarantine.max_bytes"
        } else {
            continue;
        };
        match durable::remove(&kept.path) {
            Ok(()) => {
                let (path, size) = (kept.path.display(), format_bytes(kept.bytes));
                warn!(%path, size, why, "removed from the quarantine");
                outcome.bytes -= kept.bytes;
                outcome.removed_bytes += kept.bytes;
            }
            Err(error) => failures.push(error),
        }
    }
    // The next round is a minute away: one line stands for all files of this one.
    if let Some(error) = failures.first() {
        warn!(%error, files = failures.len(), "cannot remove from the quarantine");
    }
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File},
        path::PathBuf,
        time::Duration,
    };

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    struct Folder {
        config: config::Quarantine,
        now: SystemTime,
        _dir: tempfile::TempDir,
    }

    impl Folder {
        fn new(max_bytes: u64) -> Self {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir(dir.path().join("bodies")).unwrap();
            let config =
                config::Quarantine { dir: dir.path().to_owned(), max_bytes, max_age: 48 * HOUR };
            Self { config, now: SystemTime::now(), _dir: dir }
        }

        fn file(&self, name: &str, bytes: usize, hours: u32) -> PathBuf {
            let path = self.config.dir.join(name);
            fs::write(&path, vec![b'x'; bytes]).unwrap();
            let file = File::options().write(true).open(&path).unwrap();
            file.set_modified(self.now - hours * HOUR).unwrap();
            path
        }

        fn enforce(&self) -> Outcome {
            enforce(&self.config, self.now).unwrap()
        }
    }

    #[test]
    fn what_is_too_old_goes() {
        let folder = Folder::new(1 << 20);
        let old = folder.file("records-2026-01-01.ndjson", 10, 49);
        let replayed = folder.file("records-2026-01-02.ndjson.replayed-1", 20, 50);
        let body = folder.file(&format!("bodies/push.dns_logs.{:032x}", 1), 30, 60);
        let young = folder.file("records-2026-01-03.ndjson", 40, 47);
        let not_ours = folder.file("notes.txt", 50, 90);
        assert_eq!(folder.enforce(), Outcome { bytes: 40, removed_bytes: 60 });
        assert_eq!(folder.enforce(), Outcome { bytes: 40, removed_bytes: 0 });
        assert!(young.exists() && not_ours.exists());
        assert!(!old.exists() && !replayed.exists() && !body.exists());
    }

    #[test]
    fn what_is_too_much_goes_oldest_first() {
        let folder = Folder::new(800);
        let oldest = folder.file(&format!("bodies/push.dns_logs.{:032x}", 1), 300, 3);
        let older = folder.file("records-2026-01-02.1.ndjson", 400, 2);
        let newest = folder.file("records-2026-01-02.ndjson", 90, 0);
        assert_eq!(folder.enforce(), Outcome { bytes: 790, removed_bytes: 0 });
        folder.file("records-2026-01-03.ndjson", 50, 0);
        assert_eq!(folder.enforce(), Outcome { bytes: 540, removed_bytes: 300 });
        assert!(!oldest.exists() && older.exists() && newest.exists());
    }

    #[test]
    fn a_large_file_is_ended_and_goes_only_when_it_alone_is_too_much() {
        let folder = Folder::new(800);
        let live = folder.file("records-2026-01-02.ndjson", 101, 0);
        assert_eq!(folder.enforce(), Outcome { bytes: 101, removed_bytes: 0 });
        assert!(!live.exists(), "it has another name");
        assert_eq!(Shelf::read(&folder.config.dir).unwrap().files.len(), 1);

        folder.file("records-2026-01-02.ndjson", 801, 0);
        assert_eq!(folder.enforce(), Outcome { bytes: 0, removed_bytes: 902 });
    }
}
