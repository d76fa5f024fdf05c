//! All refusals of a request, with status, text and metrics label.
//!
//! Cloudflare shows the first bytes of the text to the owner of the job, and retries the same batch
//! for hours. The first 100 characters therefore state what failed and what to change. The text
//! reveals nothing internal.

use std::{io, time::Duration};

use hyper::{Method, StatusCode};

use super::sink_header::UnusableSink;
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
    /// `endpoint.NAME.datasets` does not list the dataset in the path.
    DatasetNotListed,
    TooManyDatasets {
        limit: usize,
    },
    MethodNotAllowed(Methods),
    /// HEC: the body contains no record.
    NoData,
    /// HEC: a query for an indexer acknowledgment, which the endpoint does not have.
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
    /// The request header names a sink that cannot take this batch.
    SinkNotTaken(UnusableSink),
    /// The batch cannot be stored now; the sender keeps it and retries.
    Unavailable {
        why: String,
    },
    /// The sender disconnected before the end of the body.
    Disconnected {
        what: String,
    },
}

/// Methods of a path.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Methods {
    /// Of a path for batches.
    Upload,
    /// Of a HEC path for batches.
    HecUpload,
    /// Of the HEC path for health queries.
    HecHealth,
}

impl Methods {
    /// Returns the value of `Allow`.
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

/// What a request has instead of a valid secret.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ShownSecret {
    Nothing,
    /// A header that contains no secret.
    Unreadable,
    /// A token in the query, where it is not accepted.
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

    /// Returns the text for the sender. Empty if the sender is not authenticated.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Unauthorized(_) => String::new(),
            Self::Malformed { what } => format!(
                "malformed request ({what}): check any proxy between the sender and logpushd\n"
            ),
            Self::Disconnected { what } => {
                format!("the sender disconnected before the end of the body: {what}\n")
            }
            Self::Forbidden => String::from(
                "this source address is not in the endpoint's allow_from: add it and reload\n",
            ),
            Self::NotFound => String::from(
                "no endpoint has this path: compare destination_conf with endpoint.NAME.path; a \
                 {dataset} is 1 to 64 of a-z, 0-9 and _\n",
            ),
            Self::DatasetNotListed => String::from(
                "this endpoint does not accept the dataset in the path: add it to \
                 endpoint.NAME.datasets, or correct destination_conf\n",
            ),
            Self::TooManyDatasets { limit } => format!(
                "over {limit} dataset names that Cloudflare does not have: list yours in \
                 endpoint.NAME.datasets\n"
            ),
            Self::MethodNotAllowed(Methods::Upload | Methods::HecUpload) => {
                String::from("method not allowed: send batches with POST or PUT\n")
            }
            Self::MethodNotAllowed(Methods::HecHealth) => {
                String::from("method not allowed: query the health with GET\n")
            }
            Self::NoData => String::from("the body contains no records: send at least one\n"),
            Self::AckDisabled => String::from(
                "turn indexer acknowledgment off in the sender: a 200 means that the batch is on \
                 disk\n",
            ),
            Self::BodyTimeout { waited } => {
                format!(
                    "upload timed out after {} seconds: check the network and any proxy in \
                     between\n",
                    waited.as_secs()
                )
            }
            Self::TooLarge { key, limit, found } => format!(
                "too large: raise {key} from {limit} ({}) or lower the job's max_upload_bytes: \
                 {found}\n",
                format_bytes(*limit)
            ),
            Self::UnsupportedEncoding => {
                String::from("Content-Encoding must be gzip or identity\n")
            }
            Self::SinkNotTaken(UnusableSink::Unknown { sink }) => format!(
                "X-Logpushd-Sink names no sink of this endpoint and dataset: correct it, or remove \
                 the header (it is {sink})\n"
            ),
            Self::SinkNotTaken(UnusableSink::Changed { sink }) => format!(
                "X-Logpushd-Sink: sink {sink} has other filters or masks now: replay the records \
                 with the configuration that the daemon has loaded\n"
            ),
            Self::SinkNotTaken(UnusableSink::TooLong { limit }) => format!(
                "X-Logpushd-Sink: shorten a name, since endpoint, dataset and sink may have at \
                 most {limit} bytes together\n"
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

    /// Refusals with every text.
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
            Refusal::SinkNotTaken(UnusableSink::Changed { sink: "archive".to_owned() }),
            Refusal::SinkNotTaken(UnusableSink::TooLong { limit: 128 }),
            Refusal::cannot_store(&io::Error::other("no")),
            full.into(),
            disk.into(),
            write.into(),
        ];
        for sample in &samples {
            // Does not compile with a new variant: add it here and to the samples.
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

    /// Whether `text` matches `symptom`, in which `...` matches any text.
    fn matches_symptom(symptom: &str, text: &str) -> bool {
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
    fn allow_lists_the_methods_of_a_path() {
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
    fn troubleshooting_explains_each_text() {
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
                text => symptoms.iter().find(|symptom| matches_symptom(symptom, text)),
            };
            let symptom = symptom.unwrap_or_else(|| panic!("nothing explains {refusal:?}: {text}"));
            used.insert(*symptom);
        }
        assert!(used.len() > 12, "{used:?}");
    }
}
