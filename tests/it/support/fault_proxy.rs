//! An HTTP proxy before a target that injects faults.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, LazyLock, Mutex},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    HeaderMap, Request, Response, StatusCode,
    body::{Body, Frame, Incoming, SizeHint},
    client::conn::http1 as client,
    header::{CONNECTION, CONTENT_ENCODING, RETRY_AFTER, TRANSFER_ENCODING},
    http::request,
    server::conn::http1 as server,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
    sync::watch,
    time::{Sleep, sleep},
};

use super::records::{Random, gunzip};

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
});

/// The faults of a proxy.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    /// How many of a hundred requests meet a fault.
    pub(crate) percent: u64,
    /// How long an answer takes that is delayed.
    pub(crate) delay: Duration,
    /// `Retry-After` of a 429, in seconds.
    pub(crate) retry_after: u64,
    /// Requests with a longer body, decompressed, are always answered 413.
    pub(crate) max_body_bytes: Option<usize>,
    /// The bodies of injected answers, by status.
    pub(crate) bodies: BTreeMap<u16, String>,
}

/// What happens to one request.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Fault {
    /// The target answers.
    Nothing,
    /// 413, without the target.
    TooLarge,
    /// 429 with `Retry-After`, without the target.
    TooManyRequests,
    /// 503, without the target.
    Unavailable,
    /// The connection is closed before the target has the request.
    ClosedBefore,
    /// The connection is closed after the target has answered: the sink cannot know that.
    ClosedAfter,
    /// The answer of the target takes [`Faults::delay`].
    Delayed,
    /// The connection is closed in the middle of the answer.
    CutAnswer,
    /// No answer, and the target does not have the request.
    HungBefore,
    /// No answer, although the target has the request.
    HungAfter,
}

impl Fault {
    /// Those that happen by chance. Hanging takes longest, so it is rarer.
    const RANDOM: [Self; 13] = [
        Self::TooManyRequests,
        Self::Unavailable,
        Self::Unavailable,
        Self::ClosedBefore,
        Self::ClosedBefore,
        Self::ClosedAfter,
        Self::ClosedAfter,
        Self::ClosedAfter,
        Self::Delayed,
        Self::CutAnswer,
        Self::CutAnswer,
        Self::HungBefore,
        Self::HungAfter,
    ];

    /// All of them.
    pub(crate) const ALL: [Self; 10] = [
        Self::Nothing,
        Self::TooLarge,
        Self::TooManyRequests,
        Self::Unavailable,
        Self::ClosedBefore,
        Self::ClosedAfter,
        Self::Delayed,
        Self::CutAnswer,
        Self::HungBefore,
        Self::HungAfter,
    ];
}

/// The proxy, as long as the process runs.
#[derive(Clone)]
pub(crate) struct FaultProxy {
    /// Where it listens: the address for the sink's URL.
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
    /// Whether there are connections.
    up: watch::Sender<bool>,
}

struct State {
    target: SocketAddr,
    faults: Faults,
    random: Random,
    counts: BTreeMap<Fault, u64>,
}

/// The connection ends without an answer.
#[derive(Debug)]
struct Closed;

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("closed by the proxy")
    }
}

impl std::error::Error for Closed {}

