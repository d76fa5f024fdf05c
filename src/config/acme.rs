//! What `[server.tls.acme]` needs of the addresses.

use std::net::SocketAddr;

use super::Server;

impl Server {
    /// What is valid, and will not do what it is there for.
    pub fn warnings(&self) -> Vec<String> {
        let ports = self.addresses.iter().map(SocketAddr::port);
        let is_reached = ports.clone().any(|port| port == ACME_PORT);
        if self.tls.acme.is_none() || is_reached {
            return Vec::new();
        }
        let ports: Vec<_> = ports.map(|port| port.to_string()).collect();
        vec![format!(
            "server.tls.acme: a directory proves a name on port {ACME_PORT}, and server.address has {}: \
             lead port {ACME_PORT} there, or listen on it (docs/certificates.md says how)",
            ports.join(", ")
        )]
    }
}

/// RFC 8737, 3.
const ACME_PORT: u16 = 443;
