//! A connection before its TLS handshake, and the address of its client.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{
    ConnectionEnd,
    deadlines::DEADLINES,
    proxy_protocol::{self, HeaderError},
};
use crate::throttle::{ClientLimits, ClientThrottle};

/// A connection before its TLS handshake.
#[derive(Debug)]
pub struct AcceptedConnection {
    pub(super) stream: TcpStream,
    pub(super) client: SocketAddr,
    pub(super) since: Instant,
}

impl AcceptedConnection {
    /// Wraps a connection from `peer` that was just accepted.
    pub fn new(stream: TcpStream, peer: SocketAddr) -> Self {
        Self { stream, client: canonical(peer), since: Instant::now() }
    }

    /// Returns the address of the client. IPv4 is IPv4, even on a dual-stack socket.
    pub fn client(&self) -> SocketAddr {
        self.client
    }

    /// Reads the PROXY protocol header with which the peer, a proxy, must begin. Then the client is
    /// the one that the header names, if any. The time counts toward the deadline of the handshake.
    ///
    /// # Errors
    /// There is no valid header. Returns how the connection ended, and logs it.
    pub async fn read_proxy_header(
        mut self,
        stop: CancellationToken,
    ) -> Result<Self, ConnectionEnd> {
        let end = self.since + DEADLINES.handshake;
        let header = timeout_at(end, proxy_protocol::read(&mut self.stream));
        let header = tokio::select! {
            () = stop.cancelled() => return Err(ConnectionEnd::Stopped),
            header = header => header,
        };
        let why = match header {
            Ok(Ok(client)) => {
                self.client = client.unwrap_or(self.client);
                return Ok(self);
            }
            Ok(Err(HeaderError::Closed)) => {
                debug!(proxy = %self.client, "proxy closed an unused connection");
                return Err(ConnectionEnd::Closed);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => {
                format!("no PROXY protocol header within {} s", DEADLINES.handshake.as_secs())
            }
        };
        log_refused(self.client, &why);
        Err(ConnectionEnd::ProxyHeader)
    }
}

fn log_refused(proxy: SocketAddr, error: &str) {
    const LIMITS: ClientLimits =
        ClientLimits { network: 3, total: 10, per: Duration::from_secs(10) };
    static THROTTLE: ClientThrottle<1> = ClientThrottle::new(LIMITS);

    if let Some(withheld) = THROTTLE.admit(0, proxy.ip(), std::time::Instant::now()) {
        warn!(%proxy, %error, withheld, "closed a connection from a proxy");
    }
}

/// Converts an IPv4-mapped IPv6 address, as dual-stack sockets report it, to IPv4. Lists of
/// networks contain IPv4.
pub(super) fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_addresses_become_ipv4() {
        let table = [
            ("[::ffff:192.0.2.1]:9", "192.0.2.1:9"),
            ("192.0.2.1:9", "192.0.2.1:9"),
            ("[2001:db8::1]:9", "[2001:db8::1]:9"),
        ];
        for (peer, expected) in table {
            assert_eq!(canonical(peer.parse().unwrap()), expected.parse().unwrap());
        }
    }
}
