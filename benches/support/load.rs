//! Generates the batches of a scenario from a seed, and finds them in the output by their digests.

use std::{
    collections::HashMap,
    error::Error,
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _},
    path::Path,
};

use hyper::body::Bytes;

use super::corpus::{Corpus, Shape, gzip};

/// The batches that a scenario sends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Plan {
    pub(crate) batches: usize,
    pub(crate) records: usize,
    pub(crate) shape: Shape,
    /// The number of datasets, which get batches in turn.
    pub(crate) datasets: usize,
}

/// A batch that is ready to be sent, and its expected output.
pub(crate) struct Batch {
    pub(crate) wire: Bytes,
    pub(crate) dataset: usize,
    bytes: u64,
    digest: blake3::Hash,
    /// The digest of the first line. It contains a random identifier, so it identifies the batch.
    first_line: blake3::Hash,
}

/// All batches of a scenario.
pub(crate) struct Load {
    pub(crate) plan: Plan,
    pub(crate) batches: Vec<Batch>,
}

impl Load {
    pub(crate) fn new(plan: Plan, seed: u64) -> io::Result<Self> {
        let mut corpus = Corpus::new(seed, plan.shape);
        let batch = |index: usize| {
            let lines = corpus.lines(plan.records)?;
            let end = memchr::memchr(b'\n', &lines).unwrap_or(0);
            Ok(Batch {
                wire: gzip(&lines)?.into(),
                dataset: index % plan.datasets,
                bytes: lines.len() as u64,
                digest: blake3::hash(&lines),
                first_line: blake3::hash(&lines[..=end]),
            })
        };
        let batches = (0..plan.batches).map(batch).collect::<io::Result<_>>()?;
        Ok(Self { plan, batches })
    }

    pub(crate) fn records(&self) -> usize {
        self.plan.batches * self.plan.records
    }

    pub(crate) fn raw_bytes(&self) -> u64 {
        self.batches.iter().map(|batch| batch.bytes).sum()
    }

    pub(crate) fn wire_bytes(&self) -> usize {
        self.batches.iter().map(|batch| batch.wire.len()).sum()
    }

    /// Checks that `outputs`, one file per dataset, contain every batch once, byte for byte. The
    /// order of the batches is free, the order of records within a batch is not.
    pub(crate) fn verify(&self, outputs: &[impl AsRef<Path>]) -> Result<(), Box<dyn Error>> {
        let mut missing: HashMap<(usize, blake3::Hash), &Batch> =
            self.batches.iter().map(|batch| ((batch.dataset, batch.first_line), batch)).collect();
        if missing.len() != self.batches.len() {
            return Err("two batches begin with the same record".into());
        }
        for (dataset, output) in outputs.iter().enumerate() {
            let mut output = BufReader::with_capacity(1 << 20, File::open(output)?);
            let mut line = Vec::new();
            while output.read_until(b'\n', &mut line)? > 0 {
                let batch = missing
                    .remove(&(dataset, blake3::hash(&line)))
                    .ok_or("a record that does not begin a batch, or a duplicate batch")?;
                let mut hasher = blake3::Hasher::new();
                hasher.update(&line);
                let rest = batch.bytes - line.len() as u64;
                io::copy(&mut output.by_ref().take(rest), &mut hasher)?;
                if hasher.finalize() != batch.digest {
                    return Err("a batch was delivered with other bytes".into());
                }
                line.clear();
            }
        }
        if missing.is_empty() {
            Ok(())
        } else {
            Err(format!("{} batches are missing", missing.len()).into())
        }
    }
}
