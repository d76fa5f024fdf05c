//! What the daemon counts, and how it tells Prometheus.
//!
//! A leaf: anyone may count, and nothing here calls back. Endpoints and sinks are counted through
//! handles, which lead to the same counters for as long as the daemon runs. Label
//! values are names from the configuration or from closed lists, never what a client sent: else a
//! client could make as many series as it likes.

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
    /// Stands for every dataset that has no series of its own.
    pub const OTHER_DATASETS: &str = dataset::OTHER;

    /// `names` are shown from the start.
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

    /// Shows these endpoints and sinks, and no others. What was counted is kept.
    pub fn show(&self, names: &Names) {
        for name in &names.datasets {
            self.datasets.add(name);
        }
        self.endpoints.show(&names.endpoints, |name| EndpointMetrics::new(name, &self.datasets));
        self.sinks.show(&names.sinks, SinkMetrics::new);
    }

    /// The handle of an endpoint: the same for as long as the daemon runs.
    pub fn endpoint(&self, name: &str) -> Arc<EndpointMetrics> {
        self.endpoints.get(name, || EndpointMetrics::new(name, &self.datasets))
    }

    /// The handle of a sink: the same for as long as the daemon runs.
    pub fn sink(&self, name: &str) -> Arc<SinkMetrics> {
        self.sinks.get(name, || SinkMetrics::new(name))
    }

    /// The size of a committed batch, as it was on the wire, and how long it took from the head of its
    /// request.
    pub fn committed(&self, records: u64, wire_bytes: u64, took: Duration) {
        self.batch_records.observe(records);
        self.batch_bytes.observe(wire_bytes);
        self.batch_seconds.observe(micros(took));
    }

    /// How old a record of a batch was at the commit.
    pub fn event_lag(&self, dataset: &str, lag: Duration) {
        self.datasets.get(dataset).event_lag(lag);
    }

    /// When the newest batch of each dataset was received that had one, in microseconds since 1970.
    pub fn last_batches(&self, now: Arrival) -> Vec<(String, u64)> {
        let datasets = self.datasets.all();
        let last = datasets.iter().filter_map(|dataset| {
            dataset.last_batch(now).map(|last| (dataset.label.as_str().to_owned(), last))
        });
        last.collect()
    }

    /// What [`Metrics::last_batches`] said in an earlier life. A dataset without series of its own does
    /// not get one, and a time in the future becomes `now`: some clock was wrong.
    pub fn restore_last_batch(&self, dataset: &str, wall_micros: u64, now: Arrival) {
        if let Some(known) = self.datasets.known(dataset) {
            known.restore(now.earlier(wall_micros));
        }
    }

    /// A piece of a body came in, as it was on the wire.
    pub fn received_bytes(&self, bytes: u64) {
        self.received_bytes.fetch_add(bytes, Relaxed);
    }

    /// A request or a connection was refused.
    pub fn refused(&self, reason: RefusalReason) {
        self.refused.add(reason, 1);
    }

    /// So many records, or one whole body, went to quarantine.
    pub fn quarantined(&self, reason: QuarantineReason, records: u64) {
        self.quarantined.add(reason, records);
    }

    /// A commit took that long, from the complete body to its place on disk.
    pub fn commit(&self, took: Duration) {
        self.commit_seconds.observe(micros(took));
    }

    /// Batches are accepted now.
    pub fn ready(&self) {
        self.ready.store(1, Relaxed);
    }

    /// Batches are refused now.
    pub fn not_ready(&self) {
        self.ready.store(0, Relaxed);
    }

    /// What the spool holds now, and what it has room for.
    pub fn spool(&self, bytes: u64, batches: u64, room_bytes: u64) {
        self.spool_bytes.store(bytes, Relaxed);
        self.spool_batches.store(batches, Relaxed);
        self.spool_room_bytes.store(room_bytes, Relaxed);
    }

    /// What the quarantine holds now, and what was removed from it to keep its bounds.
    pub fn quarantine(&self, bytes: u64, removed_bytes: u64) {
        self.quarantine_bytes.store(bytes, Relaxed);
        self.quarantine_removed_bytes.fetch_add(removed_bytes, Relaxed);
    }

    /// When the certificate in use expires, in seconds since 1970.
    pub fn certificate_expiry(&self, not_after: i64) {
        self.certificate_expiry.store(u64::try_from(not_after).unwrap_or(0), Relaxed);
    }

    /// An attempt to get a certificate came to nothing.
    pub fn acme_failure(&self) {
        self.acme_failures.fetch_add(1, Relaxed);
    }

    /// How many lines of the log were dropped since the start.
    pub fn log_lines_dropped(&self, lines: u64) {
        self.log_lines_dropped.store(lines, Relaxed);
    }

    /// A connection was accepted; it counts as open until what is returned is dropped.
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
