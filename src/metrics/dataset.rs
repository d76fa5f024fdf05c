//! Metrics of datasets.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard},
    time::Duration,
};

use super::{
    arrival::Arrival,
    exposition::{Family, HistogramFamily, MetricKind, Series, Value},
    histogram::{EVENT_LAG, Histogram},
    micros,
};
use crate::cloudflare::datasets::DATASETS;

/// The label for all datasets that are not listed, since their names came from clients.
pub(super) const OTHER: &str = "other";

/// The value of the label `dataset`: a listed name, or [`OTHER`], which sorts last.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum DatasetLabel {
    Listed(Arc<str>),
    Other,
}

impl DatasetLabel {
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Listed(name) => name,
            Self::Other => OTHER,
        }
    }
}

/// The datasets with series of their own: those of Cloudflare, those that the configuration names,
/// and one for all others.
#[derive(Debug)]
pub(super) struct Datasets {
    listed: RwLock<BTreeMap<Arc<str>, Arc<DatasetMetrics>>>,
    other: Arc<DatasetMetrics>,
}

impl Datasets {
    pub(super) fn new() -> Self {
        let datasets = Self {
            listed: RwLock::default(),
            other: Arc::new(DatasetMetrics::new(DatasetLabel::Other)),
        };
        for name in DATASETS {
            datasets.add(name);
        }
        datasets
    }

    pub(super) fn add(&self, name: &str) {
        if name == OTHER {
            return;
        }
        let name = Arc::<str>::from(name);
        let metrics = || Arc::new(DatasetMetrics::new(DatasetLabel::Listed(Arc::clone(&name))));
        let mut listed = self.listed.write().unwrap_or_else(PoisonError::into_inner);
        listed.entry(Arc::clone(&name)).or_insert_with(metrics);
    }

    /// Returns the metrics of the dataset `name`, or those of all others if it has no series of its
    /// own.
    pub(super) fn get(&self, name: &str) -> Arc<DatasetMetrics> {
        self.known(name).unwrap_or_else(|| Arc::clone(&self.other))
    }

    /// Returns the metrics with the label `name`.
    pub(super) fn known(&self, name: &str) -> Option<Arc<DatasetMetrics>> {
        match name {
            OTHER => Some(Arc::clone(&self.other)),
            _ => self.listed().get(name).map(Arc::clone),
        }
    }

    pub(super) fn all(&self) -> Vec<Arc<DatasetMetrics>> {
        self.listed().values().chain([&self.other]).map(Arc::clone).collect()
    }

    fn listed(&self) -> RwLockReadGuard<'_, BTreeMap<Arc<str>, Arc<DatasetMetrics>>> {
        self.listed.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The metrics of a dataset over all endpoints.
#[derive(Debug)]
pub(super) struct DatasetMetrics {
    pub(super) label: DatasetLabel,
    last_batch: Mutex<Option<Arrival>>,
    event_lag: Histogram,
}

impl DatasetMetrics {
    fn new(label: DatasetLabel) -> Self {
        Self { label, last_batch: Mutex::default(), event_lag: Histogram::new(EVENT_LAG) }
    }

    /// Records the commit of a batch that was received at that time.
    pub(super) fn batch(&self, arrival: Arrival) {
        let mut last = self.last_batch.lock().unwrap_or_else(PoisonError::into_inner);
        // Commits may end in another order than their batches arrived.
        if last.is_none_or(|last| last.at <= arrival.at) {
            *last = Some(arrival);
        }
    }

    /// Returns when the newest batch was received, in microseconds since 1970 by the wall clock of
    /// `now`.
    pub(super) fn last_batch(&self, now: Arrival) -> Option<u64> {
        let last = *self.last_batch.lock().unwrap_or_else(PoisonError::into_inner);
        last.map(|last| last.wall_micros_at(now))
    }

    /// Restores the time of the newest batch from an earlier run, unless a batch has arrived since.
    pub(super) fn restore(&self, arrival: Arrival) {
        self.last_batch.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(arrival);
    }

    /// Records the age of a record at the commit of its batch.
    pub(super) fn event_lag(&self, lag: Duration) {
        self.event_lag.observe(micros(lag));
    }

    pub(super) fn has_event_lag(&self) -> bool {
        !self.event_lag.is_empty()
    }
}

impl Series for DatasetMetrics {
    fn labels(&self) -> Vec<(&'static str, &str)> {
        vec![("dataset", self.label.as_str())]
    }
}

pub(super) const LAST_BATCH: [Family<DatasetMetrics>; 1] = [Family {
    name: "logpushd_last_batch_timestamp_seconds",
    kind: MetricKind::Gauge,
    help: "Time at which the newest batch of a dataset was received.",
    value: |dataset, now| dataset.last_batch(now).map(Value::Micros),
}];

pub(super) const LAG: [HistogramFamily<DatasetMetrics>; 1] = [HistogramFamily {
    name: "logpushd_event_lag_seconds",
    help: "Time from the event of a batch's first record to the commit.",
    sum: Value::Micros,
    histogram: |dataset| &dataset.event_lag,
}];
