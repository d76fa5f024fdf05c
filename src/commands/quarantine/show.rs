//! `logpushd quarantine show`: prints quarantined records with the reason of each.

use std::{
    io::{self, BufWriter, Write},
    ops::ControlFlow,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde::Serialize;

use super::{UNDECODABLE, each_line};
use crate::{
    cli::quarantine::Show,
    commands::{Count, json},
    config::{Config, format_bytes},
    durable,
    fatal::Fatal,
    printable::{printable, start},
    quarantine::{FileKind, Line, QuarantineFile, QuarantineFiles, original},
};

/// The maximum size of a printed record without `--full`.
const SHOWN_BYTES: usize = 500;

/// A record, or an unreadable body.
#[derive(Debug, Serialize)]
struct ShownRecord {
    file: PathBuf,
    /// `None` for a body.
    line: Option<u64>,
    reason: String,
    /// The sink whose target refused the record.
    #[serde(skip_serializing_if = "Option::is_none")]
    sink: Option<String>,
    endpoint: String,
    dataset: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    batch: Option<u64>,
    received: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<u64>,
    length: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    record_hex: Option<String>,
    /// The file in `bodies/` that has the whole record.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
}

/// The output of `--json`.
#[derive(Debug, Serialize)]
struct ShowJson {
    records: Vec<ShownRecord>,
    /// The number of selected records beyond `--limit`.
    more: u64,
}

/// Prints the records that `options` select.
pub(super) fn run(config: &Config, options: &Show, out: &mut dyn Write) -> Result<(), Fatal> {
    let mut out = BufWriter::new(out);
    let mut report = ShowJson { records: Vec::new(), more: 0 };
    let mut printed = 0;
    for file in files(config, options)? {
        let mut take = |shown: ShownRecord| {
            if printed >= options.limit {
                report.more += 1;
                return Ok(());
            }
            printed += 1;
            if options.json {
                report.records.push(shown);
                return Ok(());
            }
            shown.write_text(config, &mut out)
        };
        let read = each(&file, options, &mut take);
        // Another command or the daemon removed the file.
        if !read.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            read?;
        }
    }
    if options.json {
        json::write(&mut out, &report)?;
    } else if printed == 0 {
        writeln!(out, "no matching records in {}", config.quarantine.dir.display())?;
    } else if report.more > 0 {
        let more = Count(report.more, "record");
        writeln!(
            out,
            "and {more} more: raise --limit, or select records with --endpoint or --reason"
        )?;
    }
    out.flush()?;
    Ok(())
}

fn files(config: &Config, options: &Show) -> io::Result<Vec<QuarantineFile>> {
    if options.paths.is_empty() {
        let files = QuarantineFiles::read(&config.quarantine.dir)?.files.into_iter();
        return Ok(files.filter(|file| file.kind != FileKind::Replayed).collect());
    }
    options.paths.iter().map(|path| file(path)).collect()
}

fn file(path: &Path) -> io::Result<QuarantineFile> {
    let metadata = path.metadata().map_err(durable::error_at("reading", path))?;
    Ok(QuarantineFile {
        path: path.to_owned(),
        // A copy of a records file can have any name.
        kind: original(path).unwrap_or(FileKind::Records { in_replay: true }),
        bytes: metadata.len(),
        modified: metadata.modified()?,
        inode: metadata.ino(),
    })
}

/// Passes the selected records of a file to `take`.
fn each(
    file: &QuarantineFile,
    options: &Show,
    take: &mut dyn FnMut(ShownRecord) -> io::Result<()>,
) -> io::Result<()> {
    match &file.kind {
        FileKind::Records { .. } => each_line(&file.path, &mut |number, bytes| {
            if let Ok(line) = serde_json::from_slice::<Line<'_>>(bytes)
                && options.filter.matches(&line.endpoint, line.reason_label())
            {
                take(ShownRecord::of(&file.path, number, &line, options.full))?;
            }
            Ok(ControlFlow::Continue(()))
        }),
        FileKind::Body { endpoint, dataset } if options.filter.matches(endpoint, UNDECODABLE) => {
            let received = Timestamp::try_from(file.modified);
            take(ShownRecord {
                file: file.path.clone(),
                line: None,
                reason: UNDECODABLE.to_owned(),
                sink: None,
                endpoint: endpoint.clone(),
                dataset: dataset.clone(),
                batch: None,
                received: received.map(|time| time.to_string()).unwrap_or_default(),
                position: None,
                length: file.bytes,
                record: None,
                record_hex: None,
                body: None,
            })
        }
        // The lines of records files describe the records of a whole batch.
        FileKind::Body { .. } | FileKind::Batch(_) | FileKind::Replayed => Ok(()),
    }
}

impl ShownRecord {
    fn of(path: &Path, number: u64, line: &Line<'_>, is_full: bool) -> Self {
        let bytes = if is_full { usize::MAX } else { SHOWN_BYTES };
        let start = |text: &str| start(text, bytes).to_owned();
        Self {
            file: path.to_owned(),
            line: Some(number),
            reason: line.reason.to_string(),
            sink: line.sink.as_deref().map(str::to_owned),
            endpoint: line.endpoint.to_string(),
            dataset: line.dataset.to_string(),
            batch: Some(line.batch),
            received: line.received.to_string(),
            position: Some(line.position),
            length: line.length,
            record: line.record.as_deref().map(start),
            record_hex: line.record_hex.as_deref().map(start),
            body: line.body.as_deref().map(str::to_owned),
        }
    }

    fn write_text(&self, config: &Config, out: &mut dyn Write) -> io::Result<()> {
        let file = self.file.strip_prefix(&config.quarantine.dir).unwrap_or(&self.file);
        let file = file.display().to_string();
        write!(out, "{}", printable(&file))?;
        if let Some(line) = self.line {
            write!(out, ":{line}")?;
        }
        let (endpoint, dataset) = (printable(&self.endpoint), printable(&self.dataset));
        if let Some(sink) = &self.sink {
            write!(out, ": refused by the target of {}", printable(sink))?;
        }
        write!(out, ": {}, {endpoint}/{dataset}", printable(&self.reason))?;
        write!(out, ", received {}", printable(&self.received))?;
        if let (Some(batch), Some(position)) = (self.batch, self.position) {
            write!(out, ", record {position} of batch {batch}")?;
        }
        writeln!(out, ", {}", format_bytes(self.length))?;
        if let Some(body) = &self.body {
            writeln!(out, "  full record in bodies/{}", printable(body))?;
        }
        let (text, is_hex) = match (&self.record, &self.record_hex) {
            (Some(text), _) => (text.as_str(), false),
            (None, Some(hex)) => (hex.as_str(), true),
            (None, None) => return Ok(()),
        };
        let form = if is_hex { "not UTF-8, in hexadecimal: " } else { "" };
        let printed = if is_hex { text.len() / 2 } else { text.len() } as u64;
        let rest = if printed < self.length { "..." } else { "" };
        writeln!(out, "  {form}{}{rest}", printable(text))
    }
}
