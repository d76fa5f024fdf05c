//! Binds listeners, with advice in the error if an address cannot be bound.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpSocket};

/// Connections that wait in the kernel while all permits are in use.
const BACKLOG: u32 = 1024;

/// Whether an IPv6 wildcard address also accepts IPv4 connections.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stack {
    /// As set in `net.ipv6.bindv6only`: yes by default.
    SystemDefault,
    V6Only,
}

/// Listens on `address`. An IPv6 wildcard also accepts IPv4, if that is the system's default.
///
/// Must be called within the runtime.
///
/// # Errors
/// The address cannot be bound. The message names the address and what to do.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    bind_beside(address, &[])
}

/// Like [`bind`], in a process that already listens on `own`.
///
/// # Errors
/// As [`bind`]. The message names the address in `own` that conflicts, if one does.
pub fn bind_beside(address: SocketAddr, own: &[SocketAddr]) -> io::Result<TcpListener> {
    listen(address, Stack::SystemDefault, own)
}

/// Listens on all `addresses`. If the list contains an IPv4 address with the same port, an IPv6
/// wildcard accepts IPv6 only, because the list determines which IPv4 connections to accept.
///
/// # Errors
/// As [`bind`], for the first address that cannot be bound.
pub fn bind_all(addresses: &[SocketAddr]) -> io::Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    let mut own = Vec::new();
    for address in addresses {
        let listener = listen(*address, stack(*address, addresses), &own)?;
        own.push(listener.local_addr()?);
        listeners.push(listener);
    }
    Ok(listeners)
}

fn stack(address: SocketAddr, all: &[SocketAddr]) -> Stack {
    let is_wildcard = address.is_ipv6() && address.ip().is_unspecified();
    let port = address.port();
    let has_same_v4_port =
        |other: &SocketAddr| other.is_ipv4() && other.port() == port && port != 0;
    if is_wildcard && all.iter().any(has_same_v4_port) {
        Stack::V6Only
    } else {
        Stack::SystemDefault
    }
}

fn listen(address: SocketAddr, stack: Stack, own: &[SocketAddr]) -> io::Result<TcpListener> {
    let listen = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // Allows a restart while old connections are in TIME_WAIT.
        socket.set_reuseaddr(true)?;
        if stack == Stack::V6Only {
            sockopt::set_ipv6_v6only(&socket, true)?;
        }
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listen().map_err(|error| {
        let conflict = own.iter().find(|own| overlap(**own, address));
        let remedy = match (error.kind(), conflict) {
            (io::ErrorKind::AddrInUse, Some(own)) => {
                format!(
                    ": logpushd itself listens on {own}, which includes this address: remove one \
                     of the two or give it another port"
                )
            }
            (io::ErrorKind::AddrInUse, None) => {
                ": another process listens there: stop it (ss -ltnp shows it) or take another port"
                    .to_owned()
            }
            (io::ErrorKind::PermissionDenied, _) => {
                ": ports below 1024 need CAP_NET_BIND_SERVICE (in the unit: AmbientCapabilities): \
                 grant it or take a higher port"
                    .to_owned()
            }
            (io::ErrorKind::AddrNotAvailable, _) => {
                ": no interface has this address: use one that `ip address` shows, or 0.0.0.0"
                    .to_owned()
            }
            _ => String::new(),
        };
        io::Error::new(error.kind(), format!("cannot listen on {address}: {error}{remedy}"))
    })
}

/// Whether two addresses exclude each other, so that a process cannot listen on both. `public` is
/// the list for [`bind_all`] that contains `one` or both.
pub fn excludes(one: SocketAddr, other: SocketAddr, public: &[SocketAddr]) -> bool {
    let (one_ip, other_ip) = (one.ip().to_canonical(), other.ip().to_canonical());
    let covers = |wildcard: SocketAddr, ip: IpAddr| {
        let takes_all = wildcard.is_ipv6() && stack(wildcard, public) == Stack::SystemDefault;
        wildcard.ip().is_unspecified() && (wildcard.is_ipv4() == ip.is_ipv4() || takes_all)
    };
    one.port() == other.port()
        && one.port() != 0
        && (one_ip == other_ip || covers(one, other_ip) || covers(other, one_ip))
}

