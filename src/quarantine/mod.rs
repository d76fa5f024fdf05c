//! Stores data that could not be accepted, within bounds, until an operator repairs it.
//!
//! Rejected records are lines of JSON in `records-DATE.ndjson`. A consumer of the spool writes them
//! exactly once, like any file sink. `bodies/` contains bodies that cannot be decoded, and batches
//! with a record that is too long for a line, as they were received.
//!
//! Records that the target of a sink refuses permanently are in `records-SINK-DATE.ndjson`, written
//! with the checkpoints of that sink.

mod bounds;
mod dead_letters;
mod files;
mod line;
mod sink;

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

pub use self::{
    bounds::{BoundsOutcome, ages, enforce},
    dead_letters::{DeadLetterFile, DeadLetterState, is_settled},
    files::{
        FileKind, QuarantineFile, QuarantineFiles, original, put_back, rename_as_replayed,
        rename_for_replay, replayed_path,
    },
    line::{Line, REFUSED, selection_text, unhex},
    sink::QuarantineSink,
};
use crate::{
    durable,
    spool::{Origin, Staging},
};

const DIR_MODE: u32 = 0o750;
const FILE_MODE: u32 = 0o640;
/// The name of the directory of bodies in `quarantine.dir`.
pub(crate) const BODIES: &str = "bodies";

/// The directory of whole bodies.
#[derive(Debug)]
pub struct Bodies {
    dir: PathBuf,
}

impl Bodies {
    /// Creates the directory in `dir`, which is `quarantine.dir`.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let dir = dir.join(BODIES);
        durable::create_dir(&dir, DIR_MODE)?;
        Ok(Self { dir })
    }

    /// Stores an undecodable body durably, and returns the name of its file. Equal bodies get the
    /// same name, so that a sender that retries does not fill the disk.
    pub fn keep(&self, mut staging: Staging, origin: &Origin) -> io::Result<String> {
        let staged = staging.sync()?;
        let digest = digest(staged).map_err(durable::error_at("reading", staged))?.to_hex();
        let digest = digest.get(..32).unwrap_or_default();
        let file_name = format!("{}.{}.{digest}", origin.endpoint, origin.dataset);
        durable::link_or_copy(staged, &self.dir.join(&file_name))?;
        Ok(file_name)
    }
}

fn digest(path: &Path) -> io::Result<blake3::Hash> {
    Ok(blake3::Hasher::new().update_reader(File::open(path)?)?.finalize())
}

#[cfg(test)]
mod tests {
    use std::{fs, thread, time::Duration};

    use super::*;
    use crate::spool::{Options, Spool};

    #[test]
    fn concurrent_bodies_are_stored_whole_also_on_another_filesystem() {
        let dir = tempfile::tempdir().unwrap();
        let spool =
            Spool::open(dir.path(), Options { max_bytes: 1 << 30, dedup_window: Duration::ZERO })
                .unwrap();
        let elsewhere = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let bodies = Bodies::open(elsewhere.path()).unwrap();
        let origin = Origin {
            endpoint: "push".to_owned(),
            dataset: "dns_logs".to_owned(),
            received: jiff::Timestamp::UNIX_EPOCH,
            sink: None,
        };
        thread::scope(|scope| {
            for sender in 0..8_u8 {
                let (spool, bodies, origin) = (&spool, &bodies, &origin);
                scope.spawn(move || {
                    for number in 0..20 {
                        let body = [sender, number].repeat(30_000);
                        let mut staging = spool.stage();
                        staging.write(&body).unwrap();
                        let name = bodies.keep(staging, origin).unwrap();
                        assert!(fs::read(bodies.dir.join(name)).unwrap() == body);
                    }
                });
            }
        });
        assert_eq!(fs::read_dir(&bodies.dir).unwrap().count(), 8 * 20);
        assert_eq!(fs::read_dir(spool.batches()).unwrap().count(), 0);
    }
}
