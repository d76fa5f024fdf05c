//! What was answered, held against what is in the files.

use std::{
    collections::HashMap,
    error::Error,
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::Path,
    sync::{Mutex, PoisonError},
};

/// Every batch by its number.
#[derive(Default)]
pub(super) struct Ledger(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// How many records of a batch must be there, and whether they were seen.
    batches: HashMap<u64, (u64, Seen)>,
    counts: Counts,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Seen {
    No,
    Yes,
}

/// What was answered 200 and is new.
#[derive(Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) batches: u64,
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) others: u64,
}

impl Ledger {
    /// A batch is about to be sent: it may come out before its answer is here.
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

    /// Something else was sent, and answered as it should be.
    pub(super) fn other(&self) {
        self.with(|inner| inner.counts.others += 1);
    }

    pub(super) fn counts(&self) -> Counts {
        self.with(|inner| inner.counts)
    }

    /// Reads and removes the files of all datasets whose name is before `before`; all, without it.
    pub(super) fn read_finished(
        &self,
        folder: &Path,
        before: Option<&str>,
    ) -> Result<(), Box<dyn Error>> {
        for dataset in fs::read_dir(folder)? {
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

    /// Batches may come in any order, but each in one piece, from its first record to its last.
    fn read(&self, path: &Path) -> Result<(), Box<dyn Error>> {
        let mut lines = BufReader::with_capacity(1 << 20, File::open(path)?);
        let mut line = Vec::new();
        let mut open: Option<(u64, u64, u64)> = None;
        while lines.read_until(b'\n', &mut line)? > 0 {
            let (batch, record) = place(&line).ok_or("a line that is none of ours")?;
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
        open.map_or(Ok(()), |(batch, ..)| Err(format!("batch {batch} is not whole").into()))
    }

    /// Says what was sent, if all of it came out.
    pub(super) fn settle(&self) -> Result<String, Box<dyn Error>> {
        self.with(|inner| {
            let missing = inner.batches.values().filter(|(_, seen)| *seen == Seen::No).count();
            if missing > 0 {
                return Err(format!("{missing} batches did not come out").into());
            }
            let Counts { batches, records, bytes, others } = inner.counts;
            Ok(format!(
                "{batches} batches, {records} records, {} MB: each record is there once, in its place; \
                 {others} other requests were answered as they should be",
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
            Some(_) => Err(format!("batch {batch} came out twice")),
            None => Err(format!("batch {batch} was never sent")),
        }
    }
}

/// The numbers that a record begins with.
fn place(line: &[u8]) -> Option<(u64, u64)> {
    let head = std::str::from_utf8(line.get(..64.min(line.len()))?).ok()?;
    let (batch, rest) = head.strip_prefix("{\"batch\":")?.split_once(",\"record\":")?;
    let (record, _) = rest.split_once(',')?;
    Some((batch.parse().ok()?, record.parse().ok()?))
}
