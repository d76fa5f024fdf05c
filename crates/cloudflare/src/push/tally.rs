//! What was read and sent so far: counted by the connections, shown in a line while they work and in a
//! summary behind.

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

use super::batch::Body;
use crate::api::destination::printable;

/// The line is no longer than that: a terminal is mostly 80 wide, and a longer line would not be
/// overwritten.
const LINE_CHARS: usize = 78;
const BAR_CHARS: usize = 20;

/// Answers of logpushd, and what they are called in the summary. Other words of other servers are not
/// counted.
const TOLD: [(&str, &str); 4] = [
    ("duplicate", "known to the server from before, and not delivered again"),
    ("quarantined", "in quarantine as a whole"),
    ("destination_check", "taken for a destination check, and not stored"),
    ("empty", "without a record, and not stored"),
];

/// Counts.
#[derive(Debug)]
pub(super) struct Tally {
    begun: Instant,
    /// Of all files, as they lie there.
    total_bytes: u64,
    read_bytes: AtomicU64,
    records: AtomicU64,
    bytes: AtomicU64,
    wire_bytes: AtomicU64,
    batches: AtomicU64,
    files: AtomicU64,
    retries: AtomicU64,
    quarantined: AtomicU64,
    /// How many batches were answered so.
    told: Mutex<BTreeMap<&'static str, u64>>,
    /// How many wait, and why the last of them does.
    waiting: Mutex<(u64, String)>,
}

impl Tally {
    /// Time runs from now on. `total_bytes`: 0 if that is not known.
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
            told: Mutex::default(),
            waiting: Mutex::default(),
        }
    }

    /// A batch was taken.
    pub(super) fn sent(&self, body: &Body) {
        self.batches.fetch_add(1, Relaxed);
        self.records.fetch_add(body.records, Relaxed);
        self.bytes.fetch_add(body.bytes, Relaxed);
        self.wire_bytes.fetch_add(body.gzip.len() as u64, Relaxed);
    }

    /// A file is done.
    pub(super) fn file_done(&self) {
        self.files.fetch_add(1, Relaxed);
    }

    /// What the server said of a batch.
    pub(super) fn told(&self, status: &str, quarantined: u64) {
        self.quarantined.fetch_add(quarantined, Relaxed);
        if let Some((word, _)) = TOLD.iter().find(|(word, _)| *word == status) {
            *self.told.lock().unwrap_or_else(PoisonError::into_inner).entry(word).or_default() += 1;
        }
    }

    /// The summary as JSON.
    pub(super) fn json(&self) -> Value {
        let of = |count: &AtomicU64| count.load(Relaxed);
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let answers = TOLD
            .map(|(word, _)| (word.to_owned(), told.get(word).copied().unwrap_or_default().into()));
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

    /// What the server put into quarantine, in words; `None` if that is nothing. A batch that could not
    /// be read is one record to it.
    pub(super) fn bad(&self) -> Option<String> {
        match self.quarantined.load(Relaxed) {
            0 => None,
            records => Some(Count(records, "record").to_string()),
        }
    }

    /// A batch is to be sent again.
    pub(super) fn wait_begins(&self, why: &str) {
        self.retries.fetch_add(1, Relaxed);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        *waiting = (waiting.0 + 1, why.to_owned());
    }

    /// It is sent.
    pub(super) fn wait_ends(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.0 = waiting.0.saturating_sub(1);
    }

    /// One line: how much is done, and what holds it up.
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
            waiting if waiting.0 > 0 => format!("waiting: {}", printable(&waiting.1)),
            _ => format!("{records} records, {}/s", format_bytes(rate(read, elapsed))),
        };
        line.extend([", ", &rest]);
        line.chars().take(LINE_CHARS).collect()
    }

    /// What was done, in some lines.
    pub(super) fn summary(&self, out: &mut dyn Write) -> io::Result<()> {
        let elapsed = self.begun.elapsed();
        let of = |count: &AtomicU64| count.load(Relaxed);
        let (records, bytes) = (of(&self.records), of(&self.bytes));
        write!(out, "{}, ", Count(of(&self.files), "file"))?;
        // Of files that are gzip already and sent as they are nothing else is known.
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
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        for (word, meaning) in TOLD {
            if let Some(batches) = told.get(word) {
                writeln!(out, "{}: {meaning}", Count(*batches, "batch"))?;
            }
        }
        match of(&self.quarantined) {
            0 => Ok(()),
            records => writeln!(out, "{} in the server's quarantine", Count(records, "record")),
        }
    }
}

fn rate(count: u64, elapsed: Duration) -> u64 {
    let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
    count.saturating_mul(1000) / millis
}

/// Counts what is read through it.
pub(super) struct Counted<'a, R> {
    pub(super) from: R,
    pub(super) tally: &'a Tally,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        self.tally.read_bytes.fetch_add(read as u64, Relaxed);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_line_says_how_much_is_done_and_what_holds_it_up() {
        let tally = Tally::new(1000);
        tally.read_bytes.store(400, Relaxed);
        tally.sent(&Body { gzip: Bytes::from_static(b"xy"), records: 7, bytes: 300 });
        let line = tally.line();
        let want = "[########            ]  40% of 1000 bytes, 7 records, ";
        assert!(line.starts_with(want), "{line}");
        tally.wait_begins(&format!("503 \u{1b}{}", "x".repeat(100)));
        let line = tally.line();
        assert!(line.contains(", waiting: 503 \\u{1b}xxx"), "{line}");
        assert_eq!(line.len(), LINE_CHARS);
        tally.wait_ends();
        assert!(!tally.line().contains("waiting"));
        // What is longer than it was, or of a length that is not known.
        tally.read_bytes.store(1001, Relaxed);
        assert!(tally.line().starts_with("[####################] 100% of"));
        assert!(Tally::new(0).line().starts_with("0 bytes, 0 records, "));
    }

    #[test]
    fn a_summary_says_what_the_server_said() {
        let tally = Tally::new(0);
        for (status, quarantined) in
            [("committed", 2), ("duplicate", 0), ("duplicate", 0), ("?", 0)]
        {
            tally.sent(&Body { gzip: Bytes::from_static(b"xy"), records: 3, bytes: 300 });
            tally.told(status, quarantined);
        }
        tally.file_done();
        tally.wait_begins("x");
        let mut out = Vec::new();
        tally.summary(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.starts_with("1 file, 12 records, 1.2 KiB in 4 batches (8 bytes gzipped), "),
            "{text}"
        );
        let rest = "/s, 1 retry\n2 batches: known to the server from before, and not delivered again\n2 records in the server's quarantine\n";
        assert!(text.ends_with(rest), "{text}");
    }
}
