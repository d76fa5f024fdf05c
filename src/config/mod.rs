//! The configuration: valid by construction once it is a [`Config`].
//!
//! [`load`] reads a file, collects *every* problem as a [`Diagnostic`] and gives back either a
//! `Config` or all of them. Nothing below this module sees TOML.

mod admin;
mod endpoint;
mod files;
mod hec;
mod log;
pub mod reference;
mod server;
mod sink;
mod spool;
mod validate;

use std::path::Path;

pub use settings::{
    Diagnostic, Problems, Severity, check_domain, format_bytes, nearest, parse_bytes,
    parse_duration, suggestion,
};

pub use self::{
    admin::Admin,
    endpoint::{Auth, Endpoint, PathPattern, Protocol, SINK_HEADER},
    files::{Secret, read_secrets},
    hec::{HEC_PATHS, HecPath},
    log::{Log, LogFormat, LogLevel},
    server::Server,
    sink::{SinkConfig, WhenFull},
    spool::{Limits, Quarantine, Spool},
};
// Each in the part that it is for.
pub use crate::{
    network::HostPort,
    sink::SinkKind,
    tls::{Acme, ClientTls, Tls, TlsVersion},
};

/// A valid configuration and the text that it was read from.
pub type Document = settings::Document<Config>;

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
