//! Reads a spool without the lock, beside a running daemon, which may remove files at any time.

use std::{
    convert::Infallible,
    fs, io,
    path::{Path, PathBuf},
};

use records::decode::{Decoder, Encoding, Limits, Summary};

use super::{
    Batch, Header, QueuedBatch, ReadError, decode_file,
    recover::{self, SpoolFile},
};
use crate::durable;

/// A spool directory, opened read-only.
#[derive(Debug)]
pub struct ReadOnlySpool {
    dir: PathBuf,
}

/// The files in the batch directory.
#[derive(Debug, Default)]
pub struct SpoolContents {
    /// The batches in the queue, in order.
    pub waiting: Vec<QueuedBatch>,
    /// The names of files of unfinished uploads, which were not acknowledged.
    pub unfinished: Vec<String>,
    /// The names of files that are no batches, with reasons. The daemon moves them away when it starts.
    pub foreign: Vec<(String, String)>,
}

/// The condition of a batch file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum FileCondition {
    /// It matches its name.
    Intact {
        /// The decompressed size.
        inflated_bytes: u64,
    },
    /// It does not match its name, with the differences.
    Damaged(String),
    /// It does not exist any more.
    Missing,
}

impl ReadOnlySpool {
    /// Opens the directory `spool.dir`.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// Returns the directory of the consumers' checkpoints.
    pub fn cursors(&self) -> PathBuf {
        self.dir.join(recover::CURSORS)
    }

    /// Returns the directory of the batch files.
    pub fn batches(&self) -> PathBuf {
        self.dir.join(recover::BATCHES)
    }

    /// Returns the directory of unusable files.
    pub fn unusable_files(&self) -> PathBuf {
        self.dir.join(recover::SET_ASIDE)
    }

