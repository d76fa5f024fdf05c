//! The single steps of a connection: resolve, connect, TLS handshake.

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

/// The deadlines that Cloudflare has for each of the two steps (cloudflare-docs PR 32514).
const CONNECT: Duration = Duration::from_secs(5);
const HANDSHAKE: Duration = Duration::from_secs(5);

/// The deadline for the system's resolver, which may retry for minutes.
const RESOLVE: Duration = Duration::from_secs(5);

/// Why a name has no address.
#[derive(Debug)]
pub(super) enum LookupError {
    /// The resolver reported an error.
    Failed(io::Error),
    /// The name exists, but has no address.
    NoAddress,
    /// The resolver did not answer within this time.
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

/// Resolves a name. Returns at least one address, each with `port`.
pub(super) async fn lookup(host: &str, port: u16) -> Result<Vec<SocketAddr>, LookupError> {
    let found = timeout(RESOLVE, lookup_host((host, port))).await;
    let found = found.map_err(|_| LookupError::Late(RESOLVE))?.map_err(LookupError::Failed)?;
    let addresses: Vec<_> = found.collect();
    if addresses.is_empty() { Err(LookupError::NoAddress) } else { Ok(addresses) }
}

/// Resolves a server's name. Returns at least one address.
///
/// # Errors
/// The name does not exist or has no address, or the resolver does not answer within 5 s.
pub async fn resolve(server: &HostPort) -> Result<Vec<SocketAddr>, RequestError> {
    let found = lookup(&server.host, server.port).await;
    found.map_err(|error| RequestError::of_lookup(&server.host, &error))
}

/// Connects to one address.
///
/// # Errors
/// The connection is refused, or is not established within 5 s.
pub async fn connect(address: SocketAddr) -> Result<TcpStream, RequestError> {
    let failed = |error: io::Error| {
        RequestError::of(Phase::Connect, &address, &error).with_kind(Some(error.kind()))
    };
    let stream = timeout(CONNECT, TcpStream::connect(address))
        .await
        .map_err(|_| RequestError::late(Phase::Connect, &address, CONNECT))?
        .map_err(failed)?;
    // Without Nagle's algorithm, a small body does not wait for the acknowledgment of the head.
    stream.set_nodelay(true).map_err(failed)?;
    Ok(stream)
}

/// Performs the TLS handshake and verifies the certificate for the server's name.
///
/// # Errors
/// The certificate is not trusted, client and server have no version or cipher in common, or the
/// handshake does not finish within 5 s.
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

/// Performs all steps, and sends `preface` before the TLS handshake. Uses the first address that
/// accepts a connection.
///
/// # Errors
/// The step that failed; if no address accepts a connection, the error of the last one.
pub async fn open(
    server: &HostPort,
    preface: &[u8],
    tls: Arc<ClientConfig>,
) -> Result<TlsStream<TcpStream>, RequestError> {
    let mut result = Err(RequestError::of(Phase::Resolve, server, "no address"));
    for address in resolve(server).await? {
        result = connect(address).await;
        if result.is_ok() {
            break;
        }
    }
    let mut stream = result?;
    let written = stream.write_all(preface).await;
    written.map_err(|error| RequestError::of_handshake(server, &error, Advice::None))?;
    handshake(server, stream, tls).await
}
