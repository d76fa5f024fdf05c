//! The metadata of a batch, and the file name that encodes all of it.
//!
//! `SEQUENCE.RECEIVED.ENDPOINT.DATASET.RECORDS.REJECTED.LIMIT.DIGEST.FORMAT[@SINK[+SELECTION]][.gz]`, for
//! example
//! `0000000000000042.1763755200123456.push.http_requests.5000.0.8388608.HEX.json.gz`. No field
//! contains a dot.
//!
//! The name contains the record limit and the format because they decide which records are rejected: the
//! batch must decode to the same records after the configuration has changed. The columns of CSV are in
//! the first row of the file. A batch that needs the second edition of the rules has the number of that
//! edition after the format, as in `json2`. A batch for a single sink has the name of that sink after the
//! format, as in `json@archive`, and then the fingerprint of the selection that its records have been
//! through, if they are dead letters, as in `json@archive+0123abcd`. Versions that do not know such a name
//! treat the file as unusable.

use jiff::Timestamp;
use records::decode::{Delimiter, Edition, Encoding, Format};

/// The endings of file names, before `.gz`.
const ENDINGS: [(Format, &str); 7] = [
    (Format::Json, "json"),
    (Format::Concatenated, "hec"),
    (Format::Text, "txt"),
    (Format::Csv(Delimiter::Comma), "csv"),
    (Format::Csv(Delimiter::Semicolon), "ssv"),
    (Format::Csv(Delimiter::Tab), "tsv"),
    (Format::Csv(Delimiter::Pipe), "psv"),
];

/// The suffixes of the ending, by edition of the rules.
const EDITIONS: [(Edition, &str); 2] = [(Edition::First, ""), (Edition::Second, "2")];

/// The maximum total length of the endpoint, dataset and sink names of a batch for a single sink, in
/// bytes: a file name has at most 255 bytes.
pub const MAX_JOINT_NAMES_BYTES: usize = 128;

/// An accepted upload. Batches are ordered by commit.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Batch {
    /// The position among all batches ever committed to this spool, from 1.
    pub sequence: u64,
    /// The metadata from before the commit.
    pub header: Header,
}

/// The origin of a body.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Origin {
    /// The name of the endpoint.
    pub endpoint: String,
    /// The name of the dataset, `[a-z0-9_]{1,64}`.
    pub dataset: String,
    /// The arrival time of the request, in whole microseconds.
    pub received: Timestamp,
    /// The only sink that receives the batch. `None` means all sinks that accept its endpoint and dataset.
    pub sink: Option<OnlySink>,
}

/// The only sink that receives a batch.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct OnlySink {
    /// The name of the sink.
    pub name: String,
    /// The fingerprint of the selection that the records have already been through: those of dead letters.
    /// While the sink has this selection, it does not apply it again.
    pub selection: Option<u32>,
}

/// The metadata of a batch, without its sequence.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Header {
    /// The endpoint, dataset and arrival time.
    pub origin: Origin,
    /// The number of valid records, for sinks.
    pub records: u64,
    /// The number of rejected records, for quarantine.
    pub rejected: u64,
    /// The record limit that it was decoded with, in bytes.
    pub record_limit: usize,
    /// The first half of the BLAKE3 digest of the decompressed bytes.
    pub digest: u128,
    /// The encoding of the file.
    pub encoding: Encoding,
    /// The format of the records.
    pub format: Format,
    /// The edition of the decoding rules.
    pub edition: Edition,
}

impl Batch {
    /// Returns the name of the batch file.
    pub fn file_name(&self) -> String {
        let Header {
            origin: Origin { endpoint, dataset, received, sink },
            records,
            rejected,
            record_limit,
            digest,
            encoding,
            format,
            edition,
        } = &self.header;
        let edition = EDITIONS.iter().find(|(named, _)| named == edition);
        let edition = edition.map_or("", |(_, digit)| digit);
        let ending = ENDINGS.iter().find(|(named, _)| named == format);
        let ending = ending.map_or("json", |(_, ending)| ending);
        let sink = sink.as_ref().map(OnlySink::suffix).unwrap_or_default();
        let gz = match encoding {
            Encoding::Gzip => ".gz",
            Encoding::Identity => "",
        };
        format!(
            "{:016}.{}.{endpoint}.{dataset}.{records}.{rejected}.{record_limit}.{digest:032x}.{ending}{edition}{sink}{gz}",
            self.sequence,
            received.as_microsecond(),
        )
    }

    /// Parses a file name. Returns `None` if it is not the name of a batch.
    pub fn from_file_name(name: &str) -> Option<Self> {
        let mut fields = name.splitn(9, '.');
        let mut next = || fields.next();
        let read_ending = |ending: &str| {
            let (ending, encoding) = match ending.strip_suffix(".gz") {
                Some(ending) => (ending, Encoding::Gzip),
                None => (ending, Encoding::Identity),
            };
            let (ending, sink) = match ending.split_once('@') {
                Some((ending, sink)) => (ending, Some(sink)),
                None => (ending, None),
            };
            let sink = match sink {
                Some(sink) => Some(OnlySink::from_suffix(sink)?),
                None => None,
            };
            EDITIONS.iter().find_map(|(edition, digit)| {
                let ending = ending.strip_suffix(digit)?;
                let (format, _) = ENDINGS.iter().find(|(_, known)| *known == ending)?;
                Some((encoding, *format, *edition, sink.clone()))
            })
        };
        let sequence = next()?.parse().ok()?;
        let received = Timestamp::from_microsecond(next()?.parse().ok()?).ok()?;
        let (endpoint, dataset) = (next()?.to_owned(), next()?.to_owned());
        let (records, rejected) = (next()?.parse().ok()?, next()?.parse().ok()?);
        let record_limit = next()?.parse().ok()?;
        let digest = u128::from_str_radix(next()?, 16).ok()?;
        let (encoding, format, edition, sink) = read_ending(next()?)?;
        let header = Header {
            origin: Origin { endpoint, dataset, received, sink },
            records,
            rejected,
            record_limit,
            digest,
            encoding,
            format,
            edition,
        };
        let batch = Self { sequence, header };
        // Exactly one name per batch: names with "+1" or "01" are files of another program.
        (batch.file_name() == name).then_some(batch)
    }
}

