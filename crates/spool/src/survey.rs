//! Looks at a spool from the outside: read-only, without the lock, beside a running daemon. Files may
//! vanish under it, because they were delivered.

use std::{
    convert::Infallible,
    fs, io,
    path::{Path, PathBuf},
};

use records::decode::{Decoder, Encoding, Limits, Summary};

use super::{
    Batch, Entry, Header, ReadError, decode_file,
    recover::{self, Found},
};
use crate::durable;

/// The spool's folder, seen from the outside.
#[derive(Debug)]
pub struct Survey {
    dir: PathBuf,
}

/// What lies in the folder of batches.
#[derive(Debug, Default)]
pub struct Contents {
    /// Batches that wait, in order.
    pub waiting: Vec<Entry>,
    /// Names of files of uploads that are under way, or were when the daemon ended: not acknowledged.
    pub unfinished: Vec<String>,
    /// Names of files that are no batches, and why. The daemon sets them aside when it starts.
    pub foreign: Vec<(String, String)>,
}

/// How a batch's file is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Condition {
    /// It holds what its name says.
    Whole {
        /// Its size, inflated.
        inflated_bytes: u64,
    },
    /// It does not: what differs.
    Damaged(String),
    /// It is no longer there.
    Gone,
}

impl Survey {
    /// `dir` is `spool.dir`.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// The folder of the consumers' cursors.
    pub fn cursors(&self) -> PathBuf {
        self.dir.join(recover::CURSORS)
    }

    /// The folder of the batches' files.
    pub fn batches(&self) -> PathBuf {
        self.dir.join(recover::BATCHES)
    }

    /// The folder of what a start found and could not use.
    pub fn set_aside(&self) -> PathBuf {
        self.dir.join(recover::SET_ASIDE)
    }

    /// Reads the folder of batches. The files themselves are not opened.
    pub fn contents(&self) -> io::Result<Contents> {
        let folder = self.batches();
        let mut contents = Contents::default();
        for file in fs::read_dir(&folder).map_err(durable::at("reading", &folder))? {
            let file = file.map_err(durable::at("reading", &folder))?;
            let name = || file.file_name().to_string_lossy().into_owned();
            match recover::inspect(&file) {
                Ok(Found::Batch(entry)) => contents.waiting.push(entry),
                Ok(Found::Unfinished) => contents.unfinished.push(name()),
                Ok(Found::Foreign(why)) => contents.foreign.push((name(), why.to_owned())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => contents.foreign.push((name(), error.to_string())),
            }
        }
        contents.waiting.sort_unstable_by_key(|entry| entry.batch.sequence);
        contents.unfinished.sort_unstable();
        contents.foreign.sort_unstable();
        Ok(contents)
    }

    /// Decodes a batch's file and compares what comes out with its name.
    pub fn verify(&self, batch: &Batch) -> Condition {
        let path = self.batches().join(batch.file_name());
        let header = &batch.header;
        let limits = Limits { inflated_bytes: u64::MAX, record_bytes: header.record_limit };
        let decoder = Decoder::new(limits, header.encoding).under(header.edition).of(header.format);
        match decode_file(&path, decoder, &mut |_| Ok::<_, Infallible>(())) {
            Ok(summary) => match difference(header, &summary) {
                Some(what) => Condition::Damaged(what),
                None => Condition::Whole { inflated_bytes: summary.inflated_bytes },
            },
            Err(ReadError::Io(error)) if error.kind() == io::ErrorKind::NotFound => Condition::Gone,
            Err(ReadError::Io(error)) => Condition::Damaged(error.to_string()),
            Err(ReadError::Damaged(error)) => Condition::Damaged(error.to_string()),
            Err(ReadError::Taker(never)) => match never {},
        }
    }
}

/// What of the name is not so, if anything.
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
        differences.push(String::from("its bytes are not those that were committed (digest)"));
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
    fn it_tells_whole_from_damaged_beside_a_running_daemon() {
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

        let survey = Survey::new(dir.path());
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

        assert_eq!(survey.verify(&whole), Condition::Whole { inflated_bytes: 16 });
        for (batch, want) in [
            (miscounted, "2 records by its name, 1 by its bytes"),
            (changed, "digest"),
            (wrong_form, "gzip by its name, plain by its bytes"),
            (shortened, "2 records by its name, 1 by its bytes; 0 rejected by its name, 1"),
        ] {
            let Condition::Damaged(what) = survey.verify(&batch) else { panic!("{want}") };
            assert!(what.contains(want), "{what}");
        }
        fs::remove_file(spool.path(&gone)).unwrap();
        assert_eq!(survey.verify(&gone), Condition::Gone);
    }
}
