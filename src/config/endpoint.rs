//! `[endpoint.NAME]`: where senders post batches.

use std::path::PathBuf;

use ipnet::IpNet;
use records::{decode::Format, is_dataset};
use settings::words;

/// `[endpoint.NAME]`
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// NAME: `[A-Za-z0-9_-]{1,64}`, in metrics, logs and file names.
    pub name: String,
    /// The protocol of the sender.
    pub protocol: Protocol,
    /// The paths of requests.
    pub path: PathPattern,
    /// The format of the records.
    pub format: Format,
    /// The column names of CSV without a header row; otherwise empty.
    pub columns: Vec<String>,
    /// The authentication of senders.
    pub auth: Auth,
    /// Source networks. Empty: any.
    pub allow_from: Vec<IpNet>,
    /// Accepted datasets of a path with a dataset. Empty: any.
    pub datasets: Vec<String>,
    /// The names of the sinks that get the batches: at least one, and all exist.
    pub sinks: Vec<String>,
}

/// The request header that names the only sink of a batch.
pub const SINK_HEADER: &str = "x-logpushd-sink";

words! {
    /// `endpoint.NAME.protocol`
    pub enum Protocol {
        /// Logpush to an HTTP destination.
        Logpush = "logpush",
        /// Splunk's HTTP Event Collector.
        SplunkHec = "splunk_hec",
    }
}

/// `endpoint.NAME.path`, and with it the dataset of a batch.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PathPattern {
    /// A fixed path for one dataset.
    Fixed {
        /// The path, compared byte for byte.
        path: String,
        /// `endpoint.NAME.dataset`: `[a-z0-9_]{1,64}`.
        dataset: String,
    },
    /// A path with `{dataset}`, which stands for one path segment or a part of one.
    Dataset {
        /// The path before `{dataset}`.
        prefix: String,
        /// The path after `{dataset}`.
        suffix: String,
    },
    /// The prefix of the paths in [`HEC_PATHS`](super::HEC_PATHS), with `"splunk_hec"`.
    Prefix {
        /// The path before each of them.
        prefix: String,
        /// `endpoint.NAME.dataset`: `[a-z0-9_]{1,64}`.
        dataset: String,
    },
}

impl std::fmt::Display for PathPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fixed { path, .. } => f.write_str(path),
            Self::Dataset { prefix, suffix } => write!(f, "{prefix}{{dataset}}{suffix}"),
            Self::Prefix { prefix, .. } => f.write_str(prefix),
        }
    }
}

impl PathPattern {
    /// Returns the path to post records of `dataset` to, one per line. `None` if the pattern does
    /// not match `dataset`.
    pub fn path_of(&self, dataset: &str) -> Option<String> {
        match self {
            Self::Fixed { path, dataset: fixed } => (fixed == dataset).then(|| path.clone()),
            Self::Dataset { prefix, suffix } => {
                is_dataset(dataset.as_bytes()).then(|| format!("{prefix}{dataset}{suffix}"))
            }
            Self::Prefix { prefix, dataset: fixed } => {
                (fixed == dataset).then(|| format!("{prefix}/raw"))
            }
        }
    }

    /// Returns the path to post an unreadable body of `dataset` to again, whichever path of this
    /// pattern it arrived on. `None` if the pattern does not match `dataset`.
    pub fn path_of_body(&self, dataset: &str) -> Option<String> {
        match self {
            // This path also accepts lines of JSON objects.
            Self::Prefix { prefix, dataset: fixed } => {
                (fixed == dataset).then(|| format!("{prefix}/event"))
            }
            Self::Fixed { .. } | Self::Dataset { .. } => self.path_of(dataset),
        }
    }
}

/// The authentication of senders.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Auth {
    /// A header contains one of the secrets in a file.
    Secret {
        /// The name of the header, in lower case.
        header: String,
        /// The secret file. At validation it contained at least one secret.
        file: PathBuf,
    },
    /// The header `Authorization` contains one of the secrets in a file, in the form of Splunk HEC.
    Token {
        /// The secret file. At validation it contained at least one secret.
        file: PathBuf,
    },
    /// `auth = "none"`, or only a client certificate is required.
    None,
}
