//! How far a consumer of the spool is, on disk: the last batch it needs no more, and what its sink
//! remembers as of then.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::{durable, quarantine::DeadLetterState, sink::State};

/// A consumer's checkpoint.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(super) struct Checkpoint {
    /// Sequence of the last batch that is done with; 0 if none is.
    pub(super) batch: u64,
    /// What the sink remembers as of the end of that batch.
    #[serde(flatten)]
    pub(super) state: State,
    /// How far the dead letters of the sink are written.
    #[serde(default, skip_serializing_if = "DeadLetterState::is_empty")]
    pub(super) dead_letters: DeadLetterState,
}

/// The file of a consumer's checkpoint.
#[derive(Debug)]
pub(super) struct CheckpointFile {
    path: PathBuf,
}

impl CheckpointFile {
    /// `name` is that of a sink, or begins with a character that no sink's name has.
    pub(super) fn new(cursors: &Path, name: &str) -> Self {
        Self { path: cursors.join(format!("{name}.json")) }
    }

    /// Reads the last checkpoint. One that cannot be read costs duplicates, not records, and not the
    /// start: it is kept under another name, and all that waits is delivered again.
    pub(super) fn load(&self) -> Checkpoint {
        let error = match self.read() {
            Ok(checkpoint) => return checkpoint.unwrap_or_default(),
            Err(error) => error,
        };
        let path = self.path.display();
        warn!(%error, "cannot read a checkpoint: all that waits is delivered again");
        if let Err(error) = fs::rename(&self.path, self.path.with_extension("damaged")) {
            warn!(%path, %error, "cannot set the checkpoint aside");
        }
        Checkpoint::default()
    }

    fn read(&self) -> io::Result<Option<Checkpoint>> {
        let checkpoint = match fs::read(&self.path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        checkpoint.map_err(durable::error_at("reading the checkpoint", &self.path))
    }

    pub(super) fn store(&self, checkpoint: &Checkpoint) -> io::Result<()> {
        let bytes = serde_json::to_vec(checkpoint)?;
        durable::replace(&self.path, &bytes)
    }

    pub(super) fn remove(&self) -> io::Result<()> {
        durable::remove(&self.path)?;
        durable::sync_dir(durable::parent(&self.path))
    }
}

/// The last batch that a consumer is done with, as its checkpoint in the folder `cursors` says; `None`
/// if it has none yet. Only looks, so a daemon may run beside it.
pub fn last_batch(cursors: &Path, name: &str) -> io::Result<Option<u64>> {
    let checkpoint = CheckpointFile::new(cursors, name).read()?;
    Ok(checkpoint.map(|checkpoint| checkpoint.batch).filter(|batch| *batch > 0))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_checkpoint_is_read_back_and_damage_is_survived() {
        let dir = tempfile::tempdir().unwrap();
        let file = CheckpointFile::new(dir.path(), "archive");
        assert_eq!(file.load(), Checkpoint::default());
        let state = State::of(&json!({ "files": [{ "path": "/a b\"/c", "length": u64::MAX }] }));
        let checkpoint = Checkpoint { batch: 42, state: state.unwrap(), ..Checkpoint::default() };
        file.store(&Checkpoint::default()).unwrap();
        file.store(&checkpoint).unwrap();
        assert_eq!(file.load(), checkpoint);
        let text = fs::read_to_string(dir.path().join("archive.json")).unwrap();
        let before = r#"{"batch":42,"files":[{"length":18446744073709551615,"path":"/a b\"/c"}]}"#;
        assert_eq!(text, before, "as earlier versions read it");
        assert_eq!(last_batch(dir.path(), "archive").unwrap(), Some(42));
        assert_eq!(last_batch(dir.path(), "other").unwrap(), None);
        CheckpointFile::new(dir.path(), "new").store(&Checkpoint::default()).unwrap();
        assert_eq!(last_batch(dir.path(), "new").unwrap(), None);
        fs::write(dir.path().join("archive.json"), "{\"batch\":").unwrap();
        let error = last_batch(dir.path(), "archive").unwrap_err().to_string();
        assert!(error.contains("archive.json"), "{error}");
        assert_eq!(file.load(), Checkpoint::default());
        assert!(dir.path().join("archive.damaged").exists());
    }
}
