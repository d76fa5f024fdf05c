//! Handles accepted connections: serves them, answers with an error, or closes them.

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use hyper::{Request, body::Incoming};
use rustls::{ServerConfig, pki_types::CertificateDer, server::ClientHello};
use tokio::{net::TcpListener, sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{Daemon, OVERFLOW_CONNECTIONS, current::Current};
use crate::{
    admission::{Admission, AdmissionLimits, ConnectionSlot},
    http::Intake,
    listen,
    metrics::{Metrics, RefusalReason},
    serve::{self, AcceptedConnection, Client, ConnectionEnd},
    tls::Acceptor,
};

/// The time limit of a connection that only gets an error response, since it holds a permit that
/// the next one needs.
const REFUSED_CONNECTION: Duration = Duration::from_secs(5);

/// Handles connections with the current settings.
#[derive(Clone)]
pub(super) struct ConnectionHandler {
    pub(super) intake: Arc<Current<Intake>>,
    pub(super) acceptor: Arc<Acceptor>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) stop: CancellationToken,
}

impl Daemon {
    /// Accepts connections until the daemon stops.
    pub(super) fn accept(
        &self,
        listener: TcpListener,
    ) -> impl Future<Output = ()> + Send + 'static {
        let intake = Arc::clone(&self.intake);
        let handler = ConnectionHandler {
            intake: Arc::clone(&intake),
            acceptor: Arc::clone(&self.acceptor),
            metrics: Arc::clone(&self.metrics),
            stop: self.stop.clone(),
        };
        let (permits, free) = (Arc::clone(&self.permits), Arc::clone(&self.permits));
        let (open, tasks) = (Arc::clone(&self.open), self.connections.clone());
        let admit = {
            let intake = Arc::clone(&intake);
            move |address| {
                let is_full = free.available_permits() < OVERFLOW_CONNECTIONS;
                let per_address = intake.load().max_connections_per_address();
                open.admit(
                    address,
                    AdmissionLimits { per_address, is_full },
                    std::time::Instant::now(),
                )
            }
        };
        listen::accept_loop(listener, permits, self.stop.clone(), move |stream, peer, permit| {
            let arrival = AcceptedConnection::new(stream, peer);
            let address = arrival.client().ip();
            if intake.load().is_proxy(address) {
                let (handler, admit) = (handler.clone(), admit.clone());
                tasks.spawn(async move {
                    // The client's address is known only after the header. A proxy itself has no
                    // limit.
                    if let Some(arrival) = handler.read_proxy_header(arrival).await
                        && let Some(is_allowed) = handler.is_allowed(arrival.client())
                    {
                        let admission = admit(arrival.client().ip());
                        if let Some(serving) = handler.serve(arrival, admission, is_allowed) {
                            serving.await;
                        }
                    }
                    drop(permit);
                });
                return;
            }
            let Some(is_allowed) = handler.is_allowed(peer) else { return };
            let Some(serving) = handler.clone().serve(arrival, admit(address), is_allowed) else {
                return;
            };
            tasks.spawn(async move {
                serving.await;
                drop(permit);
            });
        })
    }
}

impl ConnectionHandler {
    /// Serves a connection until it ends. Returns `None` if it is closed at once.
    pub(super) fn serve(
        self,
        arrival: AcceptedConnection,
        admission: Admission,
        is_allowed: bool,
    ) -> Option<impl Future<Output = ()> + Send + 'static> {
        let client = arrival.client();
        let (place, is_refused) = match admission {
            Admission::Open(place) => (place, false),
            Admission::Full(place) => (place, true),
            Admission::Refused => {
                debug!(%client, "too many connections: closed");
                self.metrics.refused(RefusalReason::TooManyConnections);
                return None;
            }
        };
        let tls = ServerTls { acceptor: Arc::clone(&self.acceptor), is_allowed };
        Some(async move {
            let _open = self.metrics.connection();
            let end = if is_refused {
                let refusing = self.connection(arrival, place, &tls, is_refused);
                timeout(REFUSED_CONNECTION, refusing).await.unwrap_or(ConnectionEnd::Idle)
            } else {
                self.connection(arrival, place, &tls, is_refused).await
            };
            self.ended(client, end);
        })
    }

    /// Returns whether any endpoint allows the client's address. Returns `None` if none does and no
    /// ACME challenge is pending: the connection is then closed.
    fn is_allowed(&self, client: SocketAddr) -> Option<bool> {
        let is_allowed = self.intake.load().may_connect(client.ip());
        if is_allowed || self.acceptor.expects_challenges() {
            return Some(is_allowed);
        }
        debug!(%client, "no endpoint allows this address: closed");
        self.metrics.refused(RefusalReason::AddressNotAllowed);
        None
    }

    /// Waits for the PROXY protocol header of a connection. Returns `None` if the connection has
    /// ended.
    pub(super) async fn read_proxy_header(
        &self,
        arrival: AcceptedConnection,
    ) -> Option<AcceptedConnection> {
        let proxy = arrival.client();
        let ended = |end| self.ended(proxy, end);
        arrival.read_proxy_header(self.stop.clone()).await.map_err(ended).ok()
    }

    fn ended(&self, peer: SocketAddr, end: ConnectionEnd) {
        debug!(%peer, ?end, "connection ended");
        if let Some(reason) = reason(end) {
            self.metrics.refused(reason);
        }
    }

    async fn connection(
        &self,
        arrival: AcceptedConnection,
        place: ConnectionSlot,
        tls: &ServerTls,
        is_refused: bool,
    ) -> ConnectionEnd {
        let service = |request: Request<Incoming>, client: Client| {
            let intake = self.intake.load();
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

/// The TLS settings of a connection.
struct ServerTls {
    acceptor: Arc<Acceptor>,
    /// Whether the client's address may connect. If not, the client may still be an ACME directory.
    is_allowed: bool,
}

impl serve::Tls for ServerTls {
    fn choose(&self, hello: &ClientHello<'_>) -> Option<Arc<ServerConfig>> {
        if self.is_allowed {
            Some(self.acceptor.choose(hello))
        } else {
            self.acceptor.choose_challenge(hello)
        }
    }

    fn replaced(&self) -> watch::Receiver<()> {
        self.acceptor.replaced()
    }

    fn accepts_client(&self, chain: &[CertificateDer<'_>]) -> bool {
        self.acceptor.accepts_client(chain)
    }
}

/// Returns the reason to count for the end of a connection, if it is a refusal.
fn reason(end: ConnectionEnd) -> Option<RefusalReason> {
    match end {
        ConnectionEnd::HandshakeFailed | ConnectionEnd::HandshakeTimeout => {
            Some(RefusalReason::TlsHandshake)
        }
        ConnectionEnd::ProxyHeader => Some(RefusalReason::ProxyHeader),
        ConnectionEnd::Evicted => Some(RefusalReason::Evicted),
        ConnectionEnd::Flooded => Some(RefusalReason::Flooded),
        ConnectionEnd::AnswerTimeout => Some(RefusalReason::AnswerTimeout),
        ConnectionEnd::Closed
        | ConnectionEnd::Idle
        | ConnectionEnd::Unverified
        | ConnectionEnd::Dismissed
        | ConnectionEnd::Stopped
        | ConnectionEnd::Broken => None,
    }
}
