//! Reads a body and passes it to its [`Ingest`] on a blocking thread.

use std::{
    error::Error as _,
    io, iter,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::{Version, body::Incoming, header::EXPECT, http::request};
use jiff::Timestamp;
use tokio::{
    sync::Semaphore,
    task::JoinError,
    time::{sleep, timeout},
};
use tracing::{error, info, warn};

use super::{Intake, answer::Accepted, in_flight::Reservation, refusal::Refusal};
use crate::{
    blocking,
    config::Protocol,
    decode::RejectReason,
    ingest::{Ingest, IngestError, Receipt},
    metrics::{Arrival, EndpointMetrics, QuarantineReason},
    spool::{Origin, SpoolUnavailable},
};

/// Time without progress after which a body is refused. Cloudflare itself gives up after 10 s.
const BODY_IDLE: Duration = Duration::from_secs(30);

/// Time for a whole body: enough for the largest at 300 kB/s. Cloudflare never sends more slowly.
const BODY_TOTAL: Duration = Duration::from_secs(15 * 60);

/// Time that a sender waits for the disk: longer than a large batch takes on a slow one.
const DISK_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes that are collected before they are passed to a blocking thread: enough to make the switch
/// cheap, and few enough that reading hardly waits for the thread.
const HANDOFF_BYTES: usize = 128 * 1024;

/// Chunks that are collected at most: each costs some hundred bytes, however short it is.
const MAX_HANDOFF_CHUNKS: usize = 1024;

/// Bytes of a refused body that are still read, so that a sender that is sending it gets the answer
/// instead of a reset connection.
const LINGER_BYTES: usize = 4 << 20;
const LINGER: Duration = Duration::from_secs(2);

/// Time within which a refusal is usually sent. A sender that got `100 Continue` first would send
/// the body.
const ANSWER_DELAY: Duration = Duration::from_millis(100);

/// Refused bodies that are read at a time. Beyond that, streams are reset.
static LINGERING: Semaphore = Semaphore::const_new(64);

/// An upload of a verified sender.
pub(super) struct Upload {
    pub(super) intake: Arc<Intake>,
    pub(super) origin: Origin,
    pub(super) endpoint: Arc<EndpointMetrics>,
    pub(super) protocol: Protocol,
    pub(super) peer: SocketAddr,
    pub(super) started: Instant,
    /// Bytes that the disk must have free, if it had fewer when it was last checked.
    pub(super) wanted: Option<u64>,
    pub(super) reservation: Reservation,
}

impl Upload {
    /// Reads the body, and makes it durable.
    pub(super) async fn receive(
        mut self,
        incoming: &mut Incoming,
        mut ingest: Ingest,
    ) -> Result<Accepted, Refusal> {
        let max_body_bytes = self.intake.limits.max_body_bytes;
        let mut received = Received {
            intake: Arc::clone(&self.intake),
            endpoint: Arc::clone(&self.endpoint),
            dataset: self.origin.dataset.clone(),
            bytes: 0,
        };
        let mut chunks = Chunks::default();
        loop {
            let time_left = BODY_IDLE.min(BODY_TOTAL.saturating_sub(self.started.elapsed()));
            let data = match timeout(time_left, incoming.frame()).await {
                Err(_) if time_left < BODY_IDLE => {
                    return Err(Refusal::BodyTimeout { waited: BODY_TOTAL });
                }
                Err(_) => return Err(Refusal::BodyTimeout { waited: BODY_IDLE }),
                Ok(None) => break,
                Ok(Some(Err(error))) => {
                    return Err(body_error(&error));
                }
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => data,
                    // Trailers are not used.
                    Err(_) => continue,
                },
            };
            received.add(data.len() as u64);
            let wire_bytes = received.bytes;
            if wire_bytes > max_body_bytes {
                return Err(Refusal::body_too_large(max_body_bytes, None));
            }
            if !self.reservation.cover(wire_bytes) {
                return Err(self.intake.too_much_in_flight());
            }
            chunks.add(data);
            if chunks.bytes >= HANDOFF_BYTES || chunks.chunks.len() >= MAX_HANDOFF_CHUNKS {
                let collected = std::mem::take(&mut chunks);
                let pushed =
                    within_disk_timeout(blocking::run(move || collected.push(ingest))).await?;
                ingest = pushed.inspect_err(|error| self.report_failure(error))?;
            }
        }
        let wire_bytes = received.bytes;
        // From here on, the outcome does not depend on the sender or its connection.
        let commit = blocking::run(move || {
            let committing = Instant::now();
            let outcome = chunks.push(ingest).and_then(Ingest::finish);
            self.account(outcome, wire_bytes, committing)
        });
        within_disk_timeout(commit).await?
    }

    /// Counts and logs the outcome of an upload.
    fn account(
        self,
        outcome: Result<Receipt, IngestError>,
        wire_bytes: u64,
        committing: Instant,
    ) -> Result<Accepted, Refusal> {
        let receipt = outcome.inspect_err(|error| self.report_failure(error))?;
        if matches!(receipt, Receipt::Empty) && self.protocol == Protocol::SplunkHec {
            return Err(Refusal::NoData);
        }
        let accepted = Accepted::from(&receipt);
        let Origin { endpoint, dataset, received, sink } = &self.origin;
        let sink = sink.as_ref().map(|sink| &*sink.name);
        let metrics = &self.intake.metrics;
        self.endpoint.batch(accepted.outcome);
        let peer = self.peer;
        match &receipt {
            Receipt::Committed { batch, inflated_bytes, rejects, first_event } => {
                let received = u64::try_from(received.as_microsecond()).unwrap_or(0);
                let arrival = Arrival { at: self.started, wall_micros: received };
                self.endpoint.records(dataset, batch.header.records, arrival);
                self.endpoint.inflated_bytes(dataset, *inflated_bytes);
                metrics.commit(committing.elapsed());
                metrics.committed(batch.header.records, wire_bytes, self.started.elapsed());
                if let Some(time) = first_event {
                    // An event in the future has no lag.
                    let lag = Timestamp::now().duration_since(*time);
                    metrics.event_lag(dataset, Duration::try_from(lag).unwrap_or_default());
                }
                for (reason, records) in iter::zip(RejectReason::ALL, rejects) {
                    metrics.quarantined(QuarantineReason::Record(reason), *records);
                }
                info!(
                    endpoint, dataset, sink, batch = batch.sequence, records = batch.header.records,
                    quarantined = batch.header.rejected, wire_bytes, inflated_bytes,
                    milliseconds = self.started.elapsed().as_millis(), %peer, "committed"
                );
            }
            Receipt::Duplicate { records, .. } => info!(
                endpoint, dataset, records, wire_bytes, %peer,
                "duplicate batch: committed before, not delivered again"
            ),
            Receipt::DestinationCheck => info!(
                endpoint, dataset, %peer,
                "answered Cloudflare's destination check: the job can reach this endpoint"
            ),
            Receipt::Empty => info!(endpoint, dataset, wire_bytes, %peer, "body without records"),
            Receipt::QuarantinedBody { why, file_name } => {
                metrics.quarantined(QuarantineReason::UndecodableBody, 1);
                warn!(
                    endpoint, dataset, %received, wire_bytes, why, file_name, %peer,
                    "unreadable body quarantined"
                );
            }
        }
        Ok(accepted)
    }

    /// Reports a failed write to the check of the disk.
    fn report_failure(&self, error: &IngestError) {
        if let IngestError::Store(error) = error {
            self.intake.spool_status.failed(error);
        }
    }
}

