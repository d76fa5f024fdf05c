//! What the tests share: a daemon, a client, records, certificates and waiting.

pub(crate) mod bulk;
pub(crate) mod clickhouse;
mod client;
pub(crate) mod cloudflare;
pub(crate) mod collector;
mod daemon;
pub(crate) mod fault_proxy;
pub(crate) mod forward_proxy;
pub(crate) mod loki;
pub(crate) mod otlp;
mod process;
mod records;
pub(crate) mod require;
pub(crate) mod samples;
pub(crate) mod search_server;
mod setup;
pub(crate) mod splunk;
pub(crate) mod text;
pub(crate) mod tls;
mod wait;

pub(crate) use self::{
    client::{Answer, Connection, Http, Upload},
    daemon::{Daemon, Stopped},
    process::{Exit, Finished, Output, finish, logpushd},
    records::{Random, count_lines, gunzip, gzip, http_requests, numbered, small_records},
    require::{skip, skipped},
    setup::{SECRET, Setup},
    wait::{DEADLINE, same_bytes, wait_for, wait_until},
};

use std::{
    fs,
    net::{SocketAddr, TcpListener, UdpSocket},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU16, Ordering},
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with};

/// The names in a directory, sorted; empty if the directory does not exist.
pub(crate) fn names_in(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().expect("names are UTF-8"))
        .collect();
    names.sort();
    names
}

/// A free port of 127.0.0.1, for a program that needs a fixed one. From below the range that the
/// system assigns, so that no other process gets it meanwhile.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let process = u16::try_from(std::process::id() % 200).unwrap() * 100;
    loop {
        let port = 10_000 + (process + NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000;
        let at = ("127.0.0.1", port);
        if TcpListener::bind(at).is_ok() && UdpSocket::bind(at).is_ok() {
            return port;
        }
    }
}

/// An address at which nothing listens, and nothing can while the socket is open.
pub(crate) fn closed_port() -> (OwnedFd, SocketAddr) {
    // A daemon that is started meanwhile must not inherit it.
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    bind(&socket, &any).unwrap();
    let address = getsockname(&socket).unwrap().try_into().unwrap();
    (socket, address)
}

/// A path in this repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
