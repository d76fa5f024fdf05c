//! What is counted of sinks.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use super::{
    Arrival, Metrics, add,
    exposition::{Exposition, Kind, seconds},
    micros,
    table::SinkMetrics,
    value,
};

/// A counter that someone else adds to, and that another one may take the place of.
#[derive(Debug, Default)]
pub(super) struct Relay(Mutex<(u64, Arc<AtomicU64>)>);

impl Relay {
    fn follow(&self, counter: Arc<AtomicU64>) {
        let mut relay = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        relay.0 += value(&relay.1);
        relay.1 = counter;
    }

    fn value(&self) -> u64 {
        let relay = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        relay.0 + value(&relay.1)
    }
}

impl Metrics {
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

    /// A sink has taken something of a batch at that time.
    pub fn sink_succeeded(&self, sink: usize, at: Arrival) {
        if let Some(sink) = self.table().sinks.get(sink) {
            *sink.last_success.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
        }
    }

    /// The sink counts failed rotations and failed compressions here from now on. What another one of
    /// its name has counted is kept.
    pub fn sink_upkeep(
        &self,
        sink: usize,
        rotation_failures: Arc<AtomicU64>,
        compression_failures: Arc<AtomicU64>,
    ) {
        if let Some(sink) = self.table().sinks.get(sink) {
            sink.rotation_failures.follow(rotation_failures);
            sink.compression_failures.follow(compression_failures);
        }
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
            sink.lag.store(micros(lag), Relaxed);
        }
    }

    /// The batches that the sink does not have yet, and the bytes of their files.
    pub fn sink_backlog(&self, sink: usize, batches: u64, bytes: u64) {
        if let Some(sink) = self.table().sinks.get(sink) {
            sink.backlog_batches.store(batches, Relaxed);
            sink.backlog_bytes.store(bytes, Relaxed);
        }
    }

    pub(super) fn render_sinks(&self, text: &mut Exposition, now: Arrival) {
        let table = self.table();
        let shown = || table.sinks.iter().filter(|sink| sink.shown);
        for (name, help, count) in COUNTERS {
            text.family(name, Kind::Counter, help);
            for sink in shown() {
                text.sample(&[("sink", &sink.name)], count(sink));
            }
        }
        text.family(
            "logpushd_sink_lag_seconds",
            Kind::Gauge,
            "Age of the oldest batch that a sink does not have yet; 0 when it has all.",
        );
        for sink in shown() {
            text.sample(&[("sink", &sink.name)], seconds(value(&sink.lag)));
        }
        for (name, help, count) in BACKLOG {
            text.family(name, Kind::Gauge, help);
            for sink in shown() {
                text.sample(&[("sink", &sink.name)], count(sink));
            }
        }
        text.family(
            "logpushd_sink_last_success_timestamp_seconds",
            Kind::Gauge,
            "When a sink last took records.",
        );
        for sink in shown() {
            let last = *sink.last_success.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(last) = last {
                text.sample(&[("sink", &sink.name)], seconds(last.wall_micros_at(now)));
            }
        }
    }
}

/// A name, what it says, and the value.
type Family = (&'static str, &'static str, fn(&SinkMetrics) -> u64);

const COUNTERS: [Family; 8] = [
    ("logpushd_sink_delivered_records_total", "Records that a sink has taken.", |sink| {
        value(&sink.delivered_records)
    }),
    (
        "logpushd_sink_filtered_records_total",
        "Records that a sink's conditions left out.",
        |sink| value(&sink.filtered_records),
    ),
    (
        "logpushd_sink_resent_records_total",
        "Records that a sink has taken again, since a broken connection may have lost them.",
        |sink| value(&sink.resent_records),
    ),
    (
        "logpushd_sink_oversize_records_total",
        "Records that a sink has shortened or left out, since they are longer than it may pass on.",
        |sink| value(&sink.oversize_records),
    ),
    ("logpushd_sink_errors_total", "Failed attempts of a sink.", |sink| value(&sink.errors)),
    ("logpushd_sink_dropped_records_total", "Records that a sink lost to a full spool.", |sink| {
        value(&sink.dropped_records)
    }),
    (
        "logpushd_sink_rotation_failures_total",
        "Files that a sink could not rotate, each time it tried.",
        |sink| sink.rotation_failures.value(),
    ),
    (
        "logpushd_sink_compression_failures_total",
        "Files that a sink could not compress, each time it tried.",
        |sink| sink.compression_failures.value(),
    ),
];

const BACKLOG: [Family; 2] = [
    (
        "logpushd_sink_backlog_batches",
        "Batches in the spool that a sink does not have yet.",
        |sink| value(&sink.backlog_batches),
    ),
    (
        "logpushd_sink_backlog_bytes",
        "Size of the batches in the spool that a sink does not have yet.",
        |sink| value(&sink.backlog_bytes),
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sink_that_is_replaced_counts_on() {
        let relay = Relay::default();
        assert_eq!(relay.value(), 0);
        let [first, second, third] = [3, 4, 5].map(|count| Arc::new(AtomicU64::new(count)));
        relay.follow(Arc::clone(&first));
        assert_eq!(relay.value(), 3);
        first.fetch_add(2, Relaxed);
        relay.follow(second);
        assert_eq!(relay.value(), 9);
        relay.follow(third);
        assert_eq!(relay.value(), 14);
    }
}
