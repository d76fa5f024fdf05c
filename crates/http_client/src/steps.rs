//! The way to a server, step by step: resolve, connect, handshake.

use std::{error::Error, fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use rustls::{ClientConfig, pki_types::ServerName};
use tls::Advice;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{HostPort, Phase, RequestError};

/// As long as Cloudflare waits for each of the two (cloudflare-docs PR 32514).
const CONNECT: Duration = Duration::from_secs(5);
const HANDSHAKE: Duration = Duration::from_secs(5);

/// A resolver that has no answer by then has none.
const RESOLVE: Duration = Duration::from_secs(5);

/// Why a name has no address.
#[derive(Debug)]
pub(super) enum LookupError {
    /// What the resolver reported.
    Failed(io::Error),
    /// It found the name, without an address.
    NoAddress,
    /// It has no answer within this time.
    Late(Duration),
}

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => error.fmt(f),
            Self::NoAddress => f.write_str("the name has no address"),
            Self::Late(limit) => write!(f, "no answer within {} s", limit.as_secs()),
        }
    }
}

impl Error for LookupError {}

/// The addresses of a name, each with `port`; at least one.
pub(super) async fn lookup(host: &str, port: u16) -> Result<Vec<SocketAddr>, LookupError> {
    let found = timeout(RESOLVE, lookup_host((host, port))).await;
    let found = found.map_err(|_| LookupError::Late(RESOLVE))?.map_err(LookupError::Failed)?;
    let addresses: Vec<_> = found.collect();
    if addresses.is_empty() { Err(LookupError::NoAddress) } else { Ok(addresses) }
}

/// Which addresses a server has; at least one.
///
/// # Errors
/// There is no such name, or nobody answers for it.
pub async fn resolve(server: &HostPort) -> Result<Vec<SocketAddr>, RequestError> {
    let found = lookup(&server.host, server.port).await;
    found.map_err(|error| RequestError::of_lookup(&server.host, &error))
}

/// Connects to one address.
///
/// # Errors
/// It is refused, or does not come about within 5 s.
pub async fn connect(address: SocketAddr) -> Result<TcpStream, RequestError> {
    let failed = |error: io::Error| {
        RequestError::of(Phase::Connect, &address, &error).with_kind(Some(error.kind()))
    };
    let stream = timeout(CONNECT, TcpStream::connect(address))
        .await
        .map_err(|_| RequestError::late(Phase::Connect, &address, CONNECT))?
        .map_err(failed)?;
    // Heads and small bodies must not wait for each other.
    stream.set_nodelay(true).map_err(failed)?;
    Ok(stream)
}

/// Does the TLS handshake, for the server's name.
///
/// # Errors
/// The certificate is not to be trusted, the two find no common ground, or it does not come about
/// within 5 s.
pub async fn handshake(
    server: &HostPort,
    stream: TcpStream,
    tls: Arc<ClientConfig>,
) -> Result<TlsStream<TcpStream>, RequestError> {
    let name = ServerName::try_from(server.host.clone())
        .map_err(|error| RequestError::of(Phase::Handshake, server, &error))?;
    timeout(HANDSHAKE, TlsConnector::from(tls).connect(name, stream))
        .await
        .map_err(|_| RequestError::late(Phase::Handshake, server, HANDSHAKE))?
        .map_err(|error| RequestError::of_handshake(server, &error, Advice::None))
}

/// All steps. `preface` is sent before the handshake. Of several addresses the first that can be
/// connected to.
///
/// # Errors
/// The step that failed; of several addresses what the last one reported.
pub async fn open(
    server: &HostPort,
    preface: &[u8],
    tls: Arc<ClientConfig>,
) -> Result<TlsStream<TcpStream>, RequestError> {
    let mut outcome = Err(RequestError::of(Phase::Resolve, server, "no address"));
    for address in resolve(server).await? {
        outcome = connect(address).await;
        if outcome.is_ok() {
            break;
        }
    }
    let mut stream = outcome?;
    let written = stream.write_all(preface).await;
    written.map_err(|error| RequestError::of_handshake(server, &error, Advice::None))?;
    handshake(server, stream, tls).await
}
