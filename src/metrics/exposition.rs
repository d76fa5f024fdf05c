//! Writes the text format of Prometheus, version 0.0.4, from tables of metric families.

use std::{
    fmt::{self, Display, Formatter},
    ops::Deref,
    sync::atomic::AtomicU64,
};

use super::{
    Arrival,
    histogram::Histogram,
    labels::{Counters, Label},
    value,
};

/// The type of a metric family.
#[derive(Clone, Copy, Debug)]
pub(super) enum MetricKind {
    Counter,
    Gauge,
    Histogram,
}

/// An object with one sample in each family.
pub(super) trait Series {
    /// Returns the names and values of the labels, in their order.
    fn labels(&self) -> Vec<(&'static str, &str)>;
}

/// A counter or a gauge of each `T`.
pub(super) struct Family<T> {
    pub(super) name: &'static str,
    pub(super) kind: MetricKind,
    pub(super) help: &'static str,
    /// The sample, if there is one, at the time of the exposition.
    pub(super) value: fn(&T, Arrival) -> Option<Value>,
}

/// A histogram of each `T`.
pub(super) struct HistogramFamily<T> {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    /// Converts the sum to a value of the right unit.
    pub(super) sum: fn(u64) -> Value,
    pub(super) histogram: fn(&T) -> &Histogram,
}

/// The value of a sample.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value {
    Whole(u64),
    /// Microseconds, written exactly, as seconds with six decimals.
    Micros(u64),
}

impl Value {
    pub(super) fn of(counter: &AtomicU64) -> Self {
        Self::Whole(value(counter))
    }
}

impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(whole) => whole.fmt(f),
            Self::Micros(micros) => write!(f, "{}.{:06}", micros / 1_000_000, micros % 1_000_000),
        }
    }
}

/// A writer of the text, family by family.
#[derive(Debug)]
pub(super) struct Exposition {
    text: String,
    family: &'static str,
    now: Arrival,
}

impl Exposition {
    /// Starts a text with samples of the time `now`.
    pub(super) fn at(now: Arrival) -> Self {
        Self { text: String::new(), family: "", now }
    }

    /// Writes each family with a sample for each of the `series` that has one.
    pub(super) fn families<T: Series>(
        &mut self,
        families: &[Family<T>],
        series: &[impl Deref<Target = T>],
    ) {
        for Family { name, kind, help, value } in families {
            self.family(name, *kind, help);
            for one in series {
                if let Some(value) = value(one, self.now) {
                    self.sample(&one.labels(), value);
                }
            }
        }
    }

    /// Writes each family with a histogram for each of the `series`.
    pub(super) fn histograms<T: Series>(
        &mut self,
        families: &[HistogramFamily<T>],
        series: &[impl Deref<Target = T>],
    ) {
        for HistogramFamily { name, help, sum, histogram } in families {
            self.family(name, MetricKind::Histogram, help);
            for one in series {
                histogram(one).render(self, &one.labels(), *sum);
            }
        }
    }

    /// Writes a family with a counter for each of the `series` and each value of the label.
    pub(super) fn breakdown<T: Series, L: Label + 'static>(
        &mut self,
        (name, help, label): (&'static str, &str, &'static str),
        series: &[impl Deref<Target = T>],
        counters: fn(&T) -> &Counters<L>,
    ) {
        self.family(name, MetricKind::Counter, help);
        for one in series {
            for (of_label, count) in counters(one).counts() {
                let labels = [one.labels(), vec![(label, of_label)]].concat();
                self.sample(&labels, Value::Whole(count));
            }
        }
    }

    /// Begins a family. The samples that follow belong to it.
    fn family(&mut self, name: &'static str, kind: MetricKind, help: &str) {
        let kind = match kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        };
        self.family = name;
        for part in ["# HELP ", name, " ", help, "\n# TYPE ", name, " ", kind, "\n"] {
            self.text.push_str(part);
        }
    }

    fn sample(&mut self, labels: &[(&str, &str)], value: Value) {
        self.sample_of("", labels, value);
    }

    /// Writes a sample. `suffix` is for the parts of a histogram.
    pub(super) fn sample_of(&mut self, suffix: &str, labels: &[(&str, &str)], value: Value) {
        self.text.push_str(self.family);
        self.text.push_str(suffix);
        let mut separator = '{';
        for (name, value) in labels {
            self.text.push(separator);
            self.text.push_str(name);
            self.text.push_str("=\"");
            for char in value.chars() {
                match char {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    _ => self.text.push(char),
                }
            }
            self.text.push('"');
            separator = ',';
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        self.text.push(' ');
        self.text.push_str(&value.to_string());
        self.text.push('\n');
    }

    pub(super) fn finish(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values_are_escaped() {
        let mut exposition = Exposition::at(Arrival::now());
        exposition.family("some_total", MetricKind::Counter, "Some.");
        exposition.sample(&[("one", "a\\b\"c\nd"), ("two", "é")], Value::Whole(3));
        exposition.sample(&[], Value::Whole(4));
        assert_eq!(
            exposition.finish(),
            "# HELP some_total Some.\n# TYPE some_total counter\n\
             some_total{one=\"a\\\\b\\\"c\\nd\",two=\"é\"} 3\nsome_total 4\n"
        );
    }

    #[test]
    fn seconds_are_exact() {
        for (micros, expected) in [
            (0, "0.000000"),
            (1, "0.000001"),
            (1_500_000, "1.500000"),
            (1_790_000_000_123_456, "1790000000.123456"),
        ] {
            assert_eq!(Value::Micros(micros).to_string(), expected);
        }
    }
}
