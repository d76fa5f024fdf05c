//! `logpushd quarantine list`: lists the files in the quarantine with their contents and age.

use std::{
    collections::BTreeMap,
    io::{self, BufWriter, Write},
    ops::ControlFlow,
    path::Path,
    time::{Duration, SystemTime},
};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use super::each_line;
use crate::{
    commands::{self, Count, seconds},
    config::{Config, format_bytes},
    fatal::Fatal,
    printable::printable,
    quarantine::{FileKind, Line, QuarantineFile, QuarantineFiles},
    spool::Origin,
};

/// The number of records in a records file.
#[derive(Debug, Default)]
struct RecordCounts {
    /// By endpoint, dataset, reason, and the sink whose target refuses the record.
    records: BTreeMap<(String, String, String, Option<String>), u64>,
    oldest: Option<Timestamp>,
    newest: Option<Timestamp>,
    /// Lines that are not of the quarantine.
    unreadable: u64,
}

/// A file, as JSON.
#[derive(Debug, Default, Serialize)]
struct Listed {
    file: String,
    kind: &'static str,
    bytes: u64,
    age_seconds: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    records: Vec<ListedRecords>,
    /// Lines that are not of the quarantine.
    #[serde(skip_serializing_if = "Option::is_none")]
    unreadable: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dataset: Option<String>,
}

#[derive(Debug, Serialize)]
struct ListedRecords {
    endpoint: String,
    dataset: String,
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    sink: Option<String>,
    count: u64,
}

/// Lists the files in the quarantine, oldest first, and compares the total with its limits.
pub(super) fn run(config: &Config, is_json: bool, out: &mut dyn Write) -> Result<(), Fatal> {
    let dir = &config.quarantine.dir;
    let quarantine = QuarantineFiles::read(dir)?;
    let mut files = Vec::new();
    let mut out = BufWriter::new(out);
    let mut total = 0;
    for file in &quarantine.files {
        let counts = match &file.kind {
            FileKind::Records { .. } => match counts(&file.path) {
                Ok(counts) => Some(counts),
                // Another command or the daemon removed the file.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error.into()),
            },
            _ => None,
        };
        total += counts.as_ref().map_or(0, RecordCounts::count);
        let name = file.path.strip_prefix(dir).unwrap_or(&file.path).display().to_string();
        if is_json {
            files.push(listed(name, file, counts));
        } else {
            write_text(&name, file, counts, &mut out)?;
        }
    }
    let oldest = quarantine.files.first();
    if is_json {
        let whole = json!({
            "records": total,
            "bytes": quarantine.bytes(),
            "max_bytes": config.quarantine.max_bytes,
            "oldest_seconds": oldest.map(|file| seconds_old(file).as_secs()),
            "max_age_seconds": config.quarantine.max_age.as_secs(),
            "files": files,
        });
        commands::json::write(&mut out, &whole)?;
    } else {
        writeln!(
            out,
            "{}{}, {}: {} of {} (quarantine.max_bytes), oldest {} of {} (quarantine.max_age)",
            if quarantine.files.is_empty() { "" } else { "\n" },
            Count(total, "record"),
            Count(quarantine.files.len() as u64, "file"),
            format_bytes(quarantine.bytes()),
            format_bytes(config.quarantine.max_bytes),
            oldest.map_or_else(|| "none".to_owned(), age),
            duration(config.quarantine.max_age),
        )?;
    }
    out.flush()?;
    Ok(())
}

fn listed(name: String, file: &QuarantineFile, counts: Option<RecordCounts>) -> Listed {
    let (kind, origin) = match &file.kind {
        FileKind::Body { endpoint, dataset } => ("body", Some((endpoint, dataset))),
        FileKind::Batch(batch) => {
            let Origin { endpoint, dataset, .. } = &batch.header.origin;
            ("batch", Some((endpoint, dataset)))
        }
        FileKind::Replayed => ("replayed", None),
        FileKind::Records { in_replay: false } => ("records", None),
        FileKind::Records { in_replay: true } => ("set_aside", None),
    };
    let unreadable = counts.as_ref().map(|counts| counts.unreadable);
    let records = counts.map(|counts| counts.records).unwrap_or_default();
    let records = records.into_iter().map(|((endpoint, dataset, reason, sink), count)| {
        ListedRecords { endpoint, dataset, reason, sink, count }
    });
    Listed {
        file: name,
        kind,
        bytes: file.bytes,
        age_seconds: seconds_old(file).as_secs(),
        records: records.collect(),
        unreadable,
        endpoint: origin.map(|(endpoint, _)| endpoint.clone()),
        dataset: origin.map(|(_, dataset)| dataset.clone()),
    }
}

