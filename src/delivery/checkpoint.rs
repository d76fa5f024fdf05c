//! Stores the progress of a consumer of the spool: the last batch that it no longer needs, and the
//! state of its sink at that batch.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::{durable, quarantine::DeadLetterState, sink::State};

/// The checkpoint of a consumer.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(super) struct Checkpoint {
    /// The sequence of the last finished batch, or 0.
    pub(super) batch: u64,
    /// The state of the sink at the end of that batch.
    #[serde(flatten)]
    pub(super) state: State,
    /// The state of the sink's dead letters at the end of that batch.
    #[serde(default, skip_serializing_if = "DeadLetterState::is_empty")]
    pub(super) dead_letters: DeadLetterState,
}

/// The file of a consumer's checkpoint.
#[derive(Debug)]
pub(super) struct CheckpointFile {
    path: PathBuf,
}

impl CheckpointFile {
    /// Names the file in the directory `cursors`. `name` is the name of a sink, or begins with a
    /// character that no name of a sink contains.
    pub(super) fn new(cursors: &Path, name: &str) -> Self {
        Self { path: cursors.join(format!("{name}.json")) }
    }

    /// Reads the last checkpoint. An unreadable one is renamed, and all batches in the spool are
    /// delivered again: that causes duplicates, but loses no record and does not prevent a start.
    pub(super) fn load(&self) -> Checkpoint {
        let error = match self.read() {
            Ok(checkpoint) => return checkpoint.unwrap_or_default(),
            Err(error) => error,
        };
        let path = self.path.display();
        warn!(%error, "cannot read a checkpoint, delivering the whole backlog again");
        if let Err(error) = fs::rename(&self.path, self.path.with_extension("damaged")) {
            warn!(%path, %error, "cannot rename the damaged checkpoint");
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

/// Reads the sequence of a consumer's last finished batch from its checkpoint in the directory
/// `cursors`. Returns `None` without a checkpoint. Changes nothing, so a daemon may run meanwhile.
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
