//! Metrics of sinks.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use super::{
    Arrival,
    exposition::{Family, MetricKind, Series, Value},
    micros,
    upload::Requests,
    value,
};

/// The metrics of a sink.
#[derive(Debug, Default)]
pub struct SinkMetrics {
    name: String,
    delivered_records: AtomicU64,
    filtered_records: AtomicU64,
    resent_records: AtomicU64,
    errors: AtomicU64,
    dropped_records: AtomicU64,
    /// The counters that the sink itself increments.
    own: OwnCounters,
    /// 1 while the sink fails until an operator acts.
    action_required: AtomicU64,
    /// The lag in microseconds.
    lag: AtomicU64,
    backlog_batches: AtomicU64,
    backlog_bytes: AtomicU64,
    last_success: Mutex<Option<Arrival>>,
    pub(super) requests: Requests,
}

/// Counters that a sink itself increments, from any thread. After a reload, the new sink of the
/// same name continues with them.
#[derive(Clone, Debug, Default)]
pub struct OwnCounters {
    /// Files that could not be rotated.
    pub rotation_failures: Arc<AtomicU64>,
    /// Files that could not be compressed.
    pub compression_failures: Arc<AtomicU64>,
    /// Records that were shortened or left out because they were too long.
    pub oversize_records: Arc<AtomicU64>,
    /// Records that the target discarded without naming them.
    pub discarded_records: Arc<AtomicU64>,
    /// Records that the target refused permanently.
    pub refused_records: Arc<AtomicU64>,
}

impl SinkMetrics {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Counts records that the sink has delivered.
    pub fn delivered(&self, records: u64) {
        self.delivered_records.fetch_add(records, Relaxed);
    }

    /// Counts records that the sink's `where` excludes.
    pub fn filtered(&self, records: u64) {
        self.filtered_records.fetch_add(records, Relaxed);
    }

    /// Counts records that the sink has delivered again, since they may have been lost in transit.
    pub fn resent(&self, records: u64) {
        self.resent_records.fetch_add(records, Relaxed);
    }

    /// Counts a failed attempt.
    pub fn error(&self) {
        self.errors.fetch_add(1, Relaxed);
    }

    /// Records the time of a delivery.
    pub fn succeeded(&self, at: Arrival) {
        *self.last_success.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
    }

    /// Returns the counters that the sink itself increments.
    pub fn own(&self) -> OwnCounters {
        self.own.clone()
    }

    /// Sets whether the sink fails until an operator acts.
    pub fn action_required(&self, is_required: bool) {
        self.action_required.store(is_required.into(), Relaxed);
    }

    /// Sets the total number of records that the sink has lost with `when_full = "drop"`.
    pub fn dropped(&self, records: u64) {
        self.dropped_records.store(records, Relaxed);
    }

    /// Sets the age of the oldest batch that the sink still needs, or zero.
    pub fn lag(&self, lag: Duration) {
        self.lag.store(micros(lag), Relaxed);
    }

    /// Sets the number and the size of the batches that the sink still needs.
    pub fn backlog(&self, batches: u64, bytes: u64) {
        self.backlog_batches.store(batches, Relaxed);
        self.backlog_bytes.store(bytes, Relaxed);
    }
}

impl Series for SinkMetrics {
    fn labels(&self) -> Vec<(&'static str, &str)> {
        vec![("sink", &self.name)]
    }
}

pub(super) const FAMILIES: [Family<SinkMetrics>; 15] = [
    Family {
        name: "logpushd_sink_delivered_records_total",
        kind: MetricKind::Counter,
        help: "Records that a sink has delivered.",
        value: |sink, _| Some(Value::of(&sink.delivered_records)),
    },
    Family {
        name: "logpushd_sink_filtered_records_total",
        kind: MetricKind::Counter,
        help: "Records that a sink's conditions exclude.",
        value: |sink, _| Some(Value::of(&sink.filtered_records)),
    },
    Family {
        name: "logpushd_sink_resent_records_total",
        kind: MetricKind::Counter,
        help: "Records that a sink has delivered again because a broken connection may have lost them.",
        value: |sink, _| Some(Value::of(&sink.resent_records)),
    },
    Family {
        name: "logpushd_sink_oversize_records_total",
        kind: MetricKind::Counter,
        help: "Records that a sink has shortened or left out because they are too long for it.",
        value: |sink, _| Some(Value::of(&sink.own.oversize_records)),
    },
    Family {
        name: "logpushd_sink_discarded_records_total",
        kind: MetricKind::Counter,
        help: "Records that a sink's target discarded without naming them; they are lost.",
        value: |sink, _| Some(Value::of(&sink.own.discarded_records)),
    },
    Family {
        name: "logpushd_sink_refused_records_total",
        kind: MetricKind::Counter,
        help: "Records that a sink's target refused permanently; they are in quarantine.",
        value: |sink, _| Some(Value::of(&sink.own.refused_records)),
    },
    Family {
        name: "logpushd_sink_errors_total",
        kind: MetricKind::Counter,
        help: "Failed attempts of a sink.",
        value: |sink, _| Some(Value::of(&sink.errors)),
    },
    Family {
        name: "logpushd_sink_dropped_records_total",
        kind: MetricKind::Counter,
        help: "Records that a sink lost because the spool was full.",
        value: |sink, _| Some(Value::of(&sink.dropped_records)),
    },
    Family {
        name: "logpushd_sink_rotation_failures_total",
        kind: MetricKind::Counter,
        help: "Failed rotations of a sink's files.",
        value: |sink, _| Some(Value::of(&sink.own.rotation_failures)),
    },
    Family {
        name: "logpushd_sink_compression_failures_total",
        kind: MetricKind::Counter,
        help: "Failed compressions of a sink's files.",
        value: |sink, _| Some(Value::of(&sink.own.compression_failures)),
    },
    Family {
        name: "logpushd_sink_lag_seconds",
        kind: MetricKind::Gauge,
        help: "Age of the oldest batch that a sink still needs; 0 without one.",
        value: |sink, _| Some(Value::Micros(value(&sink.lag))),
    },
    Family {
        name: "logpushd_sink_action_required",
        kind: MetricKind::Gauge,
        help: "1 while a sink fails until an operator acts; the log has the action.",
        value: |sink, _| Some(Value::of(&sink.action_required)),
    },
    Family {
        name: "logpushd_sink_backlog_batches",
        kind: MetricKind::Gauge,
        help: "Batches in the spool that a sink still needs.",
        value: |sink, _| Some(Value::of(&sink.backlog_batches)),
    },
    Family {
        name: "logpushd_sink_backlog_bytes",
        kind: MetricKind::Gauge,
        help: "Size of the batches in the spool that a sink still needs.",
        value: |sink, _| Some(Value::of(&sink.backlog_bytes)),
    },
    Family {
        name: "logpushd_sink_last_success_timestamp_seconds",
        kind: MetricKind::Gauge,
        help: "Time at which a sink last delivered records.",
        value: |sink, now| {
            let last = *sink.last_success.lock().unwrap_or_else(PoisonError::into_inner);
            last.map(|last| Value::Micros(last.wall_micros_at(now)))
        },
    },
];
