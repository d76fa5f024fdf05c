//! `[endpoint.NAME]`: where batches may be posted, as the daemon works with it.

use std::path::PathBuf;

use ipnet::IpNet;
use records::{decode::Format, is_dataset};
use settings::words;

/// `[endpoint.NAME]`
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// NAME: `[A-Za-z0-9_-]{1,64}`, in metrics, logs and file names.
    pub name: String,
    /// What is spoken.
    pub protocol: Protocol,
    /// What must stand in the request's path.
    pub path: PathPattern,
    /// The form of the records.
    pub format: Format,
    /// Names of the columns of CSV that has no row for them; else none.
    pub columns: Vec<String>,
    /// How a sender proves itself.
    pub auth: Auth,
    /// Source networks; empty means any.
    pub allow_from: Vec<IpNet>,
    /// With a dataset in the path: those that are taken; empty means any.
    pub datasets: Vec<String>,
    /// Names of the sinks that get this endpoint's batches; at least one, each exists.
    pub sinks: Vec<String>,
}

/// The request header by which a sender names the only sink that gets its batch.
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
    /// A whole path that stands for one dataset.
    Fixed {
        /// Compared byte for byte.
        path: String,
        /// `endpoint.NAME.dataset`: `[a-z0-9_]{1,64}`.
        dataset: String,
    },
    /// `{dataset}` stands for exactly one segment or a part of one.
    Dataset {
        /// What stands before `{dataset}`.
        prefix: String,
        /// What stands behind it.
        suffix: String,
    },
    /// With `"splunk_hec"`: the paths that [`HEC_PATHS`](super::HEC_PATHS) names.
    Prefix {
        /// What stands before each of them.
        prefix: String,
        /// `endpoint.NAME.dataset`, as above.
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
    /// The path that records of `dataset` are posted to, a line each. `None` if this pattern has none.
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

    /// The path that a body of `dataset` is posted to of which it is not known on which of this
    /// pattern's paths it came. `None` if this pattern has none.
    pub fn path_of_body(&self, dataset: &str) -> Option<String> {
        match self {
            // Lines of JSON objects are read there, too.
            Self::Prefix { prefix, dataset: fixed } => {
                (fixed == dataset).then(|| format!("{prefix}/event"))
            }
            Self::Fixed { .. } | Self::Dataset { .. } => self.path_of(dataset),
        }
    }
}

/// How a sender proves itself to an endpoint.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Auth {
    /// A header must carry one of the secrets of a file.
    Secret {
        /// The header's name, lower case.
        header: String,
        /// Every non-empty line is a live secret. Validation has read it once: it held at least one.
        file: PathBuf,
    },
    /// `Authorization` must carry one of them, as HEC has it.
    Token {
        /// As above.
        file: PathBuf,
    },
    /// `auth = "none"`, or a client certificate is demanded and no secret is set.
    None,
}
