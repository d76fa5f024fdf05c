//! Renders all metric families.

use super::{
    Arrival, Metrics, dataset, endpoint,
    exposition::{Exposition, Family, HistogramFamily, MetricKind, Series, Value},
    sink, upload,
};

impl Metrics {
    /// Returns all metrics in the text format of Prometheus.
    pub fn render(&self) -> String {
        self.render_at(Arrival::now())
    }

    pub(super) fn render_at(&self, now: Arrival) -> String {
        let mut text = Exposition::at(now);
        text.families(&READY, &[self]);
        let endpoints = self.endpoints.shown();
        text.breakdown(
            ("logpushd_batches_total", "Batches answered 200.", "outcome"),
            &endpoints,
            |endpoint| &endpoint.batches,
        );
        text.families(&TRAFFIC, &[self]);
        let by_dataset: Vec<_> =
            endpoints.iter().flat_map(|endpoint| endpoint.by_dataset()).collect();
        text.families(&endpoint::BY_DATASET, &by_dataset.iter().collect::<Vec<_>>());
        text.breakdown(
            (
                "logpushd_refused_total",
                "Requests and connections that were refused or failed.",
                "reason",
            ),
            &[self],
            |metrics| &metrics.refused,
        );
        text.breakdown(
            (
                "logpushd_endpoint_refused_total",
                "Requests that were refused at an endpoint.",
                "reason",
            ),
            &endpoints,
            |endpoint| &endpoint.refused,
        );
        text.breakdown(
            (
                "logpushd_quarantined_records_total",
                "Records in quarantine because they could not be parsed.",
                "reason",
            ),
            &[self],
            |metrics| &metrics.quarantined,
        );
        text.families(&QUARANTINE, &[self]);
        text.histograms(&COMMITS, &[self]);
        let datasets = self.datasets.all();
        let timed = datasets.iter().filter(|dataset| dataset.has_event_lag()).cloned();
        text.histograms(&dataset::LAG, &timed.collect::<Vec<_>>());
        text.families(&SPOOL, &[self]);
        let sinks = self.sinks.shown();
        text.families(&sink::FAMILIES, &sinks);
        let senders: Vec<_> = sinks.iter().filter(|sink| sink.sends_requests()).cloned().collect();
        text.breakdown(
            (
                "logpushd_sink_requests_total",
                "Requests of a sink that have ended, by what becomes of their records.",
                "outcome",
            ),
            &senders,
            |sink| &sink.requests.outcomes,
        );
        text.families(&upload::FAMILIES, &senders);
        text.histograms(&upload::SECONDS, &senders);
        let errors: Vec<_> = senders.iter().filter_map(|sink| sink.last_error()).collect();
        text.families(&upload::LAST_ERROR, &errors.iter().collect::<Vec<_>>());
        text.families(&dataset::LAST_BATCH, &datasets);
        let secrets: Vec<_> = endpoints.iter().flat_map(|endpoint| endpoint.secrets()).collect();
        text.families(&endpoint::SECRET, &secrets);
        text.families(&DAEMON, &[self]);
        text.families(&BUILD, &[&Build]);
        self.render_process(&mut text, now);
        text.finish()
    }
}

impl Series for Metrics {
    fn labels(&self) -> Vec<(&'static str, &str)> {
        Vec::new()
    }
}

const READY: [Family<Metrics>; 1] = [Family {
    name: "logpushd_ready",
    kind: MetricKind::Gauge,
    help: "1 while batches are accepted, 0 while they are refused; /readyz has the reason.",
    value: |metrics, _| Some(Value::of(&metrics.ready)),
}];

const TRAFFIC: [Family<Metrics>; 2] = [
    Family {
        name: "logpushd_received_bytes_total",
        kind: MetricKind::Counter,
        help: "Bytes of bodies, as sent.",
        value: |metrics, _| Some(Value::of(&metrics.received_bytes)),
    },
    Family {
        name: "logpushd_inflated_bytes_total",
        kind: MetricKind::Counter,
        help: "Bytes of bodies, decompressed.",
        value: |metrics, _| {
            let endpoints = metrics.endpoints.all();
            let bytes = endpoints.iter().map(|endpoint| endpoint.total_inflated_bytes());
            Some(Value::Whole(bytes.sum()))
        },
    },
];

