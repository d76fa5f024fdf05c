//! Counts events and exposes them to Prometheus.
//!
//! This module depends on no other part of the daemon, so every part can use it. Endpoints and
//! sinks have handles, which refer to the same counters as long as the daemon runs. Label values
//! are names from the configuration or from closed lists. They are never values from a client,
//! which could otherwise create any number of series.

mod arrival;
mod dataset;
mod endpoint;
mod exposition;
mod handles;
mod histogram;
mod labels;
mod process;
mod render;
mod sink;
mod upload;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

pub use self::{
    arrival::Arrival,
    endpoint::{EndpointMetrics, SecretMetrics},
    handles::Names,
    labels::{BatchOutcome, QuarantineReason, RefusalReason},
    process::Process,
    sink::{OwnCounters, SinkMetrics},
};
use self::{dataset::Datasets, handles::Handles, histogram::Histogram, labels::Counters};

/// All counters and gauges of the daemon.
#[derive(Debug)]
pub struct Metrics {
    endpoints: Handles<EndpointMetrics>,
    sinks: Handles<SinkMetrics>,
    datasets: Arc<Datasets>,
    quarantined: Counters<QuarantineReason>,
    refused: Counters<RefusalReason>,
    received_bytes: AtomicU64,
    commit_seconds: Histogram,
    batch_seconds: Histogram,
    batch_bytes: Histogram,
    batch_records: Histogram,
    ready: AtomicU64,
    spool_bytes: AtomicU64,
    spool_batches: AtomicU64,
    spool_room_bytes: AtomicU64,
    quarantine_bytes: AtomicU64,
    quarantine_removed_bytes: AtomicU64,
    certificate_expiry: AtomicU64,
    acme_failures: AtomicU64,
    log_lines_dropped: AtomicU64,
    connections: AtomicU64,
    started: Arrival,
    process: Mutex<Option<Process>>,
}

impl Metrics {
    /// The label for all datasets without series of their own.
    pub const OTHER_DATASETS: &str = dataset::OTHER;

    /// Creates the metrics, and shows those of `names`.
    pub fn new(names: &Names) -> Self {
        let metrics = Self {
            endpoints: Handles::new(),
            sinks: Handles::new(),
            datasets: Arc::new(Datasets::new()),
            quarantined: Counters::new(QuarantineReason::all()),
            refused: Counters::new(RefusalReason::all()),
            received_bytes: AtomicU64::new(0),
            commit_seconds: Histogram::new(histogram::COMMIT),
            batch_seconds: Histogram::new(histogram::BATCH),
            batch_bytes: Histogram::new(histogram::BYTES),
            batch_records: Histogram::new(histogram::RECORDS),
            ready: AtomicU64::new(0),
            spool_bytes: AtomicU64::new(0),
            spool_batches: AtomicU64::new(0),
            spool_room_bytes: AtomicU64::new(0),
            quarantine_bytes: AtomicU64::new(0),
            quarantine_removed_bytes: AtomicU64::new(0),
            certificate_expiry: AtomicU64::new(0),
            acme_failures: AtomicU64::new(0),
            log_lines_dropped: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            started: Arrival::now(),
            process: Mutex::default(),
        };
        metrics.show(names);
        metrics
    }

    /// Shows only these endpoints and sinks. Hidden metrics keep their values.
    pub fn show(&self, names: &Names) {
        for name in &names.datasets {
            self.datasets.add(name);
        }
        self.endpoints.show(&names.endpoints, |name| EndpointMetrics::new(name, &self.datasets));
        self.sinks.show(&names.sinks, SinkMetrics::new);
    }

    /// Returns the metrics of an endpoint. They are the same as long as the daemon runs.
    pub fn endpoint(&self, name: &str) -> Arc<EndpointMetrics> {
        self.endpoints.get(name, || EndpointMetrics::new(name, &self.datasets))
    }

    /// Returns the metrics of a sink. They are the same as long as the daemon runs.
    pub fn sink(&self, name: &str) -> Arc<SinkMetrics> {
        self.sinks.get(name, || SinkMetrics::new(name))
    }

