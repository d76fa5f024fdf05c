//! The addresses of syslog servers.

use std::{fmt, net::Ipv6Addr, path::PathBuf};

use http_client::HostPort;
use settings::{Context, Value, reference::Takes, setting};

setting! {
    /// Servers, without duplicates.
    pub struct SyslogTargets(Vec<SyslogTarget>): Takes::StringOrList("address"), read by targets;
}

/// A server, or a unix socket.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SyslogTarget {
    /// `udp://HOST:PORT`
    Udp(HostPort),
    /// `tcp://HOST:PORT`
    Tcp(HostPort),
    /// `tls://HOST:PORT`
    Tls(HostPort),
    /// `unix://PATH`: a datagram or a stream socket.
    Unix(PathBuf),
}

impl fmt::Display for SyslogTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, at) = match self {
            Self::Udp(at) => ("udp", at),
            Self::Tcp(at) => ("tcp", at),
            Self::Tls(at) => ("tls", at),
            Self::Unix(path) => return write!(f, "unix://{}", path.display()),
        };
        write!(f, "{scheme}://{at}")
    }
}

fn targets(value: &Value<'_>, cx: &mut Context) -> Option<Vec<SyslogTarget>> {
    let items = value.one_or_items(cx)?;
    let count = items.len();
    let mut targets = Vec::new();
    for item in items {
        let Some(text) = item.string(cx) else { continue };
        let Some(target) = target(text.get_ref(), cx) else {
            let message = format!("`{}` is not a syslog address", text.get_ref().escape_debug());
            cx.push(item.problem(message).hint(
                "write \"udp://HOST:514\", \"tcp://HOST:601\", \"tls://HOST:6514\" or \"unix:///dev/log\"",
            ));
            continue;
        };
        if targets.contains(&target) {
            cx.push(item.problem(format!("`{target}` is listed twice in `{}`", value.name())));
        }
        targets.push(target);
    }
    (targets.len() == count).then_some(targets)
}

fn target(text: &str, cx: &Context) -> Option<SyslogTarget> {
    let (scheme, rest) = text.split_once("://")?;
    if scheme == "unix" {
        let (directory, rest) = cx.base_of(rest);
        let path = directory.join(rest);
        // The maximum length of the address of a unix socket, with its NUL.
        let fits = path.as_os_str().len() < 108 && !rest.is_empty();
        let is_plain = !rest.contains(char::is_control);
        return (fits && is_plain).then_some(SyslogTarget::Unix(path));
    }
    let (host, port) = rest.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_host = if let Some(address) = bare {
        address.parse::<Ipv6Addr>().is_ok()
    } else {
        let is_of_a_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
        (1..=253).contains(&host.len()) && host.bytes().all(is_of_a_name)
    };
    let at = HostPort { host: bare.unwrap_or(host).to_owned(), port };
    match scheme {
        "udp" if is_host => Some(SyslogTarget::Udp(at)),
        "tcp" if is_host => Some(SyslogTarget::Tcp(at)),
        "tls" if is_host => Some(SyslogTarget::Tls(at)),
        _ => None,
    }
}
