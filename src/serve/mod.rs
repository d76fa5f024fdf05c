//! Serves one connection: the TLS handshake, then HTTP/2 or HTTP/1.1 as negotiated by ALPN.
//!
//! Enforces all deadlines of a connection except that of a request's body, which the reader of the
//! body enforces. A callback handles the requests.

mod activity;
mod arrival;
mod deadlines;
mod first_bytes;
mod limits;
mod proxy_protocol;
mod streams;

use std::{
    convert::Infallible,
    error::Error,
    fmt::Display,
    future::{Future, pending, poll_fn},
    io,
    net::SocketAddr,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use hyper::{
    Request, Response,
    body::{Body, Incoming},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use rustls::{ServerConfig, pki_types::CertificateDer, server::ClientHello};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    sync::watch,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

pub use self::{activity::Client, arrival::AcceptedConnection};
use self::{
    activity::{Activity, CountedBody, Disposition},
    deadlines::{ADMIN_DEADLINES, CHECK_INTERVAL, DEADLINES, Deadlines},
    first_bytes::FirstBytes,
    limits::Protocol,
    streams::{Opened, Streams},
};
use crate::{
    admission::ConnectionSlot,
    throttle::{ClientLimits, ClientThrottle},
    tls::{Advice, explain_io},
};

/// Answers requests: a closure that takes a request and its connection, and returns a future.
///
/// hyper runs the closure before it reads the next request of the connection. What the closure
/// drops is therefore held for at most one request of a connection.
pub trait Service {
    /// Body of the answer.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>>
        + Send
        + Unpin
        + 'static;

    /// Answers one request.
    fn answer(
        &self,
        request: Request<Incoming>,
        client: Client,
    ) -> impl Future<Output = Response<Self::Body>> + Send + 'static;
}

impl<S, F, B> Service for S
where
    S: Fn(Request<Incoming>, Client) -> F,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + Unpin + 'static,
{
    type Body = B;

    fn answer(
        &self,
        request: Request<Incoming>,
        client: Client,
    ) -> impl Future<Output = Response<B>> + Send + 'static {
        self(request, client)
    }
}

/// TLS configuration of accepted connections.
pub trait Tls {
    /// Returns the configuration for a connection, by its first message. `None` closes the
    /// connection.
    fn choose(&self, hello: &ClientHello<'_>) -> Option<Arc<ServerConfig>>;

    /// Returns a channel that is notified when the configuration changes.
    fn replaced(&self) -> watch::Receiver<()>;

    /// Whether a client with these certificates may still connect.
    fn accepts_client(&self, chain: &[CertificateDer<'_>]) -> bool;
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ConnectionEnd {
    /// The TLS handshake failed.
    HandshakeFailed,
    /// The TLS handshake took too long.
    HandshakeTimeout,
    /// A proxy did not send a valid PROXY protocol header.
    ProxyHeader,
    /// The peer closed it properly.
    Closed,
    /// No request was in progress for too long, or the head of a request was incomplete.
    Idle,
    /// No sender was verified in time.
    Unverified,
    /// It was closed in favor of another connection before a sender was verified.
    Evicted,
    /// The client did not receive an answer in time.
    AnswerTimeout,
    /// It had too many requests before a sender was verified.
    Flooded,
    /// The service closed it.
    Dismissed,
    /// The daemon stopped.
    Stopped,
    /// It failed: a reset, a protocol violation, or a ping without an answer.
    Broken,
}

/// Serves a TLS connection until its end, with the configuration that `tls` chooses by the first
/// message. Returns how the connection ended.
///
/// When `stop` is cancelled, requests in progress are finished, however long they take: the caller
/// must limit the wait. A connection without a verified sender is closed soon.
pub async fn connection(
    accepted: AcceptedConnection,
    slot: ConnectionSlot,
    tls: &impl Tls,
    service: impl Service,
    stop: CancellationToken,
) -> ConnectionEnd {
    let AcceptedConnection { stream, client, since } = accepted;
    let activity = Activity::new(client, Some(slot));
    let handshake_end = since + DEADLINES.handshake;
    encrypted((stream, handshake_end), activity, tls, service, stop, DEADLINES).await
}

/// Serves an HTTP/1.1 connection without TLS until its end: for the admin listener.
pub(crate) async fn plain_connection(
    stream: TcpStream,
    peer: SocketAddr,
    service: impl Service,
    stop: CancellationToken,
) -> ConnectionEnd {
    let activity = Activity::new(arrival::canonical(peer), None);
    http(stream, activity, Protocol::Http1, service, (stop, pending()), ADMIN_DEADLINES).await
}

async fn encrypted(
    (stream, handshake_end): (TcpStream, Instant),
    activity: Arc<Activity>,
    tls: &impl Tls,
    service: impl Service,
    stop: CancellationToken,
    deadlines: Deadlines,
) -> ConnectionEnd {
    let peer = activity.peer();
    let mut replaced = tls.replaced();
    let handshake = timeout_at(handshake_end, handshake(stream, tls));
    let mut stream = tokio::select! {
        () = stop.cancelled() => return ConnectionEnd::Stopped,
        () = activity.evicted() => return ConnectionEnd::Evicted,
        result = handshake => match result {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                log_handshake(peer, &explain_io(&error, Advice::OnClient));
                return ConnectionEnd::HandshakeFailed;
            }
            Err(_) => {
                log_handshake(peer, &"timed out");
                return ConnectionEnd::HandshakeTimeout;
            }
        },
    };
    activity.handshake_done();
    let protocol = match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => Protocol::Http2,
        Some(b"http/1.1" | b"http/1.0") | None => Protocol::Http1,
        // A protocol that ends with the handshake: the challenge of an ACME directory.
        Some(_) => {
            timeout(deadlines.close, stream.shutdown()).await.ok();
            return ConnectionEnd::Closed;
        }
    };
    let shown = stream.get_ref().1.peer_certificates().map(<[_]>::to_vec).unwrap_or_default();
    let revoked = async {
        while replaced.changed().await.is_ok() {
            if !tls.accepts_client(&shown) {
                return;
            }
        }
        pending::<()>().await;
    };
    http(stream, activity, protocol, service, (stop, revoked), deadlines).await
}

async fn handshake(stream: TcpStream, tls: &impl Tls) -> io::Result<TlsStream<TcpStream>> {
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
    let config = tls
        .choose(&begun.client_hello())
        .ok_or_else(|| io::Error::other("no endpoint allows this address: compare allow_from"))?;
    begun.into_stream(config).await
}

/// Logs a failed handshake. A destination check that fails here is logged nowhere else.
fn log_handshake(peer: SocketAddr, error: &dyn Display) {
    const LIMITS: ClientLimits =
        ClientLimits { network: 10, total: 30, per: Duration::from_secs(10) };
    static THROTTLE: ClientThrottle<1> = ClientThrottle::new(LIMITS);

    if let Some(withheld) = THROTTLE.admit(0, peer.ip(), std::time::Instant::now()) {
        info!(%peer, %error, withheld, "tls handshake failed");
    }
}

async fn http(
    io: impl AsyncRead + AsyncWrite + Unpin + 'static,
    activity: Arc<Activity>,
    protocol: Protocol,
    service: impl Service,
    (stop, revoked): (CancellationToken, impl Future<Output = ()>),
    deadlines: Deadlines,
) -> ConnectionEnd {
    let peer = activity.peer();
    let counted = service_fn(|request| {
        let request_in_progress = activity.begin();
        let response = service.answer(request, Client(Arc::clone(&activity)));
        activity.limit_unverified();
        async move {
            let response = response.await;
            let answered = request_in_progress.answered();
            Ok::<_, Infallible>(response.map(|body| CountedBody { body, _request: answered }))
        }
    });
    let opened = Opened::default();
    let mut streams = Streams::new(opened.clone());
    let builder = limits::builder(protocol, deadlines.head, opened);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(io), counted));
    let mut timer = pin!(sleep(Duration::ZERO));
    let mut revoked = pin!(revoked);
    let mut closing: Option<(ConnectionEnd, Instant)> = None;

    loop {
        let reason = tokio::select! {
            // First, so that an answer that is ready at the same time announces the close.
            biased;
            () = activity.evicted() => return ConnectionEnd::Evicted,
            disposition = activity.must_end(), if closing.is_none() => match disposition {
                Disposition::Flooded => return ConnectionEnd::Flooded,
                _ => ConnectionEnd::Dismissed,
            },
            () = stop.cancelled(), if closing.is_none() => ConnectionEnd::Stopped,
            () = revoked.as_mut(), if closing.is_none() => {
                info!(%peer, "closing a connection: its client certificate is no longer accepted");
                Client(Arc::clone(&activity)).announce_close();
                ConnectionEnd::Dismissed
            }
            result = poll_fn(|context| {
                let result = connection.as_mut().poll(context);
                streams.run(context);
                result
            }) => {
                return match (result, closing) {
                    (_, Some((reason, _))) => reason,
                    (Ok(()), None) => ConnectionEnd::Closed,
                    (Err(error), None) => end_of(peer, protocol, error.as_ref()),
                };
            }
            () = timer.as_mut() => {
                let now = Instant::now();
                let due = deadlines.next(&activity, closing.map(|(_, begun)| begun));
                if due > now {
                    timer.as_mut().reset(due.min(now + CHECK_INTERVAL));
                    continue;
                }
                match closing {
                    Some((reason, _)) => {
                        debug!(%peer, "client did not close the connection, dropped");
                        return reason;
                    }
                    None => deadlines.missed(&activity, now),
                }
            }
        };
        let now = Instant::now();
        closing = Some((reason, now));
        connection.as_mut().graceful_shutdown();
        timer.as_mut().reset(now);
    }
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
            // hyper's error names only the operation. Its source is the cause.
            let cause = error.source().map(ToString::to_string);
            debug!(%peer, %error, cause, "connection failed");
            ConnectionEnd::Broken
        }
    }
}

#[cfg(test)]
mod tests;
