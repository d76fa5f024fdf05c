//! `logpushd quarantine list`: what could not be accepted, and since when it lies there.

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

/// What a records file holds.
#[derive(Debug, Default)]
struct RecordCounts {
    /// By endpoint, dataset, reason, and the sink whose target refuses the record.
    records: BTreeMap<(String, String, String, Option<String>), u64>,
    oldest: Option<Timestamp>,
    newest: Option<Timestamp>,
    /// Lines that are none of ours.
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

/// Lists the files of the quarantine, oldest first, and compares the whole with its bounds.
pub(super) fn run(config: &Config, is_json: bool, out: &mut dyn Write) -> Result<(), Fatal> {
    let dir = &config.quarantine.dir;
    let quarantine = QuarantineFiles::read(dir)?;
    let mut files = Vec::new();
    let mut out = BufWriter::new(out);
    let mut total = 0;
    for kept in &quarantine.files {
        let tally = match &kept.kind {
            FileKind::Records { .. } => match tally(&kept.path) {
                Ok(tally) => Some(tally),
                // Another replay, or the bounds of the quarantine.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error.into()),
            },
            _ => None,
        };
        total += tally.as_ref().map_or(0, RecordCounts::count);
        let name = kept.path.strip_prefix(dir).unwrap_or(&kept.path).display().to_string();
        if is_json {
            files.push(listed(name, kept, tally));
        } else {
            write_text(&name, kept, tally, &mut out)?;
        }
    }
    let oldest = quarantine.files.first();
    if is_json {
        let whole = json!({
            "records": total,
            "bytes": quarantine.bytes(),
            "max_bytes": config.quarantine.max_bytes,
            "oldest_seconds": oldest.map(|kept| seconds_old(kept).as_secs()),
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

fn listed(file: String, kept: &QuarantineFile, tally: Option<RecordCounts>) -> Listed {
    let (kind, place) = match &kept.kind {
        FileKind::Body { endpoint, dataset } => ("body", Some((endpoint, dataset))),
        FileKind::Batch(batch) => {
            let Origin { endpoint, dataset, .. } = &batch.header.origin;
            ("batch", Some((endpoint, dataset)))
        }
        FileKind::Replayed => ("replayed", None),
        FileKind::Records { in_replay: false } => ("records", None),
        FileKind::Records { in_replay: true } => ("set_aside", None),
    };
    let unreadable = tally.as_ref().map(|tally| tally.unreadable);
    let records = tally.map(|tally| tally.records).unwrap_or_default();
    let records = records.into_iter().map(|((endpoint, dataset, reason, sink), count)| {
        ListedRecords { endpoint, dataset, reason, sink, count }
    });
    Listed {
        file,
        kind,
        bytes: kept.bytes,
        age_seconds: seconds_old(kept).as_secs(),
        records: records.collect(),
        unreadable,
        endpoint: place.map(|(endpoint, _)| endpoint.clone()),
        dataset: place.map(|(_, dataset)| dataset.clone()),
    }
}

fn write_text(
    name: &str,
    kept: &QuarantineFile,
    tally: Option<RecordCounts>,
    out: &mut dyn Write,
) -> io::Result<()> {
    write!(out, "{name}: {}, {} old: ", format_bytes(kept.bytes), age(kept))?;
    match &kept.kind {
        FileKind::Body { endpoint, dataset } => {
            writeln!(out, "a body for {endpoint}/{dataset} that cannot be read")?;
        }
        FileKind::Batch(batch) => {
            let Origin { endpoint, dataset, .. } = &batch.header.origin;
            let sequence = batch.sequence;
            writeln!(out, "batch {sequence} of {endpoint}/{dataset}, for what is cut")?;
        }
        FileKind::Replayed => writeln!(out, "replayed")?,
        FileKind::Records { in_replay } => {
            let tally = tally.unwrap_or_default();
            let aside =
                if *in_replay { ", set aside by a replay that did not succeed" } else { "" };
            writeln!(out, "{}{}{aside}", Count(tally.count(), "record"), tally.span())?;
            for ((endpoint, dataset, reason, sink), count) in &tally.records {
                let (endpoint, dataset) = (printable(endpoint), printable(dataset));
                write!(out, "  {endpoint}/{dataset}: {count} {}", printable(reason))?;
                match sink {
                    Some(sink) => writeln!(out, " by the target of {}", printable(sink))?,
                    None => writeln!(out)?,
                }
            }
            if tally.unreadable > 0 {
                let lines = Count(tally.unreadable, "line");
                writeln!(out, "  {lines} that cannot be read: edited, or being written now")?;
            }
        }
    }
    Ok(())
}

impl RecordCounts {
    fn count(&self) -> u64 {
        self.records.values().sum()
    }

    /// When the batches came, if there are any.
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

fn tally(path: &Path) -> io::Result<RecordCounts> {
    let mut tally = RecordCounts::default();
    each_line(path, &mut |_, line| {
        match serde_json::from_slice(line) {
            Ok(line) => tally.add(&line),
            Err(_) if line.trim_ascii().is_empty() => {}
            Err(_) => tally.unreadable += 1,
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(tally)
}

fn age(kept: &QuarantineFile) -> String {
    duration(seconds_old(kept))
}

fn seconds_old(kept: &QuarantineFile) -> Duration {
    SystemTime::now().duration_since(kept.modified).unwrap_or_default()
}

/// The two largest units: `3d4h`, `5m`.
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
    fn a_file_is_counted_by_endpoint_dataset_and_reason() {
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
        let tally = tally(&path).unwrap();
        assert_eq!(tally.count(), 3);
        assert_eq!(tally.unreadable, 1);
        assert_eq!(tally.records[&("e".into(), "d".into(), "not_json".into(), None)], 2);
        // Times are compared as times: "04.5Z" sorts before "04Z" as text.
        assert!(tally.span().ends_with("03:04:04Z to 2026-01-02T03:04:06Z"), "{}", tally.span());
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
