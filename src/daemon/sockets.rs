//! Sockets that the service manager has opened, as `sd_listen_fds(3)` has it: they listen while no daemon
//! runs, so that a restart refuses no connection.

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

/// Sockets that listen already.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    pub(super) public: Vec<TcpListener>,
    pub(super) admin: Option<TcpListener>,
}

/// One of them, and what it was called.
type Named = (String, TcpListener);

impl Sockets {
    /// Takes those that were passed to this process, which must have no second thread yet: what
    /// says so is removed from the environment. One without a name is the admin listener's if it has
    /// its address.
    ///
    /// # Errors
    /// One is no TCP socket that listens.
    pub(super) fn from_env(admin: SocketAddr) -> io::Result<Self> {
        let is_for_us = env::var("LISTEN_PID").is_ok_and(|pid| pid == process::id().to_string());
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut passed = ListenFd::from_env();
        if !is_for_us {
            return Ok(Self::default());
        }
        let mut names = names.split(':');
        let mut sockets = Vec::new();
        for place in 0..passed.len() {
            let name = names.next().unwrap_or_default().to_owned();
            let taken = passed.take_tcp_listener(place).and_then(|taken| {
                let socket = taken.ok_or_else(|| io::Error::other("it is taken"))?;
                ready(&socket)?;
                Ok(socket)
            });
            match taken {
                Ok(socket) => sockets.push((name, socket)),
                Err(error) => {
                    let what = format!(
                        "socket {place} ({name:?}) of the service manager: {error}: in the .socket \
                         unit only ListenStream= with a port or an address and a port can be used, \
                         with Accept=no"
                    );
                    return Err(io::Error::new(error.kind(), what));
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
                    let what = "two sockets of the service manager are for the admin listener, which \
                                has one: see FileDescriptorName= in the .socket units";
                    return Err(io::Error::other(what));
                }
            } else {
                sockets.public.push(socket);
            }
        }
        Ok(sockets)
    }
}

/// What the kernel says of a stream socket that does not listen is odd, and comes late.
fn ready(socket: &TcpListener) -> io::Result<()> {
    if !sockopt::socket_acceptconn(socket)? {
        return Err(io::Error::other("it does not listen"));
    }
    socket.set_nonblocking(true)
}

/// The sockets that were passed, if there are any; else those of `addresses`, bound here. Within the
/// runtime.
pub(super) fn listeners(
    passed: Vec<TcpListener>,
    addresses: &[SocketAddr],
) -> io::Result<Vec<tokio::net::TcpListener>> {
    if passed.is_empty() {
        return listen::bind_all(addresses)?.into_iter().map(said).collect();
    }
    let has = passed.iter().map(TcpListener::local_addr).collect::<io::Result<Vec<_>>>()?;
    for difference in differences("server.address", addresses, &has) {
        warn!("{difference}");
    }
    passed.into_iter().map(|socket| said(tokio::net::TcpListener::from_std(socket)?)).collect()
}

fn said(listener: tokio::net::TcpListener) -> io::Result<tokio::net::TcpListener> {
    let address = listener.local_addr()?;
    info!(%address, "listening");
    Ok(listener)
}

/// As [`listeners`], which `public` are the outcome of. One that nobody asked for may be missing.
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
            warn!(%error, "going on without the admin listener: set admin.address to choose one");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Where the configuration and the sockets that listen differ, in words.
fn differences(key: &str, wanted: &[SocketAddr], has: &[SocketAddr]) -> Vec<String> {
    let missing = wanted.iter().filter(|wanted| !has.iter().any(|has| are_same(*has, **wanted)));
    let missing = missing.map(|address| {
        format!(
            "{key} names {address}, and no socket of the service manager listens there: nobody does"
        )
    });
    let more = has.iter().filter(|has| !wanted.iter().any(|wanted| are_same(**has, *wanted)));
    let more = more.map(|address| {
        format!("a socket of the service manager listens on {address}, which is not in {key}: it is used")
    });
    missing.chain(more).collect()
}

/// `ListenStream=443` is `[::]:443` and takes IPv4, too. Port 0 stands for any.
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
    fn sockets_are_told_apart_by_name_then_by_address() {
        let nobody = "127.0.0.1:1".parse().unwrap();
        let sort = |names: &[&str], admin: Option<usize>| {
            let named: Vec<Named> =
                names.iter().map(|name| (name.to_string(), listening())).collect();
            let admin = admin.map_or(nobody, |place| named[place].1.local_addr().unwrap());
            let sockets = Sockets::sort(named, admin)?;
            Ok::<_, io::Error>((sockets.public.len(), sockets.admin.is_some()))
        };
        assert_eq!(sort(&[], None).unwrap(), (0, false));
        assert_eq!(sort(&["https", "admin", "https"], None).unwrap(), (2, true));
        assert_eq!(sort(&["logpushd.socket", "unknown"], None).unwrap(), (2, false));
        assert_eq!(sort(&["logpushd.socket", "unknown"], Some(1)).unwrap(), (1, true));
        assert_eq!(sort(&["https"], Some(0)).unwrap(), (1, false), "its name counts");
        let error = sort(&["admin", "admin"], None).unwrap_err().to_string();
        assert!(error.contains("FileDescriptorName="), "{error}");
    }

    #[test]
    fn a_socket_that_does_not_listen_is_none() {
        use rustix::net::{AddressFamily, SocketType, socket};

        let bare = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        let error = ready(&TcpListener::from(bare)).unwrap_err();
        assert!(error.to_string().contains("not listen"), "{error}");
        ready(&listening()).unwrap();
    }

    #[test]
    fn what_differs_is_said() {
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
