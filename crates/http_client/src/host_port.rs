//! The host and port of a server.

use std::fmt;

use reqwest::Url;

/// A host name or IP address, and a port. Displays as in a URL, with brackets around an IPv6 address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HostPort {
    /// The name or address; an IPv6 address without brackets.
    pub host: String,
    /// The port; never 0.
    pub port: u16,
}

impl HostPort {
    /// The host and port of an `http://` or `https://` URL.
    pub fn of(url: &Url) -> Self {
        let host = url.host_str().unwrap_or_default();
        Self {
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: url.port_or_known_default().unwrap_or_default(),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}