impl FaultProxy {
    /// Starts a proxy for the server at `target`, without faults.
    pub(crate) fn start(target: SocketAddr, seed: u64) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let state = State {
            target,
            faults: Faults::default(),
            random: Random::new(seed),
            counts: BTreeMap::new(),
        };
        let proxy = Self {
            address: listener.local_addr().unwrap(),
            state: Arc::new(Mutex::new(state)),
            up: watch::Sender::new(true),
        };
        let this = proxy.clone();
        RUNTIME.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let this = this.clone();
                tokio::spawn(async move {
                    let mut up = this.up.subscribe();
                    let service = service_fn(move |request| this.clone().answer(request));
                    let connection =
                        server::Builder::new().serve_connection(TokioIo::new(stream), service);
                    tokio::select! {
                        biased;
                        _ = up.wait_for(|up| !up) => {}
                        // The daemon may have been killed.
                        _ = connection => {}
                    }
                });
            }
        });
        proxy
    }

    /// Injects these faults from now on.
    pub(crate) fn inject(&self, faults: Faults) {
        self.state.lock().unwrap().faults = faults;
    }

    /// Closes all connections, and each new one at once.
    pub(crate) fn disconnect(&self) {
        self.up.send_replace(false);
    }

    /// Forwards requests to the server at `target`, which has started again.
    pub(crate) fn reconnect(&self, target: SocketAddr) {
        self.state.lock().unwrap().target = target;
        self.up.send_replace(true);
    }

    /// How many requests met each fault.
    pub(crate) fn counts(&self) -> BTreeMap<Fault, u64> {
        self.state.lock().unwrap().counts.clone()
    }

    #[expect(clippy::disallowed_methods, reason = "the daemon's requests have a bound")]
    async fn answer(self, request: Request<Incoming>) -> Result<Response<Reply>, Closed> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| Closed)?.to_bytes();
        let (fault, faults, target) = self.choose(&head.headers, &body);
        let injected = |status: StatusCode| {
            let text = faults.bodies.get(&status.as_u16()).cloned();
            let body = Reply::whole(text.unwrap_or_else(|| "injected by a test".into()).into());
            let mut response = Response::new(body);
            *response.status_mut() = status;
            response
        };
        match fault {
            Fault::TooLarge => return Ok(injected(StatusCode::PAYLOAD_TOO_LARGE)),
            Fault::TooManyRequests => {
                let mut response = injected(StatusCode::TOO_MANY_REQUESTS);
                response.headers_mut().insert(RETRY_AFTER, faults.retry_after.into());
                return Ok(response);
            }
            Fault::Unavailable => return Ok(injected(StatusCode::SERVICE_UNAVAILABLE)),
            Fault::ClosedBefore => return Err(Closed),
            Fault::HungBefore => std::future::pending().await,
            _ => {}
        }
        // A killed daemon does not take back what it has sent.
        let forwarded = tokio::spawn(forward(target, head, body)).await;
        let response = forwarded.map_err(|_| Closed)?.map_err(|_| Closed)?;
        match fault {
            Fault::ClosedAfter => return Err(Closed),
            Fault::HungAfter => std::future::pending().await,
            Fault::Delayed => sleep(faults.delay).await,
            _ => {}
        }
        let (mut head, body) = response.into_parts();
        head.headers.remove(TRANSFER_ENCODING);
        head.headers.remove(CONNECTION);
        let body = match fault {
            Fault::CutAnswer if body.is_empty() => return Err(Closed),
            Fault::CutAnswer => Reply::cut(body),
            _ => Reply::whole(body),
        };
        Ok(Response::from_parts(head, body))
    }

    /// Chooses what happens to a request.
    fn choose(&self, headers: &HeaderMap, body: &Bytes) -> (Fault, Faults, SocketAddr) {
        let mut state = self.state.lock().unwrap();
        let faults = state.faults.clone();
        let random = Fault::RANDOM;
        let fault = if faults.max_body_bytes.is_some_and(|most| length(headers, body) > most) {
            Fault::TooLarge
        } else if state.random.below(100) < faults.percent {
            random[usize::try_from(state.random.below(random.len() as u64)).unwrap()]
        } else {
            Fault::Nothing
        };
        *state.counts.entry(fault).or_default() += 1;
        (fault, faults, state.target)
    }
}

/// The length of a body without compression.
fn length(headers: &HeaderMap, body: &Bytes) -> usize {
    match headers.get(CONTENT_ENCODING).map(|value| value.to_str().unwrap()) {
        None => body.len(),
        Some("gzip") => gunzip(body).len(),
        Some("zstd") => zstd::decode_all(&**body).unwrap().len(),
        Some(other) => panic!("{other}"),
    }
}

/// Sends a request to the target, and returns the whole answer.
#[expect(clippy::disallowed_methods, reason = "answers of targets are short")]
async fn forward(
    target: SocketAddr,
    head: request::Parts,
    body: Bytes,
) -> Result<Response<Bytes>, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(target).await?;
    let (mut sender, connection) = client::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let response = sender.send_request(Request::from_parts(head, Full::new(body))).await?;
    let (head, body) = response.into_parts();
    Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
}

/// The body of an answer.
struct Reply {
    left: Bytes,
    /// After the first part, the connection breaks.
    cut: Option<Pin<Box<Sleep>>>,
    length: u64,
}

impl Reply {
    fn whole(left: Bytes) -> Self {
        Self { length: left.len() as u64, left, cut: None }
    }

    /// Half of an answer. The first half is on its way before the connection breaks.
    fn cut(mut left: Bytes) -> Self {
        let length = left.len() as u64;
        left.truncate(left.len() / 2);
        Self { left, cut: Some(Box::pin(sleep(Duration::from_millis(20)))), length }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let left = std::mem::take(&mut self.left);
        if !left.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(left))));
        }
        let Some(cut) = &mut self.cut else { return Poll::Ready(None) };
        ready!(cut.as_mut().poll(context));
        Poll::Ready(Some(Err(io::Error::other("cut by the proxy"))))
    }

    fn is_end_stream(&self) -> bool {
        self.cut.is_none() && self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length)
    }
}
