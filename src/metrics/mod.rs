//! What the daemon counts, and how it tells Prometheus.
//!
//! A leaf: anyone may count, and nothing here calls back. Counting is one atomic addition, by name under a
//! lock that only a reload takes for itself. Label
//! values are names from the configuration or from closed lists, never what a client sent: else a
//! client could make as many series as it likes.

mod arrival;
mod exposition;
mod histogram;
mod labels;
mod process;
mod render;
mod sinks;
mod table;

use std::{
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

pub use self::{
    arrival::Arrival,
    labels::{Outcome, Refusal},
    process::Process,
    table::Names,
};
use self::{histogram::Histogram, table::Table};

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
    certificate_expiry: AtomicI64,
    acme_failures: AtomicU64,
    log_lines_dropped: AtomicU64,
    connections: AtomicU64,
    started: Arrival,
    process: Mutex<Option<Process>>,
}

impl Metrics {
    /// Stands for every dataset that has no series of its own.
    pub const OTHER_DATASETS: &str = labels::OTHER;

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
            certificate_expiry: AtomicI64::new(0),
            acme_failures: AtomicU64::new(0),
            log_lines_dropped: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            started: Arrival::now(),
            process: Mutex::default(),
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
        let place = table.dataset(dataset);
        if let Some(endpoint) = table.endpoints.get(endpoint) {
            add(endpoint.by_dataset.get(place).map(|counts| &counts.records), records);
        }
        if let Some(dataset) = table.datasets.get(place) {
            let mut last = dataset.last_batch.lock().unwrap_or_else(PoisonError::into_inner);
            // Commits may end in another order than their batches came in.
            if last.is_none_or(|last| last.at <= arrival.at) {
                *last = Some(arrival);
            }
        }
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
        let table = self.table();
        if let Some(dataset) = table.datasets.get(table.dataset(dataset)) {
            dataset.event_lag.observe(micros(lag));
        }
    }

    /// When the newest batch of each dataset was received that had one, in microseconds since 1970.
    pub fn last_batches(&self, now: Arrival) -> Vec<(String, u64)> {
        let table = self.table();
        let last = |dataset: &table::DatasetMetrics| {
            let last = *dataset.last_batch.lock().unwrap_or_else(PoisonError::into_inner);
            last.map(|last| (dataset.name.clone(), last.wall_micros_at(now)))
        };
        table.datasets.iter().filter_map(last).collect()
    }

    /// What [`Metrics::last_batches`] said in an earlier life. A dataset without series of its own does
    /// not get one, and a time in the future becomes `now`: some clock was wrong.
    pub fn restore_last_batch(&self, dataset: &str, wall_micros: u64, now: Arrival) {
        let table = self.table();
        let known = table.datasets.iter().find(|known| known.name == dataset);
        if let Some(known) = known {
            let mut last = known.last_batch.lock().unwrap_or_else(PoisonError::into_inner);
            *last = Some(last.unwrap_or_else(|| now.earlier(wall_micros)));
        }
    }

    /// A piece of a body came in, as it was on the wire.
    pub fn received_bytes(&self, bytes: u64) {
        self.received_bytes.fetch_add(bytes, Relaxed);
    }

    /// So many bytes of a body came in at an endpoint. [`Metrics::received_bytes`] counts them, too.
    pub fn endpoint_received_bytes(&self, endpoint: usize, dataset: &str, bytes: u64) {
        let table = self.table();
        if let Some(endpoint) = table.endpoints.get(endpoint) {
            let counts = endpoint.by_dataset.get(table.dataset(dataset));
            add(counts.map(|counts| &counts.received_bytes), bytes);
        }
    }

    /// So many bytes were the records of a committed batch, inflated.
    pub fn inflated_bytes(&self, endpoint: usize, dataset: &str, bytes: u64) {
        self.inflated_bytes.fetch_add(bytes, Relaxed);
        let table = self.table();
        if let Some(endpoint) = table.endpoints.get(endpoint) {
            let counts = endpoint.by_dataset.get(table.dataset(dataset));
            add(counts.map(|counts| &counts.inflated_bytes), bytes);
        }
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

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn value(counter: &AtomicU64) -> u64 {
    counter.load(Relaxed)
}

#[cfg(test)]
mod tests;
