//! The configuration: valid by construction once it is a [`Config`].
//!
//! [`load`] reads a file, collects *every* problem as a [`Diagnostic`] and gives back either a
//! `Config` or all of them. Nothing below this module sees TOML.

mod acme;
mod context;
mod diagnostic;
mod document;
mod domain;
mod file_sink;
mod files;
mod hec;
mod reader;
pub mod reference;
mod syslog;
mod target;
mod units;
mod validate;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use ipnet::IpNet;

use records::is_dataset;

use crate::{decode::Format, select::Choice};

// Each in the part that it is for.
pub use self::{
    diagnostic::{Diagnostic, Problems, Severity},
    document::Document,
    domain::check_domain,
    file_sink::{
        Compress, CompressAfter, EventWindow, FileOptions, FileSink, Fsync, Owner, RecordTime,
        Retain, Rotate,
    },
    files::{Secret, read_secrets},
    hec::{HEC_PATHS, HecPath},
    reader::suggestion,
    syslog::{Framing, Oversize, SeverityBy, SyslogFormat, SyslogSink, SyslogTarget, SyslogTime},
    units::{format_bytes, parse_bytes, parse_duration},
};
pub use crate::{
    network::HostPort,
    tls::{Acme, ClientTls, Tls, TlsVersion},
};

/// What the daemon runs on: defaults filled in, relative paths made absolute against the file's
/// folder, names resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The public listener.
    pub server: Server,
    /// Where batches may be posted. At least one, in order of name.
    pub endpoints: Vec<Endpoint>,
    /// Where records go. At least one, in order of name.
    pub sinks: Vec<SinkConfig>,
    /// The durable queue between the two.
    pub spool: Spool,
    /// What one request, and all of them together, may cost.
    pub limits: Limits,
    /// Where rejected records go.
    pub quarantine: Quarantine,
    /// The listener for probes and metrics.
    pub admin: Admin,
    /// The daemon's own log.
    pub log: Log,
}

/// `[server]`
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// Addresses to listen on. At least one.
    pub addresses: Vec<SocketAddr>,
    /// Proxies, whose connections begin with a PROXY protocol header.
    pub proxy_protocol_from: Vec<IpNet>,
    /// Certificate, key and what a client must show.
    pub tls: Tls,
}

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

/// `endpoint.NAME.protocol`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protocol {
    /// `"logpush"`
    Logpush,
    /// `"splunk_hec"`: Splunk's HTTP Event Collector.
    SplunkHec,
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
    /// With `"splunk_hec"`: the paths that [`HEC_PATHS`] names.
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

/// `[sink.NAME.KIND]`
#[derive(Clone, Debug, PartialEq)]
pub struct SinkConfig {
    /// NAME: `[A-Za-z0-9_-]{1,64}`.
    pub name: String,
    /// KIND and its own keys.
    pub kind: SinkKind,
    /// What happens when the spool is full and this sink is behind.
    pub when_full: WhenFull,
    /// Which batches and records it takes.
    pub choice: Choice,
}

/// `sink.NAME.KIND.when_full`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WhenFull {
    /// `"block"`: new batches are refused with 503 until the sink has caught up.
    Block,
    /// `"drop"`: the oldest batches that only such sinks lack are dropped.
    Drop,
}

/// The kinds of sink and their keys.
#[derive(Clone, Debug, PartialEq)]
pub enum SinkKind {
    /// `[sink.NAME.file]`
    File(FileSink),
    /// `[sink.NAME.stdout]`
    Stdout(StdoutForm),
    /// `[sink.NAME.syslog]`
    Syslog(Box<SyslogSink>),
}

/// `sink.NAME.stdout.format`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StdoutForm {
    /// `"ndjson"`: records as they came
    Ndjson,
    /// `"text"`: for people
    Text,
}

/// `[spool]`
#[derive(Clone, Debug, PartialEq)]
pub struct Spool {
    /// The state folder: spool, cursors, lock.
    pub dir: PathBuf,
    /// What may wait before batches are refused with 503.
    pub max_bytes: u64,
    /// How long the digest of a committed batch is remembered.
    pub dedup_window: Duration,
}

/// `[limits]`
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// One body on the wire.
    pub max_body_bytes: u64,
    /// One body inflated.
    pub max_inflated_bytes: u64,
    /// One record; longer ones are quarantined.
    pub max_record_bytes: u64,
    /// The bodies of all requests under way together, on the wire. At least `max_body_bytes`.
    pub max_in_flight_bytes: u64,
    /// Open connections.
    pub max_connections: usize,
    /// Open connections of one address, or of one /64 of IPv6.
    pub max_connections_per_address: usize,
}

/// `[quarantine]`
#[derive(Clone, Debug, PartialEq)]
pub struct Quarantine {
    /// Defaults to `quarantine` in the spool's folder.
    pub dir: PathBuf,
    /// What may lie there; beyond it the oldest goes.
    pub max_bytes: u64,
    /// How long something lies there.
    pub max_age: Duration,
}

/// `[admin]`
#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    /// Plain HTTP: loopback.
    pub address: SocketAddr,
    /// Whether the file names the address. One that nobody asked for may be taken by another
    /// daemon: then this one goes on without it.
    pub asked_for: bool,
    /// Further hosts that a request may name: lower case, without a port and a final dot.
    pub allowed_hosts: Vec<String>,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// The least that is logged.
    pub level: LogLevel,
    /// The form of a line.
    pub format: LogFormat,
    /// Where events of the audit log are appended.
    pub audit_file: Option<PathBuf>,
}

/// `log.level`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogLevel {
    /// `"error"`
    Error,
    /// `"warn"`
    Warn,
    /// `"info"`
    Info,
    /// `"debug"`
    Debug,
    /// `"trace"`
    Trace,
}

/// `log.format`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogFormat {
    /// `"text"`
    Text,
    /// `"json"`, one object a line
    Json,
}

/// Reads and checks the file at `path`, and what it names (secret files, certificate and key).
///
/// # Errors
/// Every problem of the file at once.
pub fn load(path: &Path) -> Result<Config, Problems> {
    read(path).map(|document| document.config)
}

/// The path that stands for standard input. Relative paths then begin at the current directory.
pub const STDIN: &str = "-";

/// As [`load`], and keeps the text, so that further checks can point at it.
///
/// # Errors
/// Every problem of the file at once.
pub fn read(path: &Path) -> Result<Document, Problems> {
    validate::read(path)
}

/// Checks text as [`load`] would, were it the file at `path` (absolute), and opens no file at all:
/// for fuzzing, where the text is a stranger's.
///
/// # Errors
/// Every problem of the text at once.
#[doc(hidden)]
pub fn check_text(path: &Path, text: &str) -> Result<Config, Problems> {
    validate::check_text(path, text)
}
