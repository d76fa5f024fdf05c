//! What could not be accepted, and must not be lost: written down, kept within bounds, and found again
//! by whoever mends it.
//!
//! Rejected records are lines of JSON in `records-DATE.ndjson`, written by a consumer of the spool
//! like any sink, so they too are there exactly once. A body that cannot be read at all is kept in
//! `bodies/` as it came, as is one with a record too long to repeat.
//!
//! What the target of a sink refuses permanently is in `records-SINK-DATE.ndjson`, written with the
//! checkpoints of that sink.

mod bounds;
mod dead_letters;
mod line;
mod shelf;
mod sink;

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

pub use self::{
    bounds::{BoundsOutcome, ages, enforce},
    dead_letters::{DeadLetterFile, DeadLetterState, is_settled},
    line::{Line, REFUSED, unhex},
    shelf::{FileKind, QuarantineFile, Shelf, done_path, original, put_back, set_aside, set_done},
    sink::QuarantineSink,
};
use crate::{
    durable,
    spool::{Origin, Staging},
};

const DIR_MODE: u32 = 0o750;
const FILE_MODE: u32 = 0o640;
/// The folder of bodies, in `quarantine.dir`.
pub(crate) const BODIES: &str = "bodies";

/// The folder of whole bodies.
#[derive(Debug)]
pub struct Bodies {
    dir: PathBuf,
}

impl Bodies {
    /// `dir` is `quarantine.dir`.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let dir = dir.join(BODIES);
        durable::create_dir(&dir, DIR_MODE)?;
        Ok(Self { dir })
    }

    /// Makes a body durable that could not be read, and says the name of its file. The same bytes
    /// get the same name: a sender that tries again does not fill the disk.
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
    fn bodies_that_come_together_are_each_kept_whole_also_on_another_filesystem() {
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
