//! Metrics of endpoints, of datasets at an endpoint, and of secrets.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::{
    Arrival,
    dataset::{DatasetLabel, Datasets},
    exposition::{Family, MetricKind, Series, Value},
    labels::{BatchOutcome, Counters, RefusalReason},
    value,
};

/// The metrics of an endpoint.
#[derive(Debug)]
pub struct EndpointMetrics {
    name: String,
    pub(super) batches: Counters<BatchOutcome>,
    pub(super) refused: Counters<RefusalReason>,
    datasets: Arc<Datasets>,
    by_dataset: Mutex<BTreeMap<DatasetLabel, DatasetCounts>>,
    secrets: Mutex<BTreeMap<String, Arc<SecretMetrics>>>,
}

/// The counters of a dataset at an endpoint.
#[derive(Clone, Copy, Debug, Default)]
struct DatasetCounts {
    records: u64,
    received_bytes: u64,
    inflated_bytes: u64,
}

impl EndpointMetrics {
    pub(super) fn new(name: &str, datasets: &Arc<Datasets>) -> Self {
        Self {
            name: name.to_owned(),
            batches: Counters::new(BatchOutcome::ALL),
            refused: Counters::new(RefusalReason::OF_REQUESTS),
            datasets: Arc::clone(datasets),
            by_dataset: Mutex::default(),
            secrets: Mutex::default(),
        }
    }

    /// Returns the name of the endpoint.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Counts a batch that was answered 200.
    pub fn batch(&self, outcome: BatchOutcome) {
        self.batches.add(outcome, 1);
    }

    /// Counts a refused request. [`super::Metrics::refused`] must count it as well.
    pub fn refused(&self, reason: RefusalReason) {
        self.refused.add(reason, 1);
    }

    /// Counts committed records of a batch that was received at `arrival`.
    pub fn records(&self, dataset: &str, records: u64, arrival: Arrival) {
        self.count(dataset, |counts| &mut counts.records, records);
        self.datasets.get(dataset).batch(arrival);
    }

    /// Counts bytes of a body, as sent. [`super::Metrics::received_bytes`] must count them as well.
    pub fn received_bytes(&self, dataset: &str, bytes: u64) {
        self.count(dataset, |counts| &mut counts.received_bytes, bytes);
    }

    /// Counts the bytes of a committed batch, decompressed.
    pub fn inflated_bytes(&self, dataset: &str, bytes: u64) {
        self.count(dataset, |counts| &mut counts.inflated_bytes, bytes);
    }

    /// Returns the metrics of a secret by its name or line. They are the same as long as the daemon
    /// runs.
    pub fn secret(&self, label: &str) -> Arc<SecretMetrics> {
        let mut secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        let secret = secrets.entry(label.to_owned()).or_insert_with(|| {
            let (endpoint, label) = (self.name.clone(), label.to_owned());
            Arc::new(SecretMetrics { endpoint, label, last_used: 0.into() })
        });
        Arc::clone(secret)
    }

    fn count(&self, dataset: &str, count: fn(&mut DatasetCounts) -> &mut u64, amount: u64) {
        let label = self.datasets.get(dataset).label.clone();
        let mut by_dataset = self.by_dataset.lock().unwrap_or_else(PoisonError::into_inner);
        *count(by_dataset.entry(label).or_default()) += amount;
    }

    /// Returns the decompressed bytes of all datasets.
    pub(super) fn total_inflated_bytes(&self) -> u64 {
        let by_dataset = self.by_dataset.lock().unwrap_or_else(PoisonError::into_inner);
        by_dataset.values().map(|counts| counts.inflated_bytes).sum()
    }

    pub(super) fn by_dataset(&self) -> Vec<EndpointDataset> {
        let by_dataset = self.by_dataset.lock().unwrap_or_else(PoisonError::into_inner);
        let series = by_dataset.iter().map(|(dataset, counts)| EndpointDataset {
            endpoint: self.name.clone(),
            dataset: dataset.clone(),
            counts: *counts,
        });
        series.collect()
    }

    pub(super) fn secrets(&self) -> Vec<Arc<SecretMetrics>> {
        let secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        secrets.values().map(Arc::clone).collect()
    }
}

impl Series for EndpointMetrics {
    fn labels(&self) -> Vec<(&'static str, &str)> {
        vec![("endpoint", &self.name)]
    }
}

/// A dataset at an endpoint.
pub(super) struct EndpointDataset {
    endpoint: String,
    dataset: DatasetLabel,
    counts: DatasetCounts,
}

impl Series for EndpointDataset {
    fn labels(&self) -> Vec<(&'static str, &str)> {
        vec![("endpoint", &self.endpoint), ("dataset", self.dataset.as_str())]
    }
}

/// Leaves out zeros, since most senders use few of the many datasets.
fn if_any(count: u64) -> Option<Value> {
    (count > 0).then_some(Value::Whole(count))
}

pub(super) const BY_DATASET: [Family<EndpointDataset>; 3] = [
    Family {
        name: "logpushd_records_total",
        kind: MetricKind::Counter,
        help: "Records committed.",
        value: |series, _| if_any(series.counts.records),
    },
    Family {
        name: "logpushd_endpoint_received_bytes_total",
        kind: MetricKind::Counter,
        help: "Bytes of bodies at an endpoint, as sent.",
        value: |series, _| if_any(series.counts.received_bytes),
    },
    Family {
        name: "logpushd_endpoint_inflated_bytes_total",
        kind: MetricKind::Counter,
        help: "Bytes of bodies at an endpoint, decompressed.",
        value: |series, _| if_any(series.counts.inflated_bytes),
    },
];

/// The time at which a secret was last used.
#[derive(Debug)]
pub struct SecretMetrics {
    endpoint: String,
    label: String,
    /// In microseconds since 1970, or 0.
    last_used: AtomicU64,
}

impl SecretMetrics {
    /// Records that a sender used the secret at `now`, in microseconds since 1970.
    pub fn used(&self, now: u64) {
        self.last_used.fetch_max(now, Relaxed);
    }
}

impl Series for SecretMetrics {
    fn labels(&self) -> Vec<(&'static str, &str)> {
        vec![("endpoint", &self.endpoint), ("secret", &self.label)]
    }
}

pub(super) const SECRET: [Family<SecretMetrics>; 1] = [Family {
    name: "logpushd_secret_last_used_timestamp_seconds",
    kind: MetricKind::Gauge,
    help: "Time at which a secret was last used.",
    value: |secret, _| match value(&secret.last_used) {
        0 => None,
        at => Some(Value::Micros(at)),
    },
}];
