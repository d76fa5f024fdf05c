//! Takes one request through the gate: decides on it while its connection is read, and builds the
//! answer.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use hyper::{HeaderMap, Method, Request, Response, body::Incoming, http::request};
use tokio::task::JoinHandle;

use super::{
    Body, Intake, answer,
    body::{self, Upload},
    gate::RequestKind,
    log,
    refusal::Refusal,
    secret_throttle::{Delay, Penalty},
};
use crate::{
    config::Protocol, decode::Format, ingest::Ingest, metrics::EndpointMetrics, serve::Client,
};

/// Wrong secrets on a connection with a verified sender before it is closed.
const MAX_FAILURES: u32 = 8;

const CLOSING: &str = "this connection is about to be closed; send again on another one";

/// How a request is answered after the gate has decided.
pub(super) enum Reply {
    Answer(Response<Body>),
    /// A wrong secret: the answer is delayed, and the connection may be closed after it.
    Delayed(Response<Body>, Delay, Option<Closing>),
    Health {
        is_head: bool,
    },
    Upload(JoinHandle<Response<Body>>),
}

/// Closes a connection when dropped. Until then, requests on it are refused.
pub(super) struct Closing(Client);

impl Closing {
    fn of(client: &Client) -> Self {
        client.announce_close();
        Self(client.clone())
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// What the answer and the log need to know of a request.
struct RequestInfo {
    is_head: bool,
    /// Whether the sender waits for `100 Continue`.
    expects_continue: bool,
    /// `None` if no endpoint has this path.
    endpoint: Option<Arc<EndpointMetrics>>,
    protocol: Protocol,
    peer: SocketAddr,
    declared: Option<u64>,
    head: request::Parts,
}

impl RequestInfo {
    /// Drops the headers, which are not needed while the body is read.
    fn without_headers(mut self) -> Self {
        self.head.headers = HeaderMap::new();
        self
    }
}

/// Removes the body from an answer to HEAD. For HTTP/1.1 hyper does so by itself; in HTTP/2 a body
/// would break the stream.
pub(super) fn without_body(is_head: bool, mut response: Response<Body>) -> Response<Body> {
    if is_head {
        *response.body_mut() = Body::default();
    }
    response
}

impl Intake {
    /// Decides on a request. Starts the task of an accepted upload.
    pub(super) fn decide(self: &Arc<Self>, request: Request<Incoming>, client: &Client) -> Reply {
        let (head, incoming) = request.into_parts();
        if client.is_closing() {
            let refusal = Refusal::unavailable(CLOSING);
            self.metrics.refused(refusal.reason());
            return Reply::Answer(answer::close_after(answer::refused(
                Protocol::Logpush,
                &refusal,
            )));
        }
        let declared = hyper::body::Body::size_hint(&incoming).exact();
        let decision = self.gate.admit(&head, client.address().ip());
        let info = RequestInfo {
            is_head: head.method == Method::HEAD,
            expects_continue: body::expects_continue(&head),
            endpoint: decision.endpoint.map(Arc::clone),
            protocol: decision.protocol,
            peer: client.address(),
            declared,
            head,
        };
        let prepared = match decision.outcome {
            Err(refusal) => return self.refuse_at_gate(&info, &refusal, incoming, client),
            Ok(RequestKind::Health) => return Reply::Health { is_head: info.is_head },
            Ok(RequestKind::Methods(methods)) => return Reply::Answer(answer::methods(methods)),
            Ok(RequestKind::Upload(admitted)) => {
                client.verify();
                let format = admitted.body_format.format;
                self.prepare(admitted, declared, info.peer).map(|prepared| (prepared, format))
            }
        };
        match prepared {
            Err(refusal) => {
                Reply::Answer(self.refuse(&info, &refusal, Some((incoming, info.expects_continue))))
            }
            Ok(((upload, ingest), format)) => {
                let info = info.without_headers();
                let response = Arc::clone(self).receive(info, upload, incoming, ingest, format);
                Reply::Upload(tokio::spawn(response))
            }
        }
    }

    /// Receives the body of a verified sender.
    async fn receive(
        self: Arc<Self>,
        info: RequestInfo,
        upload: Upload,
        mut incoming: Incoming,
        ingest: Ingest,
        format: Format,
    ) -> Response<Body> {
        if let Some(wanted) = upload.wanted
            && let Err(refusal) = self.check_disk(wanted).await
        {
            return self.refuse(&info, &refusal, Some((incoming, info.expects_continue)));
        }
        match upload.receive(&mut incoming, ingest).await {
            Ok(accepted) => answer::accepted(info.protocol, &accepted, format),
            Err(refusal) => self.refuse(&info, &refusal, Some((incoming, false))),
        }
    }

    /// Refuses a request at the gate. Delays or closes clients that guess secrets.
    fn refuse_at_gate(
        &self,
        info: &RequestInfo,
        refusal: &Refusal,
        incoming: Incoming,
        client: &Client,
    ) -> Reply {
        let (address, now) = (info.peer.ip(), Instant::now());
        let penalty = match refusal {
            Refusal::Unauthorized(_) => self.secret_throttle.wrong_secret(address, now),
            _ if !client.is_verified() && self.secret_throttle.other_refusal(address, now) => {
                Penalty::Close
            }
            _ => Penalty::None,
        };
        let delay = match penalty {
            Penalty::None => {
                let rest = Some((incoming, info.expects_continue));
                return Reply::Answer(self.refuse(info, refusal, rest));
            }
            Penalty::Delay(delay) => Some(delay),
            Penalty::Close => None,
        };
        drop(incoming);
        let closes = match &delay {
            None => true,
            Some(delay) if client.is_verified() => delay.closes && client.fail() > MAX_FAILURES,
            Some(delay) => delay.closes,
        };
        let closing = closes.then(|| Closing::of(client));
        let response = self.refuse(info, refusal, None);
        let response = if closes { answer::close_after(response) } else { response };
        match delay {
            Some(delay) => Reply::Delayed(response, delay, closing),
            None => Reply::Answer(response),
        }
    }

    /// Counts and logs a refusal, and builds the answer. `rest` is the body, and whether its sender
    /// waits for `100 Continue`.
    fn refuse(
        &self,
        info: &RequestInfo,
        refusal: &Refusal,
        rest: Option<(Incoming, bool)>,
    ) -> Response<Body> {
        let RequestInfo { endpoint, protocol, peer, head, .. } = info;
        self.metrics.refused(refusal.reason());
        if let Some(endpoint) = endpoint {
            endpoint.refused(refusal.reason());
        }
        let endpoint = endpoint.as_ref().map_or("", |endpoint| endpoint.name());
        log::refused(
            &self.refusal_throttle,
            refusal,
            head,
            *peer,
            (endpoint, *protocol),
            info.declared,
        );
        let refused = without_body(info.is_head, answer::refused(*protocol, refusal));
        let closes = rest.is_some_and(|(incoming, expects_continue)| {
            body::discard_rest(incoming, expects_continue)
        });
        if closes { answer::close_after(refused) } else { refused }
    }
}
