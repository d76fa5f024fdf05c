//! Every way to refuse a request: one table of status, text and label.
//!
//! Cloudflare shows the first bytes of the answer to whoever runs the job, and sends the same bytes
//! again for hours: the text says what to change. It carries nothing of the inside.

use std::{io, time::Duration};

use hyper::{Method, StatusCode};

use super::addressee::UnusableSink;
use crate::{config::format_bytes, decode::Excess, durable, metrics::RefusalReason};

/// Why a request was refused.
#[derive(Debug)]
pub(super) enum Refusal {
    Malformed {
        what: String,
    },
    Unauthorized(ShownSecret),
    Forbidden,
    NotFound,
    /// `endpoint.NAME.datasets` does not have the one in the path.
    DatasetNotListed,
    TooManyDatasets {
        limit: usize,
    },
    MethodNotAllowed(Methods),
    /// HEC: there is no record in the body.
    NoData,
    /// HEC: what became of a batch is said in the answer to it, and not again.
    AckDisabled,
    BodyTimeout {
        waited: Duration,
    },
    TooLarge {
        key: &'static str,
        limit: u64,
        found: String,
    },
    UnsupportedEncoding,
    /// The header that names a sink does not name one that takes this batch.
    SinkNotTaken(UnusableSink),
    /// Cannot store now; the sender keeps the batch and tries again.
    Unavailable {
        why: String,
    },
    /// Not a batch that was refused: the sender went away in the middle.
    Disconnected {
        what: String,
    },
}

/// The methods that a path has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Methods {
    /// Of a path that takes batches.
    Upload,
    /// The same with HEC.
    HecUpload,
    /// Of the path for the health, with HEC.
    HecHealth,
}

impl Methods {
    /// The value of `Allow`.
    pub(super) fn allow(self) -> &'static str {
        match self {
            Self::Upload => "POST, PUT",
            Self::HecUpload => "POST, PUT, OPTIONS",
            Self::HecHealth => "GET, HEAD, OPTIONS",
        }
    }

    pub(super) fn include(self, method: &Method) -> bool {
        match *method {
            Method::POST | Method::PUT => self != Self::HecHealth,
            Method::GET | Method::HEAD => self == Self::HecHealth,
            Method::OPTIONS => self != Self::Upload,
            _ => false,
        }
    }
}

/// What was shown in place of a live secret.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ShownSecret {
    Nothing,
    /// Nothing that could be one.
    Unreadable,
    /// In the query, where it is not looked at.
    InQuery,
    Wrong,
}

impl Refusal {
    pub(super) fn body_too_large(limit: u64, declared: Option<u64>) -> Self {
        let found = match declared {
            Some(bytes) => format!("this body has {bytes} bytes"),
            None => String::from("this body has more"),
        };
        Self::TooLarge { key: "limits.max_body_bytes", limit, found }
    }

    pub(super) fn larger_than_spool(limit: u64, bytes: u64) -> Self {
        let found = format!("this body has {bytes} bytes");
        Self::TooLarge { key: "spool.max_bytes", limit, found }
    }

    pub(super) fn inflates_too_large(limit: u64, excess: Excess) -> Self {
        Self::TooLarge { key: "limits.max_inflated_bytes", limit, found: excess.to_string() }
    }

    pub(super) fn cannot_store(error: &io::Error) -> Self {
        Self::unavailable(&format!("the batch cannot be stored now: {}", durable::cause(error)))
    }

