//! What becomes of a connection that was accepted: served, told that there are too many, or closed.

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use hyper::{Request, body::Incoming};
use rustls::server::ClientHello;
use tokio::{net::TcpStream, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::current::Current;
use crate::{
    admission::{Admission, Place},
    http::Intake,
    metrics::{Metrics, Refusal},
    serve::{self, Client, ConnectionEnd},
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
        stream: TcpStream,
        peer: SocketAddr,
        admission: Admission,
    ) -> Option<impl Future<Output = ()> + Send + 'static> {
        let (place, is_refused) = match admission {
            Admission::Open(place) => (place, false),
            Admission::Full(place) => (place, true),
            Admission::Refused => {
                debug!(%peer, "too many connections: closed");
                self.metrics.refused(Refusal::TooManyConnections);
                return None;
            }
        };
        Some(async move {
            let _open = self.metrics.connection();
            let end = if is_refused {
                let refusing = self.connection(stream, peer, place, is_refused);
                timeout(REFUSED_CONNECTION, refusing).await.unwrap_or(ConnectionEnd::Idle)
            } else {
                self.connection(stream, peer, place, is_refused).await
            };
            debug!(%peer, ?end, "connection ended");
            if let Some(reason) = reason(end) {
                self.metrics.refused(reason);
            }
        })
    }

    async fn connection(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        place: Place,
        is_refused: bool,
    ) -> ConnectionEnd {
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
        serve::connection(stream, peer, place, tls, service, self.stop.clone()).await
    }
}

/// What is counted of an end.
fn reason(end: ConnectionEnd) -> Option<Refusal> {
    match end {
        ConnectionEnd::HandshakeFailed | ConnectionEnd::HandshakeTimeout => {
            Some(Refusal::TlsHandshake)
        }
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
