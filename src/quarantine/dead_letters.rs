//! The file of a sink's dead letters: exactly once, by marks in the checkpoint of that sink.
//!
//! A file sink that writes the same records again compares them with what it finds after its mark. Here
//! that is not possible: a target may answer otherwise after a restart. So what follows the mark is cut
//! off, and the records that were refused are sent, refused and written again.

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

use super::{FILE_MODE, Line, line::hex};
use crate::{
    decode::Block,
    durable,
    sink::{
        Begin, DeadLetter, DeadLetters, FileSink, LetterId, Mark, Sink as _, SinkCounters,
        SinkError, Unknown, file, template,
    },
    spool::Batch,
};

/// Who can read the file can lock it.
const LOCK_MODE: u32 = 0o600;

/// The part of a sink's checkpoint that is about its dead letters.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct DeadLetterState {
    /// How far each file was durably written.
    #[serde(default)]
    files: Vec<Mark>,
    /// The letters in them that belong to batches after the checkpoint: the sink may add them again.
    #[serde(default)]
    written: BTreeSet<LetterId>,
}

impl DeadLetterState {
    /// The letters that the sink may add again.
    pub fn written(&self) -> BTreeSet<LetterId> {
        self.written.clone()
    }

    /// Whether there is nothing to remember.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.written.is_empty()
    }
}

/// Writes the dead letters of one sink into files of their own, `records-SINK-DATE.ndjson`.
pub struct DeadLetterFile {
    sink: String,
    files: FileSink,
    letters: DeadLetters,
    /// Those that were taken from `letters` and are not written yet.
    taken: VecDeque<DeadLetter>,
    written: BTreeSet<LetterId>,
    lock_path: PathBuf,
    /// Held from the look at a file's name until a checkpoint covers what was written.
    lock: Option<File>,
}

impl DeadLetterFile {
    /// Continues from the checkpoint of the sink `sink`. `dir` is `quarantine.dir`, `cursors` the
    /// spool's directory of checkpoints. What was written after the checkpoint is cut off.
    ///
    /// # Errors
    /// The directory's name cannot be part of a path pattern.
    pub fn open(
        sink: &str,
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
        let files = files.with_unknown(Unknown::Cut);
        if let Err(error) = files.cut_unknown() {
            // It is tried again when something is written to the file.
            warn!(%error, "cannot cut off dead letters that no checkpoint covers: they may be there twice");
        }
        let lock_path = lock_path(cursors);
        let taken = VecDeque::new();
        Ok(Self { sink: sink.to_owned(), files, letters, taken, written, lock_path, lock: None })
    }

    /// Bytes of the records that wait to be written.
    pub fn waiting_bytes(&self) -> usize {
        self.letters.waiting_bytes()
    }

    /// Writes what waits. With [`Begin::CheckpointFirst`] a file is new: its length must be on record,
    /// then the call is repeated.
    pub fn write(&mut self) -> Result<Begin, SinkError> {
        self.taken.extend(self.letters.take());
        while let Some(first) = self.taken.front() {
            if self.lock.is_none() {
                self.lock = Some(lock(&self.lock_path)?);
            }
            let batch = first.batch.clone();
            if self.files.begin(&batch)? == Begin::CheckpointFirst {
                return Ok(Begin::CheckpointFirst);
            }
            let of_batch = self.taken.iter().take_while(|letter| letter.batch == batch).count();
            let mut lines = Block::default();
            for letter in self.taken.iter().take(of_batch) {
                lines.bytes.extend(line(&self.sink, letter)?);
            }
            self.files.write(&lines)?;
            self.files.finish()?;
            self.report(&batch, of_batch);
            self.written.extend(self.taken.drain(..of_batch).map(|letter| letter.id()));
        }
        Ok(Begin::Ready)
    }

    fn report(&self, batch: &Batch, records: usize) {
        let origin = &batch.header.origin;
        warn!(
            endpoint = origin.endpoint,
            dataset = origin.dataset,
            batch = batch.sequence,
            records,
            reason = self.taken.front().map(|letter| &*letter.reason),
            "the target refuses records: they are in quarantine"
        );
    }

    /// Makes what was written durable, and returns what belongs into a checkpoint after the batch
    /// `batch`.
    pub fn sync(&mut self, batch: u64) -> Result<DeadLetterState, SinkError> {
        let files = self.files.sync_files()?;
        let written = self.written.range((batch + 1, 0, 0)..).copied().collect();
        Ok(DeadLetterState { files, written })
    }

    /// Takes notice that what `sync` returned last, for a checkpoint after `batch`, is durable.
    pub fn saved(&mut self, batch: u64) -> Result<(), SinkError> {
        self.files.saved();
        self.written = self.written.split_off(&(batch + 1, 0, 0));
        self.letters.forget(batch);
        // Nothing may come for long.
        self.files.reopen()?;
        if self.taken.is_empty() {
            self.lock = None;
        }
        Ok(())
    }
}

/// The line of a dead letter, with its end.
fn line(sink: &str, letter: &DeadLetter) -> io::Result<Vec<u8>> {
    let origin = &letter.batch.header.origin;
    let text = std::str::from_utf8(&letter.record).ok();
    let line = Line {
        reason: letter.reason.as_str().into(),
        sink: Some(sink.into()),
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
    // No checkpoint has such a name.
    cursors.join("@dead-letters.lock")
}

fn lock(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(LOCK_MODE);
    let file = durable::open(&options, path)?;
    durable::lock_shared(&file, path)?;
    Ok(file)
}

/// Whether no daemon is writing dead letters to a file that was renamed before this call: then no more
/// are added to it. `cursors` is the spool's directory of checkpoints.
pub fn is_settled(cursors: &Path) -> io::Result<bool> {
    let path = lock_path(cursors);
    match durable::open(OpenOptions::new().read(true), &path) {
        Ok(file) => durable::try_lock(&file, &path),
        // No dead letter was ever written.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}
