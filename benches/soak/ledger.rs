//! Compares the acknowledged batches with the contents of the files.

use std::{
    collections::HashMap,
    error::Error,
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::Path,
    sync::{Mutex, PoisonError},
};

/// The batches by their numbers.
#[derive(Default)]
pub(super) struct Ledger(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// The number of records of each batch, and whether the batch was found in a file.
    batches: HashMap<u64, (u64, Seen)>,
    counts: Counts,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Seen {
    No,
    Yes,
}

/// The acknowledged batches, without duplicates, and other requests.
#[derive(Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) batches: u64,
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) others: u64,
}

impl Ledger {
    /// Adds a batch before it is sent, since it may be in a file before its response arrives.
    pub(super) fn sending(&self, batch: u64, records: u64) {
        self.with(|inner| inner.batches.insert(batch, (records, Seen::No)));
    }

    pub(super) fn answered(&self, records: u64, bytes: usize) {
        self.with(|inner| {
            inner.counts.batches += 1;
            inner.counts.records += records;
            inner.counts.bytes += bytes as u64;
        });
    }

    /// Counts another request with the expected response.
    pub(super) fn other(&self) {
        self.with(|inner| inner.counts.others += 1);
    }

    pub(super) fn counts(&self) -> Counts {
        self.with(|inner| inner.counts)
    }

    /// Reads and removes the files of all datasets whose names are less than `before`, or all
    /// files.
    pub(super) fn read_finished(
        &self,
        directory: &Path,
        before: Option<&str>,
    ) -> Result<(), Box<dyn Error>> {
        for dataset in fs::read_dir(directory)? {
            for file in fs::read_dir(dataset?.path())? {
                let path = file?.path();
                let name = path.file_stem().unwrap_or_default().to_string_lossy();
                if before.is_none_or(|before| *name < *before) {
                    let finished = path.with_extension("finished");
                    fs::rename(&path, &finished)?;
                    self.read(&finished)?;
                    fs::remove_file(&finished)?;
                }
            }
        }
        Ok(())
    }

    /// Reads a file. The order of the batches is free, but the records of a batch must be
    /// consecutive.
    fn read(&self, path: &Path) -> Result<(), Box<dyn Error>> {
        let mut lines = BufReader::with_capacity(1 << 20, File::open(path)?);
        let mut line = Vec::new();
        let mut open: Option<(u64, u64, u64)> = None;
        while lines.read_until(b'\n', &mut line)? > 0 {
            let (batch, record) =
                numbers(&line).ok_or("a line that is not a record of this test")?;
            let (expected, records) = match open {
                Some((current, next, records)) if current == batch => (next, records),
                Some(_) => return Err(format!("batch {batch} begins within another").into()),
                None => (0, self.with(|inner| inner.see(batch))?),
            };
            if record != expected {
                return Err(format!("batch {batch}: record {record}, not {expected}").into());
            }
            open = (record + 1 < records).then_some((batch, record + 1, records));
            line.clear();
        }
        open.map_or(Ok(()), |(batch, ..)| Err(format!("batch {batch} is incomplete").into()))
    }

    /// Returns a summary if all batches were delivered.
    pub(super) fn settle(&self) -> Result<String, Box<dyn Error>> {
        self.with(|inner| {
            let missing = inner.batches.values().filter(|(_, seen)| *seen == Seen::No).count();
            if missing > 0 {
                return Err(format!("{missing} batches are missing").into());
            }
            let Counts { batches, records, bytes, others } = inner.counts;
            Ok(format!(
                "{batches} batches, {records} records, {} MB: each record was delivered once, in order; \
                 {others} other requests got the expected response",
                bytes / 1_000_000,
            ))
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Inner {
    fn see(&mut self, batch: u64) -> Result<u64, String> {
        match self.batches.get_mut(&batch) {
            Some((records, seen @ Seen::No)) => {
                *seen = Seen::Yes;
                Ok(*records)
            }
            Some(_) => Err(format!("batch {batch} was delivered twice")),
            None => Err(format!("batch {batch} was never sent")),
        }
    }
}

/// Returns the numbers of the batch and the record at the beginning of a line.
fn numbers(line: &[u8]) -> Option<(u64, u64)> {
    let head = std::str::from_utf8(line.get(..64.min(line.len()))?).ok()?;
    let (batch, rest) = head.strip_prefix("{\"batch\":")?.split_once(",\"record\":")?;
    let (record, _) = rest.split_once(',')?;
    Some((batch.parse().ok()?, record.parse().ok()?))
}
