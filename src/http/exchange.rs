//! One request at the gate: what is decided while its connection is read, and what is left to do then.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use hyper::{HeaderMap, Method, Request, Response, body::Incoming, http::request};
use tokio::task::JoinHandle;

use super::{
    Body, Intake, answer,
    body::{self, Upload},
    gate::Asks,
    guesses::{Delay, Price},
    log,
    refusal::Refusal,
};
use crate::{
    config::Protocol, decode::Format, ingest::Ingest, metrics::EndpointMetrics, serve::Client,
};

/// Wrong secrets on a connection with a verified sender, after which it is closed.
const MAX_FAILURES: u32 = 8;

const CLOSING: &str = "this connection is about to be closed; send again on another one";

/// What is left to do for a request when the gate has decided.
pub(super) enum Decision {
    Answer(Response<Body>),
    /// A wrong secret: the answer is late, and the connection may end with it.
    Delayed(Response<Body>, Delay, Option<Closing>),
    Health {
        is_head: bool,
    },
    Upload(JoinHandle<Response<Body>>),
}

/// Closes a connection when dropped. Until then it takes no more requests.
pub(super) struct Closing(Client);

impl Closing {
    fn of(client: &Client) -> Self {
        client.take_no_more();
        Self(client.clone())
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// What was asked for, by whom.
struct Asked {
    is_head: bool,
    /// Whether the sender waits for leave to send the body.
    waits: bool,
    /// `None` if there is none of that path.
    endpoint: Option<Arc<EndpointMetrics>>,
    protocol: Protocol,
    peer: SocketAddr,
    declared: Option<u64>,
    head: request::Parts,
}

impl Asked {
    /// What is left of it while the body is on its way.
    fn without_headers(mut self) -> Self {
        self.head.headers = HeaderMap::new();
        self
    }
}

/// The answer without its body, if HEAD asks: hyper leaves it out of HTTP/1.1 by itself; in HTTP/2 it
/// would break the stream.
pub(super) fn without_body(is_head: bool, mut response: Response<Body>) -> Response<Body> {
    if is_head {
        *response.body_mut() = Body::default();
    }
    response
}

impl Intake {
    pub(super) fn decide(
        self: &Arc<Self>,
        request: Request<Incoming>,
        client: &Client,
    ) -> Decision {
        let (head, incoming) = request.into_parts();
        if client.takes_no_more() {
            let refusal = Refusal::unavailable(CLOSING);
            self.metrics.refused(refusal.reason());
            return Decision::Answer(answer::last(answer::refused(Protocol::Logpush, &refusal)));
        }
        let declared = hyper::body::Body::size_hint(&incoming).exact();
        let visit = self.gate.admit(&head, client.address().ip());
        let asked = Asked {
            is_head: head.method == Method::HEAD,
            waits: body::waits(&head),
            endpoint: visit.endpoint.map(Arc::clone),
            protocol: visit.protocol,
            peer: client.address(),
            declared,
            head,
        };
        let prepared = match visit.asks {
            Err(refusal) => return self.turn_away(&asked, &refusal, incoming, client),
            Ok(Asks::Health) => return Decision::Health { is_head: asked.is_head },
            Ok(Asks::Methods(methods)) => return Decision::Answer(answer::methods(methods)),
            Ok(Asks::Upload(admitted)) => {
                client.verify();
                let format = admitted.form.format;
                self.prepare(admitted, declared, asked.peer).map(|prepared| (prepared, format))
            }
        };
        match prepared {
            Err(refusal) => {
                Decision::Answer(self.refuse(&asked, &refusal, Some((incoming, asked.waits))))
            }
            Ok(((upload, ingest), format)) => {
                let asked = asked.without_headers();
                let taken = Arc::clone(self).take(asked, upload, incoming, ingest, format);
                Decision::Upload(tokio::spawn(taken))
            }
        }
    }

    /// Saves a body whose sender is verified.
    async fn take(
        self: Arc<Self>,
        asked: Asked,
        upload: Upload,
        mut incoming: Incoming,
        ingest: Ingest,
        format: Format,
    ) -> Response<Body> {
        if let Some(wanted) = upload.wanted
            && let Err(refusal) = self.check_disk(wanted).await
        {
            return self.refuse(&asked, &refusal, Some((incoming, asked.waits)));
        }
        match upload.receive(&mut incoming, ingest).await {
            Ok(accepted) => answer::accepted(asked.protocol, &accepted, format),
            Err(refusal) => self.refuse(&asked, &refusal, Some((incoming, false))),
        }
    }

    /// Refuses a request at the gate. Some of those that are refused there guess secrets.
    fn turn_away(
        &self,
        asked: &Asked,
        refusal: &Refusal,
        incoming: Incoming,
        client: &Client,
    ) -> Decision {
        let (address, now) = (asked.peer.ip(), Instant::now());
        let price = match refusal {
            Refusal::Unauthorized(_) => self.guesses.wrong(address, now),
            _ if !client.is_verified() && self.guesses.refused(address, now) => Price::Close,
            _ => Price::Nothing,
        };
        let delay = match price {
            Price::Nothing => {
                let rest = Some((incoming, asked.waits));
                return Decision::Answer(self.refuse(asked, refusal, rest));
            }
            Price::Delay(delay) => Some(delay),
            Price::Close => None,
        };
        drop(incoming);
        let closes = match &delay {
            None => true,
            Some(delay) if client.is_verified() => delay.closes && client.fail() > MAX_FAILURES,
            Some(delay) => delay.closes,
        };
        let closing = closes.then(|| Closing::of(client));
        let response = self.refuse(asked, refusal, None);
        let response = if closes { answer::last(response) } else { response };
        match delay {
            Some(delay) => Decision::Delayed(response, delay, closing),
            None => Decision::Answer(response),
        }
    }

    /// Counts and logs a refusal, and makes the answer. `rest`: the body, and whether its sender waits
    /// for leave to send it.
    fn refuse(
        &self,
        asked: &Asked,
        refusal: &Refusal,
        rest: Option<(Incoming, bool)>,
    ) -> Response<Body> {
        let Asked { endpoint, protocol, peer, head, .. } = asked;
        self.metrics.refused(refusal.reason());
        if let Some(endpoint) = endpoint {
            endpoint.refused(refusal.reason());
        }
        let endpoint = endpoint.as_ref().map_or("", |endpoint| endpoint.name());
        log::refused(&self.refusals, refusal, head, *peer, (endpoint, *protocol), asked.declared);
        let refused = without_body(asked.is_head, answer::refused(*protocol, refusal));
        let is_last = rest.is_some_and(|(incoming, waits)| body::let_go(incoming, waits));
        if is_last { answer::last(refused) } else { refused }
    }
}