    /// Records the size of a committed batch, as sent, and the time since the headers of its
    /// request.
    pub fn committed(&self, records: u64, wire_bytes: u64, took: Duration) {
        self.batch_records.observe(records);
        self.batch_bytes.observe(wire_bytes);
        self.batch_seconds.observe(micros(took));
    }

    /// Records the age of a record at the commit of its batch.
    pub fn event_lag(&self, dataset: &str, lag: Duration) {
        self.datasets.get(dataset).event_lag(lag);
    }

    /// Returns when the newest batch of each dataset was received, in microseconds since 1970.
    /// Datasets without batches are left out.
    pub fn last_batches(&self, now: Arrival) -> Vec<(String, u64)> {
        let datasets = self.datasets.all();
        let last = datasets.iter().filter_map(|dataset| {
            dataset.last_batch(now).map(|last| (dataset.label.as_str().to_owned(), last))
        });
        last.collect()
    }

    /// Restores a value that [`Metrics::last_batches`] returned in an earlier run. Ignores a
    /// dataset without series of its own. A time in the future becomes `now`: some clock was wrong.
    pub fn restore_last_batch(&self, dataset: &str, wall_micros: u64, now: Arrival) {
        if let Some(known) = self.datasets.known(dataset) {
            known.restore(now.earlier(wall_micros));
        }
    }

    /// Counts bytes of a body, as sent.
    pub fn received_bytes(&self, bytes: u64) {
        self.received_bytes.fetch_add(bytes, Relaxed);
    }

    /// Counts a refused request or connection.
    pub fn refused(&self, reason: RefusalReason) {
        self.refused.add(reason, 1);
    }

    /// Counts records, or one whole body, that were quarantined.
    pub fn quarantined(&self, reason: QuarantineReason, records: u64) {
        self.quarantined.add(reason, records);
    }

    /// Records the duration of a commit, from the end of the body until the batch is durable.
    pub fn commit(&self, took: Duration) {
        self.commit_seconds.observe(micros(took));
    }

    /// Sets that batches are accepted.
    pub fn ready(&self) {
        self.ready.store(1, Relaxed);
    }

    /// Sets that batches are refused.
    pub fn not_ready(&self) {
        self.ready.store(0, Relaxed);
    }

    /// Sets the size of the spool, and the room that is left.
    pub fn spool(&self, bytes: u64, batches: u64, room_bytes: u64) {
        self.spool_bytes.store(bytes, Relaxed);
        self.spool_batches.store(batches, Relaxed);
        self.spool_room_bytes.store(room_bytes, Relaxed);
    }

    /// Sets the size of the quarantine, and counts the bytes that its bounds have removed.
    pub fn quarantine(&self, bytes: u64, removed_bytes: u64) {
        self.quarantine_bytes.store(bytes, Relaxed);
        self.quarantine_removed_bytes.fetch_add(removed_bytes, Relaxed);
    }

    /// Sets when the certificate in use expires, in seconds since 1970.
    pub fn certificate_expiry(&self, not_after: i64) {
        self.certificate_expiry.store(u64::try_from(not_after).unwrap_or(0), Relaxed);
    }

    /// Counts a failed attempt to get a certificate.
    pub fn acme_failure(&self) {
        self.acme_failures.fetch_add(1, Relaxed);
    }

    /// Sets the number of log lines dropped since startup.
    pub fn log_lines_dropped(&self, lines: u64) {
        self.log_lines_dropped.store(lines, Relaxed);
    }

    /// Counts an open connection until the returned guard is dropped.
    pub fn connection(self: &Arc<Self>) -> OpenConnection {
        self.connections.fetch_add(1, Relaxed);
        OpenConnection(Arc::clone(self))
    }
}

/// A connection that is counted as open.
#[derive(Debug)]
pub struct OpenConnection(Arc<Metrics>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Relaxed);
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn value(counter: &AtomicU64) -> u64 {
    counter.load(Relaxed)
}

#[cfg(test)]
mod tests;
