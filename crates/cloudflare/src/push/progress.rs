//! Counts what the connections read and send, and formats a status line and the final summary.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use command::Count;
use serde_json::{Map, Value, json};
use settings::format_bytes;

use super::batch::GzippedBatch;
use crate::api::destination::printable;

/// The maximum length of the status line. A longer line would wrap in a terminal with 80 columns, and
/// could not be overwritten.
const LINE_CHARS: usize = 78;
const BAR_CHARS: usize = 20;

/// The statuses of logpushd's answers that are counted, and their explanation in the summary.
const ANSWERS: [(&str, &str); 4] = [
    ("duplicate", "accepted before, not delivered again"),
    ("quarantined", "quarantined as a whole"),
    ("destination_check", "taken for a destination check and not stored"),
    ("empty", "without records and not stored"),
];

/// The progress of a push, shared by all connections.
#[derive(Debug)]
pub(super) struct Progress {
    begun: Instant,
    /// The size of all files on disk; 0 if unknown.
    total_bytes: u64,
    read_bytes: AtomicU64,
    records: AtomicU64,
    bytes: AtomicU64,
    wire_bytes: AtomicU64,
    batches: AtomicU64,
    files: AtomicU64,
    retries: AtomicU64,
    quarantined: AtomicU64,
    /// The number of batches by the status of the answer.
    answers: Mutex<BTreeMap<&'static str, u64>>,
    /// The number of connections that wait for a retry, and the reason of the last one.
    waiting: Mutex<(u64, String)>,
}

impl Progress {
    /// Starts the clock. `total_bytes` is 0 if unknown.
    pub(super) fn new(total_bytes: u64) -> Self {
        Self {
            begun: Instant::now(),
            total_bytes,
            read_bytes: AtomicU64::new(0),
            records: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            wire_bytes: AtomicU64::new(0),
            batches: AtomicU64::new(0),
            files: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            quarantined: AtomicU64::new(0),
            answers: Mutex::default(),
            waiting: Mutex::default(),
        }
    }

    /// Counts an accepted batch.
    pub(super) fn sent(&self, body: &GzippedBatch) {
        self.batches.fetch_add(1, Relaxed);
        self.records.fetch_add(body.records, Relaxed);
        self.bytes.fetch_add(body.bytes, Relaxed);
        self.wire_bytes.fetch_add(body.gzip.len() as u64, Relaxed);
    }

    /// Counts a file that was sent completely.
    pub(super) fn file_done(&self) {
        self.files.fetch_add(1, Relaxed);
    }

    /// Counts the server's answer to a batch.
    pub(super) fn count_answer(&self, status: &str, quarantined: u64) {
        self.quarantined.fetch_add(quarantined, Relaxed);
        if let Some((known, _)) = ANSWERS.iter().find(|(known, _)| *known == status) {
            let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
            *answers.entry(known).or_default() += 1;
        }
    }

    /// Returns the summary as JSON.
    pub(super) fn json(&self) -> Value {
        let of = |count: &AtomicU64| count.load(Relaxed);
        let counts = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let answers = ANSWERS.map(|(status, _)| {
            (status.to_owned(), counts.get(status).copied().unwrap_or_default().into())
        });
        json!({
            "sent": {
                "files": of(&self.files),
                "records": of(&self.records),
                "bytes": of(&self.bytes),
                "batches": of(&self.batches),
                "wire_bytes": of(&self.wire_bytes),
            },
            "retries": of(&self.retries),
            "milliseconds": u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            "answers": answers.into_iter().collect::<Map<String, Value>>(),
            "quarantined": of(&self.quarantined),
        })
    }

    /// Formats the number of quarantined records, if any. An unreadable batch counts as one record.
    pub(super) fn quarantined_records(&self) -> Option<String> {
        match self.quarantined.load(Relaxed) {
            0 => None,
            records => Some(Count(records, "record").to_string()),
        }
    }

    /// Counts a retry and starts waiting for it.
    pub(super) fn begin_wait(&self, why: &str) {
        self.retries.fetch_add(1, Relaxed);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        *waiting = (waiting.0 + 1, why.to_owned());
    }

    /// Ends the wait before a retry.
    pub(super) fn end_wait(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.0 = waiting.0.saturating_sub(1);
    }

