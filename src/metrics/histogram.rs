//! Histograms: a counter for each bucket, and a sum.

use std::{
    iter,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use super::{
    exposition::{Exposition, Value},
    value,
};

/// The upper bounds of the buckets: as an integer in the unit of the observations, and as the
/// label.
pub(super) type Bounds = &'static [(u64, &'static str)];

/// `logpushd_commit_seconds`, in microseconds. A commit is an fsync: 1 ms on flash, seconds on a failing
/// disk.
pub(super) const COMMIT: Bounds = &[
    (1_000, "0.001"),
    (2_500, "0.0025"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (250_000, "0.25"),
    (500_000, "0.5"),
    (1_000_000, "1"),
    (2_500_000, "2.5"),
    (5_000_000, "5"),
    (10_000_000, "10"),
];

/// `logpushd_batch_seconds`, in microseconds: the upload at any speed, and the commit.
pub(super) const BATCH: Bounds = &[
    (10_000, "0.01"),
    (25_000, "0.025"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (250_000, "0.25"),
    (500_000, "0.5"),
    (1_000_000, "1"),
    (2_500_000, "2.5"),
    (5_000_000, "5"),
    (10_000_000, "10"),
    (30_000_000, "30"),
    (60_000_000, "60"),
    (300_000_000, "300"),
];

/// `logpushd_sink_request_seconds`, in microseconds: from a target nearby to the default `timeout`, and
/// beyond it for targets that need minutes.
pub(super) const REQUEST: Bounds = &[
    (5_000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (250_000, "0.25"),
    (500_000, "0.5"),
    (1_000_000, "1"),
    (2_500_000, "2.5"),
    (5_000_000, "5"),
    (10_000_000, "10"),
    (30_000_000, "30"),
    (60_000_000, "60"),
    (300_000_000, "300"),
];

/// `logpushd_batch_bytes`: from a quiet zone to the default of `limits.max_body_bytes`.
pub(super) const BYTES: Bounds = &[
    (1 << 10, "1024"),
    (1 << 12, "4096"),
    (1 << 14, "16384"),
    (1 << 16, "65536"),
    (1 << 18, "262144"),
    (1 << 20, "1048576"),
    (1 << 22, "4194304"),
    (1 << 24, "16777216"),
    (1 << 26, "67108864"),
    (1 << 28, "268435456"),
];

/// `logpushd_batch_records`. Cloudflare sends at most a million.
pub(super) const RECORDS: Bounds = &[
    (1, "1"),
    (10, "10"),
    (100, "100"),
    (1_000, "1000"),
    (10_000, "10000"),
    (100_000, "100000"),
    (1_000_000, "1000000"),
];

/// `logpushd_event_lag_seconds`, in microseconds. Cloudflare pushes within a few minutes. After an
/// outage, it sends records that are hours old.
pub(super) const EVENT_LAG: Bounds = &[
    (1_000_000, "1"),
    (5_000_000, "5"),
    (15_000_000, "15"),
    (30_000_000, "30"),
    (60_000_000, "60"),
    (120_000_000, "120"),
    (300_000_000, "300"),
    (600_000_000, "600"),
    (1_800_000_000, "1800"),
    (3_600_000_000, "3600"),
    (21_600_000_000, "21600"),
    (86_400_000_000, "86400"),
];

#[derive(Debug)]
pub(super) struct Histogram {
    bounds: Bounds,
    /// One for each bound, and one for amounts above the last bound.
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    pub(super) fn new(bounds: Bounds) -> Self {
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, buckets, sum: AtomicU64::new(0) }
    }

    pub(super) fn observe(&self, amount: u64) {
        let bucket = self.bounds.iter().position(|(bound, _)| amount <= *bound);
        if let Some(bucket) = self.buckets.get(bucket.unwrap_or(self.bounds.len())) {
            bucket.fetch_add(1, Relaxed);
        }
        // Saturates: Prometheus takes a sum that decreases for a restart, and one absurd amount
        // must not overflow it.
        let add = |sum: u64| Some(sum.saturating_add(amount));
        self.sum.fetch_update(Relaxed, Relaxed, add).ok();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.buckets.iter().all(|bucket| value(bucket) == 0)
    }

    /// Writes the samples. `labels` are the labels other than `le`, and `unit` converts the sum.
    pub(super) fn render(
        &self,
        text: &mut Exposition,
        labels: &[(&str, &str)],
        unit: fn(u64) -> Value,
    ) {
        // Loaded before the buckets, so that the sum contains no observation that the count does
        // not.
        let sum = value(&self.sum);
        let bounds = self.bounds.iter().map(|(_, bound)| *bound).chain(["+Inf"]);
        let mut count = 0;
        for (bound, bucket) in iter::zip(bounds, &self.buckets) {
            count += value(bucket);
            text.sample_of("_bucket", &[labels, &[("le", bound)]].concat(), Value::Whole(count));
        }
        text.sample_of("_sum", labels, unit(sum));
        text.sample_of("_count", labels, Value::Whole(count));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{
        Arrival,
        exposition::{HistogramFamily, Series},
    };

    impl Series for Histogram {
        fn labels(&self) -> Vec<(&'static str, &str)> {
            vec![("dataset", "a")]
        }
    }

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let histogram = Histogram::new(RECORDS);
        assert!(histogram.is_empty());
        for amount in [0, 1, 2, 1_000_000, 1_000_001] {
            histogram.observe(amount);
        }
        let family = HistogramFamily {
            name: "some_records",
            help: "Some.",
            sum: Value::Whole,
            histogram: |histogram| histogram,
        };
        let mut text = Exposition::at(Arrival::now());
        text.histograms(&[family], &[&histogram]);
        let text = text.finish();
        for (bound, count) in [("1", 2), ("10", 3), ("100000", 3), ("1000000", 4), ("+Inf", 5)] {
            let line = format!("some_records_bucket{{dataset=\"a\",le=\"{bound}\"}} {count}\n");
            assert!(text.contains(&line), "{line} not in {text}");
        }
        assert!(text.contains("some_records_sum{dataset=\"a\"} 2000004\n"), "{text}");
        assert!(text.ends_with("some_records_count{dataset=\"a\"} 5\n"), "{text}");
        assert!(!histogram.is_empty());
    }

    #[test]
    fn an_absurd_amount_does_not_overflow_the_sum() {
        let histogram = Histogram::new(EVENT_LAG);
        for amount in [5, u64::MAX, 7] {
            histogram.observe(amount);
        }
        assert_eq!(value(&histogram.sum), u64::MAX);
    }

    #[test]
    fn bounds_rise_and_match_their_labels() {
        for (bounds, unit) in [
            (COMMIT, 1_000_000),
            (BATCH, 1_000_000),
            (REQUEST, 1_000_000),
            (EVENT_LAG, 1_000_000),
            (BYTES, 1),
            (RECORDS, 1),
        ] {
            assert!(bounds.is_sorted_by(|a, b| a.0 < b.0), "{bounds:?}");
            for (bound, label) in bounds {
                #[expect(clippy::cast_precision_loss, reason = "these are small")]
                let bound = *bound as f64 / f64::from(unit);
                assert_eq!(label.parse::<f64>().unwrap().to_bits(), bound.to_bits(), "{label}");
            }
        }
    }
}
