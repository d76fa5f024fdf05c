//! `[admin]`: the listener for probes and metrics.

use std::net::{IpAddr, SocketAddr};

use settings::{
    Context, Settings as _, Spanned, Table, Value, check_domain, reference::Takes, setting,
    settings, types::Names,
};

use super::server::socket_address;

/// `[admin]`
#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    /// A loopback address: the listener speaks plain HTTP.
    pub address: SocketAddr,
    /// Whether the file sets the address. If another program uses the default address, the daemon
    /// runs without this listener.
    pub asked_for: bool,
    /// Further host names that requests may use: lower case, without a port and a final dot.
    pub allowed_hosts: Vec<String>,
}

settings! {
    /// The listener for probes and metrics: `/healthz`, `/readyz`, `/metrics` and `/version`, over
    /// plain HTTP and without a password.
    pub(super) struct Keys in "admin" {
        /// The loopback address and port to listen on. For access from other machines, use a
        /// proxy.
        ///
        /// If another program uses the port, the daemon does not start. If this key is not
        /// set, the daemon starts without this listener instead.
        address: Loopback = "127.0.0.1:9464",
        /// Further host names that clients may send in `Host`, without a port, such as the
        /// name of a proxy.
        ///
        /// A request with any other name gets 421, so that no web page can read the answers
        /// through DNS rebinding.
        allowed_hosts: Names<HostName> as ["metrics.example.com"]
            else "only `localhost` and IP addresses",
    }
}

setting! {
    /// A loopback address and a port.
    pub(super) struct Loopback(SocketAddr): Takes::String("IP address and port"), read by loopback;
}

setting! {
    /// A host name or IP address, in lower case and without a final dot.
    pub(super) struct HostName(String): Takes::String("names or IP addresses of hosts"),
        read by host_name;
}

impl Admin {
    /// Reads the table `[admin]`.
    pub(super) fn take_from(root: &mut Table<'_>, cx: &mut Context) -> Option<Self> {
        let mut table = root.table(Keys::TABLE.name, cx);
        let keys = Keys::read(&mut table, cx);
        let asked_for = table.contains("address");
        table.finish(cx);
        let Keys { address, allowed_hosts } = keys?;
        let allowed_hosts = allowed_hosts.into_iter().map(Spanned::into_inner).collect();
        Some(Self { address, asked_for, allowed_hosts })
    }
}

fn loopback(value: &Value<'_>, cx: &mut Context) -> Option<SocketAddr> {
    let address = socket_address(value, cx)?;
    if !address.ip().to_canonical().is_loopback() {
        let message = format!("`{}` {address} is not loopback", value.name());
        cx.push(value.problem(message).hint(
            "the admin listener speaks plain HTTP: use 127.0.0.1 or [::1], and a proxy for access \
             from other machines",
        ));
        return None;
    }
    Some(address)
}

fn host_name(value: &Value<'_>, cx: &mut Context) -> Option<String> {
    let text = value.string(cx)?.into_inner();
    let host = text.to_ascii_lowercase();
    let host = host.strip_suffix('.').unwrap_or(&host);
    if let Ok(address) = host.parse::<IpAddr>() {
        return Some(address.to_canonical().to_string());
    }
    if !host.is_empty()
        && let Err(hint) = check_domain(host)
    {
        let message = format!("`{}` is not a host name", text.escape_debug());
        cx.push(value.problem(message).hint(hint));
        return None;
    }
    Some(host.to_owned())
}
