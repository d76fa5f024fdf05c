//! Metrics of sinks that send requests.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use super::{
    Arrival, SinkMetrics,
    exposition::{Family, HistogramFamily, MetricKind, Series, Value},
    histogram::{Histogram, REQUEST},
    labels::{Counters, Label},
    micros,
};
use crate::sink::{RequestErrorClass, RequestOutcome, RequestResult, UploadMetrics};

/// The metrics of the requests of one sink.
#[derive(Debug)]
pub(super) struct Requests {
    /// Whether the sink sends requests.
    are_used: AtomicBool,
    pub(super) outcomes: Counters<RequestOutcome>,
    sent_bytes: AtomicU64,
    in_flight: AtomicU64,
    seconds: Histogram,
    last_error: Mutex<Option<LastError>>,
}

/// The last error of the requests of a sink.
#[derive(Clone, Copy, Debug)]
struct LastError {
    class: RequestErrorClass,
    at: Arrival,
}

impl Default for Requests {
    fn default() -> Self {
        Self {
            are_used: AtomicBool::new(false),
            outcomes: Counters::new(RequestOutcome::ALL),
            sent_bytes: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            seconds: Histogram::new(REQUEST),
            last_error: Mutex::default(),
        }
    }
}

impl SinkMetrics {
    /// Whether the sink sends requests.
    pub(super) fn sends_requests(&self) -> bool {
        self.requests.are_used.load(Relaxed)
    }

    /// Returns the series of the last error, if there was one.
    pub(super) fn last_error(&self) -> Option<LastErrorSeries> {
        let last = *self.requests.last_error.lock().unwrap_or_else(PoisonError::into_inner);
        last.map(|LastError { class, at }| LastErrorSeries {
            sink: self.name().to_owned(),
            class,
            at,
        })
    }

    pub(super) fn set_last_error(&self, class: RequestErrorClass, at: Arrival) {
        let mut last = self.requests.last_error.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some(LastError { class, at });
    }
}

impl UploadMetrics for SinkMetrics {
    fn opened(&self) {
        self.requests.are_used.store(true, Relaxed);
    }

    fn sent(&self, bytes: u64) {
        self.requests.in_flight.fetch_add(1, Relaxed);
        self.requests.sent_bytes.fetch_add(bytes, Relaxed);
    }

    fn ended(&self, result: &RequestResult) {
        let requests = &self.requests;
        requests.in_flight.fetch_sub(1, Relaxed);
        requests.seconds.observe(micros(result.took));
        requests.outcomes.add(result.outcome, 1);
        if let Some(class) = result.error {
            self.set_last_error(class, Arrival::now());
        }
    }

    fn records_delivered(&self, records: u64) {
        self.delivered(records);
        self.succeeded(Arrival::now());
    }
}

impl Label for RequestOutcome {
    fn label(self) -> &'static str {
        self.label()
    }
}

/// The time of the last error of a sink's requests, with its class as a label.
#[derive(Debug)]
pub(super) struct LastErrorSeries {
    sink: String,
    class: RequestErrorClass,
    at: Arrival,
}

impl Series for LastErrorSeries {
    fn labels(&self) -> Vec<(&'static str, &str)> {
        vec![("sink", &self.sink), ("class", self.class.label())]
    }
}

pub(super) const FAMILIES: [Family<SinkMetrics>; 2] = [
    Family {
        name: "logpushd_sink_requests_in_flight",
        kind: MetricKind::Gauge,
        help: "Requests of a sink that have no answer yet.",
        value: |sink, _| Some(Value::of(&sink.requests.in_flight)),
    },
    Family {
        name: "logpushd_sink_sent_bytes_total",
        kind: MetricKind::Counter,
        help: "Bytes of the records in the requests of a sink, before compression.",
        value: |sink, _| Some(Value::of(&sink.requests.sent_bytes)),
    },
];

pub(super) const SECONDS: [HistogramFamily<SinkMetrics>; 1] = [HistogramFamily {
    name: "logpushd_sink_request_seconds",
    help: "Time from the start of a sink's request to its answer, or until it failed.",
    sum: Value::Micros,
    histogram: |sink| &sink.requests.seconds,
}];

pub(super) const LAST_ERROR: [Family<LastErrorSeries>; 1] = [Family {
    name: "logpushd_sink_last_error_timestamp_seconds",
    kind: MetricKind::Gauge,
    help: "Time of the last error of a sink's requests; the label has its class.",
    value: |error, now| Some(Value::Micros(error.at.wall_micros_at(now))),
}];
