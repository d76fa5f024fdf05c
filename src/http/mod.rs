//! The public HTTP surface: one request in, one answer out, top to bottom in [`Intake::handle`].
//!
//! gate (may it come in?) -> body (read it) -> ingest (make it durable) -> answer.

mod answer;
mod body;
mod gate;
mod guesses;
mod hec;
mod in_flight;
mod log;
mod refusal;
mod secrets;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use hyper::{Method, Request, Response, body::Incoming, http::request};
use jiff::Timestamp;
use tokio::{sync::Mutex, task::spawn_blocking, time::sleep};

pub use self::answer::Body;
use self::{
    body::Upload,
    gate::{Admitted, Asks, Gate, Visit},
    guesses::Guesses,
    in_flight::InFlight,
    refusal::Refusal,
};
use crate::{
    config::{Config, Limits, Protocol, format_bytes},
    decode,
    ingest::{Ingest, Origin},
    metrics::Metrics,
    quarantine::Bodies,
    spool::Spool,
};

const DRAINING: &str = "the receiver is shutting down; send again";

/// Above this, a body on the wire is no destination check.
const MAX_CHECK_BYTES: u64 = 1024;

/// Everything that a request may need. Shared by all of them.
#[derive(Debug)]
pub struct Intake {
    gate: Gate,
    /// Of the gate's endpoints in the metrics.
    places: Vec<usize>,
    limits: Limits,
    in_flight: InFlight,
    spool: Arc<Spool>,
    bodies: Arc<Bodies>,
    metrics: Arc<Metrics>,
    draining: Arc<AtomicBool>,
    refusals: Arc<log::Withholding>,
    guesses: Arc<Guesses>,
    /// Held by whoever finds out about the health.
    probing: Arc<Mutex<()>>,
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
            gate: Gate::open(&config.endpoints)?,
            places: places(config, &metrics),
            limits: config.limits,
            in_flight: InFlight::new(config.limits.max_in_flight_bytes),
            spool,
            bodies,
            metrics,
            draining: Arc::default(),
            refusals: Arc::new(log::withholding()),
            guesses: Arc::default(),
            probing: Arc::default(),
        })
    }

    /// One that has other endpoints and limits, and everything else in common: both may be used at
    /// the same time.
    pub fn renewed(&self, config: &Config) -> io::Result<Self> {
        Ok(Self {
            gate: Gate::open(&config.endpoints)?,
            places: places(config, &self.metrics),
            limits: config.limits,
            in_flight: self.in_flight.limited_to(config.limits.max_in_flight_bytes),
            spool: Arc::clone(&self.spool),
            bodies: Arc::clone(&self.bodies),
            metrics: Arc::clone(&self.metrics),
            draining: Arc::clone(&self.draining),
            refusals: Arc::clone(&self.refusals),
            guesses: Arc::clone(&self.guesses),
            probing: Arc::clone(&self.probing),
        })
    }

    /// Why something may go to quarantine: the labels that [`Metrics`] needs, in their order.
    pub fn quarantine_reasons() -> Vec<&'static str> {
        body::quarantine_reasons()
    }

    /// Refuses batches from now on.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Why batches are refused now, if they are.
    pub fn readiness(&self) -> Result<(), String> {
        if self.is_draining() {
            return Err(DRAINING.to_owned());
        }
        // Whoever asks how the daemon is must not cost a sink batches.
        let wanted = self.in_flight.used().saturating_add(1);
        self.spool.may_have_room(wanted).map_err(|reason| reason.to_string())?;
        if self.in_flight.is_full() {
            return Err(self.too_much_in_flight_text());
        }
        self.spool.writable().map_err(|reason| reason.to_string())
    }

    /// The answer for a connection beyond `limits.max_connections`.
    pub fn too_many_connections(&self) -> Response<Body> {
        let limit = self.limits.max_connections;
        let why = format!("too many connections (limits.max_connections = {limit}); send again");
        let refusal = Refusal::unavailable(&why);
        self.metrics.refused(refusal.label());
        answer::last(answer::refused(Protocol::Logpush, &refusal))
    }

    /// Answers one request. Never fails: what goes wrong is an answer too.
    pub async fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> Response<Body> {
        // In a task of its own: hyper drops this future as soon as it sees the connection end, and
        // what has arrived by then may be a whole body.
        let answering = tokio::spawn(self.answer(request, peer));
        answering
            .await
            .unwrap_or_else(|error| answer::refused(Protocol::Logpush, &body::panicked(&error)))
    }

    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> Response<Body> {
        let started = Instant::now();
        let (head, mut incoming) = request.into_parts();
        let declared = hyper::body::Body::size_hint(&incoming).exact();
        let Visit { endpoint, protocol, asks } = self.gate.admit(&head, peer.ip());
        let prepared = match asks {
            Err(refusal) => Err(refusal),
            Ok(Asks::Upload(admitted)) => self.prepare(admitted, declared, peer, started),
            Ok(Asks::Health) => {
                return without_body(&head, answer::health(self.is_healthy().await));
            }
            Ok(Asks::Methods(allow)) => return answer::methods(allow),
        };
        let begun = prepared.is_ok();
        let outcome = match prepared {
            Err(refusal) => Err(refusal),
            Ok((upload, ingest)) => upload.receive(&mut incoming, ingest).await,
        };
        match outcome {
            Ok(accepted) => answer::accepted(protocol, &accepted),
            Err(refusal) => {
                self.metrics.refused(refusal.label());
                let at = (endpoint, protocol);
                log::refused(&self.refusals, &refusal, &head, peer, at, declared);
                if matches!(refusal, Refusal::Unauthorized(_)) {
                    sleep(self.guesses.wrong(peer.ip(), started)).await;
                }
                let refused = without_body(&head, answer::refused(protocol, &refusal));
                if body::let_go(&head, incoming, begun) { answer::last(refused) } else { refused }
            }
        }
    }

    /// As [`Intake::readiness`], for anybody: after a failure that tries the disk, so one at a time.
    async fn is_healthy(self: &Arc<Self>) -> bool {
        let _one = self.probing.lock().await;
        let intake = Arc::clone(self);
        spawn_blocking(move || intake.readiness().is_ok()).await.unwrap_or(false)
    }

    /// What can be said before a byte of the body is read.
    fn check_length(&self, declared: Option<u64>) -> Result<(), Refusal> {
        let bytes = declared.unwrap_or(0);
        if bytes > self.limits.max_body_bytes {
            return Err(Refusal::body_too_large(self.limits.max_body_bytes, declared));
        }
        if bytes > self.spool.max_bytes() {
            return Err(Refusal::larger_than_spool(self.spool.max_bytes(), bytes));
        }
        // A destination check is answered also while nothing can be stored; what turns out to be a
        // batch is refused then when it is to be committed.
        if (1..=MAX_CHECK_BYTES).contains(&bytes) && !self.is_draining() {
            return Ok(());
        }
        self.unavailable(bytes).map_or(Ok(()), Err)
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    fn unavailable(&self, bytes: u64) -> Option<Refusal> {
        if self.is_draining() {
            return Some(Refusal::unavailable(&DRAINING));
        }
        let wanted = self.in_flight.used().saturating_add(bytes.max(1));
        self.spool.room(wanted).err().map(|reason| Refusal::unavailable(&reason))
    }

    fn prepare(
        self: &Arc<Self>,
        admitted: Admitted,
        declared: Option<u64>,
        peer: SocketAddr,
        started: Instant,
    ) -> Result<(Upload, Ingest), Refusal> {
        self.check_length(declared)?;
        let Some(reservation) = self.in_flight.reserve(declared.unwrap_or(0)) else {
            return Err(self.too_much_in_flight());
        };
        let limits = decode::Limits {
            inflated_bytes: self.limits.max_inflated_bytes,
            record_bytes: usize::try_from(self.limits.max_record_bytes).unwrap_or(usize::MAX),
        };
        let origin =
            Origin { endpoint: admitted.endpoint, dataset: admitted.dataset, received: now() };
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
            endpoint: self.places.get(admitted.place).copied().unwrap_or(usize::MAX),
            protocol: admitted.protocol,
            peer,
            started,
            reservation,
        };
        Ok((upload, ingest))
    }

    fn too_much_in_flight(&self) -> Refusal {
        Refusal::unavailable(&self.too_much_in_flight_text())
    }

    fn too_much_in_flight_text(&self) -> String {
        let limit = format_bytes(self.limits.max_in_flight_bytes);
        let most = in_flight::MAX_UPLOADS;
        format!(
            "too many uploads at once (limits.max_in_flight_bytes = {limit}, or {most} uploads); \
             send again"
        )
    }
}

/// The answer without its body, if HEAD asks: hyper leaves it out of HTTP/1.1 by itself; in HTTP/2 it
/// would break the stream.
fn without_body(head: &request::Parts, mut response: Response<Body>) -> Response<Body> {
    if head.method == Method::HEAD {
        *response.body_mut() = Body::default();
    }
    response
}

fn places(config: &Config, metrics: &Metrics) -> Vec<usize> {
    config.endpoints.iter().map(|endpoint| metrics.endpoint(&endpoint.name)).collect()
}

/// Whole microseconds, as a batch's file name holds them.
fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
}
