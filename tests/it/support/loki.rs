//! A mock of Loki, made from its documentation and the sources of Loki 3: it checks requests as
//! `pkg/distributor` and `pkg/ingester` do, ignores entries that it has, and answers with the same
//! texts.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Arc, Mutex, MutexGuard},
};

use jiff::Timestamp;
use prost::Message as _;
use sinks::loki::proto::PushRequest;

use super::collector::{Collector, Received, Reply, refusal};

const SECOND: i64 = 1_000_000_000;

/// What Loki refuses.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// `max_line_size`
    pub(crate) max_line: usize,
    /// `reject_old_samples_max_age`, as a time.
    pub(crate) oldest: Option<Timestamp>,
    /// `creation_grace_period`, as a time.
    pub(crate) newest: Option<Timestamp>,
    /// Half of `max_chunk_age`, in seconds: an entry may be older than the newest of its stream by
    /// this.
    pub(crate) window: Option<i64>,
    /// A text that makes the line invalid, which no real Loki looks for.
    pub(crate) bad: Option<&'static str>,
}

/// An entry.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Entry {
    /// Nanoseconds since 1970.
    pub(crate) time: i64,
    pub(crate) line: String,
    pub(crate) metadata: Vec<(String, String)>,
}

type Labels = BTreeMap<String, String>;

#[derive(Debug)]
struct Store {
    rules: Rules,
    streams: BTreeMap<Labels, Vec<Entry>>,
    /// How often an entry came that it had.
    repeated: u64,
}

/// The mock, as long as the process runs.
#[derive(Clone)]
pub(crate) struct Loki {
    pub(crate) collector: Collector,
    store: Arc<Mutex<Store>>,
}

impl Loki {
    /// Starts it with the defaults of Loki, but without limits of the time.
    pub(crate) fn start() -> Self {
        let rules =
            Rules { max_line: 256 << 10, oldest: None, newest: None, window: None, bad: None };
        let store = Arc::new(Mutex::new(Store { rules, streams: BTreeMap::new(), repeated: 0 }));
        let loki = Self { collector: Collector::start(), store };
        loki.answer_as_loki();
        loki
    }

    /// Answers as Loki does from now on.
    pub(crate) fn answer_as_loki(&self) {
        let loki = self.clone();
        self.collector.answer_by(move |request| loki.push(request));
    }

    /// Stores what it accepts of a request, and returns the answer.
    pub(crate) fn push(&self, request: &Received) -> Reply {
        self.store().push(request)
    }

    pub(crate) fn set(&self, rules: Rules) {
        self.store().rules = rules;
    }

    pub(crate) fn rules(&self) -> Rules {
        self.store().rules.clone()
    }

    /// The streams, each with its entries in the order of their times.
    pub(crate) fn streams(&self) -> BTreeMap<Labels, Vec<Entry>> {
        self.store().streams.clone()
    }

    /// The entries of all streams.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.streams().into_values().flatten().collect()
    }

    /// How often an entry came that it had.
    pub(crate) fn repeated(&self) -> u64 {
        self.store().repeated
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap()
    }
}

impl Store {
    fn push(&mut self, request: &Received) -> Reply {
        if !request.path.split('?').next().unwrap().ends_with("/loki/api/v1/push") {
            return refusal(404, "404 page not found\n");
        }
        assert_eq!(request.method, "POST");
        let streams = match request.headers["content-type"].to_str().unwrap() {
            "application/x-protobuf" => protobuf(&request.body),
            "application/json" => json(&request.body),
            other => panic!("{other}"),
        };
        if streams.is_empty() {
            return refusal(422, "error at least one valid stream is required for ingestion\n");
        }
        let (mut invalid, mut ignored) = (BTreeMap::new(), None);
        for (labels, entries) in streams {
            let total = entries.len();
            let (entries, texts) = self.validate(&labels, entries);
            for text in texts {
                *invalid.entry(text).or_insert(0_u64) += 1;
            }
            ignored = self.store(&labels, entries, total).or(ignored);
        }
        if let Some(text) = ignored {
            return refusal(400, &text);
        }
        let has_many = invalid.len() > 1 || invalid.values().any(|count| *count > 1);
        let texts = invalid.into_iter().map(|(text, count)| {
            if has_many { format!("{count} errors like: {text}") } else { text }
        });
        let texts: Vec<_> = texts.collect();
        match texts.join("; ").as_str() {
            "" => (204, Vec::new(), String::new()),
            text => refusal(400, &format!("{text}\n")),
        }
    }