/// Whether two addresses may conflict. An IPv6 wildcard may also accept IPv4.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let covers = |one: SocketAddr, other: SocketAddr| {
        one.ip().is_unspecified() && (one.is_ipv6() || other.ip().to_canonical().is_ipv4())
    };
    one.port() == other.port()
        && (one.ip().to_canonical() == other.ip().to_canonical()
            || covers(one, other)
            || covers(other, one))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[tokio::test]
    async fn the_error_names_an_address_in_use_and_a_remedy() {
        let first = bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = first.local_addr().unwrap();
        let error = bind(address).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let text = error.to_string();
        assert!(text.contains(&address.to_string()) && text.contains("another process"), "{text}");
    }

    #[tokio::test]
    async fn an_own_socket_is_distinguished_from_another_process() {
        let first = bind((Ipv4Addr::UNSPECIFIED, 0).into()).unwrap();
        let address = first.local_addr().unwrap();
        let admin = (Ipv4Addr::LOCALHOST, address.port()).into();
        let text = bind_beside(admin, &[address]).unwrap_err().to_string();
        assert!(text.contains(&format!("logpushd itself listens on {address}")), "{text}");
        let port = |port| (Ipv4Addr::LOCALHOST, port).into();
        let text = bind_beside(admin, &[port(1)]).unwrap_err().to_string();
        assert!(text.contains("another process"), "{text}");
    }

    #[test]
    fn a_wildcard_accepts_ipv6_only_if_ipv4_has_the_same_port() {
        let table = [
            ("[::]:443", &["0.0.0.0:443"][..], Stack::V6Only),
            ("[::]:443", &["127.0.0.1:443"], Stack::V6Only),
            ("[::]:443", &["0.0.0.0:8443"], Stack::SystemDefault),
            ("[::]:443", &["[::1]:443"], Stack::SystemDefault),
            ("[::]:443", &[], Stack::SystemDefault),
            ("[::]:0", &["0.0.0.0:0"], Stack::SystemDefault),
            ("[::1]:443", &["0.0.0.0:443"], Stack::SystemDefault),
            ("0.0.0.0:443", &["[::]:443"], Stack::SystemDefault),
        ];
        for (address, others, expected) in table {
            let address: SocketAddr = address.parse().unwrap();
            let others = others.iter().map(|other| other.parse().unwrap());
            let all: Vec<SocketAddr> = others.chain([address]).collect();
            assert_eq!(stack(address, &all), expected, "{address} in {all:?}");
        }
    }

    #[test]
    fn overlapping_addresses() {
        let table = [
            ("0.0.0.0:1", "127.0.0.1:1", true),
            ("[::]:1", "127.0.0.1:1", true),
            ("127.0.0.1:1", "[::]:1", true),
            ("[::]:1", "[::1]:1", true),
            ("0.0.0.0:1", "[::1]:1", false),
            ("127.0.0.1:1", "127.0.0.2:1", false),
            ("127.0.0.1:1", "127.0.0.1:2", false),
        ];
        for (one, other, expected) in table {
            assert_eq!(
                overlap(one.parse().unwrap(), other.parse().unwrap()),
                expected,
                "{one} {other}"
            );
        }
    }

    /// Compares [`excludes`] with the system.
    #[tokio::test]
    async fn addresses_that_exclude_each_other() {
        let table = [
            (&["0.0.0.0:P", "127.0.0.1:P"][..], true),
            (&["127.0.0.1:P", "0.0.0.0:P"], true),
            (&["[::]:P", "[::1]:P"], true),
            (&["[::1]:P", "[::]:P"], true),
            (&["[::]:P", "0.0.0.0:P"], false),
            (&["127.0.0.1:P", "[::]:P"], false),
            (&["0.0.0.0:P", "[::1]:P"], false),
            (&["127.0.0.1:P", "[::1]:P"], false),
            (&["127.0.0.1:P", "127.0.0.2:P"], false),
            (&["127.0.0.1:P", "[::ffff:127.0.0.1]:P"], true),
            (&["0.0.0.0:P", "[::ffff:127.0.0.1]:P"], true),
            (&["[::]:P", "[::ffff:127.0.0.1]:P"], true),
            (&["0.0.0.0:0", "127.0.0.1:0"], false),
        ];
        let has_ipv6 = bind((Ipv6Addr::LOCALHOST, 0).into()).is_ok();
        for (list, expected) in table {
            let parse = |port: u16| -> Vec<SocketAddr> {
                let parse = |text: &&str| text.replace('P', &port.to_string()).parse().unwrap();
                list.iter().map(parse).collect()
            };
            let all = parse(1);
            assert_eq!(excludes(all[0], all[1], &all), expected, "{list:?}");
            assert_eq!(excludes(all[1], all[0], &all), expected, "{list:?}");
            let mut ports = 20_000..22_000;
            if has_ipv6 && !expected {
                assert!(ports.any(|port| bind_all(&parse(port)).is_ok()), "{list:?}");
            } else if has_ipv6 {
                let mut errors = ports.take(20).map(|port| bind_all(&parse(port)).unwrap_err());
                let own = |error: io::Error| error.to_string().contains("logpushd itself listens");
                assert!(errors.any(own), "{list:?}");
            }
        }
        // The admin listener is not in the list.
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let public = [at("[::]:1"), at("192.0.2.1:1")];
        assert!(!excludes(public[0], at("127.0.0.1:1"), &public));
        assert!(excludes(public[0], at("127.0.0.1:1"), &public[..1]));
    }

    #[tokio::test]
    async fn both_families_share_a_port_and_a_single_wildcard_accepts_both() {
        let Ok(alone) = bind((Ipv6Addr::UNSPECIFIED, 0).into()) else { return };
        let is_v6_only = |listener: &TcpListener| sockopt::ipv6_v6only(listener).unwrap();
        let system = std::fs::read_to_string("/proc/sys/net/ipv6/bindv6only").unwrap();
        assert_eq!(is_v6_only(&alone), system.trim() == "1", "the default of the system");
        for v4 in [Ipv4Addr::UNSPECIFIED, Ipv4Addr::LOCALHOST] {
            for v6_first in [false, true] {
                // Below the ephemeral ports.
                let listeners = (30_000..32_000).find_map(|port| {
                    let mut both = [(v4, port).into(), (Ipv6Addr::UNSPECIFIED, port).into()];
                    both.rotate_left(v6_first.into());
                    bind_all(&both).ok()
                });
                let listeners = listeners.expect("no port can be shared");
                assert!(is_v6_only(&listeners[usize::from(!v6_first)]));
            }
        }
    }
}
