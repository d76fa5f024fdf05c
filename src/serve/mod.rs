//! One connection from its handshake to its end: TLS, then HTTP/2 or HTTP/1.1 as ALPN decided.
//!
//! Answers for every deadline of a connection except that of a request's body, which belongs to who
//! reads it. Requests come out through a callback; what they mean is not known here.

mod activity;
mod arrival;
mod deadlines;
mod first_bytes;
mod limits;
mod proxy_protocol;

use std::{
    convert::Infallible,
    error::Error,
    fmt::Display,
    future::{Future, pending},
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

pub use self::{activity::Client, arrival::Arrival};
use self::{
    activity::{Activity, CountedBody, Fate},
    deadlines::{ADMIN_DEADLINES, DEADLINES, Deadlines, LOOK},
    first_bytes::FirstBytes,
    limits::Protocol,
};
use crate::{
    admission::ConnectionPlace,
    throttle::{ClientLimits, ClientThrottle},
    tls::{Advice, explain_io},
};

/// Answers requests: a closure that takes a request and its connection, and returns a future.
///
/// The closure itself runs while the connection is read, before the next request is looked at: what
/// it drops of a request is never held for more than one request of a connection.
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

/// What connections are accepted with.
pub trait Tls {
    /// For a connection that begins like this. `None`: it is closed.
    fn choose(&self, hello: &ClientHello<'_>) -> Option<Arc<ServerConfig>>;

    /// Changes when connections are accepted with something else.
    fn replaced(&self) -> watch::Receiver<()>;

    /// Whether a client that has shown these certificates could still connect.
    fn accepts_client(&self, chain: &[CertificateDer<'_>]) -> bool;
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ConnectionEnd {
    /// The TLS handshake failed.
    HandshakeFailed,
    /// The TLS handshake took too long.
    HandshakeTimeout,
    /// A proxy did not begin it with a PROXY protocol header.
    ProxyHeader,
    /// The peer closed it in good order.
    Closed,
    /// There was no request under way for too long, or no whole head of one.
    Idle,
    /// No sender was verified in time.
    Unverified,
    /// It made room for another connection before a sender was verified.
    Evicted,
    /// The client did not take an answer in time.
    AnswerTimeout,
    /// It had too many requests before a sender was verified.
    Flooded,
    /// The service closed it.
    Dismissed,
    /// The daemon stops.
    Stopped,
    /// It broke: reset, a breach of protocol, a ping without an answer.
    Broken,
}

/// Serves a TLS connection until its end, with the configuration that `tls` chooses by how it
/// begins. Never fails: the end says how it went.
///
/// When `stop` is cancelled, requests under way are finished, however long they take: whoever
/// cancels bounds the wait. A connection without a verified sender is not waited for.
pub async fn connection(
    arrival: Arrival,
    place: ConnectionPlace,
    tls: &impl Tls,
    service: impl Service,
    stop: CancellationToken,
) -> ConnectionEnd {
    let Arrival { stream, client, since } = arrival;
    let activity = Activity::new(client, Some(place));
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
                log_handshake(peer, &"it took too long");
                return ConnectionEnd::HandshakeTimeout;
            }
        },
    };
    activity.handshake_done();
    let protocol = match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => Protocol::Http2,
        Some(b"http/1.1" | b"http/1.0") | None => Protocol::Http1,
        // One that is all said with the handshake.
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

/// A destination check that fails here leaves no other trace.
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
        let under_way = activity.begin();
        let response = service.answer(request, Client(Arc::clone(&activity)));
        activity.bound_unverified();
        async move {
            let response = response.await;
            let answered = under_way.answered();
            Ok::<_, Infallible>(response.map(|body| CountedBody { body, _request: answered }))
        }
    });
    let builder = limits::builder(protocol, deadlines.head);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(io), counted));
    let mut timer = pin!(sleep(Duration::ZERO));
    let mut revoked = pin!(revoked);
    let mut closing: Option<(ConnectionEnd, Instant)> = None;

    loop {
        let reason = tokio::select! {
            // First, so that an answer that is ready at the same time announces the end, too.
            biased;
            () = activity.evicted() => return ConnectionEnd::Evicted,
            fate = activity.ends(), if closing.is_none() => match fate {
                Fate::Flooded => return ConnectionEnd::Flooded,
                _ => ConnectionEnd::Dismissed,
            },
            () = stop.cancelled(), if closing.is_none() => ConnectionEnd::Stopped,
            () = revoked.as_mut(), if closing.is_none() => {
                info!(%peer, "closing a connection: its client certificate is no longer accepted");
                Client(Arc::clone(&activity)).take_no_more();
                ConnectionEnd::Dismissed
            }
            result = connection.as_mut() => {
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
                    timer.as_mut().reset(due.min(now + LOOK));
                    continue;
                }
                match closing {
                    Some((reason, _)) => {
                        debug!(%peer, "the client does not close the connection: dropped");
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
            // hyper says only at what it was; the cause stands behind it.
            let cause = error.source().map(ToString::to_string);
            debug!(%peer, %error, cause, "connection broke");
            ConnectionEnd::Broken
        }
    }
}

#[cfg(test)]
mod tests;