    /// The entries that the distributor accepts, and why it refuses the others.
    fn validate(&self, labels: &Labels, entries: Vec<Entry>) -> (Vec<Entry>, Vec<String>) {
        assert!((1..=15).contains(&labels.len()), "{labels:?}");
        let Rules { max_line, oldest, newest, bad, .. } = &self.rules;
        let stream = selector(labels);
        let (mut valid, mut texts) = (Vec::new(), Vec::new());
        for entry in entries {
            let time = Timestamp::from_nanosecond(entry.time.into()).unwrap();
            if let Some(oldest) = oldest.filter(|oldest| time < *oldest) {
                texts.push(format!(
                    "entry for stream '{stream}' has timestamp too old: {time:.0}, oldest acceptable timestamp is: {oldest:.0}"
                ));
            } else if newest.is_some_and(|newest| time > newest) {
                texts.push(format!("entry for stream '{stream}' has timestamp too new: {time:.0}"));
            } else if entry.line.len() > *max_line {
                let length = entry.line.len();
                texts.push(format!(
                    "max entry size '{max_line}' bytes exceeded for stream '{stream}' while adding an entry with length '{length}' bytes"
                ));
            } else if bad.is_some_and(|bad| entry.line.contains(bad)) {
                texts.push("a line that this mock refuses".to_owned());
            } else {
                valid.push(entry);
            }
        }
        (valid, texts)
    }

    /// Stores entries as the ingester does. Returns the text about those that it ignores.
    fn store(&mut self, labels: &Labels, entries: Vec<Entry>, total: usize) -> Option<String> {
        let stream = self.streams.entry(labels.clone()).or_default();
        let (mut lines, mut count) = (String::new(), 0);
        for entry in entries {
            let highest = stream.last().map(|newest| newest.time);
            let cutoff =
                highest.zip(self.rules.window).map(|(time, window)| time - window * SECOND);
            if let Some(cutoff) = cutoff.filter(|cutoff| entry.time < *cutoff) {
                count += 1;
                let time = Timestamp::from_nanosecond(entry.time.into()).unwrap();
                let cutoff = Timestamp::from_nanosecond(cutoff.into()).unwrap();
                // `max_returned_stream_errors`
                if count <= 10 {
                    writeln!(
                        lines,

                        "entry with timestamp {time} ignored, reason: 'entry too far behind, entry timestamp is: {time:.0}, oldest acceptable timestamp is: {cutoff:.0}',"
                    )
.unwrap();
                }
                continue;
            }
            match stream.binary_search(&entry) {
                Ok(_) => self.repeated += 1,
                Err(at) => stream.insert(at, entry),
            }
        }
        let stream = selector(labels);
        (count > 0).then(|| {
            format!(
                "{lines}user 'fake', total ignored: {count} out of {total} for stream: {stream}\n"
            )
        })
    }
}

fn selector(labels: &Labels) -> String {
    let labels = labels.iter().map(|(name, value)| format!("{name}={value:?}"));
    format!("{{{}}}", labels.collect::<Vec<_>>().join(", "))
}

fn protobuf(body: &[u8]) -> Vec<(Labels, Vec<Entry>)> {
    let bytes = snap::raw::Decoder::new().decompress_vec(body).unwrap();
    let request = PushRequest::decode(&bytes[..]).unwrap();
    // Nothing is in it that the messages do not have.
    assert_eq!(request.encode_to_vec(), bytes);
    let streams = request.streams.into_iter().map(|stream| {
        let entries = stream.entries.into_iter().map(|entry| {
            let time = entry.timestamp.expect("a time");
            assert!((0..1_000_000_000).contains(&time.nanos));
            let metadata = entry.structured_metadata.into_iter();
            Entry {
                time: time.seconds * SECOND + i64::from(time.nanos),
                line: entry.line,
                metadata: metadata.map(|pair| (pair.name, pair.value)).collect(),
            }
        });
        (labels(&stream.labels), entries.collect())
    });
    streams.collect()
}

/// Parses `{name="value", ...}`.
fn labels(selector: &str) -> Labels {
    let inner = selector.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap();
    let pairs = inner.split("\", ").map(|pair| {
        let (name, value) = pair.trim_end_matches('"').split_once("=\"").unwrap();
        assert!(!value.is_empty() && !value.contains(['"', '\\']), "{selector}");
        (name.to_owned(), value.to_owned())
    });
    let pairs: Vec<_> = pairs.collect();
    let labels: Labels = pairs.iter().cloned().collect();
    assert_eq!(labels.len(), pairs.len(), "a label is twice: {selector}");
    labels
}

fn json(body: &[u8]) -> Vec<(Labels, Vec<Entry>)> {
    let request: serde_json::Value = serde_json::from_slice(body).unwrap();
    let texts = |object: &serde_json::Value| -> Vec<(String, String)> {
        let pairs = object.as_object().unwrap().iter();
        pairs.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect()
    };
    let streams = request["streams"].as_array().unwrap().iter().map(|stream| {
        let entries = stream["values"].as_array().unwrap().iter().map(|value| Entry {
            time: value[0].as_str().unwrap().parse().unwrap(),
            line: value[1].as_str().unwrap().to_owned(),
            metadata: value.get(2).map(texts).unwrap_or_default(),
        });
        (texts(&stream["stream"]).into_iter().collect(), entries.collect())
    });
    streams.collect()
}