    /// Formats the status line: the progress, and the reason of a retry.
    pub(super) fn line(&self) -> String {
        let elapsed = self.begun.elapsed();
        let read = self.read_bytes.load(Relaxed);
        let mut line = match self.total_bytes {
            0 => format_bytes(read),
            total => {
                let done = read.min(total);
                let chars = usize::try_from(done * BAR_CHARS as u64 / total).unwrap_or(BAR_CHARS);
                format!(
                    "[{:<BAR_CHARS$}] {:3}% of {}",
                    "#".repeat(chars),
                    done * 100 / total,
                    format_bytes(total)
                )
            }
        };
        let records = self.records.load(Relaxed);
        let rest = match self.waiting.lock().unwrap_or_else(PoisonError::into_inner) {
            waiting if waiting.0 > 0 => format!("retrying: {}", printable(&waiting.1)),
            _ => format!("{records} records, {}/s", format_bytes(rate(read, elapsed))),
        };
        line.extend([", ", &rest]);
        line.chars().take(LINE_CHARS).collect()
    }

    /// Prints the summary.
    pub(super) fn summary(&self, out: &mut dyn Write) -> io::Result<()> {
        let elapsed = self.begun.elapsed();
        let of = |count: &AtomicU64| count.load(Relaxed);
        let (records, bytes) = (of(&self.records), of(&self.bytes));
        write!(out, "{}, ", Count(of(&self.files), "file"))?;
        // Unknown for gzip files that were sent unchanged.
        if records > 0 {
            write!(out, "{}, {} in ", Count(records, "record"), format_bytes(bytes))?;
        }
        let (batches, wire) =
            (Count(of(&self.batches), "batch"), format_bytes(of(&self.wire_bytes)));
        let tenths = elapsed.as_millis() / 100;
        write!(out, "{batches} ({wire} gzipped), {}.{} s", tenths / 10, tenths % 10)?;
        if records > 0 {
            let per_second = format_bytes(rate(bytes, elapsed));
            write!(out, ", {} records/s, {per_second}/s", rate(records, elapsed))?;
        }
        match of(&self.retries) {
            0 => writeln!(out)?,
            retries => writeln!(out, ", {}", Count(retries, "retry"))?,
        }
        let counts = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        for (status, meaning) in ANSWERS {
            if let Some(batches) = counts.get(status) {
                writeln!(out, "{}: {meaning}", Count(*batches, "batch"))?;
            }
        }
        match of(&self.quarantined) {
            0 => Ok(()),
            records => writeln!(out, "{} quarantined by the server", Count(records, "record")),
        }
    }
}

fn rate(count: u64, elapsed: Duration) -> u64 {
    let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
    count.saturating_mul(1000) / millis
}

/// A reader that counts its bytes.
pub(super) struct CountingReader<'a, R> {
    pub(super) from: R,
    pub(super) progress: &'a Progress,
}

impl<R: Read> Read for CountingReader<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        self.progress.read_bytes.fetch_add(read as u64, Relaxed);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn the_status_line_shows_progress_and_retries() {
        let progress = Progress::new(1000);
        progress.read_bytes.store(400, Relaxed);
        progress.sent(&GzippedBatch { gzip: Bytes::from_static(b"xy"), records: 7, bytes: 300 });
        let line = progress.line();
        let want = "[########            ]  40% of 1000 bytes, 7 records, ";
        assert!(line.starts_with(want), "{line}");
        progress.begin_wait(&format!("503 \u{1b}{}", "x".repeat(100)));
        let line = progress.line();
        assert!(line.contains(", retrying: 503 \\u{1b}xxx"), "{line}");
        assert_eq!(line.len(), LINE_CHARS);
        progress.end_wait();
        assert!(!progress.line().contains("retrying"));
        // A file that grew, and a source of unknown length.
        progress.read_bytes.store(1001, Relaxed);
        assert!(progress.line().starts_with("[####################] 100% of"));
        assert!(Progress::new(0).line().starts_with("0 bytes, 0 records, "));
    }

    #[test]
    fn the_summary_shows_the_servers_answers() {
        let progress = Progress::new(0);
        for (status, quarantined) in
            [("committed", 2), ("duplicate", 0), ("duplicate", 0), ("?", 0)]
        {
            progress.sent(&GzippedBatch {
                gzip: Bytes::from_static(b"xy"),
                records: 3,
                bytes: 300,
            });
            progress.count_answer(status, quarantined);
        }
        progress.file_done();
        progress.begin_wait("x");
        let mut out = Vec::new();
        progress.summary(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.starts_with("1 file, 12 records, 1.2 KiB in 4 batches (8 bytes gzipped), "),
            "{text}"
        );
        let rest = "/s, 1 retry\n2 batches: accepted before, not delivered again\n2 records quarantined by the server\n";
        assert!(text.ends_with(rest), "{text}");
    }
}
