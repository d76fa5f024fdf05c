//! What becomes of a connection that was accepted: served, told that there are too many, or closed.

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use hyper::{Request, body::Incoming};
use rustls::server::ClientHello;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::current::Current;
use crate::{
    admission::{Admission, Place},
    http::Intake,
    metrics::{Metrics, Refusal},
    serve::{self, Arrival, Client, ConnectionEnd},
    tls::Acceptor,
};

/// For all of a connection that is only told that there are too many: its place is needed for the
/// next one.
const REFUSED_CONNECTION: Duration = Duration::from_secs(5);

/// What each connection needs.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) intake: Arc<Current<Intake>>,
    pub(super) acceptor: Arc<Acceptor>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) stop: CancellationToken,
}

impl Door {
    /// Serves a connection until its end. `None` if it is closed at once.
    pub(super) fn serve(
        self,
        arrival: Arrival,
        admission: Admission,
    ) -> Option<impl Future<Output = ()> + Send + 'static> {
        let client = arrival.client();
        let (place, is_refused) = match admission {
            Admission::Open(place) => (place, false),
            Admission::Full(place) => (place, true),
            Admission::Refused => {
                debug!(%client, "too many connections: closed");
                self.metrics.refused(Refusal::TooManyConnections);
                return None;
            }
        };
        Some(async move {
            let _open = self.metrics.connection();
            let end = if is_refused {
                let refusing = self.connection(arrival, place, is_refused);
                timeout(REFUSED_CONNECTION, refusing).await.unwrap_or(ConnectionEnd::Idle)
            } else {
                self.connection(arrival, place, is_refused).await
            };
            self.ended(client, end);
        })
    }

    /// Waits for the header of a connection from a proxy. `None` if it has ended.
    pub(super) async fn behind_proxy(&self, arrival: Arrival) -> Option<Arrival> {
        let proxy = arrival.client();
        let ended = |end| self.ended(proxy, end);
        arrival.behind_proxy(self.stop.clone()).await.map_err(ended).ok()
    }

    fn ended(&self, peer: SocketAddr, end: ConnectionEnd) {
        debug!(%peer, ?end, "connection ended");
        if let Some(reason) = reason(end) {
            self.metrics.refused(reason);
        }
    }

    async fn connection(&self, arrival: Arrival, place: Place, is_refused: bool) -> ConnectionEnd {
        let tls = |hello: &ClientHello<'_>| self.acceptor.choose(hello);
        let service = |request: Request<Incoming>, client: Client| {
            let intake = self.intake.take();
            let answer = if is_refused {
                Err(intake.too_many_connections())
            } else {
                Ok(intake.handle(request, &client))
            };
            async move {
                match answer {
                    Ok(answer) => answer.await,
                    Err(refused) => refused,
                }
            }
        };
        serve::connection(arrival, place, tls, service, self.stop.clone()).await
    }
}

/// What is counted of an end.
fn reason(end: ConnectionEnd) -> Option<Refusal> {
    match end {
        ConnectionEnd::HandshakeFailed | ConnectionEnd::HandshakeTimeout => {
            Some(Refusal::TlsHandshake)
        }
        ConnectionEnd::ProxyHeader => Some(Refusal::ProxyHeader),
        ConnectionEnd::Evicted => Some(Refusal::Evicted),
        ConnectionEnd::Flooded => Some(Refusal::Flooded),
        ConnectionEnd::AnswerTimeout => Some(Refusal::AnswerTimeout),
        ConnectionEnd::Closed
        | ConnectionEnd::Idle
        | ConnectionEnd::Unverified
        | ConnectionEnd::Dismissed
        | ConnectionEnd::Stopped
        | ConnectionEnd::Broken => None,
    }
}