impl OnlySink {
    fn suffix(&self) -> String {
        let selection = self.selection.map(|selection| format!("+{selection:08x}"));
        format!("@{}{}", self.name, selection.unwrap_or_default())
    }

    /// Parses a suffix without its `@`.
    fn from_suffix(text: &str) -> Option<Self> {
        let (name, selection) = match text.split_once('+') {
            Some((name, selection)) => (name, Some(u32::from_str_radix(selection, 16).ok()?)),
            None => (text, None),
        };
        is_name(name).then(|| Self { name: name.to_owned(), selection })
    }
}

/// Reports whether a sink can have this name.
fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

impl Header {
    /// Returns the part of a digest that is in the file name.
    pub fn short_digest(digest: &[u8; 32]) -> u128 {
        digest.iter().take(16).fold(0, |short, byte| short << 8 | u128::from(*byte))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_file_name_encodes_a_batch(
            sequence in any::<u64>(),
            received in 0_i64..4_000_000_000_000_000,
            endpoint in "[A-Za-z0-9_-]{1,64}",
            dataset in "[a-z0-9_]{1,64}",
            records in any::<u64>(),
            rejected in any::<u64>(),
            record_limit in any::<usize>(),
            digest in any::<u128>(),
            gzip in any::<bool>(),
            format in prop::sample::select(ENDINGS.map(|(format, _)| format).to_vec()),
            edition in prop::sample::select(EDITIONS.map(|(edition, _)| edition).to_vec()),
            sink in prop::option::of(("[A-Za-z0-9_-]{1,64}", prop::option::of(any::<u32>()))
                .prop_map(|(name, selection)| OnlySink { name, selection })),
        ) {
            let names = endpoint.len() + dataset.len() + sink.as_ref().map_or(0, |sink| sink.name.len());
            let fits = sink.is_none() || names <= MAX_JOINT_NAMES_BYTES;
            let batch = Batch {
                sequence,
                header: Header {
                    origin: Origin {
                        endpoint,
                        dataset,
                        received: Timestamp::from_microsecond(received).unwrap(),
                        sink,
                    },
                    records,
                    rejected,
                    record_limit,
                    digest,
                    encoding: if gzip { Encoding::Gzip } else { Encoding::Identity },
                    format,
                    edition,
                },
            };
            let name = batch.file_name();
            prop_assert!(name.len() <= 255 || !fits || records > 1 << 40 || rejected > 1 << 40);
            prop_assert_eq!(Batch::from_file_name(&name), Some(batch));
        }

        #[test]
        fn other_names_are_refused(name in "[0-9a-z.+-]{0,80}") {
            prop_assert_eq!(Batch::from_file_name(&name), None);
        }
    }

    #[test]
    fn names_sort_in_commit_order() {
        let name = |sequence| {
            let header = Header {
                origin: Origin {
                    endpoint: "e".into(),
                    dataset: "d".into(),
                    received: Timestamp::UNIX_EPOCH,
                    sink: None,
                },
                records: 1,
                rejected: 0,
                record_limit: 8,
                digest: 0xab,
                encoding: Encoding::Gzip,
                format: Format::Json,
                edition: Edition::First,
            };
            Batch { sequence, header }.file_name()
        };
        assert!(name(9) < name(10));
        assert_eq!(name(9), format!("0000000000000009.0.e.d.1.0.8.{:032x}.json.gz", 0xab));
    }

    #[test]
    fn the_name_of_the_only_sink_follows_the_format() {
        let name = |ending: &str| format!("0000000000000009.0.e.d.1.0.8.{:032x}.{ending}", 0xab);
        for (ending, want) in [
            ("json.gz", Some(None)),
            ("json@archive.gz", Some(Some("archive"))),
            ("json2@a-B_9", Some(Some("a-B_9"))),
            ("json@archive+00c0ffee.gz", Some(Some("archive+12648430"))),
            ("json@archive+0", None),
            ("json@archive+00C0FFEE", None),
            ("json@archive+000c0ffee", None),
            ("json@archive++0c0ffee", None),
            ("json@+00c0ffee", None),
            ("csv@json", Some(Some("json"))),
            ("json@", None),
            ("json@.gz", None),
            ("json@a@b", None),
            ("json@a.b", None),
            ("json@../a", None),
            ("@a", None),
        ] {
            let batch = Batch::from_file_name(&name(ending));
            let sink = batch.map(|batch| {
                assert_eq!(batch.header.origin.endpoint, "e");
                batch.header.origin.sink.map(|OnlySink { name, selection }| {
                    selection.map_or(name.clone(), |selection| format!("{name}+{selection}"))
                })
            });
            assert_eq!(sink, want.map(|sink| sink.map(str::to_owned)), "{ending}");
        }
    }
}