    pub(super) fn unavailable(why: &(impl ToString + ?Sized)) -> Self {
        Self::Unavailable { why: why.to_string() }
    }

    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Malformed { .. }
            | Self::Disconnected { .. }
            | Self::NoData
            | Self::SinkNotTaken(_)
            | Self::AckDisabled => StatusCode::BAD_REQUEST,
            Self::Unauthorized(_) => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound | Self::DatasetNotListed => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTimeout { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge { .. } | Self::TooManyDatasets { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedEncoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// For the sender. Empty for whoever did not prove who it is.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Unauthorized(_) => String::new(),
            Self::Malformed { what } => format!("malformed request: {what}\n"),
            Self::Disconnected { what } => format!("the body did not come whole: {what}\n"),
            Self::Forbidden => {
                String::from("this source address is not in the endpoint's allow_from\n")
            }
            Self::NotFound => String::from(
                "no endpoint has this path: compare destination_conf with endpoint.NAME.path; a \
                 {dataset} is 1 to 64 of a-z, 0-9 and _\n",
            ),
            Self::DatasetNotListed => String::from(
                "this endpoint does not take the dataset in the path: add it to \
                 endpoint.NAME.datasets, or correct destination_conf\n",
            ),
            Self::TooManyDatasets { limit } => format!(
                "this endpoint took {limit} datasets that Cloudflare does not have, and takes no \
                 more: list the names in endpoint.NAME.datasets\n"
            ),
            Self::MethodNotAllowed(Methods::Upload | Methods::HecUpload) => {
                String::from("send batches by POST or PUT\n")
            }
            Self::MethodNotAllowed(Methods::HecHealth) => {
                String::from("ask for the health by GET\n")
            }
            Self::NoData => String::from("there is no record in the body\n"),
            Self::AckDisabled => String::from(
                "a 200 says that the batch is on disk: turn indexer acknowledgment off in the sender\n",
            ),
            Self::BodyTimeout { waited } => {
                format!("the body stopped coming: gave up after {} seconds\n", waited.as_secs())
            }
            Self::TooLarge { key, limit, found } => format!(
                "{key} is {limit} ({}) and {found}: raise {key}, or lower the job's max_upload_bytes \
                 (which counts inflated bytes)\n",
                format_bytes(*limit)
            ),
            Self::UnsupportedEncoding => {
                String::from("Content-Encoding must be gzip or identity\n")
            }
            Self::SinkNotTaken(UnusableSink::Unknown { sink }) => format!(
                "X-Logpushd-Sink names {sink}, which is no sink of this endpoint and dataset: name one of \
                 endpoint.NAME.sinks, or remove the header\n"
            ),
            Self::SinkNotTaken(UnusableSink::TooLong { limit }) => format!(
                "with X-Logpushd-Sink, the names of endpoint, dataset and sink have at most {limit} bytes \
                 together: shorten one, or remove the header\n"
            ),
            Self::Unavailable { why } => format!("{why}\n"),
        }
    }

