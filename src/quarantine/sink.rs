//! Writes rejected records from the spool to the quarantine, exactly once like any file sink.

use std::{
    borrow::Cow,
    io,
    path::{Path, PathBuf},
    time::Instant,
};

use settings::Settings as _;
use tracing::warn;

use super::{BODIES, DIR_MODE, FILE_MODE, Line, line::hex};
use crate::{
    decode::{Block, Reject, RejectReason},
    durable,
    sink::{FileSink, FileState, Readiness, Sink, SinkContext, SinkError, State, file, template},
    spool::{Batch, Origin},
};

/// The sink that writes rejected records to the quarantine.
pub struct QuarantineSink {
    files: FileSink,
    bodies: PathBuf,
    /// The spool's directory of batches.
    batches: PathBuf,
    batch: Option<Batch>,
}

impl QuarantineSink {
    /// Continues from the checkpoint in `context`. `dir` is `quarantine.dir`, `batches` the spool's
    /// directory of batches.
    ///
    /// # Errors
    /// The directory's name cannot be part of a path pattern.
    pub fn open(dir: &Path, batches: &Path, context: SinkContext) -> Result<Self, String> {
        let directory = dir.to_str().ok_or("quarantine.dir is not UTF-8")?;
        let directory = template::escape(directory);
        let defaults = file::Settings::sample().ok_or("a default of the file sink is wrong")?;
        let files = file::Settings {
            path: format!("{directory}/records-%Y-%m-%d.ndjson"),
            mode: FILE_MODE,
            ..defaults
        };
        let FileState { files: marks } = context.state.read();
        Ok(Self {
            files: FileSink::new(&files, None, marks, context.counters)?,
            bodies: dir.join(BODIES),
            batches: batches.to_owned(),
            batch: None,
        })
    }

    fn line(&self, batch: &Batch, reject: &Reject) -> Result<Vec<u8>, SinkError> {
        let body = match reject.reason {
            RejectReason::TooLong => Some(self.keep_whole(batch)?),
            _ => None,
        };
        let origin = &batch.header.origin;
        let text = text(reject);
        let line = Line {
            reason: reject.reason.label().into(),
            sink: None,
            selection: None,
            endpoint: origin.endpoint.as_str().into(),
            dataset: origin.dataset.as_str().into(),
            batch: batch.sequence,
            received: origin.received.to_string().into(),
            position: reject.position,
            length: reject.length,
            record: text.map(Cow::Borrowed),
            record_hex: text.is_none().then(|| hex(&reject.bytes).into()),
            body: body.map(Cow::Owned),
        };
        let mut bytes = serde_json::to_vec(&line).map_err(io::Error::from)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    fn keep_whole(&self, batch: &Batch) -> Result<String, SinkError> {
        let name = batch.file_name();
        durable::create_dir(&self.bodies, DIR_MODE)?;
        durable::link_or_copy(&self.batches.join(&name), &self.bodies.join(&name))?;
        Ok(name)
    }
}

/// Returns the record as text. Leaves out an incomplete character at the end of a truncated record.
fn text(reject: &Reject) -> Option<&str> {
    match (std::str::from_utf8(&reject.bytes), reject.reason) {
        (Ok(text), _) => Some(text),
        (Err(error), RejectReason::TooLong) if error.error_len().is_none() => {
            let whole = reject.bytes.get(..error.valid_up_to())?;
            std::str::from_utf8(whole).ok()
        }
        _ => None,
    }
}

impl Sink for QuarantineSink {
    fn begin(&mut self, batch: &Batch) -> Result<Readiness, SinkError> {
        self.batch = Some(batch.clone());
        self.files.begin(batch)
    }

    fn write(&mut self, block: &Block) -> Result<(), SinkError> {
        let Some(batch) = &self.batch else { return Ok(()) };
        if block.rejects.is_empty() {
            return Ok(());
        }
        let mut lines = Block::default();
        for reject in &block.rejects {
            lines.bytes.extend(self.line(batch, reject)?);
        }
        self.files.write(&lines)
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        if let Some(batch) = self.batch.take() {
            let Origin { endpoint, dataset, .. } = &batch.header.origin;
            warn!(
                endpoint,
                dataset,
                batch = batch.sequence,
                records = batch.header.rejected,
                "records are in quarantine"
            );
        }
        self.files.finish()
    }

    fn sync(&mut self) -> Result<State, SinkError> {
        self.files.sync()
    }

    fn checkpoint_saved(&mut self) {
        self.files.checkpoint_saved();
    }

    fn due(&self) -> Option<Instant> {
        self.files.due()
    }

    fn maintain(&mut self) -> Result<Readiness, SinkError> {
        self.files.maintain()
    }

    fn reopen(&mut self) -> Result<(), SinkError> {
        self.files.reopen()
    }

    fn records(&self, batch: &Batch) -> Option<u64> {
        Some(batch.header.rejected)
    }
}
