//! Parses and encodes `destination_conf`, the setting of a job that names the receiver.
//!
//! This module knows which texts Cloudflare accepts and how it interprets them. It uses no sockets and
//! no certificates.

mod encode;
mod parse;
mod problem;
#[cfg(test)]
mod tests;

use std::fmt;

use http::{
    HeaderMap,
    header::{HeaderName, HeaderValue},
};
use http_client::HostPort;

pub use self::problem::{DestinationProblem, DestinationProblems, ProblemSeverity};

/// The pattern that Cloudflare requires a `destination_conf` to match.
pub const CHARSET: &str = r"^[a-zA-Z0-9\.,_:/?%+&=\{\}-]+$";

/// The maximum length of a `destination_conf`, in characters.
pub const MAX_CHARS: usize = 4096;

/// The prefix of parameters that become request headers.
const HEADER_PREFIX: &str = "header_";

/// The destination of a job.
#[derive(Clone, Eq, PartialEq)]
pub struct Destination {
    /// The scheme.
    pub scheme: Scheme,
    /// The host and port. The default port is 443 for both schemes.
    pub server: HostPort,
    /// The path, and the query without the `header_` parameters. It may contain a secret.
    pub path_and_query: String,
    /// The headers of every request, in order. Their values are marked as sensitive.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Whether Cloudflare verifies the server's certificate.
    pub verification: Verification,
}

/// The schemes of destinations on your own servers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scheme {
    /// `https://`: Logpush's own protocol.
    Https,
    /// `splunk://`: HTTPS to Splunk's HTTP Event Collector.
    Splunk,
}

impl Scheme {
    fn text(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Splunk => "splunk",
        }
    }
}

/// Whether the client verifies the server's certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verification {
    /// The default.
    Required,
    /// `insecure-skip-verify=true`, which only `splunk://` supports.
    Skipped,
}

/// A parsed destination, with warnings.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Parsed {
    /// The destination.
    pub destination: Destination,
    /// Problems that do not keep Cloudflare from accepting the destination.
    pub warnings: Vec<DestinationProblem>,
}

impl Destination {
    /// Parses a `destination_conf`. Also accepts `host:port/path` without `https://`.
    ///
    /// # Errors
    /// Cloudflare would refuse the text. The error contains all errors and warnings.
    pub fn parse(text: &str) -> Result<Parsed, DestinationProblems> {
        parse::parse(text)
    }

    /// Encodes the `destination_conf`.
    ///
    /// # Errors
    /// Cloudflare would refuse the text. Columns are positions in that text.
    pub fn encode(&self) -> Result<String, DestinationProblems> {
        let text = encode::text(self);
        Self::parse(&text).map(|_| text)
    }

    /// Returns the headers of a request.
    pub fn header_map(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            headers.append(name, value.clone());
        }
        headers
    }
}

/// Formats the scheme, server and path, without query and headers, which contain secrets.
impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path_and_query.split('?').next().unwrap_or_default();
        write!(f, "{}://{}{path}", self.scheme.text(), self.authority())
    }
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        write!(f, "Destination({self}, headers {names:?}, {:?})", self.verification)
    }
}

impl Destination {
    /// Formats the server, without the default port.
    fn authority(&self) -> String {
        let text = self.server.to_string();
        match self.server.port {
            443 => text.strip_suffix(":443").map_or_else(|| text.clone(), str::to_owned),
            _ => text,
        }
    }
}
