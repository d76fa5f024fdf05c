//! What the daemon counts, and how it tells Prometheus.
//!
//! A leaf: anyone may count, and nothing here calls back. Counting is one atomic addition, by name under a
//! lock that only a reload takes for itself. Label
//! values are names from the configuration or from closed lists, never what a client sent: else a
//! client could make as many series as it likes.

mod arrival;
mod exposition;
mod labels;
mod render;
mod table;

use std::{
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use self::table::Table;
pub use self::{
    arrival::Arrival,
    labels::{Outcome, Refusal},
    table::Names,
};

/// Upper bounds of `logpushd_commit_seconds`, in microseconds and as the label says them. A commit
/// is an fsync: 1 ms on flash, seconds on a disk that is dying.
const COMMIT_BUCKETS: [(u64, &str); 13] = [
    (1_000, "0.001"),
    (2_500, "0.0025"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (250_000, "0.25"),
    (500_000, "0.5"),
    (1_000_000, "1"),
    (2_500_000, "2.5"),
    (5_000_000, "5"),
    (10_000_000, "10"),
];

/// All counters and gauges of the daemon.
///
/// Endpoints and sinks are meant by the places that [`Metrics::endpoint`] and [`Metrics::sink`] give
/// (in a list that [`Metrics::new`] was given that is the place there), reasons by their place in the
/// list; a place beyond the end counts nothing.
#[derive(Debug)]
pub struct Metrics {
    table: RwLock<Table>,
    quarantined: Vec<(&'static str, AtomicU64)>,
    refused: [AtomicU64; Refusal::LABELS.len()],
    received_bytes: AtomicU64,
    inflated_bytes: AtomicU64,
    /// One more than there are bounds: the last takes what is above all of them.
    commits: [AtomicU64; COMMIT_BUCKETS.len() + 1],
    commit_micros: AtomicU64,
    ready: AtomicU64,
    spool_bytes: AtomicU64,
    spool_batches: AtomicU64,
    spool_room_bytes: AtomicU64,
    quarantine_bytes: AtomicU64,
    quarantine_removed_bytes: AtomicU64,
    certificate_expiry: AtomicI64,
    acme_failures: AtomicU64,
    log_lines_dropped: AtomicU64,
    connections: AtomicU64,
}

impl Metrics {
    /// What is shown from the start, and the reasons that records are quarantined for.
    pub fn new(names: &Names, quarantine_reasons: &[&'static str]) -> Self {
        let mut table = Table::new();
        table.show(names);
        Self {
            table: RwLock::new(table),
            quarantined: quarantine_reasons
                .iter()
                .map(|reason| (*reason, AtomicU64::new(0)))
                .collect(),
            refused: Default::default(),
            received_bytes: AtomicU64::new(0),
            inflated_bytes: AtomicU64::new(0),
            commits: Default::default(),
            commit_micros: AtomicU64::new(0),
            ready: AtomicU64::new(0),
            spool_bytes: AtomicU64::new(0),
            spool_batches: AtomicU64::new(0),
            spool_room_bytes: AtomicU64::new(0),
            quarantine_bytes: AtomicU64::new(0),
            quarantine_removed_bytes: AtomicU64::new(0),
            certificate_expiry: AtomicI64::new(0),
            acme_failures: AtomicU64::new(0),
            log_lines_dropped: AtomicU64::new(0),
            connections: AtomicU64::new(0),
        }
    }

    /// Shows these endpoints and sinks, and no others. What was counted is kept.
    pub fn show(&self, names: &Names) {
        self.table_mut().show(names);
    }

    /// The place of an endpoint: the same for as long as the daemon runs.
    pub fn endpoint(&self, name: &str) -> usize {
        let known = self.table().endpoints.iter().position(|known| known.name == name);
        known.unwrap_or_else(|| self.table_mut().endpoint(name))
    }

    /// The place of a sink: the same for as long as the daemon runs.
    pub fn sink(&self, name: &str) -> usize {
        let known = self.table().sinks.iter().position(|known| known.name == name);
        known.unwrap_or_else(|| self.table_mut().sink(name))
    }

    /// The place of a secret of an endpoint, by its name or line: the same for as long as the daemon
    /// runs.
    pub fn secret(&self, endpoint: &str, label: &str) -> usize {
        self.table_mut().secret(endpoint, label)
    }

    /// A sender showed the secret; `now` in microseconds since 1970.
    pub fn secret_used(&self, secret: usize, now: u64) {
        if let Some(secret) = self.table().secrets.get(secret) {
            secret.last_used.fetch_max(now, Relaxed);
        }
    }

    fn table(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn table_mut(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// A batch was answered 200.
    pub fn batch(&self, endpoint: usize, outcome: Outcome) {
        if let Some(endpoint) = self.table().endpoints.get(endpoint) {
            add(endpoint.batches.get(outcome as usize), 1);
        }
    }

    /// Records of a batch were committed.
    pub fn records(&self, endpoint: usize, dataset: &str, records: u64, arrival: Arrival) {
        let table = self.table();
        let place = table.datasets.iter().position(|known| known.name == dataset);
        let place = place.unwrap_or(table.datasets.len().saturating_sub(1));
        if let Some(endpoint) = table.endpoints.get(endpoint) {
            add(endpoint.records.get(place), records);
        }
        if let Some(dataset) = table.datasets.get(place) {
            let mut last = dataset.last_batch.lock().unwrap_or_else(PoisonError::into_inner);
            // Commits may end in another order than their batches came in.
            if last.is_none_or(|last| last.at <= arrival.at) {
                *last = Some(arrival);
            }
        }
    }

    /// A piece of a body came in, as it was on the wire.
    pub fn received_bytes(&self, bytes: u64) {
        self.received_bytes.fetch_add(bytes, Relaxed);
    }

    /// A piece of a body came out of inflation.
    pub fn inflated_bytes(&self, bytes: u64) {
        self.inflated_bytes.fetch_add(bytes, Relaxed);
    }

    /// A request or a connection was refused.
    pub fn refused(&self, reason: Refusal) {
        add(self.refused.get(reason as usize), 1);
    }

    /// A request was refused at an endpoint. [`Metrics::refused`] counts it, too.
    pub fn endpoint_refused(&self, endpoint: usize, reason: Refusal) {
        if let Some(endpoint) = self.table().endpoints.get(endpoint) {
            add(endpoint.refused.get(reason as usize), 1);
        }
    }

    /// Records were set aside; `reason` is a place in the list of reasons.
    pub fn quarantined(&self, reason: usize, records: u64) {
        add(self.quarantined.get(reason).map(|(_, count)| count), records);
    }

    /// A commit took that long, from the complete body to its place on disk.
    pub fn commit(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = COMMIT_BUCKETS.iter().position(|(bound, _)| micros <= *bound);
        add(self.commits.get(bucket.unwrap_or(COMMIT_BUCKETS.len())), 1);
        self.commit_micros.fetch_add(micros, Relaxed);
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

    /// A sink has taken that many records more.
    pub fn sink_delivered(&self, sink: usize, records: u64) {
        add(self.table().sinks.get(sink).map(|sink| &sink.delivered_records), records);
    }

    /// That many records more were not for the sink: its `where` let them out.
    pub fn sink_filtered(&self, sink: usize, records: u64) {
        add(self.table().sinks.get(sink).map(|sink| &sink.filtered_records), records);
    }

    /// A sink has taken that many records once more, since they may have been lost on the way.
    pub fn sink_resent(&self, sink: usize, records: u64) {
        add(self.table().sinks.get(sink).map(|sink| &sink.resent_records), records);
    }

    /// A sink has shortened or left out that many records for their length.
    pub fn sink_oversize(&self, sink: usize, records: u64) {
        add(self.table().sinks.get(sink).map(|sink| &sink.oversize_records), records);
    }

    /// An attempt of a sink failed.
    pub fn sink_error(&self, sink: usize) {
        add(self.table().sinks.get(sink).map(|sink| &sink.errors), 1);
    }

    /// How many records a sink with `when_full = "drop"` has lost.
    pub fn sink_dropped(&self, sink: usize, records: u64) {
        if let Some(sink) = self.table().sinks.get(sink) {
            sink.dropped_records.store(records, Relaxed);
        }
    }

    /// The age of the oldest batch that the sink does not have yet; nothing if it has all.
    pub fn sink_lag(&self, sink: usize, lag: Duration) {
        if let Some(sink) = self.table().sinks.get(sink) {
            let micros = u64::try_from(lag.as_micros()).unwrap_or(u64::MAX);
            sink.lag.store(micros, Relaxed);
        }
    }

    /// When the certificate in use expires, in seconds since 1970.
    pub fn certificate_expiry(&self, not_after: i64) {
        self.certificate_expiry.store(not_after, Relaxed);
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

fn add(counter: Option<&AtomicU64>, amount: u64) {
    if let Some(counter) = counter {
        counter.fetch_add(amount, Relaxed);
    }
}

fn value(counter: &AtomicU64) -> u64 {
    counter.load(Relaxed)
}

#[cfg(test)]
mod tests;
