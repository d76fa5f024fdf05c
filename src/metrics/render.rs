//! The families, one after the other.

use std::{
    iter,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use super::{
    Arrival, Metrics,
    exposition::{Exposition, Kind, seconds},
    labels::{Outcome, Refusal},
    table::{Counts, DatasetMetrics, EndpointMetrics},
    value,
};

impl Metrics {
    /// Everything, as Prometheus reads it.
    pub fn render(&self) -> String {
        self.render_at(Arrival::now())
    }

    pub(super) fn render_at(&self, now: Arrival) -> String {
        let mut text = Exposition::default();
        text.family(
            "logpushd_ready",
            Kind::Gauge,
            "1 while batches are accepted, 0 while they are refused; /readyz says why.",
        );
        text.sample(&[], value(&self.ready));
        self.render_requests(&mut text);
        self.render_commits(&mut text);
        self.render_sinks(&mut text, now);

        text.family(
            "logpushd_last_batch_timestamp_seconds",
            Kind::Gauge,
            "When the newest batch of a dataset was received.",
        );
        for (dataset, last) in self.last_batches(now) {
            text.sample(&[("dataset", &dataset)], seconds(last));
        }
        text.family(
            "logpushd_secret_last_used_timestamp_seconds",
            Kind::Gauge,
            "When a sender last showed a secret.",
        );
        let table = self.table();
        let is_shown = |name: &str| {
            table.endpoints.iter().any(|endpoint| endpoint.shown && *endpoint.name == *name)
        };
        for secret in &table.secrets {
            let at = secret.last_used.load(Relaxed);
            if at > 0 && is_shown(&secret.endpoint) {
                let labels = [("endpoint", &*secret.endpoint), ("secret", &*secret.label)];
                text.sample(&labels, seconds(at));
            }
        }
        text.family(
            "logpushd_tls_certificate_expiry_timestamp_seconds",
            Kind::Gauge,
            "When the server's certificate expires.",
        );
        let expiry = self.certificate_expiry.load(Relaxed);
        // An expiry in 1970 would set off every alarm before the certificate is loaded.
        if expiry != 0 {
            text.sample(&[], expiry);
        }
        text.family(
            "logpushd_acme_failures_total",
            Kind::Counter,
            "Attempts to get or renew the certificate that came to nothing.",
        );
        text.sample(&[], value(&self.acme_failures));
        text.family(
            "logpushd_log_lines_dropped_total",
            Kind::Counter,
            "Log lines dropped because standard error was not read fast enough.",
        );
        text.sample(&[], value(&self.log_lines_dropped));
        text.family("logpushd_connections", Kind::Gauge, "Open connections.");
        text.sample(&[], value(&self.connections));
        text.family("logpushd_build_info", Kind::Gauge, "Always 1: see the label.");
        text.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
        self.render_process(&mut text, now);
        text.finish()
    }

    fn render_requests(&self, text: &mut Exposition) {
        let table = self.table();
        let shown = || table.endpoints.iter().filter(|endpoint| endpoint.shown);
        text.family("logpushd_batches_total", Kind::Counter, "Batches answered 200.");
        for endpoint in shown() {
            for (outcome, count) in iter::zip(Outcome::LABELS, &endpoint.batches) {
                text.sample(&[("endpoint", &endpoint.name), ("outcome", outcome)], value(count));
            }
        }
        text.family("logpushd_records_total", Kind::Counter, "Records committed.");
        for endpoint in shown() {
            endpoint.render(text, &table.datasets, |counts| &counts.records);
        }
        text.family(
            "logpushd_received_bytes_total",
            Kind::Counter,
            "Bytes of bodies, as they were on the wire.",
        );
        text.sample(&[], value(&self.received_bytes));
        text.family("logpushd_inflated_bytes_total", Kind::Counter, "Bytes of bodies, inflated.");
        text.sample(&[], value(&self.inflated_bytes));
        text.family(
            "logpushd_endpoint_received_bytes_total",
            Kind::Counter,
            "Bytes of bodies at an endpoint, as they were on the wire.",
        );
        for endpoint in shown() {
            endpoint.render(text, &table.datasets, |counts| &counts.received_bytes);
        }
        text.family(
            "logpushd_endpoint_inflated_bytes_total",
            Kind::Counter,
            "Bytes of bodies at an endpoint, inflated.",
        );
        for endpoint in shown() {
            endpoint.render(text, &table.datasets, |counts| &counts.inflated_bytes);
        }
        text.family(
            "logpushd_refused_total",
            Kind::Counter,
            "Requests and connections that were refused or came to nothing.",
        );
        for (reason, count) in iter::zip(Refusal::LABELS, &self.refused) {
            text.sample(&[("reason", reason)], value(count));
        }
        text.family(
            "logpushd_endpoint_refused_total",
            Kind::Counter,
            "Requests that were refused at an endpoint.",
        );
        for endpoint in shown() {
            for (reason, count) in iter::zip(Refusal::LABELS, &endpoint.refused) {
                text.sample(&[("endpoint", &endpoint.name), ("reason", reason)], value(count));
            }
        }
        text.family(
            "logpushd_quarantined_records_total",
            Kind::Counter,
            "Records that were set aside because they could not be parsed.",
        );
        for (reason, count) in &self.quarantined {
            text.sample(&[("reason", reason)], value(count));
        }
        text.family(
            "logpushd_quarantine_bytes",
            Kind::Gauge,
            "Size of what lies in the quarantine folder.",
        );
        text.sample(&[], value(&self.quarantine_bytes));
        text.family(
            "logpushd_quarantine_removed_bytes_total",
            Kind::Counter,
            "Bytes that were removed from the quarantine to keep its bounds.",
        );
        text.sample(&[], value(&self.quarantine_removed_bytes));
    }

    fn render_commits(&self, text: &mut Exposition) {
        text.family(
            "logpushd_commit_seconds",
            Kind::Histogram,
            "From a complete body to a batch that survives a power cut.",
        );
        self.commit_seconds.render(text, &[], seconds);
        text.family(
            "logpushd_batch_seconds",
            Kind::Histogram,
            "From the head of a request to the commit of its batch.",
        );
        self.batch_seconds.render(text, &[], seconds);
        text.family(
            "logpushd_batch_bytes",
            Kind::Histogram,
            "Size of a committed batch, as it was on the wire.",
        );
        self.batch_bytes.render(text, &[], |sum| sum.to_string());
        text.family(
            "logpushd_batch_records",
            Kind::Histogram,
            "Records of a committed batch, without those that went to the quarantine.",
        );
        self.batch_records.render(text, &[], |sum| sum.to_string());
        text.family(
            "logpushd_event_lag_seconds",
            Kind::Histogram,
            "From the time in a batch's first record to the commit.",
        );
        for dataset in self.table().datasets.iter().filter(|one| !one.event_lag.is_empty()) {
            dataset.event_lag.render(text, &[("dataset", &dataset.name)], seconds);
        }

        text.family("logpushd_spool_bytes", Kind::Gauge, "Size of the batches in the spool.");
        text.sample(&[], value(&self.spool_bytes));
        text.family("logpushd_spool_batches", Kind::Gauge, "Batches that wait in the spool.");
        text.sample(&[], value(&self.spool_batches));
        text.family(
            "logpushd_spool_room_bytes",
            Kind::Gauge,
            "What more may wait: what is left of spool.max_bytes, or of the disk if that is less.",
        );
        text.sample(&[], value(&self.spool_room_bytes));
    }
}

impl EndpointMetrics {
    fn render(
        &self,
        text: &mut Exposition,
        datasets: &[DatasetMetrics],
        count: fn(&Counts) -> &AtomicU64,
    ) {
        for (dataset, counts) in iter::zip(datasets, &self.by_dataset) {
            let count = value(count(counts));
            // Most senders use a few of the many datasets.
            if count > 0 {
                text.sample(&[("endpoint", &self.name), ("dataset", &dataset.name)], count);
            }
        }
    }
}
