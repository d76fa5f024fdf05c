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
    /// Plain HTTP: loopback.
    pub address: SocketAddr,
    /// Whether the file names the address. One that nobody asked for may be taken by another
    /// daemon: then this one goes on without it.
    pub asked_for: bool,
    /// Further hosts that a request may name: lower case, without a port and a final dot.
    pub allowed_hosts: Vec<String>,
}

settings! {
    /// Probes and metrics: `/healthz`, `/readyz`, `/metrics` and `/version`, over plain HTTP
    /// and without a password.
    pub(super) struct Keys in "admin" {
        /// A loopback address; use a proxy for access from elsewhere. If this key is not set
        /// and another program uses the port, the daemon runs without this listener. If it is
        /// set, the daemon does not start then.
        address: Loopback = "127.0.0.1:9464",
        /// Further host names that clients may use, without a port: names that a proxy or a
        /// scraper sends in `Host`.
        ///
        /// Requests for any other name get 421, so that no web page can read the answers
        /// through DNS rebinding.
        allowed_hosts: Names<HostName> as ["metrics.example.com"]
            else "only `localhost` and IP addresses",
    }
}

setting! {
    /// An address of this machine that no other one reaches.
    pub(super) struct Loopback(SocketAddr): Takes::String("IP address and port"), read by loopback;
}

setting! {
    /// A host as requests name it: in lower case, without a final dot.
    pub(super) struct HostName(String): Takes::String("names or IP addresses of hosts"),
        read by host_name;
}

impl Admin {
    /// Takes the table out of the file.
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
            "it speaks plain HTTP to anyone who can reach it: use 127.0.0.1 or [::1], and a proxy in front for others",
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
        let message = format!("`{}` is not the name of a host", text.escape_debug());
        cx.push(value.problem(message).hint(hint));
        return None;
    }
    Some(host.to_owned())
}
