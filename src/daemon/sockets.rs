//! Takes listening sockets from the service manager by `sd_listen_fds(3)`. They listen while no
//! daemon runs, so that a restart refuses no connection.

use std::{
    env, io,
    net::{SocketAddr, TcpListener},
    process,
};

use listenfd::ListenFd;
use rustix::net::sockopt;
use tracing::{info, warn};

use crate::{config::Admin, listen};

/// `FileDescriptorName=` of the public listener's sockets, and of the admin listener's.
const PUBLIC: &str = "https";
const ADMIN: &str = "admin";

/// Listening sockets that were passed to the process.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    pub(super) public: Vec<TcpListener>,
    pub(super) admin: Option<TcpListener>,
}

/// A socket with its `FileDescriptorName=`.
type Named = (String, TcpListener);

impl Sockets {
    /// Takes the sockets that were passed to this process. This removes variables from the
    /// environment, so the process must not have a second thread yet. A socket without a known name
    /// is the admin listener's if it has the address `admin`.
    ///
    /// # Errors
    /// A socket is not a listening TCP socket, or two are for the admin listener.
    pub(super) fn from_env(admin: SocketAddr) -> io::Result<Self> {
        let is_for_us = env::var("LISTEN_PID").is_ok_and(|pid| pid == process::id().to_string());
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut passed = ListenFd::from_env();
        if !is_for_us {
            return Ok(Self::default());
        }
        let mut names = names.split(':');
        let mut sockets = Vec::new();
        for index in 0..passed.len() {
            let name = names.next().unwrap_or_default().to_owned();
            let taken = passed.take_tcp_listener(index).and_then(|taken| {
                let socket = taken.ok_or_else(|| io::Error::other("it was taken before"))?;
                ready(&socket)?;
                Ok(socket)
            });
            match taken {
                Ok(socket) => sockets.push((name, socket)),
                Err(error) => {
                    let text = format!(
                        "socket {index} ({name:?}) of the service manager: {error}; in the .socket \
                         unit, use only ListenStream= with a port or with an address and a port, and \
                         Accept=no"
                    );
                    return Err(io::Error::new(error.kind(), text));
                }
            }
        }
        Self::sort(sockets, admin)
    }

    fn sort(all: Vec<Named>, admin: SocketAddr) -> io::Result<Self> {
        let mut sockets = Self::default();
        for (name, socket) in all {
            if name == ADMIN || name != PUBLIC && socket.local_addr()? == admin {
                if sockets.admin.replace(socket).is_some() {
                    let text = "two sockets of the service manager are for the admin listener, which \
                                needs one; correct FileDescriptorName= in the .socket units";
                    return Err(io::Error::other(text));
                }
            } else {
                sockets.public.push(socket);
            }
        }
        Ok(sockets)
    }
}

/// Checks that a socket listens, since the kernel's own error would come late and be unclear.
fn ready(socket: &TcpListener) -> io::Result<()> {
    if !sockopt::socket_acceptconn(socket)? {
        return Err(io::Error::other("it does not listen"));
    }
    socket.set_nonblocking(true)
}

/// Returns the sockets that were passed. Without any, binds `addresses`. Must run in the context of
/// the runtime.
pub(super) fn listeners(
    passed: Vec<TcpListener>,
    addresses: &[SocketAddr],
) -> io::Result<Vec<tokio::net::TcpListener>> {
    if passed.is_empty() {
        return listen::bind_all(addresses)?.into_iter().map(log_listening).collect();
    }
    let has = passed.iter().map(TcpListener::local_addr).collect::<io::Result<Vec<_>>>()?;
    for difference in differences("server.address", addresses, &has) {
        warn!("{difference}");
    }
    let listening = |socket| log_listening(tokio::net::TcpListener::from_std(socket)?);
    passed.into_iter().map(listening).collect()
}

fn log_listening(listener: tokio::net::TcpListener) -> io::Result<tokio::net::TcpListener> {
    let address = listener.local_addr()?;
    info!(%address, "listening");
    Ok(listener)
}

