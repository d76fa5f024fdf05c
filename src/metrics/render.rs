//! The families, one after the other.

use std::{
    iter,
    sync::{PoisonError, atomic::Ordering::Relaxed},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use super::{
    Arrival, COMMIT_BUCKETS, Metrics,
    exposition::{Exposition, Kind, seconds},
    labels::{Outcome, Refusal},
    value,
};

impl Metrics {
    /// Everything, as Prometheus reads it.
    pub fn render(&self) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall_micros = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        self.render_at(Arrival { at: Instant::now(), wall_micros })
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
        self.render_sinks(&mut text);

        text.family(
            "logpushd_last_batch_timestamp_seconds",
            Kind::Gauge,
            "When the newest batch of a dataset was received.",
        );
        for dataset in &self.table().datasets {
            let last = *dataset.last_batch.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(last) = last {
                text.sample(&[("dataset", &dataset.name)], seconds(last.wall_micros_at(now)));
            }
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
            for (dataset, count) in iter::zip(&table.datasets, &endpoint.records) {
                let count = value(count);
                // Most senders use a few of the many datasets.
                if count > 0 {
                    let labels = [("endpoint", &*endpoint.name), ("dataset", &*dataset.name)];
                    text.sample(&labels, count);
                }
            }
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
        // Loaded before the buckets: the sum may lag behind the count, never run ahead of it.
        let sum = value(&self.commit_micros);
        let bounds = COMMIT_BUCKETS.iter().map(|(_, bound)| *bound).chain(["+Inf"]);
        let mut count = 0;
        for (bound, bucket) in iter::zip(bounds, &self.commits) {
            count += value(bucket);
            text.sample_of("_bucket", &[("le", bound)], count);
        }
        text.sample_of("_sum", &[], seconds(sum));
        text.sample_of("_count", &[], count);

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

    fn render_sinks(&self, text: &mut Exposition) {
        let table = self.table();
        let shown = || table.sinks.iter().filter(|sink| sink.shown);
        text.family(
            "logpushd_sink_delivered_records_total",
            Kind::Counter,
            "Records that a sink has taken.",
        );
        for sink in shown() {
            text.sample(&[("sink", &sink.name)], value(&sink.delivered_records));
        }
        text.family(
            "logpushd_sink_filtered_records_total",
            Kind::Counter,
            "Records that a sink's conditions left out.",
        );
        for sink in shown() {
            text.sample(&[("sink", &sink.name)], value(&sink.filtered_records));
        }
        text.family(
            "logpushd_sink_resent_records_total",
            Kind::Counter,
            "Records that a sink has taken again, since a broken connection may have lost them.",
        );
        for sink in shown() {
            text.sample(&[("sink", &sink.name)], value(&sink.resent_records));
        }
        text.family(
            "logpushd_sink_oversize_records_total",
            Kind::Counter,
            "Records that a sink has shortened or left out, since they are longer than it may pass on.",
        );
        for sink in shown() {
            text.sample(&[("sink", &sink.name)], value(&sink.oversize_records));
        }
        text.family("logpushd_sink_errors_total", Kind::Counter, "Failed attempts of a sink.");
        for sink in shown() {
            text.sample(&[("sink", &sink.name)], value(&sink.errors));
        }
        text.family(
            "logpushd_sink_dropped_records_total",
            Kind::Counter,
            "Records that a sink lost to a full spool.",
        );
        for sink in shown() {
            text.sample(&[("sink", &sink.name)], value(&sink.dropped_records));
        }
        text.family(
            "logpushd_sink_lag_seconds",
            Kind::Gauge,
            "Age of the oldest batch that a sink does not have yet; 0 when it has all.",
        );
        for sink in shown() {
            text.sample(&[("sink", &sink.name)], seconds(value(&sink.lag)));
        }
    }
}
