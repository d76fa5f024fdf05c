//! Reads a body and feeds it to its [`Ingest`], on a thread that may block.

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

/// How long a body may stand still. Cloudflare gives up on its own after 10 s without progress.
const BODY_IDLE: Duration = Duration::from_secs(30);

/// How long a whole body may take: the largest at 300 kB/s. One that trickles is not Cloudflare's.
const BODY_WHOLE: Duration = Duration::from_secs(15 * 60);

/// How long a sender waits for a disk. Longer than a large batch takes on a slow one.
const DISK: Duration = Duration::from_secs(30);

/// How much of a body is gathered for one trip to a blocking thread: enough to make the trip cheap,
/// little enough that reading hardly waits for it.
const HOP_BYTES: usize = 128 * 1024;

/// How many pieces are gathered at most: each costs some hundred bytes, however short it is.
const HOP_PIECES: usize = 1024;

/// A body that was refused unread is read on this far, so that a sender in the middle of it sees the
/// answer rather than a reset connection.
const LINGER_BYTES: usize = 4 << 20;
const LINGER: Duration = Duration::from_secs(2);

/// Until a refusal is out, as a rule. A sender that reads "go on" before it only sends more.
const ANSWER: Duration = Duration::from_millis(100);

/// How many refused bodies are read on at a time: beyond that their streams are reset.
static LINGERING: Semaphore = Semaphore::const_new(64);

/// One body on its way.
pub(super) struct Upload {
    pub(super) intake: Arc<Intake>,
    pub(super) origin: Origin,
    pub(super) endpoint: Arc<EndpointMetrics>,
    pub(super) protocol: Protocol,
    pub(super) peer: SocketAddr,
    pub(super) started: Instant,
    /// How many bytes the disk must have, if it had fewer when it was last asked.
    pub(super) wanted: Option<u64>,
    pub(super) reservation: Reservation,
}

impl Upload {
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
        let mut pieces = Pieces::default();
        loop {
            let patience = BODY_IDLE.min(BODY_WHOLE.saturating_sub(self.started.elapsed()));
            let data = match timeout(patience, incoming.frame()).await {
                Err(_) if patience < BODY_IDLE => {
                    return Err(Refusal::BodyTimeout { waited: BODY_WHOLE });
                }
                Err(_) => return Err(Refusal::BodyTimeout { waited: BODY_IDLE }),
                Ok(None) => break,
                Ok(Some(Err(error))) => {
                    return Err(interrupted(&error));
                }
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => data,
                    // Trailers say nothing that is needed.
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
            pieces.add(data);
            if pieces.bytes >= HOP_BYTES || pieces.pieces.len() >= HOP_PIECES {
                let gathered = std::mem::take(&mut pieces);
                let hop = in_time(blocking::run(move || gathered.push(ingest))).await?;
                ingest = hop.inspect_err(|error| self.report_failure(error))?;
            }
        }
        let wire_bytes = received.bytes;
        // From here on it no longer matters whether the sender waits: the task is on its own.
        let commit = blocking::run(move || {
            let committing = Instant::now();
            let outcome = pieces.push(ingest).and_then(Ingest::finish);
            self.account(outcome, wire_bytes, committing)
        });
        in_time(commit).await?
    }

    /// Counts and logs what became of the body.
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
        let sink = sink.as_deref();
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
                    // An event that is yet to come has no lag.
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
                "this batch was committed before: not delivered again"
            ),
            Receipt::DestinationCheck => info!(
                endpoint, dataset, %peer,
                "answered Cloudflare's destination check: the job can reach this endpoint"
            ),
            Receipt::Empty => info!(endpoint, dataset, wire_bytes, %peer, "a body without records"),
            Receipt::QuarantinedBody { why, file_name } => {
                metrics.quarantined(QuarantineReason::UndecodableBody, 1);
                warn!(
                    endpoint, dataset, %received, wire_bytes, why, file_name, %peer,
                    "a body that cannot be read is in quarantine"
                );
            }
        }
        Ok(accepted)
    }

    /// Tells what watches the disk that a body could not be stored.
    fn report_failure(&self, error: &IngestError) {
        if let IngestError::Store(error) = error {
            self.intake.room.failed(error);
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

/// Waits for work on a disk, but not for a disk that hangs: the sender needs an answer. The work goes on,
/// and if it ends well the same batch is a duplicate when it comes again.
async fn in_time<T>(work: impl Future<Output = Result<T, JoinError>>) -> Result<T, Refusal> {
    match timeout(DISK, work).await {
        Ok(outcome) => outcome.map_err(|error| panicked(&error)),
        Err(_) => Err(SpoolUnavailable::DiskHangs.into()),
    }
}

/// How much of a body came in. Counted for its endpoint when there is an end to it, of whatever kind.
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

/// Parts of a body that arrived one after the other.
#[derive(Default)]
struct Pieces {
    pieces: Vec<Bytes>,
    bytes: usize,
}

impl Pieces {
    fn add(&mut self, piece: Bytes) {
        if piece.is_empty() {
            return;
        }
        self.bytes += piece.len();
        self.pieces.push(piece);
    }

    fn push(self, mut ingest: Ingest) -> Result<Ingest, IngestError> {
        for piece in self.pieces {
            ingest.push(&piece)?;
        }
        Ok(ingest)
    }
}

/// Whether the sender waits for leave to send the body. HTTP/2 has no such thing here: a body that is
/// on its way is held until it is read.
pub(super) fn waits(head: &request::Parts) -> bool {
    head.version < Version::HTTP_2 && head.headers.contains_key(EXPECT)
}

/// Ends the reading of a body that was refused. `waits`: the sender has not been told to send it. Says
/// whether the connection has to end: the sender may take the answer for leave not to send the body, and
/// what it sends next would be read as that.
pub(super) fn let_go(mut incoming: Incoming, waits: bool) -> bool {
    // In HTTP/2 a reset behind the answer would do, but curl 7.88 takes it for the answer.
    if hyper::body::Body::is_end_stream(&incoming) {
        return false;
    }
    let Ok(permit) = LINGERING.try_acquire() else { return true };
    // To begin to read is to tell a sender that asked first to go on, unless it has the answer. It waits
    // as long as it likes (curl for a second), so it may be in the middle of the body all the same.
    tokio::spawn(async move {
        if waits {
            sleep(ANSWER).await;
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
        // Whether it came to the end or not, there is nothing more to do for it.
        drained.await.ok();
        drop(permit);
    });
    waits
}

/// Whether the sender broke HTTP or went away.
fn interrupted(error: &hyper::Error) -> Refusal {
    let what = error.to_string();
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    match cause.map(io::Error::kind) {
        Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) => {
            Refusal::Malformed { what }
        }
        _ => Refusal::Disconnected { what },
    }
}

/// A defect of ours: the sender keeps the batch and may try again.
pub(super) fn panicked(error: &JoinError) -> Refusal {
    error!(%error, "a batch was given up");
    Refusal::Unavailable { why: String::from("internal error; the receiver's log has more") }
}
