//! One connection from its handshake to its end: TLS, then HTTP/2 or HTTP/1.1 as ALPN decided.
//!
//! Answers for every deadline of a connection except that of a request's body, which belongs to who
//! reads it. Requests come out through a callback; what they mean is not known here.

mod activity;
mod arrival;
mod first_bytes;
mod limits;
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
use hyper_util::rt::TokioIo;
use rustls::{ServerConfig, server::ClientHello};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

pub use self::{activity::Client, arrival::Arrival};
use self::{
    activity::{Activity, Counted, Doing, Fate},
    first_bytes::FirstBytes,
    limits::Protocol,
};
use crate::{
    admission::Place,
    throttle::{ClientLimits, ClientThrottle},
    tls::{Advice, explain_io},
};

/// How often a connection is looked at: the most that a deadline is missed by.
const LOOK: Duration = Duration::from_secs(5);

const DEADLINES: Deadlines = Deadlines {
    handshake: Duration::from_secs(10),
    head: Duration::from_secs(30),
    first_request: Duration::from_secs(30),
    unverified: Some(Duration::from_secs(50)),
    idle: Duration::from_secs(90),
    answer: Duration::from_secs(20),
    close: Duration::from_secs(5),
};

/// On the admin listener: every client is local, and sends its request at once.
const ADMIN_DEADLINES: Deadlines = Deadlines {
    handshake: Duration::ZERO,
    head: Duration::from_secs(2),
    first_request: Duration::from_secs(2),
    unverified: None,
    idle: Duration::from_secs(2),
    answer: Duration::from_secs(10),
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
    /// For all of a connection on which no sender is verified, whatever it does.
    unverified: Option<Duration>,
    /// What Go's client, and so Cloudflare, keeps an idle connection for: earlier, and requests
    /// would meet connections that are just being closed.
    idle: Duration,
    /// For the client to take an answer, or a part of its answers.
    answer: Duration,
    /// From the announcement that the connection ends to its end, unless requests are under way.
    close: Duration,
}

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
    place: Place,
    tls: impl FnOnce(&ClientHello<'_>) -> Arc<ServerConfig>,
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
    http(stream, activity, Protocol::Http1, service, stop, ADMIN_DEADLINES).await
}

async fn encrypted(
    (stream, handshake_end): (TcpStream, Instant),
    activity: Arc<Activity>,
    tls: impl FnOnce(&ClientHello<'_>) -> Arc<ServerConfig>,
    service: impl Service,
    stop: CancellationToken,
    deadlines: Deadlines,
) -> ConnectionEnd {
    let peer = activity.peer();
    let handshake = timeout_at(handshake_end, handshake(stream, tls));
    let mut stream = tokio::select! {
        () = stop.cancelled() => return ConnectionEnd::Stopped,
        () = activity.evicted() => return ConnectionEnd::Evicted,
        result = handshake => match result {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                log_handshake(peer, &explain_io(&error, Advice::Given));
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
    http(stream, activity, protocol, service, stop, deadlines).await
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

async fn http(
    io: impl AsyncRead + AsyncWrite + Unpin + 'static,
    activity: Arc<Activity>,
    protocol: Protocol,
    service: impl Service,
    stop: CancellationToken,
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
            Ok::<_, Infallible>(response.map(|body| Counted { body, _request: answered }))
        }
    });
    let builder = limits::builder(protocol, deadlines.head);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(io), counted));
    let mut timer = pin!(sleep(Duration::ZERO));
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

impl Deadlines {
    /// When the time of a connection is up as it is now. `closing`: since when its end
    /// is announced.
    fn next(&self, activity: &Activity, closing: Option<Instant>) -> Instant {
        let now = Instant::now();
        let is_verified = self.unverified.is_none() || activity.is_verified();
        let Some(begun) = closing else {
            let due = match activity.doing() {
                Doing::Requests => now + self.idle.min(self.answer),
                Doing::Answers(since) => since + self.answer,
                Doing::NothingYet(since) => since + self.first_request,
                Doing::NothingSince(since) => since + self.idle,
            };
            let waiting = activity.answers_wait_since().map(|since| since + self.answer);
            let unverified = self.unverified.filter(|_| !is_verified);
            let unverified = unverified.map(|after| activity.begun() + after);
            return [waiting, unverified].into_iter().flatten().fold(due, Instant::min);
        };
        match activity.doing() {
            // Whoever closes it bounds the wait.
            Doing::Requests if is_verified => now + self.close,
            Doing::Requests => begun + self.close,
            Doing::Answers(since) | Doing::NothingYet(since) | Doing::NothingSince(since) => {
                if is_verified {
                    since.max(begun) + self.close
                } else {
                    begun + self.close
                }
            }
        }
    }

    /// Which deadline it was.
    fn missed(&self, activity: &Activity, now: Instant) -> ConnectionEnd {
        let is_over = |since: Instant, after: Duration| since + after <= now;
        if activity.answers_wait_since().is_some_and(|since| is_over(since, self.answer)) {
            return ConnectionEnd::AnswerTimeout;
        }
        match self.unverified {
            Some(after) if !activity.is_verified() && is_over(activity.begun(), after) => {
                ConnectionEnd::Unverified
            }
            _ => ConnectionEnd::Idle,
        }
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