fn write_text(
    name: &str,
    file: &QuarantineFile,
    counts: Option<RecordCounts>,
    out: &mut dyn Write,
) -> io::Result<()> {
    write!(out, "{name}: {}, {} old: ", format_bytes(file.bytes), age(file))?;
    match &file.kind {
        FileKind::Body { endpoint, dataset } => {
            writeln!(out, "unreadable body for {endpoint}/{dataset}")?;
        }
        FileKind::Batch(batch) => {
            let Origin { endpoint, dataset, .. } = &batch.header.origin;
            let sequence = batch.sequence;
            writeln!(
                out,
                "batch {sequence} of {endpoint}/{dataset}, with records that were too long"
            )?;
        }
        FileKind::Replayed => writeln!(out, "replayed")?,
        FileKind::Records { in_replay } => {
            let counts = counts.unwrap_or_default();
            let state = if *in_replay { ", renamed by a replay that did not succeed" } else { "" };
            writeln!(out, "{}{}{state}", Count(counts.count(), "record"), counts.span())?;
            for ((endpoint, dataset, reason, sink), count) in &counts.records {
                let (endpoint, dataset) = (printable(endpoint), printable(dataset));
                write!(out, "  {endpoint}/{dataset}: {count} {}", printable(reason))?;
                match sink {
                    Some(sink) => writeln!(out, " by the target of {}", printable(sink))?,
                    None => writeln!(out)?,
                }
            }
            if counts.unreadable > 0 {
                let lines = Count(counts.unreadable, "line");
                writeln!(out, "  {lines} unreadable: edited, or being written now")?;
            }
        }
    }
    Ok(())
}

impl RecordCounts {
    fn count(&self) -> u64 {
        self.records.values().sum()
    }

    /// Formats the receipt times of the oldest and newest record.
    fn span(&self) -> String {
        let (Some(oldest), Some(newest)) = (self.oldest, self.newest) else { return String::new() };
        format!(" received {} to {}", seconds(oldest), seconds(newest))
    }

    fn add(&mut self, line: &Line<'_>) {
        let Line { endpoint, dataset, sink, .. } = line;
        let sink = sink.as_ref().map(ToString::to_string);
        let reason = line.reason_label().to_owned();
        let key = (endpoint.to_string(), dataset.to_string(), reason, sink);
        *self.records.entry(key).or_default() += 1;
        if let Ok(received) = line.received.parse::<Timestamp>() {
            self.oldest = Some(self.oldest.map_or(received, |oldest| oldest.min(received)));
            self.newest = self.newest.max(Some(received));
        }
    }
}

fn counts(path: &Path) -> io::Result<RecordCounts> {
    let mut counts = RecordCounts::default();
    each_line(path, &mut |_, line| {
        match serde_json::from_slice(line) {
            Ok(line) => counts.add(&line),
            Err(_) if line.trim_ascii().is_empty() => {}
            Err(_) => counts.unreadable += 1,
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(counts)
}

fn age(file: &QuarantineFile) -> String {
    duration(seconds_old(file))
}

fn seconds_old(file: &QuarantineFile) -> Duration {
    SystemTime::now().duration_since(file.modified).unwrap_or_default()
}

/// Formats a duration in its two largest units: `3d4h`, `5m`.
fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let parts = [("d", seconds / 86_400), ("h", seconds / 3600 % 24), ("m", seconds / 60 % 60)];
    let parts = parts.iter().skip_while(|(_, count)| *count == 0).take(2);
    let parts = parts.filter(|(_, count)| *count > 0);
    let text = parts.map(|(unit, count)| format!("{count}{unit}")).collect::<Vec<_>>().concat();
    if text.is_empty() { format!("{seconds}s") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_counted_by_endpoint_dataset_and_reason() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("records-2026-01-02.ndjson");
        let line = |reason: &str, second: &str| {
            format!(
                "{{\"reason\":\"{reason}\",\"endpoint\":\"e\",\"dataset\":\"d\",\"batch\":1,\"received\":\
                 \"2026-01-02T03:04:{second}Z\",\"position\":1,\"length\":1,\"record\":\"\\u00e9\\n\"}}\n"
            )
        };
        let lines = [
            line("not_json", "05"),
            line("not_json", "04.5"),
            line("too_long", "06"),
            "\n".to_owned(),
            line("not_json", "07").replace("}\n", ""),
        ];
        std::fs::write(&path, lines.concat()).unwrap();
        let counts = counts(&path).unwrap();
        assert_eq!(counts.count(), 3);
        assert_eq!(counts.unreadable, 1);
        assert_eq!(counts.records[&("e".into(), "d".into(), "not_json".into(), None)], 2);
        // Times are compared as times: "04.5Z" sorts before "04Z" as text.
        assert!(counts.span().ends_with("03:04:04Z to 2026-01-02T03:04:06Z"), "{}", counts.span());
    }

    #[test]
    fn ages_are_short() {
        for (seconds, want) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (3600, "1h"),
            (3661, "1h1m"),
            (86_400 + 60, "1d"),
            (30 * 86_400, "30d"),
        ] {
            assert_eq!(duration(Duration::from_secs(seconds)), want);
        }
    }
}
