//! The configuration. A [`Config`] is always valid.
//!
//! [`load`] reads a file and returns a `Config`, or all problems of the file as [`Diagnostic`]s.
//! Other modules never see TOML.

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
// Defined in the modules that use them.
pub use crate::{
    network::HostPort,
    sink::SinkKind,
    tls::{Acme, ClientTls, Tls, TlsVersion},
};

/// A valid configuration and its source text.
pub type Document = settings::Document<Config>;

/// A valid configuration: with defaults, with absolute paths, and with resolved names.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The public listener.
    pub server: Server,
    /// The endpoints: at least one, ordered by name.
    pub endpoints: Vec<Endpoint>,
    /// The sinks: at least one, ordered by name.
    pub sinks: Vec<SinkConfig>,
    /// The durable queue between endpoints and sinks.
    pub spool: Spool,
    /// Limits of each request and of all requests together.
    pub limits: Limits,
    /// The storage of rejected records.
    pub quarantine: Quarantine,
    /// The listener for probes and metrics.
    pub admin: Admin,
    /// The daemon's own log.
    pub log: Log,
}

/// Reads and checks the file at `path` and the secret files that it names.
///
/// # Errors
/// All problems of the file.
pub fn load(path: &Path) -> Result<Config, Problems> {
    read(path).map(|document| document.config)
}

/// The path of standard input. Relative paths then start at the current directory.
pub const STDIN: &str = "-";

/// Reads and checks a file as [`load`] does, and keeps the text for the positions of further
/// problems.
///
/// # Errors
/// All problems of the file.
pub fn read(path: &Path) -> Result<Document, Problems> {
    validate::read(path)
}

/// Checks text as the contents of the file at `path` (absolute) without opening any file, for
/// fuzzing.
///
/// # Errors
/// All problems of the text.
#[doc(hidden)]
pub fn check_text(path: &Path, text: &str) -> Result<Config, Problems> {
    validate::check_text(path, text)
}