impl From<IngestError> for Refusal {
    fn from(error: IngestError) -> Self {
        match error {
            IngestError::TooLarge { limit, excess } => Self::inflates_too_large(limit, excess),
            IngestError::SpoolUnavailable(reason) => reason.into(),
            IngestError::Store(error) => Self::cannot_store(&error),
        }
    }
}

/// Waits for disk work, but not for a disk that hangs: the sender needs an answer. The work
/// continues. If it succeeds later, the retry of the same batch is a duplicate.
async fn within_disk_timeout<T>(
    work: impl Future<Output = Result<T, JoinError>>,
) -> Result<T, Refusal> {
    match timeout(DISK_TIMEOUT, work).await {
        Ok(outcome) => outcome.map_err(|error| panicked(&error)),
        Err(_) => Err(SpoolUnavailable::DiskHangs.into()),
    }
}

/// Counts the received bytes of a body. Adds them to the endpoint's metrics when dropped.
struct Received {
    intake: Arc<Intake>,
    endpoint: Arc<EndpointMetrics>,
    dataset: String,
    bytes: u64,
}

impl Received {
    fn add(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.intake.metrics.received_bytes(bytes);
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        self.endpoint.received_bytes(&self.dataset, self.bytes);
    }
}

/// Consecutive chunks of a body.
#[derive(Default)]
struct Chunks {
    chunks: Vec<Bytes>,
    bytes: usize,
}

impl Chunks {
    fn add(&mut self, chunk: Bytes) {
        if chunk.is_empty() {
            return;
        }
        self.bytes += chunk.len();
        self.chunks.push(chunk);
    }

    fn push(self, mut ingest: Ingest) -> Result<Ingest, IngestError> {
        for chunk in self.chunks {
            ingest.push(&chunk)?;
        }
        Ok(ingest)
    }
}

/// Whether the sender waits for `100 Continue` before it sends the body. Never with HTTP/2, where
/// flow control holds the body back until it is read.
pub(super) fn expects_continue(head: &request::Parts) -> bool {
    head.version < Version::HTTP_2 && head.headers.contains_key(EXPECT)
}

/// Discards the rest of a refused body. `expects_continue`: the sender waits for `100 Continue`.
/// Returns whether the connection has to be closed: such a sender may omit the body after the
/// answer, and its next request would be read as the body.
pub(super) fn discard_rest(mut incoming: Incoming, expects_continue: bool) -> bool {
    // In HTTP/2 a reset after the answer would do, but curl 7.88 reports the reset, not the answer.
    if hyper::body::Body::is_end_stream(&incoming) {
        return false;
    }
    let Ok(permit) = LINGERING.try_acquire() else { return true };
    // Reading sends `100 Continue`, unless the answer was sent before. A sender does not wait for
    // it forever (curl waits a second), so it may be sending the body anyway.
    tokio::spawn(async move {
        if expects_continue {
            sleep(ANSWER_DELAY).await;
        }
        let mut left = LINGER_BYTES;
        let drained = timeout(LINGER, async {
            while let Some(Ok(frame)) = incoming.frame().await {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                match left.checked_sub(bytes) {
                    Some(rest) => left = rest,
                    None => break,
                }
            }
        });
        // The outcome does not matter: the body is discarded either way.
        drained.await.ok();
        drop(permit);
    });
    expects_continue
}

/// Returns the refusal for an error while reading: the sender broke the protocol, or disconnected.
fn body_error(error: &hyper::Error) -> Refusal {
    let what = error.to_string();
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    match cause.map(io::Error::kind) {
        Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) => {
            Refusal::Malformed { what }
        }
        _ => Refusal::Disconnected { what },
    }
}

/// Logs a panic, which is a defect, and returns the refusal: the sender keeps the batch and
/// retries.
pub(super) fn panicked(error: &JoinError) -> Refusal {
    error!(%error, "internal error, batch refused");
    Refusal::Unavailable { why: String::from("internal error; the receiver's log has more") }
}