const QUARANTINE: [Family<Metrics>; 2] = [
    Family {
        name: "logpushd_quarantine_bytes",
        kind: MetricKind::Gauge,
        help: "Size of the files in the quarantine directory.",
        value: |metrics, _| Some(Value::of(&metrics.quarantine_bytes)),
    },
    Family {
        name: "logpushd_quarantine_removed_bytes_total",
        kind: MetricKind::Counter,
        help: "Bytes removed from the quarantine because of its bounds.",
        value: |metrics, _| Some(Value::of(&metrics.quarantine_removed_bytes)),
    },
];

const COMMITS: [HistogramFamily<Metrics>; 4] = [
    HistogramFamily {
        name: "logpushd_commit_seconds",
        help: "Time from the end of a body until its batch is durable.",
        sum: Value::Micros,
        histogram: |metrics| &metrics.commit_seconds,
    },
    HistogramFamily {
        name: "logpushd_batch_seconds",
        help: "Time from the headers of a request to the commit of its batch.",
        sum: Value::Micros,
        histogram: |metrics| &metrics.batch_seconds,
    },
    HistogramFamily {
        name: "logpushd_batch_bytes",
        help: "Size of a committed batch, as sent.",
        sum: Value::Whole,
        histogram: |metrics| &metrics.batch_bytes,
    },
    HistogramFamily {
        name: "logpushd_batch_records",
        help: "Records of a committed batch, without those that went to the quarantine.",
        sum: Value::Whole,
        histogram: |metrics| &metrics.batch_records,
    },
];

const SPOOL: [Family<Metrics>; 3] = [
    Family {
        name: "logpushd_spool_bytes",
        kind: MetricKind::Gauge,
        help: "Size of the batches in the spool.",
        value: |metrics, _| Some(Value::of(&metrics.spool_bytes)),
    },
    Family {
        name: "logpushd_spool_batches",
        kind: MetricKind::Gauge,
        help: "Batches in the spool.",
        value: |metrics, _| Some(Value::of(&metrics.spool_batches)),
    },
    Family {
        name: "logpushd_spool_room_bytes",
        kind: MetricKind::Gauge,
        help: "Room for more batches: the rest of spool.max_bytes, or of the disk if that is less.",
        value: |metrics, _| Some(Value::of(&metrics.spool_room_bytes)),
    },
];

const DAEMON: [Family<Metrics>; 4] = [
    Family {
        name: "logpushd_tls_certificate_expiry_timestamp_seconds",
        kind: MetricKind::Gauge,
        help: "Time at which the server's certificate expires.",
        value: |metrics, _| Some(Value::of(&metrics.certificate_expiry)),
    },
    Family {
        name: "logpushd_acme_failures_total",
        kind: MetricKind::Counter,
        help: "Failed attempts to get or renew the certificate.",
        value: |metrics, _| Some(Value::of(&metrics.acme_failures)),
    },
    Family {
        name: "logpushd_log_lines_dropped_total",
        kind: MetricKind::Counter,
        help: "Log lines dropped because standard error was not read fast enough.",
        value: |metrics, _| Some(Value::of(&metrics.log_lines_dropped)),
    },
    Family {
        name: "logpushd_connections",
        kind: MetricKind::Gauge,
        help: "Open connections.",
        value: |metrics, _| Some(Value::of(&metrics.connections)),
    },
];

struct Build;

impl Series for Build {
    fn labels(&self) -> Vec<(&'static str, &str)> {
        vec![("version", env!("CARGO_PKG_VERSION"))]
    }
}

const BUILD: [Family<Build>; 1] = [Family {
    name: "logpushd_build_info",
    kind: MetricKind::Gauge,
    help: "Always 1; the label has the version.",
    value: |_, _| Some(Value::Whole(1)),
}];
