//! Writes the dead letters of a sink exactly once, with file positions in the checkpoint of that
//! sink.
//!
//! After a restart, a file sink compares the records that it writes again with the rest of its
//! file. That is not possible for dead letters, since the target may then refuse other records. The
//! file is therefore truncated to the checkpoint, and refused records are sent, refused and written
//! again.

use std::{
    borrow::Cow,
    collections::{BTreeSet, VecDeque},
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use settings::Settings as _;
use tracing::warn;

use super::{
    FILE_MODE, Line,
    line::{hex, selection_text},
};
use crate::{
    decode::Block,
    durable,
    sink::{
        DeadLetter, DeadLetters, FilePosition, FileSink, LetterId, Readiness, Sink as _,
        SinkCounters, SinkError, UnknownBytes, file, template,
    },
    spool::Batch,
};

/// Only the daemon's user may open the file, since every process that can open it can lock it.
const LOCK_MODE: u32 = 0o600;

/// The state of a sink's dead letters in its checkpoint.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct DeadLetterState {
    /// The durable length of each file.
    #[serde(default)]
    files: Vec<FilePosition>,
    /// Letters in the files that belong to batches after the checkpoint. The sink may add them
    /// again.
    #[serde(default)]
    written: BTreeSet<LetterId>,
}

impl DeadLetterState {
    /// Returns the written letters that the sink may add again.
    pub fn written(&self) -> BTreeSet<LetterId> {
        self.written.clone()
    }

    /// Returns whether the state is empty.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.written.is_empty()
    }
}

/// Writes the dead letters of one sink into files of their own, `records-SINK-DATE.ndjson`.
pub struct DeadLetterFile {
    sink: String,
    /// Identifies the sink's selection, if it changes records.
    selection: Option<u32>,
    files: FileSink,
    letters: DeadLetters,
    /// Letters from `letters` that are not written yet.
    taken: VecDeque<DeadLetter>,
    written: BTreeSet<LetterId>,
    lock_path: PathBuf,
    /// Held from the lookup of a file's name until a checkpoint covers the written letters.
    lock: Option<File>,
}

impl DeadLetterFile {
    /// Continues from the checkpoint of the sink `sink` with this fingerprint of its selection, and
    /// truncates the files to it. `dir` is `quarantine.dir`, `cursors` the spool's directory of
    /// checkpoints.
    ///
    /// # Errors
    /// The directory's name cannot be part of a path pattern.
    pub fn open(
        (sink, selection): (&str, Option<u32>),
        (dir, cursors): (&Path, &Path),
        state: DeadLetterState,
        letters: DeadLetters,
    ) -> Result<Self, String> {
        let directory = dir.to_str().ok_or("quarantine.dir is not UTF-8")?;
        let directory = template::escape(directory);
        let defaults = file::Settings::sample().ok_or("a default of the file sink is wrong")?;
        let config = file::Settings {
            path: format!("{directory}/records-{sink}-%Y-%m-%d.ndjson"),
            mode: FILE_MODE,
            ..defaults
        };
        let DeadLetterState { files, written } = state;
        let files = FileSink::new(&config, None, files, SinkCounters::default())?;
        let files = files.with_unknown_bytes(UnknownBytes::Truncate);
        if let Err(error) = files.truncate_unknown_bytes() {
            // Retried by the next write to the file.
            warn!(%error, "cannot truncate a file of dead letters to its checkpoint; some may be duplicated");
        }
        let lock_path = lock_path(cursors);
        let taken = VecDeque::new();
        Ok(Self {
            sink: sink.to_owned(),
            selection,
            files,
            letters,
            taken,
            written,
            lock_path,
            lock: None,
        })
    }

    /// Returns the size of the records that are not written yet.
    pub fn waiting_bytes(&self) -> usize {
        self.letters.waiting_bytes()
    }

    /// Writes the letters. [`Readiness::CheckpointFirst`] means that a file is new: the caller must
    /// write a checkpoint with its length, then call again.
    pub fn write(&mut self) -> Result<Readiness, SinkError> {
        self.taken.extend(self.letters.take());
        while let Some(first) = self.taken.front() {
            if self.lock.is_none() {
                self.lock = Some(lock(&self.lock_path)?);
            }
            let batch = first.batch.clone();
            if self.files.begin(&batch)? == Readiness::CheckpointFirst {
                return Ok(Readiness::CheckpointFirst);
            }
            let of_batch = self.taken.iter().take_while(|letter| letter.batch == batch).count();
            let mut lines = Block::default();
            for letter in self.taken.iter().take(of_batch) {
                lines.bytes.extend(line(&self.sink, self.selection, letter)?);
            }
            self.files.write(&lines)?;
            self.files.finish()?;
            self.report(&batch, of_batch);
            self.written.extend(self.taken.drain(..of_batch).map(|letter| letter.id()));
        }
        Ok(Readiness::Ready)
    }

    fn report(&self, batch: &Batch, records: usize) {
        let origin = &batch.header.origin;
        warn!(
            endpoint = origin.endpoint,
            dataset = origin.dataset,
            batch = batch.sequence,
            records,
            reason = self.taken.front().map(|letter| &*letter.reason),
            "the target refused records; they are in quarantine"
        );
    }

    /// Makes the written letters durable, and returns the state for a checkpoint after `batch`.
    pub fn sync(&mut self, batch: u64) -> Result<DeadLetterState, SinkError> {
        let files = self.files.sync_files()?;
        let written = self.written.range((batch + 1, 0, 0)..).copied().collect();
        Ok(DeadLetterState { files, written })
    }

    /// Must be called when the last state of `sync`, for a checkpoint after `batch`, is durable.
    pub fn saved(&mut self, batch: u64) -> Result<(), SinkError> {
        self.files.checkpoint_saved();
        self.written = self.written.split_off(&(batch + 1, 0, 0));
        self.letters.forget(batch);
        // Close the files: the next letter may be long in coming.
        self.files.reopen()?;
        if self.taken.is_empty() {
            self.lock = None;
        }
        Ok(())
    }
}

/// Returns the line of a dead letter, with its line feed.
fn line(sink: &str, selection: Option<u32>, letter: &DeadLetter) -> io::Result<Vec<u8>> {
    let origin = &letter.batch.header.origin;
    let text = std::str::from_utf8(&letter.record).ok();
    let line = Line {
        reason: letter.reason.as_str().into(),
        sink: Some(sink.into()),
        selection: selection.map(|selection| selection_text(selection).into()),
        endpoint: origin.endpoint.as_str().into(),
        dataset: origin.dataset.as_str().into(),
        batch: letter.batch.sequence,
        received: origin.received.to_string().into(),
        position: letter.position,
        length: letter.record.len() as u64,
        record: text.map(Cow::Borrowed),
        record_hex: text.is_none().then(|| hex(&letter.record).into()),
        body: None,
    };
    let mut bytes = serde_json::to_vec(&line)?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn lock_path(cursors: &Path) -> PathBuf {
    // No checkpoint has this name.
    cursors.join("@dead-letters.lock")
}

fn lock(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(LOCK_MODE);
    let file = durable::open(&options, path)?;
    durable::lock_shared(&file, path)?;
    Ok(file)
}

/// Returns whether no daemon still writes dead letters to a file that was renamed before this call.
/// `cursors` is the spool's directory of checkpoints.
pub fn is_settled(cursors: &Path) -> io::Result<bool> {
    let path = lock_path(cursors);
    match durable::open(OpenOptions::new().read(true), &path) {
        Ok(file) => durable::try_lock(&file, &path),
        // No dead letter was ever written.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}
