//! The public HTTP surface: one request in, one answer out, top to bottom in [`Intake::handle`].
//!
//! gate (may it come in?) -> body (read it) -> ingest (make it durable) -> answer.
//!
//! Nothing is held for a request whose sender is not verified: `handle` decides before it returns, and
//! only an upload that has passed the gate gets a task and keeps its body.

mod addressee;
mod answer;
mod body;
mod datasets;
mod exchange;
mod gate;
mod guesses;
mod health;
mod hec;
mod in_flight;
mod log;
mod no_room;
mod refusal;
mod secrets;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use hyper::{Request, Response, body::Incoming};
use ipnet::IpNet;
use jiff::Timestamp;
use tokio::time::sleep;

pub use self::{addressee::SINK, answer::Body, in_flight::MAX_UPLOADS};
use self::{
    body::Upload,
    exchange::{Decision, without_body},
    gate::{Admitted, Gate},
    guesses::Guesses,
    health::Health,
    in_flight::InFlight,
    refusal::Refusal,
};
use crate::{
    config::{Config, Limits, Protocol, format_bytes},
    decode,
    ingest::Ingest,
    metrics::Metrics,
    quarantine::Bodies,
    serve::Client,
    spool::{Origin, Spool, SpoolStatus, SpoolUnavailable},
};

const DRAINING: &str = "the receiver is shutting down; send again";

/// How often it is looked whether the disk has answered.
const ANSWER_PAUSE: Duration = Duration::from_millis(5);

/// Above this, a body on the wire is no destination check.
const MAX_CHECK_BYTES: u64 = 1024;

/// Everything that a request may need. Shared by all of them.
#[derive(Debug)]
pub struct Intake {
    gate: Gate,
    limits: Limits,
    proxies: Vec<IpNet>,
    in_flight: InFlight,
    /// What may be asked here; the spool itself is for threads that may wait for its disk.
    room: SpoolStatus,
    spool: Arc<Spool>,
    bodies: Arc<Bodies>,
    metrics: Arc<Metrics>,
    draining: Arc<AtomicBool>,
    refusals: Arc<log::Withholding>,
    guesses: Arc<Guesses>,
    health: Arc<Health>,
}

impl Intake {
    /// Reads the endpoints' secrets.
    pub fn new(
        config: &Config,
        spool: Arc<Spool>,
        bodies: Arc<Bodies>,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        Ok(Self {
            gate: Gate::open(&config.endpoints, &config.sinks, &metrics)?,
            limits: config.limits,
            proxies: config.server.proxy_protocol_from.clone(),
            in_flight: InFlight::new(config.limits.max_in_flight_bytes),
            room: SpoolStatus::new(&spool),
            spool,
            bodies,
            metrics,
            draining: Arc::default(),
            refusals: Arc::new(log::withholding()),
            guesses: Arc::default(),
            health: Arc::default(),
        })
    }

    /// One that has other endpoints and limits, and everything else in common: both may be used at
    /// the same time.
    pub fn renewed(&self, config: &Config) -> io::Result<Self> {
        Ok(Self {
            gate: Gate::open(&config.endpoints, &config.sinks, &self.metrics)?
                .continuing(&self.gate),
            limits: config.limits,
            proxies: config.server.proxy_protocol_from.clone(),
            in_flight: self.in_flight.limited_to(config.limits.max_in_flight_bytes),
            room: self.room.clone(),
            spool: Arc::clone(&self.spool),
            bodies: Arc::clone(&self.bodies),
            metrics: Arc::clone(&self.metrics),
            draining: Arc::clone(&self.draining),
            refusals: Arc::clone(&self.refusals),
            guesses: Arc::clone(&self.guesses),
            health: Arc::clone(&self.health),
        })
    }

    /// Records in the audit log whose secrets are different from `before`.
    pub fn audit_changes(&self, before: &Self) {
        self.gate.audit_changes(&before.gate);
    }

    /// Refuses batches from now on.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Brings [`Intake::readiness`] up to date: asks the disk if it fails or has taken nothing for `age`.
    /// Takes a few seconds at the most, when the disk hangs.
    pub async fn ask_disk(&self, age: Duration) {
        if let Some(probe) = self.room.probe(age) {
            while !self.room.is_finished(probe) {
                sleep(ANSWER_PAUSE).await;
            }
        }
    }

    /// Why batches are refused now, if they are, as far as is known without asking the disk.
    pub fn readiness(&self) -> Result<(), String> {
        if self.is_draining() {
            return Err(DRAINING.to_owned());
        }
        // Whoever asks how the daemon is must not cost a sink batches.
        let wanted = self.in_flight.used().saturating_add(1);
        self.room.may_accept(wanted).map_err(|reason| no_room::text(&reason))?;
        if self.in_flight.is_full() {
            return Err(self.too_much_in_flight_text());
        }
        self.room.writable().map_err(|reason| no_room::text(&reason))
    }

    /// Whether a connection from this address is of any use, by the `allow_from` of all endpoints.
    /// From the machine itself it is: an operator who tries gets a 403, which says why.
    pub fn may_connect(&self, address: IpAddr) -> bool {
        address == Ipv4Addr::LOCALHOST
            || address == Ipv6Addr::LOCALHOST
            || self.gate.may_connect(address)
    }

