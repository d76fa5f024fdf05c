//! What is known of a batch, and the file name that says all of it.
//!
//! `SEQUENCE.RECEIVED.ENDPOINT.DATASET.RECORDS.REJECTED.LIMIT.DIGEST.FORMAT[@SINK][.gz]`, for example
//! `0000000000000042.1763755200123456.push.http_requests.5000.0.8388608.HEX.json.gz`. No field can
//! hold a dot. The limit on a record stands in it because it decides which records are rejected:
//! the batch must read the same after the config has changed. So does the format; the columns of CSV
//! stand in the file's first row. A batch that the first edition of the rules would read otherwise has the
//! number of its edition behind the format, as in `json2`. A batch for one sink alone has the name of that
//! sink behind it, as in `json@archive`. Versions that do not know it set such a file aside.

use jiff::Timestamp;
use records::decode::{Delimiter, Edition, Encoding, Format};

/// What a file's name ends with, before `.gz`.
const ENDINGS: [(Format, &str); 7] = [
    (Format::Json, "json"),
    (Format::Concatenated, "hec"),
    (Format::Text, "txt"),
    (Format::Csv(Delimiter::Comma), "csv"),
    (Format::Csv(Delimiter::Semicolon), "ssv"),
    (Format::Csv(Delimiter::Tab), "tsv"),
    (Format::Csv(Delimiter::Pipe), "psv"),
];

/// What follows the ending, by the edition of the rules.
const EDITIONS: [(Edition, &str); 2] = [(Edition::First, ""), (Edition::Second, "2")];

/// The most that the names of endpoint, dataset and sink have together, in bytes, in a batch for one sink:
/// a file name has at most 255.
pub const MAX_JOINT_NAMES_BYTES: usize = 128;

/// One upload that was accepted. The order of batches is the order of their commits.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Batch {
    /// Its place among all batches ever committed to this spool; the first is 1.
    pub sequence: u64,
    /// What was known before it had a place.
    pub header: Header,
}

/// Where a body came in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Origin {
    /// Name of the endpoint.
    pub endpoint: String,
    /// Name of the dataset, `[a-z0-9_]{1,64}`.
    pub dataset: String,
    /// When its request arrived; whole microseconds.
    pub received: Timestamp,
    /// Name of the only sink that may take it. `None`: all sinks that take its endpoint and dataset.
    pub sink: Option<String>,
}

/// A batch without its place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Header {
    /// Where it came in.
    pub origin: Origin,
    /// Records that sinks get.
    pub records: u64,
    /// Records that quarantine gets.
    pub rejected: u64,
    /// The limit on a record that it was decoded under, in bytes.
    pub record_limit: usize,
    /// The first half of the BLAKE3 of its inflated bytes.
    pub digest: u128,
    /// The form of the bytes in the file.
    pub encoding: Encoding,
    /// The form of the records in them.
    pub format: Format,
    /// The edition of the rules that it is read under.
    pub edition: Edition,
}

impl Batch {
    /// The name of its file in the spool.
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
        let sink = sink.as_ref().map(|sink| format!("@{sink}")).unwrap_or_default();
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

    /// Reads a file name back. `None` if it is no name of ours.
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
            if sink.is_some_and(|sink| !is_name(sink)) {
                return None;
            }
            EDITIONS.iter().find_map(|(edition, digit)| {
                let ending = ending.strip_suffix(digit)?;
                let (format, _) = ENDINGS.iter().find(|(_, known)| *known == ending)?;
                Some((encoding, *format, *edition, sink.map(str::to_owned)))
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
        // One spelling a batch: "+1" and "01" are somebody else's files.
        (batch.file_name() == name).then_some(batch)
    }
}

/// Whether the configuration could have a sink of this name.
fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

impl Header {
    /// What a file name holds of a digest.
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
        fn a_name_says_all_of_a_batch(
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
            sink in prop::option::of("[A-Za-z0-9_-]{1,64}"),
        ) {
            let names = endpoint.len() + dataset.len() + sink.as_ref().map_or(0, String::len);
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
    fn names_sort_in_order_of_commit() {
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
    fn the_only_sink_is_behind_the_format_where_earlier_versions_read_no_name() {
        let name = |ending: &str| format!("0000000000000009.0.e.d.1.0.8.{:032x}.{ending}", 0xab);
        for (ending, want) in [
            ("json.gz", Some(None)),
            ("json@archive.gz", Some(Some("archive"))),
            ("json2@a-B_9", Some(Some("a-B_9"))),
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
                batch.header.origin.sink
            });
            assert_eq!(sink, want.map(|sink| sink.map(str::to_owned)), "{ending}");
        }
    }
}