    pub(super) fn reason(&self) -> RefusalReason {
        match self {
            Self::Malformed { .. } | Self::NoData | Self::SinkNotTaken(_) | Self::AckDisabled => {
                RefusalReason::Malformed
            }
            Self::Disconnected { .. } => RefusalReason::Disconnected,
            Self::Unauthorized(_) => RefusalReason::Unauthorized,
            Self::Forbidden => RefusalReason::Forbidden,
            Self::NotFound | Self::DatasetNotListed => RefusalReason::NotFound,
            Self::MethodNotAllowed(_) => RefusalReason::MethodNotAllowed,
            Self::BodyTimeout { .. } => RefusalReason::BodyTimeout,
            Self::TooLarge { .. } | Self::TooManyDatasets { .. } => RefusalReason::TooLarge,
            Self::UnsupportedEncoding => RefusalReason::UnsupportedEncoding,
            Self::Unavailable { .. } => RefusalReason::Unavailable,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;
    use crate::spool::SpoolUnavailable;

    /// One of each sort, and of those that are told apart by a text of their own.
    fn samples() -> Vec<Refusal> {
        let sink = || String::from("archive");
        let full = SpoolUnavailable::SpoolFull { max_bytes: 10 << 30, slowest_sink: sink() };
        let disk = SpoolUnavailable::DiskFull { free: 5 << 20, reserve: 256 << 20 };
        let write = SpoolUnavailable::CannotWrite { error: String::from("Read-only file system") };
        let samples = vec![
            Refusal::Malformed { what: String::from("invalid chunk size") },
            Refusal::Disconnected { what: String::from("unexpected end") },
            Refusal::Unauthorized(ShownSecret::Wrong),
            Refusal::Forbidden,
            Refusal::NotFound,
            Refusal::DatasetNotListed,
            Refusal::TooManyDatasets { limit: 256 },
            Refusal::MethodNotAllowed(Methods::Upload),
            Refusal::MethodNotAllowed(Methods::HecHealth),
            Refusal::NoData,
            Refusal::AckDisabled,
            Refusal::BodyTimeout { waited: Duration::from_secs(30) },
            Refusal::body_too_large(1 << 20, Some(1 << 21)),
            Refusal::body_too_large(1 << 20, None),
            Refusal::larger_than_spool(1 << 20, 1 << 21),
            Refusal::inflates_too_large(1 << 20, Excess::Body),
            Refusal::inflates_too_large(1 << 20, Excess::Records),
            Refusal::UnsupportedEncoding,
            Refusal::SinkNotTaken(UnusableSink::Unknown { sink: sink() }),
            Refusal::SinkNotTaken(UnusableSink::TooLong { limit: 128 }),
            Refusal::cannot_store(&io::Error::other("no")),
            full.into(),
            disk.into(),
            write.into(),
        ];
        for sample in &samples {
            // A variant that is not here does not compile: give it a sample, too.
            match sample {
                Refusal::Malformed { .. }
                | Refusal::Disconnected { .. }
                | Refusal::Unauthorized(_)
                | Refusal::Forbidden
                | Refusal::NotFound
                | Refusal::DatasetNotListed
                | Refusal::TooManyDatasets { .. }
                | Refusal::MethodNotAllowed(_)
                | Refusal::NoData
                | Refusal::AckDisabled
                | Refusal::BodyTimeout { .. }
                | Refusal::TooLarge { .. }
                | Refusal::UnsupportedEncoding
                | Refusal::SinkNotTaken(_)
                | Refusal::Unavailable { .. } => {}
            }
        }
        samples
    }

    /// Whether `text` is `symptom`, in which `...` stands for anything.
    fn is_of(symptom: &str, text: &str) -> bool {
        let mut rest = text;
        let mut parts = symptom.split("...").peekable();
        let mut is_first = true;
        while let Some(part) = parts.next() {
            let Some(at) = rest.find(part) else { return false };
            if is_first && at > 0 {
                return false;
            }
            is_first = false;
            rest = rest.get(at + part.len()..).unwrap_or_default();
            if parts.peek().is_none() && !part.is_empty() && !rest.is_empty() {
                return false;
            }
        }
        true
    }

    #[test]
    fn a_path_has_the_methods_that_it_names() {
        let all = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE"];
        for methods in [Methods::Upload, Methods::HecUpload, Methods::HecHealth] {
            let is_included = |name: &&str| methods.include(&name.parse().unwrap());
            let mut included: Vec<_> = all.into_iter().filter(is_included).collect();
            let mut named: Vec<_> = methods.allow().split(", ").collect();
            included.sort_unstable();
            named.sort_unstable();
            assert_eq!(included, named, "{methods:?}");
        }
    }

    #[test]
    fn each_text_is_explained() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/troubleshooting.md");
        let document = fs::read_to_string(path).unwrap();
        let (_, answers) = document.split_once("\n## Status codes\n").unwrap();
        let (answers, _) = answers.split_once("\n## ").unwrap();
        let headings = answers.lines().filter_map(|line| line.strip_prefix("#### "));
        let symptoms: Vec<_> = headings.map(|heading| heading.trim_matches('`')).collect();
        let mut used = BTreeSet::new();
        for refusal in samples() {
            let text = refusal.text();
            let symptom = match text.trim_end() {
                "" => symptoms.iter().find(|symptom| symptom.ends_with("with an empty body")),
                text => symptoms.iter().find(|symptom| is_of(symptom, text)),
            };
            let symptom = symptom.unwrap_or_else(|| panic!("nothing explains {refusal:?}: {text}"));
            used.insert(*symptom);
        }
        assert!(used.len() > 12, "{used:?}");
    }
}