    /// Lists the batch directory. Does not open the files.
    pub fn contents(&self) -> io::Result<SpoolContents> {
        let folder = self.batches();
        let mut contents = SpoolContents::default();
        for file in fs::read_dir(&folder).map_err(durable::error_at("reading", &folder))? {
            let file = file.map_err(durable::error_at("reading", &folder))?;
            let name = || file.file_name().to_string_lossy().into_owned();
            match recover::inspect(&file) {
                Ok(SpoolFile::Batch(entry)) => contents.waiting.push(entry),
                Ok(SpoolFile::Unfinished) => contents.unfinished.push(name()),
                Ok(SpoolFile::Foreign(why)) => contents.foreign.push((name(), why.to_owned())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => contents.foreign.push((name(), error.to_string())),
            }
        }
        contents.waiting.sort_unstable_by_key(|entry| entry.batch.sequence);
        contents.unfinished.sort_unstable();
        contents.foreign.sort_unstable();
        Ok(contents)
    }

    /// Decodes a batch file and compares the result with its name.
    pub fn verify(&self, batch: &Batch) -> FileCondition {
        let path = self.batches().join(batch.file_name());
        let header = &batch.header;
        let limits = Limits { inflated_bytes: u64::MAX, record_bytes: header.record_limit };
        let decoder = Decoder::new(limits, header.encoding)
            .with_edition(header.edition)
            .with_format(header.format);
        match decode_file(&path, decoder, &mut |_| Ok::<_, Infallible>(())) {
            Ok(summary) => match difference(header, &summary) {
                Some(what) => FileCondition::Damaged(what),
                None => FileCondition::Intact { inflated_bytes: summary.inflated_bytes },
            },
            Err(ReadError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                FileCondition::Missing
            }
            Err(ReadError::Io(error)) => FileCondition::Damaged(error.to_string()),
            Err(ReadError::Damaged(error)) => FileCondition::Damaged(error.to_string()),
            Err(ReadError::Consumer(never)) => match never {},
        }
    }
}

/// Describes the differences from the name, if there are any.
fn difference(header: &Header, found: &Summary) -> Option<String> {
    let form = |encoding| match encoding {
        Encoding::Gzip => "gzip",
        Encoding::Identity => "plain",
    };
    let mut differences = Vec::new();
    if found.encoding != header.encoding {
        let (named, found) = (form(header.encoding), form(found.encoding));
        differences.push(format!("{named} by its name, {found} by its bytes"));
    }
    for (what, named, found) in
        [("records", header.records, found.records), ("rejected", header.rejected, found.rejected)]
    {
        if named != found {
            differences.push(format!("{named} {what} by its name, {found} by its bytes"));
        }
    }
    if Header::short_digest(&found.digest) != header.digest {
        differences.push(String::from("its bytes differ from those that were committed (digest)"));
    }
    (!differences.is_empty()).then(|| differences.join("; "))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;
    use crate::{Options, Origin, Spool};

    fn header(text: &str, records: u64, encoding: Encoding) -> Header {
        let digest = blake3::hash(text.as_bytes());
        Header {
            origin: Origin {
                endpoint: "push".into(),
                dataset: "http_requests".into(),
                received: Timestamp::from_microsecond(1_763_755_200_000_000).unwrap(),
                sink: None,
            },
            records,
            rejected: 0,
            record_limit: 1 << 20,
            digest: Header::short_digest(digest.as_bytes()),
            encoding,
            format: records::decode::Format::Json,
            edition: records::decode::Edition::First,
        }
    }

    #[test]
    fn intact_damaged_and_missing_files_are_distinguished_beside_a_running_daemon() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(
            dir.path(),
            Options { max_bytes: 1 << 30, dedup_window: Duration::from_secs(1) },
        )
        .unwrap();
        let commit = |text: &str, records, encoding| {
            let mut staging = spool.stage();
            staging.write(text.as_bytes()).unwrap();
            spool.commit(staging, header(text, records, encoding), None).unwrap().unwrap()
        };
        let whole = commit("{\"a\":1}\n{\"a\":2}\n", 2, Encoding::Identity);
        let miscounted = commit("{\"a\":3}\n", 2, Encoding::Identity);
        let changed = commit("{\"a\":4}\n", 1, Encoding::Identity);
        let wrong_form = commit("{\"a\":5}\n", 1, Encoding::Gzip);
        let shortened = commit("{\"a\":6}\n{\"a\":7}\n", 2, Encoding::Identity);
        let gone = commit("{\"a\":8}\n", 1, Encoding::Identity);
        fs::write(spool.path(&changed), "{\"b\":4}\n").unwrap();
        fs::write(spool.path(&shortened), "{\"a\":6}\n{\"a\"").unwrap();

        let survey = ReadOnlySpool::new(dir.path());
        fs::write(survey.batches().join(".unfinished-7"), "{").unwrap();
        fs::write(survey.batches().join("notes.txt"), "x").unwrap();
        let empty = Batch { sequence: 9, header: header("", 1, Encoding::Identity) }.file_name();
        fs::write(survey.batches().join(&empty), "").unwrap();

        let contents = survey.contents().unwrap();
        let sequences: Vec<_> = contents.waiting.iter().map(|entry| entry.batch.sequence).collect();
        assert_eq!(sequences, [1, 2, 3, 4, 5, 6]);
        assert_eq!(contents.waiting[0].bytes(), 16);
        assert_eq!(contents.unfinished, [".unfinished-7"]);
        let foreign: Vec<_> = contents.foreign.iter().map(|(_, why)| why.as_str()).collect();
        assert_eq!(foreign, ["empty", "its name is not that of a batch"]);

        assert_eq!(survey.verify(&whole), FileCondition::Intact { inflated_bytes: 16 });
        for (batch, want) in [
            (miscounted, "2 records by its name, 1 by its bytes"),
            (changed, "digest"),
            (wrong_form, "gzip by its name, plain by its bytes"),
            (shortened, "2 records by its name, 1 by its bytes; 0 rejected by its name, 1"),
        ] {
            let FileCondition::Damaged(what) = survey.verify(&batch) else { panic!("{want}") };
            assert!(what.contains(want), "{what}");
        }
        fs::remove_file(spool.path(&gone)).unwrap();
        assert_eq!(survey.verify(&gone), FileCondition::Missing);
    }
}