/// Returns the admin listener: the socket that was passed, or a new one. `public` is the result of
/// [`listeners`]. Returns `None` if the default address cannot be bound.
pub(super) fn admin_listener(
    passed: Option<TcpListener>,
    admin: &Admin,
    public: &[tokio::net::TcpListener],
) -> io::Result<Option<tokio::net::TcpListener>> {
    let listener = match passed {
        None => {
            let own = public.iter().map(tokio::net::TcpListener::local_addr);
            listen::bind_beside(admin.address, &own.collect::<io::Result<Vec<_>>>()?)
        }
        Some(socket) => {
            for difference in
                differences("admin.address", &[admin.address], &[socket.local_addr()?])
            {
                warn!("{difference}");
            }
            tokio::net::TcpListener::from_std(socket)
        }
    };
    match listener {
        Ok(listener) => {
            let address = listener.local_addr()?;
            info!(%address, "admin listener: /healthz /readyz /metrics /version");
            Ok(Some(listener))
        }
        Err(error) if !admin.asked_for => {
            warn!(%error, "continuing without the admin listener; set admin.address to a free address");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Describes the differences between the configured addresses and the listening sockets.
fn differences(key: &str, wanted: &[SocketAddr], has: &[SocketAddr]) -> Vec<String> {
    let missing = wanted.iter().filter(|wanted| !has.iter().any(|has| are_same(*has, **wanted)));
    let missing = missing.map(|address| {
        format!("{key} contains {address}, but no socket of the service manager listens on it")
    });
    let more = has.iter().filter(|has| !wanted.iter().any(|wanted| are_same(**has, *wanted)));
    let more = more.map(|address| {
        format!(
            "a socket of the service manager listens on {address}, which is not in {key}; using it"
        )
    });
    missing.chain(more).collect()
}

/// Compares addresses. `ListenStream=443` is `[::]:443`, which accepts IPv4 as well. Port 0 matches
/// any port.
fn are_same(has: SocketAddr, wanted: SocketAddr) -> bool {
    let ip = has.ip() == wanted.ip() || has.ip().is_unspecified() && wanted.ip().is_unspecified();
    ip && (has.port() == wanted.port() || wanted.port() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listening() -> TcpListener {
        TcpListener::bind("127.0.0.1:0").unwrap()
    }

    #[test]
    fn sockets_are_assigned_by_name_then_by_address() {
        let unused = "127.0.0.1:1".parse().unwrap();
        let sort = |names: &[&str], admin: Option<usize>| {
            let named: Vec<Named> =
                names.iter().map(|name| (name.to_string(), listening())).collect();
            let admin = admin.map_or(unused, |index| named[index].1.local_addr().unwrap());
            let sockets = Sockets::sort(named, admin)?;
            Ok::<_, io::Error>((sockets.public.len(), sockets.admin.is_some()))
        };
        assert_eq!(sort(&[], None).unwrap(), (0, false));
        assert_eq!(sort(&["https", "admin", "https"], None).unwrap(), (2, true));
        assert_eq!(sort(&["logpushd.socket", "unknown"], None).unwrap(), (2, false));
        assert_eq!(sort(&["logpushd.socket", "unknown"], Some(1)).unwrap(), (1, true));
        assert_eq!(sort(&["https"], Some(0)).unwrap(), (1, false), "the name decides");
        let error = sort(&["admin", "admin"], None).unwrap_err().to_string();
        assert!(error.contains("FileDescriptorName="), "{error}");
    }

    #[test]
    fn a_socket_that_does_not_listen_is_refused() {
        use rustix::net::{AddressFamily, SocketType, socket};

        let bare = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        let error = ready(&TcpListener::from(bare)).unwrap_err();
        assert!(error.to_string().contains("not listen"), "{error}");
        ready(&listening()).unwrap();
    }

    #[test]
    fn differences_are_described() {
        let addresses =
            |list: &[&str]| list.iter().map(|at| at.parse().unwrap()).collect::<Vec<_>>();
        let count = |wanted: &[&str], has: &[&str]| {
            differences("server.address", &addresses(wanted), &addresses(has)).len()
        };
        assert_eq!(count(&["0.0.0.0:443"], &["[::]:443"]), 0);
        assert_eq!(count(&["127.0.0.1:0"], &["127.0.0.1:8443"]), 0);
        assert_eq!(count(&["127.0.0.1:443"], &["[::]:443"]), 2, "more can reach it");
        assert_eq!(count(&["0.0.0.0:443", "0.0.0.0:8443"], &["0.0.0.0:443"]), 1);
        assert_eq!(count(&["0.0.0.0:443"], &["0.0.0.0:443", "0.0.0.0:8443"]), 1);
    }
}
