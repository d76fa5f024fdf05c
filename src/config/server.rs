//! `[server]`: the public listener.

use std::{net::SocketAddr, path::Path};

use settings::{Context, Value, reference::Takes, setting, settings, types::List};

use super::validate::network::Network;
use crate::tls::Tls;

settings! {
    /// The public HTTPS listener.
    pub struct Server in "server" {
        /// The address to listen on: an IP address and a port, or a list such as
        /// `["0.0.0.0:8443", "[::]:8443"]`.
        ///
        /// Cloudflare pushes to any port. For a port below 1024, the daemon needs a privilege
        /// (`CAP_NET_BIND_SERVICE`) or a socket from systemd. `"[::]:8443"` accepts IPv6, and
        /// IPv4 too where that is the system's default; next to an IPv4 address with the same
        /// port, it accepts IPv6 only. Behind a proxy or a redirect on the same machine, use
        /// 127.0.0.1.
        pub addresses "address": Addresses = "0.0.0.0:8443",
        /// The addresses of proxies that pass TLS through and send a PROXY protocol header
        /// (version 1 or 2). `allow_from`, the limits and the log then use the client address in
        /// the header. See docs/guide/proxy.md.
        ///
        /// Every connection from these addresses must begin with such a header. Headers from
        /// any other address are refused. List only proxies that you control: they can claim
        /// any client address.
        pub proxy_protocol_from: List<Network> as ["127.0.0.1", "192.0.2.0/28"]
            else "no proxies",
        /// Certificate and key.
        pub tls: Tls,
    }
}

setting! {
    /// Addresses to listen on, without duplicates.
    pub struct Addresses(Vec<SocketAddr>): Takes::StringOrList("IP address and port"),
        read by addresses;
}

impl Server {
    /// Sets the default paths of TLS files. `config_dir` is the directory of the configuration.
    pub(super) fn with_default_paths(mut self, config_dir: &Path, spool_dir: &Path) -> Self {
        self.tls.set_default_paths(config_dir, spool_dir);
        self
    }

    /// Returns warnings about valid settings that do not work together.
    pub fn warnings(&self) -> Vec<String> {
        let ports = self.addresses.iter().map(SocketAddr::port);
        let is_reached = ports.clone().any(|port| port == ACME_PORT);
        if self.tls.acme.is_none() || is_reached {
            return Vec::new();
        }
        let ports: Vec<_> = ports.map(|port| port.to_string()).collect();
        vec![format!(
            "server.tls.acme: an ACME directory validates names on port {ACME_PORT}, and server.address has {}: \
             forward port {ACME_PORT} to it, or listen on it (see docs/certificates.md)",
            ports.join(", ")
        )]
    }
}

/// The port of TLS-ALPN-01 (RFC 8737, section 3).
const ACME_PORT: u16 = 443;

fn addresses(value: &Value<'_>, cx: &mut Context) -> Option<Vec<SocketAddr>> {
    let items = value.one_or_items(cx)?;
    let count = items.len();
    let mut addresses = Vec::new();
    for item in items {
        let Some(address) = socket_address(&item, cx) else { continue };
        // Port 0 is any free port, so two of them are two listeners.
        if address.port() != 0 && addresses.contains(&address) {
            cx.push(item.problem(format!("`{address}` is listed twice in `{}`", value.name())));
        }
        addresses.push(address);
    }
    (addresses.len() == count).then_some(addresses)
}

/// Reads an address to listen on.
pub(super) fn socket_address(value: &Value<'_>, cx: &mut Context) -> Option<SocketAddr> {
    let text = value.string(cx)?.into_inner();
    let address = text.parse();
    if address.is_err() {
        let message = format!("`{}` is not an address", text.escape_debug());
        let example = value.example();
        cx.push(
            value.problem(message).hint(format!(
                "write an IP address and a port, such as {example} or \"[::1]:8443\""
            )),
        );
    }
    address.ok()
}
