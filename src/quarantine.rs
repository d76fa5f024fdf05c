//! What could not be accepted, and must not be lost.
//!
//! Rejected records are lines of JSON in `records-DATE.ndjson`, written by a consumer of the spool
//! like any sink, so they too are there exactly once. A body that cannot be read at all is kept in
//! `bodies/` as it came, as is one with a record too long to repeat.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use serde::Serialize;
use tracing::warn;

use crate::{
    decode::{Block, Reject, RejectReason},
    durable,
    ingest::Origin,
    sink::{
        Begin, FileSink, Mark, Sink, SinkError,
        template::{self, PathTemplate},
    },
    spool::{Batch, Staging},
};

const FILE_MODE: u32 = 0o640;
const DIR_MODE: u32 = 0o750;
const BODIES: &str = "bodies";

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
        let digest = digest(staged).map_err(durable::at("reading", staged))?.to_hex();
        let digest = digest.get(..32).unwrap_or_default();
        let file_name = format!("{}.{}.{digest}", origin.endpoint, origin.dataset);
        durable::link_or_copy(staged, &self.dir.join(&file_name))?;
        Ok(file_name)
    }
}

fn digest(path: &Path) -> io::Result<blake3::Hash> {
    let mut file = File::open(path)?;
    let mut hasher = blake3::Hasher::new();
    let mut piece = vec![0; 64 * 1024];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hasher.finalize()),
            bytes => hasher.update(piece.get(..bytes).unwrap_or_default()),
        };
    }
}

/// The consumer that writes rejected records down.
pub struct QuarantineSink {
    files: FileSink,
    bodies: PathBuf,
    /// The spool's folder of batches.
    batches: PathBuf,
    batch: Option<Batch>,
}

/// A line of a quarantine file.
#[derive(Serialize)]
struct Line<'a> {
    reason: &'a str,
    endpoint: &'a str,
    dataset: &'a str,
    /// Sequence of the batch.
    batch: u64,
    received: String,
    /// Place among the batch's records, from 1.
    position: u64,
    length: u64,
    /// The bytes, if they are UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<&'a str>,
    /// The bytes in hexadecimal, if they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    record_hex: Option<String>,
    /// The file in `bodies/` that holds the whole of a record that is cut here.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
}

impl QuarantineSink {
    /// `dir` is `quarantine.dir`, `batches` the spool's folder of batches, `marks` those of the last
    /// checkpoint.
    ///
    /// # Errors
    /// The folder's name cannot be part of a path pattern.
    pub fn open(dir: &Path, batches: &Path, marks: Vec<Mark>) -> Result<Self, String> {
        let folder = dir.to_str().ok_or("quarantine.dir is not UTF-8")?;
        let folder = template::escape(folder);
        let template = PathTemplate::parse(&format!("{folder}/records-%Y-%m-%d.ndjson"))?;
        Ok(Self {
            files: FileSink::new(template, FILE_MODE, marks),
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
        let header = &batch.header;
        let text = text(reject);
        let line = Line {
            reason: reject.reason.label(),
            endpoint: &header.endpoint,
            dataset: &header.dataset,
            batch: batch.sequence,
            received: header.received.to_string(),
            position: reject.position,
            length: reject.length,
            record: text,
            record_hex: text.is_none().then(|| hex(&reject.bytes)),
            body,
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

/// The record as text. One that was cut may end in half a character: that is left out.
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

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;

    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        if write!(text, "{byte:02x}").is_err() {
            break;
        }
    }
    text
}

impl Sink for QuarantineSink {
    fn begin(&mut self, batch: &Batch) -> Result<Begin, SinkError> {
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
            let header = &batch.header;
            warn!(
                endpoint = header.endpoint,
                dataset = header.dataset,
                batch = batch.sequence,
                records = header.rejected,
                "records are in quarantine"
            );
        }
        self.files.finish()
    }

    fn sync(&mut self) -> Result<Vec<Mark>, SinkError> {
        self.files.sync()
    }

    fn saved(&mut self) {
        self.files.saved();
    }

    fn records(&self, batch: &Batch) -> u64 {
        batch.header.rejected
    }
}
