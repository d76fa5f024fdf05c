//! The HTTP interface for senders. [`Intake::handle`] takes a request through all steps:
//!
//! gate (authenticate) -> body (read) -> ingest (make durable) -> answer.
//!
//! A request of an unverified sender holds no memory: `handle` decides before it returns, and only
//! an upload that passed the gate gets a task and keeps its body.

mod answer;
mod body;
mod datasets;
mod exchange;
mod gate;
mod health;
mod hec;
mod in_flight;
mod log;
mod refusal;
mod secret_throttle;
mod secrets;
mod sink_header;
mod spool_unavailable;

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

pub use self::{
    answer::Body,
    in_flight::MAX_UPLOADS,
    sink_header::{SINK, sink_header},
};
use self::{
    body::Upload,
    exchange::{Reply, without_body},
    gate::{Admitted, Gate},
    health::Health,
    in_flight::InFlight,
    refusal::Refusal,
    secret_throttle::SecretThrottle,
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

/// Interval at which a disk check is polled for its result.
const DISK_POLL: Duration = Duration::from_millis(5);

/// Size on the wire above which a body cannot be a destination check.
const MAX_CHECK_BYTES: u64 = 1024;

/// Handles requests. Shared by all connections.
#[derive(Debug)]
pub struct Intake {
    gate: Gate,
    limits: Limits,
    proxies: Vec<IpNet>,
    in_flight: InFlight,
    /// State of the spool that async code may query. Only blocking threads use `spool` itself.
    spool_status: SpoolStatus,
    spool: Arc<Spool>,
    bodies: Arc<Bodies>,
    metrics: Arc<Metrics>,
    draining: Arc<AtomicBool>,
    refusal_throttle: Arc<log::RefusalThrottle>,
    secret_throttle: Arc<SecretThrottle>,
    health: Arc<Health>,
}

impl Intake {
    /// Creates an intake, and reads the secrets of its endpoints.
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
            spool_status: SpoolStatus::new(&spool),
            spool,
            bodies,
            metrics,
            draining: Arc::default(),
            refusal_throttle: Arc::new(log::refusal_throttle()),
            secret_throttle: Arc::default(),
            health: Arc::default(),
        })
    }

    /// Returns an intake with the endpoints and limits of `config` that shares everything else with
    /// this one. Both may be used at the same time.
    pub fn renewed(&self, config: &Config) -> io::Result<Self> {
        Ok(Self {
            gate: Gate::open(&config.endpoints, &config.sinks, &self.metrics)?
                .continuing(&self.gate),
            limits: config.limits,
            proxies: config.server.proxy_protocol_from.clone(),
            in_flight: self.in_flight.limited_to(config.limits.max_in_flight_bytes),
            spool_status: self.spool_status.clone(),
            spool: Arc::clone(&self.spool),
            bodies: Arc::clone(&self.bodies),
            metrics: Arc::clone(&self.metrics),
            draining: Arc::clone(&self.draining),
            refusal_throttle: Arc::clone(&self.refusal_throttle),
            secret_throttle: Arc::clone(&self.secret_throttle),
            health: Arc::clone(&self.health),
        })
    }

    /// Records in the audit log which secrets differ from `before`.
    pub fn audit_changes(&self, before: &Self) {
        self.gate.audit_changes(&before.gate);
    }

    /// Refuses batches from now on.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Updates [`Intake::readiness`]: checks the disk if it fails, or if nothing was written to it
    /// for `age`. Takes a few seconds at most, if the disk hangs.
    pub async fn ask_disk(&self, age: Duration) {
        if let Some(probe) = self.spool_status.probe(age) {
            while !self.spool_status.is_finished(probe) {
                sleep(DISK_POLL).await;
            }
        }
    }

    /// Returns why batches are refused now, if they are, without checking the disk.
    pub fn readiness(&self) -> Result<(), String> {
        if self.is_draining() {
            return Err(DRAINING.to_owned());
        }
        // Not `Spool::make_room`: a probe must not discard batches of sinks with
        // `when_full = "drop"`.
        let wanted = self.in_flight.used().saturating_add(1);
        self.spool_status.may_accept(wanted).map_err(|reason| spool_unavailable::text(&reason))?;
        if self.in_flight.is_full() {
            return Err(self.too_much_in_flight_text());
        }
        self.spool_status.writable().map_err(|reason| spool_unavailable::text(&reason))
    }

    /// Whether some endpoint's `allow_from` contains this address. Loopback may always connect, so
    /// that an operator who tests gets a 403 with its reason.
    pub fn may_connect(&self, address: IpAddr) -> bool {
        address == Ipv4Addr::LOCALHOST
            || address == Ipv6Addr::LOCALHOST
            || self.gate.may_connect(address)
    }

    /// Returns `limits.max_connections_per_address`.
    pub fn max_connections_per_address(&self) -> usize {
        self.limits.max_connections_per_address
    }

    /// Whether connections from this address begin with a PROXY protocol header, by
    /// `server.proxy_protocol_from`.
    pub fn is_proxy(&self, address: IpAddr) -> bool {
        self.proxies.iter().any(|network| network.contains(&address))
    }

    /// Returns the answer for a connection beyond `limits.max_connections`.
    pub fn too_many_connections(&self) -> Response<Body> {
        let limit = self.limits.max_connections;
        let why = format!("too many connections (limits.max_connections = {limit}); send again");
        let refusal = Refusal::unavailable(&why);
        self.metrics.refused(refusal.reason());
        answer::close_after(answer::refused(Protocol::Logpush, &refusal))
    }

    /// Answers one request. Every failure is an answer.
    ///
    /// The gate decides before this returns. The head is dropped then, and so is the body unless it
    /// is accepted. If the client resets its stream, hyper drops the future and the request's
    /// memory.
    pub fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
        client: &Client,
    ) -> impl Future<Output = Response<Body>> + Send + use<> {
        let reply = self.decide(request, client);
        async move {
            match reply {
                Reply::Answer(response) => response,
                Reply::Health { is_head } => {
                    let is_healthy = self.health.ask(Arc::clone(&self)).await;
                    without_body(is_head, answer::health(is_healthy))
                }
                Reply::Delayed(response, delay, _closing) => {
                    sleep(delay.length).await;
                    response
                }
                // In a separate task: hyper drops this future when the connection ends, although
                // the whole body may have arrived.
                Reply::Upload(upload) => upload.await.unwrap_or_else(|error| {
                    answer::refused(Protocol::Logpush, &body::panicked(&error))
                }),
            }
        }
    }

    /// Checks a request before its body is read. `Some(bytes)` if the disk was full when it was
    /// last checked: [`Intake::check_disk`] must find that many bytes free.
    fn check_length(&self, declared: Option<u64>) -> Result<Option<u64>, Refusal> {
        let bytes = declared.unwrap_or(0);
        if bytes > self.limits.max_body_bytes {
            return Err(Refusal::body_too_large(self.limits.max_body_bytes, declared));
        }
        if bytes > self.spool_status.max_bytes() {
            return Err(Refusal::larger_than_spool(self.spool_status.max_bytes(), bytes));
        }
        // A destination check is answered even while nothing can be stored. If the body is a batch
        // after all, the commit refuses it.
        if (1..=MAX_CHECK_BYTES).contains(&bytes) && !self.is_draining() {
            return Ok(None);
        }
        if self.is_draining() {
            return Err(Refusal::unavailable(&DRAINING));
        }
        let wanted = self.in_flight.used().saturating_add(bytes.max(1));
        match self.spool_status.may_accept(wanted) {
            Ok(()) => Ok(None),
            Err(SpoolUnavailable::DiskFull { .. }) => Ok(Some(wanted)),
            Err(reason) => Err(reason.into()),
        }
    }

    /// Checks again whether a disk that was full has room for `wanted` bytes.
    async fn check_disk(&self, wanted: u64) -> Result<(), Refusal> {
        self.ask_disk(Duration::ZERO).await;
        self.spool_status.may_accept(wanted).map_err(Refusal::from)
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Reserves what an upload needs.
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
            admitted.body_format,
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

/// Returns the time in whole microseconds, the precision of batch file names.
fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
}