    /// `limits.max_connections_per_address`
    pub fn max_connections_per_address(&self) -> usize {
        self.limits.max_connections_per_address
    }

    /// Whether connections from this address begin with a PROXY protocol header:
    /// `server.proxy_protocol_from`.
    pub fn is_proxy(&self, address: IpAddr) -> bool {
        self.proxies.iter().any(|network| network.contains(&address))
    }

    /// The answer for a connection beyond `limits.max_connections`.
    pub fn too_many_connections(&self) -> Response<Body> {
        let limit = self.limits.max_connections;
        let why = format!("too many connections (limits.max_connections = {limit}); send again");
        let refusal = Refusal::unavailable(&why);
        self.metrics.refused(refusal.reason());
        answer::last(answer::refused(Protocol::Logpush, &refusal))
    }

    /// Answers one request. Never fails: what goes wrong is an answer too.
    ///
    /// The gate decides before this returns. The head is dropped then, and the body as well unless it
    /// is to be saved; a client that resets its stream drops the future, and with it all there is.
    pub fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
        client: &Client,
    ) -> impl Future<Output = Response<Body>> + Send + use<> {
        let step = self.decide(request, client);
        async move {
            match step {
                Decision::Answer(response) => response,
                Decision::Health { is_head } => {
                    let is_healthy = self.health.ask(Arc::clone(&self)).await;
                    without_body(is_head, answer::health(is_healthy))
                }
                Decision::Delayed(response, delay, _closing) => {
                    sleep(delay.length).await;
                    response
                }
                // In a task of its own: hyper drops this future as soon as it sees the connection
                // end, and what has arrived by then may be a whole body.
                Decision::Upload(upload) => upload.await.unwrap_or_else(|error| {
                    answer::refused(Protocol::Logpush, &body::panicked(&error))
                }),
            }
        }
    }

    /// What can be said before a byte of the body is read. `Some` if that depends on whether the disk
    /// has so many bytes by now: see [`Intake::check_disk`].
    fn check_length(&self, declared: Option<u64>) -> Result<Option<u64>, Refusal> {
        let bytes = declared.unwrap_or(0);
        if bytes > self.limits.max_body_bytes {
            return Err(Refusal::body_too_large(self.limits.max_body_bytes, declared));
        }
        if bytes > self.room.max_bytes() {
            return Err(Refusal::larger_than_spool(self.room.max_bytes(), bytes));
        }
        // A destination check is answered also while nothing can be stored; what turns out to be a
        // batch is refused then when it is to be committed.
        if (1..=MAX_CHECK_BYTES).contains(&bytes) && !self.is_draining() {
            return Ok(None);
        }
        if self.is_draining() {
            return Err(Refusal::unavailable(&DRAINING));
        }
        let wanted = self.in_flight.used().saturating_add(bytes.max(1));
        match self.room.may_accept(wanted) {
            Ok(()) => Ok(None),
            Err(SpoolUnavailable::DiskFull { .. }) => Ok(Some(wanted)),
            Err(reason) => Err(reason.into()),
        }
    }

    /// Whether a disk that was full when it was last asked has room by now.
    async fn check_disk(&self, wanted: u64) -> Result<(), Refusal> {
        self.ask_disk(Duration::ZERO).await;
        self.room.may_accept(wanted).map_err(Refusal::from)
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    fn prepare(
        self: &Arc<Self>,
        admitted: Admitted,
        declared: Option<u64>,
        peer: SocketAddr,
    ) -> Result<(Upload, Ingest), Refusal> {
        let wanted = self.check_length(declared)?;
        let Some(reservation) = self.in_flight.reserve(declared.unwrap_or(0)) else {
            return Err(self.too_much_in_flight());
        };
        let limits = decode::Limits {
            inflated_bytes: self.limits.max_inflated_bytes,
            record_bytes: usize::try_from(self.limits.max_record_bytes).unwrap_or(usize::MAX),
        };
        let Admitted { endpoint, dataset, sink, .. } = admitted;
        let name = endpoint.name().to_owned();
        let origin = Origin { endpoint: name, dataset, received: now(), sink };
        let ingest = Ingest::new(
            Arc::clone(&self.spool),
            Arc::clone(&self.bodies),
            limits,
            origin.clone(),
            admitted.form,
        );
        let upload = Upload {
            intake: Arc::clone(self),
            origin,
            endpoint,
            protocol: admitted.protocol,
            peer,
            started: Instant::now(),
            wanted,
            reservation,
        };
        Ok((upload, ingest))
    }

    fn too_much_in_flight(&self) -> Refusal {
        Refusal::unavailable(&self.too_much_in_flight_text())
    }

    fn too_much_in_flight_text(&self) -> String {
        let limit = format_bytes(self.limits.max_in_flight_bytes);
        let most = MAX_UPLOADS;
        format!(
            "too many uploads at once (limits.max_in_flight_bytes = {limit}, or {most} uploads); \
             send again"
        )
    }
}

/// Whole microseconds, as a batch's file name holds them.
fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
}
