//! The text that tells Cloudflare where to push: a job's `destination_conf`, read and written.
//!
//! It knows what Cloudflare takes and what it makes of it, and neither sockets nor certificates.

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

pub use self::problem::{Problem, Problems, Severity};

/// What a `destination_conf` is made of, by Cloudflare's own check.
pub const CHARSET: &str = r"^[a-zA-Z0-9\.,_:/?%+&=\{\}-]+$";

/// The longest `destination_conf`, in characters.
pub const MAX_CHARS: usize = 4096;

/// Parameters that begin so become headers of the request.
const HEADER_PREFIX: &str = "header_";

/// Where a job pushes to.
#[derive(Clone, Eq, PartialEq)]
pub struct Destination {
    /// What stands in front of `://`.
    pub scheme: Scheme,
    /// Name or address, and port: 443 if none is said, for either scheme.
    pub server: HostPort,
    /// What is asked for: the path, and the query without the parameters that are headers. It may
    /// hold a secret.
    pub path_and_query: String,
    /// Headers of every request, in order. Their values are marked as sensitive.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Whether Cloudflare looks at the server's certificate.
    pub verification: Verification,
}

/// The kinds of destination that a server of one's own can be.
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

/// Whether the server's certificate counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verification {
    /// As everywhere.
    Required,
    /// `insecure-skip-verify=true`, which there is for `splunk://` alone.
    Skipped,
}

/// A destination that was read, and what is doubtful about it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Parsed {
    /// What was read.
    pub destination: Destination,
    /// Nothing that keeps Cloudflare from taking it.
    pub warnings: Vec<Problem>,
}

impl Destination {
    /// Reads a `destination_conf`. A bare URL, and `host:port/path` without `https://`, is taken as
    /// well.
    ///
    /// # Errors
    /// Everything for which Cloudflare refuses it, and everything doubtful beside that.
    pub fn parse(text: &str) -> Result<Parsed, Problems> {
        parse::parse(text)
    }

    /// Writes the `destination_conf`.
    ///
    /// # Errors
    /// What of it Cloudflare refuses, by the place in what would be the text.
    pub fn encode(&self) -> Result<String, Problems> {
        let text = encode::text(self);
        Self::parse(&text).map(|_| text)
    }

    /// The headers as a request has them.
    pub fn header_map(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            headers.append(name, value.clone());
        }
        headers
    }
}

/// Server and path: without the query and the headers, where secrets stand.
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
    /// The server as it stands in the text: without the port that goes without saying.
    fn authority(&self) -> String {
        let text = self.server.to_string();
        match self.server.port {
            443 => text.strip_suffix(":443").map_or_else(|| text.clone(), str::to_owned),
            _ => text,
        }
    }
}
