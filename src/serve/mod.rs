//! One connection from its handshake to its end: TLS, then HTTP/2 or HTTP/1.1 as ALPN decided.
//!
//! Answers for every deadline of a connection except that of a request's body, which belongs to who
//! reads it. Requests come out through a callback; what they mean is not known here.

mod activity;
mod first_bytes;
#[cfg(test)]
mod proxy_protocol;

use std::{
    convert::Infallible, error::Error, fmt::Display, future::Future, io, net::SocketAddr, pin::pin,
    sync::Arc, time::Duration,
};

use bytes::Bytes;
use hyper::{
    Request, Response,
    body::{Body, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use rustls::{ServerConfig, server::ClientHello};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use self::{
    activity::{Activity, Counted, Doing},
    first_bytes::FirstBytes,
};
use crate::throttle::{ClientLimits, ClientThrottle};

/// What hyper reads ahead of an HTTP/1.1 connection, and with it the most that a request's head may
/// be.
const H1_BUFFER_BYTES: usize = 64 << 10;

/// All headers of one HTTP/2 request. Cloudflare's are below 1 KiB.
const H2_HEADER_BYTES: u32 = 16 << 10;

/// Requests at a time on one HTTP/2 connection.
const H2_STREAMS: u32 = 128;

/// What one request may send ahead of us. The protocol's 64 KiB would bound a sender 100 ms away to
/// 640 KiB/s.
const H2_STREAM_WINDOW_BYTES: u32 = 1 << 20;

/// What all requests of a connection may send ahead of us: what a connection can cost in memory.
const H2_CONNECTION_WINDOW_BYTES: u32 = 4 << 20;

/// Answers are a line of JSON; nothing needs to be written ahead.
const H2_SEND_BUFFER_BYTES: usize = 16 << 10;

/// A peer that has vanished is found out by a ping: no answer within the timeout ends the
/// connection.
const H2_PING_INTERVAL: Duration = Duration::from_secs(20);
const H2_PING_TIMEOUT: Duration = Duration::from_secs(20);

const DEADLINES: Deadlines = Deadlines {
    handshake: Duration::from_secs(10),
    head: Duration::from_secs(30),
    first_request: Duration::from_secs(30),
    idle: Duration::from_secs(90),
    close: Duration::from_secs(5),
};

/// On the admin listener: every client is local, and sends its request at once.
const ADMIN_DEADLINES: Deadlines = Deadlines {
    handshake: Duration::ZERO,
    head: Duration::from_secs(2),
    first_request: Duration::from_secs(2),
    idle: Duration::from_secs(2),
    close: Duration::from_secs(1),
};

/// How long a connection may take for what.
#[derive(Clone, Copy, Debug)]
struct Deadlines {
    /// From the TCP connection to the end of the TLS handshake. Cloudflare itself gives up after 5
    /// s.
    handshake: Duration,
    /// HTTP/1.1: for the head of a request, from the end of the one before: there it is the idle
    /// time, too.
    head: Duration,
    /// A connection that asks for nothing holds a permit for nothing.
    first_request: Duration,
    /// What Go's client, and so Cloudflare, keeps an idle connection for: earlier, and requests
    /// would meet connections that are just being closed.
    idle: Duration,
    /// For the farewell of a connection that has no request under way.
    close: Duration,
}

/// Answers requests: a closure that takes a request and its peer, and gives back a future.
pub trait Service {
    /// What the answer carries.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>>
        + Send
        + Unpin
        + 'static;

    /// Answers one request.
    fn answer(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> impl Future<Output = Response<Self::Body>> + Send + 'static;
}

impl<S, F, B> Service for S
where
    S: Fn(Request<Incoming>, SocketAddr) -> F,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + Unpin + 'static,
{
    type Body = B;

    fn answer(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> impl Future<Output = Response<B>> + Send + 'static {
        self(request, peer)
    }
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ConnectionEnd {
    /// The TLS handshake failed.
    HandshakeFailed,
    /// The TLS handshake took too long.
    HandshakeTimeout,
    /// The peer closed it in good order.
    Closed,
    /// There was no request under way for too long, or no whole head of one.
    Idle,
    /// The daemon stops.
    Stopped,
    /// It broke: reset, a breach of protocol, a ping without an answer.
    Broken,
}

/// Serves a TLS connection until its end, with the configuration that `tls` chooses by how it
/// begins. Never fails: the end says how it went.
///
/// When `stop` is cancelled, requests under way are finished, however long they take: whoever
/// cancels bounds the wait.
pub async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    tls: impl FnOnce(&ClientHello<'_>) -> Arc<ServerConfig>,
    service: impl Service,
    stop: CancellationToken,
) -> ConnectionEnd {
    encrypted(stream, peer, tls, service, stop, DEADLINES).await
}

/// Serves an HTTP/1.1 connection without TLS until its end: for the admin listener.
pub(crate) async fn plain_connection(
    stream: TcpStream,
    peer: SocketAddr,
    service: impl Service,
    stop: CancellationToken,
) -> ConnectionEnd {
    http(stream, canonical(peer), Protocol::Http1, service, stop, ADMIN_DEADLINES).await
}

async fn encrypted(
    stream: TcpStream,
    peer: SocketAddr,
    tls: impl FnOnce(&ClientHello<'_>) -> Arc<ServerConfig>,
    service: impl Service,
    stop: CancellationToken,
    deadlines: Deadlines,
) -> ConnectionEnd {
    let peer = canonical(peer);
    let handshake = timeout(deadlines.handshake, handshake(stream, tls));
    let mut stream = tokio::select! {
        () = stop.cancelled() => return ConnectionEnd::Stopped,
        result = handshake => match result {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                log_handshake(peer, &error);
                return ConnectionEnd::HandshakeFailed;
            }
            Err(_) => {
                log_handshake(peer, &"it took too long");
                return ConnectionEnd::HandshakeTimeout;
            }
        },
    };
    let protocol = match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => Protocol::Http2,
        Some(b"http/1.1") | None => Protocol::Http1,
        // One that is all said with the handshake.
        Some(_) => {
            timeout(deadlines.close, stream.shutdown()).await.ok();
            return ConnectionEnd::Closed;
        }
    };
    http(stream, peer, protocol, service, stop, deadlines).await
}

async fn handshake(
    stream: TcpStream,
    tls: impl FnOnce(&ClientHello<'_>) -> Arc<ServerConfig>,
) -> io::Result<TlsStream<TcpStream>> {
    match FirstBytes::peek(&stream).await? {
        FirstBytes::Http => {
            first_bytes::answer_http(stream).await;
            return Err(io::Error::other("plain HTTP arrived: the client must use https://"));
        }
        FirstBytes::ProxyHeader => {
            return Err(io::Error::other(
                "a PROXY protocol header arrived: add the peer to server.proxy_protocol_from if it \
                 is a proxy of yours",
            ));
        }
        FirstBytes::Other => {}
    }
    let begun = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await?;
    let config = tls(&begun.client_hello());
    begun.into_stream(config).await
}

/// A destination check that fails here leaves no other trace.
fn log_handshake(peer: SocketAddr, error: &dyn Display) {
    const LIMITS: ClientLimits =
        ClientLimits { network: 10, total: 30, per: Duration::from_secs(10) };
    static THROTTLE: ClientThrottle<1> = ClientThrottle::new(LIMITS);

    if let Some(withheld) = THROTTLE.admit(0, peer.ip(), std::time::Instant::now()) {
        info!(%peer, %error, withheld, "tls handshake failed");
    }
}

/// On a dual-stack socket IPv4 peers appear as `::ffff:192.0.2.1`, which no list of networks
/// matches.
fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

async fn http(
    io: impl AsyncRead + AsyncWrite + Unpin + 'static,
    peer: SocketAddr,
    protocol: Protocol,
    service: impl Service,
    stop: CancellationToken,
    deadlines: Deadlines,
) -> ConnectionEnd {
    let activity = Activity::new();
    let counted = service_fn(|request| {
        let under_way = activity.begin();
        let response = service.answer(request, peer);
        async move {
            let response = response.await;
            Ok::<_, Infallible>(response.map(|body| Counted { body, _request: under_way }))
        }
    });
    let builder = builder(protocol, deadlines);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(io), counted));
    let mut timer = pin!(sleep(deadlines.first_request));
    let mut closing: Option<(ConnectionEnd, Instant)> = None;

    loop {
        let reason = tokio::select! {
            // First, so that an answer that is ready at the same time announces the end, too.
            biased;
            () = stop.cancelled(), if closing.is_none() => ConnectionEnd::Stopped,
            result = connection.as_mut() => {
                return match (result, closing) {
                    (_, Some((reason, _))) => reason,
                    (Ok(()), None) => ConnectionEnd::Closed,
                    (Err(error), None) => end_of(peer, protocol, error.as_ref()),
                };
            }
            () = timer.as_mut() => {
                let now = Instant::now();
                let due = match (activity.doing(), closing) {
                    (Doing::Requests, None) => now + deadlines.idle,
                    (Doing::Requests, Some(_)) => now + deadlines.close,
                    (Doing::NothingYet(since) | Doing::NothingSince(since), Some((_, begun))) => {
                        since.max(begun) + deadlines.close
                    }
                    (Doing::NothingYet(since), None) => since + deadlines.first_request,
                    (Doing::NothingSince(since), None) => since + deadlines.idle,
                };
                match closing {
                    _ if due > now => {
                        timer.as_mut().reset(due);
                        continue;
                    }
                    Some((reason, _)) => {
                        debug!(%peer, "the peer does not close the connection: dropped");
                        return reason;
                    }
                    None => ConnectionEnd::Idle,
                }
            }
        };
        let now = Instant::now();
        closing = Some((reason, now));
        connection.as_mut().graceful_shutdown();
        timer.as_mut().reset(now + deadlines.close);
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Protocol {
    Http1,
    Http2,
}

fn builder(protocol: Protocol, deadlines: Deadlines) -> auto::Builder<TokioExecutor> {
    let builder = auto::Builder::new(TokioExecutor::new());
    let mut builder = match protocol {
        Protocol::Http1 => builder.http1_only(),
        Protocol::Http2 => builder.http2_only(),
    };
    // Without a timer hyper has no deadlines at all. Its bounds on headers (100 in HTTP/1.1) and on
    // streams that are opened only to be reset stay as they are.
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(deadlines.head)
        .max_buf_size(H1_BUFFER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(H2_STREAMS)
        .max_header_list_size(H2_HEADER_BYTES)
        .initial_stream_window_size(H2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(H2_CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(H2_SEND_BUFFER_BYTES)
        .keep_alive_interval(H2_PING_INTERVAL)
        .keep_alive_timeout(H2_PING_TIMEOUT);
    builder
}

fn end_of(
    peer: SocketAddr,
    protocol: Protocol,
    error: &(dyn Error + Send + Sync + 'static),
) -> ConnectionEnd {
    match (protocol, error.downcast_ref::<hyper::Error>()) {
        // The deadline of the head. In HTTP/2 the only timeout is that of a ping.
        (Protocol::Http1, Some(timeout)) if timeout.is_timeout() => ConnectionEnd::Idle,
        _ => {
            // hyper says only at what it was; the cause stands behind it.
            let cause = error.source().map(ToString::to_string);
            debug!(%peer, %error, cause, "connection broke");
            ConnectionEnd::Broken
        }
    }
}

#[cfg(test)]
mod tests;
