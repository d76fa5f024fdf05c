//! The endpoints, sinks and datasets that have series of their own: they come and go with the
//! configuration.

use std::{
    collections::BTreeSet,
    sync::{Mutex, atomic::AtomicU64},
};

use super::{
    arrival::Arrival,
    histogram::{EVENT_LAG, Histogram},
    labels::{OTHER, Outcome, Refusal},
    sinks::Relay,
};
use crate::cloudflare::datasets::DATASETS;

/// Names that have series of their own.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Of endpoints.
    pub endpoints: Vec<String>,
    /// Of sinks.
    pub sinks: Vec<String>,
    /// Of datasets that the configuration fixes, beside Cloudflare's.
    pub datasets: Vec<String>,
}

/// What is counted by name. Nothing is ever removed: who is gone is not shown, keeps its place, and goes
/// on counting there should it come back.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) endpoints: Vec<EndpointMetrics>,
    pub(super) sinks: Vec<SinkMetrics>,
    pub(super) datasets: Vec<DatasetMetrics>,
    pub(super) secrets: Vec<SecretMetrics>,
}

#[derive(Debug)]
pub(super) struct SecretMetrics {
    pub(super) endpoint: String,
    pub(super) label: String,
    /// Microseconds since 1970; 0: not yet.
    pub(super) last_used: AtomicU64,
}

#[derive(Debug)]
pub(super) struct EndpointMetrics {
    pub(super) name: String,
    pub(super) shown: bool,
    pub(super) batches: [AtomicU64; Outcome::LABELS.len()],
    pub(super) refused: [AtomicU64; Refusal::OF_REQUESTS],
    /// In the order of [`Table::datasets`].
    pub(super) by_dataset: Vec<Counts>,
}

/// What is counted of a dataset at an endpoint.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) records: AtomicU64,
    pub(super) received_bytes: AtomicU64,
    pub(super) inflated_bytes: AtomicU64,
}

#[derive(Debug, Default)]
pub(super) struct SinkMetrics {
    pub(super) name: String,
    pub(super) shown: bool,
    pub(super) delivered_records: AtomicU64,
    pub(super) filtered_records: AtomicU64,
    pub(super) resent_records: AtomicU64,
    pub(super) oversize_records: AtomicU64,
    pub(super) errors: AtomicU64,
    pub(super) dropped_records: AtomicU64,
    pub(super) rotation_failures: Relay,
    pub(super) compression_failures: Relay,
    /// In microseconds.
    pub(super) lag: AtomicU64,
    pub(super) backlog_batches: AtomicU64,
    pub(super) backlog_bytes: AtomicU64,
    pub(super) last_success: Mutex<Option<Arrival>>,
}

#[derive(Debug)]
pub(super) struct DatasetMetrics {
    pub(super) name: String,
    pub(super) last_batch: Mutex<Option<Arrival>>,
    pub(super) event_lag: Histogram,
}

impl DatasetMetrics {
    fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            last_batch: Mutex::default(),
            event_lag: Histogram::new(EVENT_LAG),
        }
    }
}

impl Table {
    pub(super) fn new() -> Self {
        // Last: whatever is not found ends there.
        let names = DATASETS.into_iter().chain([OTHER]);
        Self {
            endpoints: Vec::new(),
            sinks: Vec::new(),
            datasets: names.map(DatasetMetrics::new).collect(),
            secrets: Vec::new(),
        }
    }

    /// From now on, these are shown.
    pub(super) fn show(&mut self, names: &Names) {
        for name in &names.datasets {
            self.add_dataset(name);
        }
        for name in &names.endpoints {
            self.endpoint(name);
        }
        for name in &names.sinks {
            self.sink(name);
        }
        let shown: BTreeSet<_> = names.endpoints.iter().collect();
        for endpoint in &mut self.endpoints {
            endpoint.shown = shown.contains(&endpoint.name);
        }
        let shown: BTreeSet<_> = names.sinks.iter().collect();
        for sink in &mut self.sinks {
            sink.shown = shown.contains(&sink.name);
        }
    }

    /// Among the others by its name, which is where all of them have it.
    fn add_dataset(&mut self, name: &str) {
        if self.datasets.iter().any(|known| known.name == name) {
            return;
        }
        let others = self.datasets.len() - 1;
        let place = self.datasets.iter().take(others).position(|known| *known.name > *name);
        let place = place.unwrap_or(others);
        self.datasets.insert(place, DatasetMetrics::new(name));
        for endpoint in &mut self.endpoints {
            endpoint.by_dataset.insert(place, Counts::default());
        }
    }

    /// The place of a dataset, which may be among the others.
    pub(super) fn dataset(&self, name: &str) -> usize {
        let place = self.datasets.iter().position(|known| known.name == name);
        place.unwrap_or(self.datasets.len().saturating_sub(1))
    }

    /// The place of an endpoint, which may be new.
    pub(super) fn endpoint(&mut self, name: &str) -> usize {
        self.endpoints.iter().position(|known| known.name == name).unwrap_or_else(|| {
            self.endpoints.push(EndpointMetrics {
                name: name.to_owned(),
                shown: false,
                batches: Default::default(),
                refused: Default::default(),
                by_dataset: self.datasets.iter().map(|_| Counts::default()).collect(),
            });
            self.endpoints.len() - 1
        })
    }

    /// The place of a sink, which may be new.
    pub(super) fn sink(&mut self, name: &str) -> usize {
        self.sinks.iter().position(|known| known.name == name).unwrap_or_else(|| {
            self.sinks.push(SinkMetrics { name: name.to_owned(), ..SinkMetrics::default() });
            self.sinks.len() - 1
        })
    }

    /// The place of a secret, which may be new.
    pub(super) fn secret(&mut self, endpoint: &str, label: &str) -> usize {
        let is_it = |known: &SecretMetrics| known.endpoint == endpoint && known.label == label;
        self.secrets.iter().position(is_it).unwrap_or_else(|| {
            let (endpoint, label) = (endpoint.to_owned(), label.to_owned());
            self.secrets.push(SecretMetrics { endpoint, label, last_used: 0.into() });
            self.secrets.len() - 1
        })
    }
}
