//! The host and port of a server.

use std::fmt;

/// A host name or IP address, and a port. Displays as in a URL, with brackets around an IPv6 address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HostPort {
    /// The name or address; an IPv6 address without brackets.
    pub host: String,
    /// The port; never 0.
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}
