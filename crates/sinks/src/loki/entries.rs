//! The entries of a chunk, and their encoding.

use jiff::Timestamp as Time;
use prost::Message as _;
use records::record;
use serde_json::json;

use super::{
    Encoding, Settings,
    labels::selector,
    proto::{LabelPair, PushRequest, Stream, StreamEntry, Timestamp},
};
use crate::{record_time::RecordTime, upload::Chunk};

const SECOND: i64 = 1_000_000_000;

/// An entry: a record with its time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Entry {
    /// Nanoseconds since 1970.
    pub(super) time: i64,
    /// The length of the line in bytes.
    pub(super) length: usize,
    /// The index of the record in the chunk.
    pub(super) index: usize,
}

impl Entry {
    /// The second since 1970.
    pub(super) fn second(&self) -> i64 {
        self.time.div_euclid(SECOND)
    }
}

/// The entries of a chunk from the oldest to the newest. In this order, Loki refuses as few of them
/// as possible, and those that it refuses as "too far behind" are the first ones. Records of the same
/// time keep their order.
pub(super) fn entries(chunk: &Chunk, time: RecordTime) -> Vec<Entry> {
    let origin = &chunk.batch().header.origin;
    let received = nanoseconds(origin.received).unwrap_or_default();
    let entry = |(index, (position, line)): (usize, (u64, &[u8]))| {
        let own = match time {
            RecordTime::Event => record::time_of(&origin.dataset, line).and_then(nanoseconds),
            RecordTime::Received => None,
        };
        // With the position, the times of the records of a batch are different and in order.
        let position = i64::try_from(position).unwrap_or_default();
        let time = own.unwrap_or_else(|| received.saturating_add(position));
        Entry { time, length: line.len(), index }
    };
    let mut entries: Vec<_> = chunk.iter().enumerate().map(entry).collect();
    entries.sort_by_key(|entry| entry.time);
    entries
}

fn nanoseconds(time: Time) -> Option<i64> {
    i64::try_from(time.as_nanosecond()).ok()
}

/// Encodes a push request with one stream.
///
/// # Errors
/// The body is too large to be compressed, or there is no memory.
pub(super) fn encode(
    settings: &Settings,
    chunk: &Chunk,
    entries: &[Entry],
) -> Result<Vec<u8>, String> {
    let origin = &chunk.batch().header.origin;
    let digest = chunk.id().digest;
    let lines: Vec<(u64, &[u8])> = chunk.iter().collect();
    let sorted = entries.iter().filter_map(|entry| Some((entry, lines.get(entry.index)?)));
    let metadata = |position: u64| {
        settings.structured_metadata.iter().map(move |(name, text)| LabelPair {
            name: name.clone(),
            value: text.fill(origin, digest, position),
        })
    };
    if settings.compression == Encoding::Snappy {
        let entry = |(entry, (position, line)): (&Entry, &(u64, &[u8]))| StreamEntry {
            timestamp: Some(Timestamp {
                seconds: entry.second(),
                nanos: i32::try_from(entry.time.rem_euclid(SECOND)).unwrap_or_default(),
            }),
            line: String::from_utf8_lossy(line).into_owned(),
            structured_metadata: metadata(*position).collect(),
        };
        let labels = selector(&settings.labels, origin);
        let stream = Stream { labels, entries: sorted.map(entry).collect() };
        return snappy(&PushRequest { streams: vec![stream] });
    }
    let values = sorted.map(|(entry, (position, line))| {
        let metadata = metadata(*position).map(|pair| (pair.name, json!(pair.value)));
        let metadata: serde_json::Map<_, _> = metadata.collect();
        let mut value = vec![json!(entry.time.to_string()), json!(String::from_utf8_lossy(line))];
        value.extend((!metadata.is_empty()).then(|| json!(metadata)));
        json!(value)
    });
    let labels =
        settings.labels.iter().map(|(name, text)| (name.clone(), json!(text.fill(origin))));
    let labels: serde_json::Map<_, _> = labels.collect();
    let stream = json!({ "stream": labels, "values": values.collect::<Vec<_>>() });
    let body = json!({ "streams": [stream] }).to_string();
    settings.compression.compress(body.into_bytes())
}

/// The body of a request without streams, which Loki refuses after it has checked the credentials.
///
/// # Errors
/// There is no memory.
pub(super) fn empty(encoding: Encoding) -> Result<Vec<u8>, String> {
    match encoding {
        Encoding::Snappy => snappy(&PushRequest::default()),
        other => other.compress(br#"{"streams":[]}"#.to_vec()),
    }
}

/// Loki takes the block format of Snappy, without frames.
fn snappy(request: &PushRequest) -> Result<Vec<u8>, String> {
    let compressed = snap::raw::Encoder::new().compress_vec(&request.encode_to_vec());
    compressed.map_err(|error| format!("cannot compress the request: {error}"))
}

#[cfg(test)]
mod tests {
    use settings::Settings as _;

    use super::{super::labels::MetadataText, *};
    use crate::{network::Compression, upload::chunk_of};

    const RECORDS: [&str; 4] = [
        r#"{"Timestamp":"2026-11-30T16:00:02.000000007Z","n":1}"#,
        r#"{"Timestamp":1700000000123456789,"n":"\"ü\\"}"#,
        r#"{"n":3}"#,
        r#"{"Timestamp":"2026-11-30T16:00:02.000000007Z","n":4}"#,
    ];

    fn settings() -> Settings {
        Settings::sample().unwrap()
    }

    fn with_metadata(text: &str) -> Settings {
        let metadata = vec![("batch".to_owned(), MetadataText::parse(text).unwrap())];
        Settings { structured_metadata: metadata, ..settings() }
    }

    fn decoded(body: &[u8]) -> Stream {
        let bytes = snap::raw::Decoder::new().decompress_vec(body).unwrap();
        let request = PushRequest::decode(&bytes[..]).unwrap();
        let [stream] = <[_; 1]>::try_from(request.streams).unwrap();
        stream
    }

    #[test]
    fn entries_are_sorted_by_the_times_of_their_records() {
        let chunk = chunk_of("dns_logs", &RECORDS);
        let sorted = entries(&chunk, RecordTime::Event);
        // The third record has no time, and gets that of the receipt, 1970 in this test.
        let found: Vec<_> = sorted.iter().map(|entry| (entry.time, entry.index)).collect();
        let late = 1_796_054_402_000_000_007;
        assert_eq!(found, [(2, 2), (1_700_000_000_123_456_789, 1), (late, 0), (late, 3)]);
        let received = entries(&chunk, RecordTime::Received);
        let found: Vec<_> = received.iter().map(|entry| (entry.time, entry.index)).collect();
        assert_eq!(found, [(0, 0), (1, 1), (2, 2), (3, 3)]);
    }

    #[test]
    fn a_request_in_protobuf_has_one_stream_with_the_unchanged_records() {
        let chunk = chunk_of("dns_logs", &RECORDS);
        let sorted = entries(&chunk, RecordTime::Event);
        let body = encode(&settings(), &chunk, &sorted).unwrap();
        assert_eq!(encode(&settings(), &chunk, &sorted).unwrap(), body);
        let stream = decoded(&body);
        assert_eq!(stream.labels, r#"{dataset="dns_logs", job="logpush"}"#);
        let lines: Vec<_> = stream.entries.iter().map(|entry| entry.line.as_str()).collect();
        assert_eq!(lines, [RECORDS[2], RECORDS[1], RECORDS[0], RECORDS[3]]);
        let expected = Timestamp { seconds: 1_700_000_000, nanos: 123_456_789 };
        assert_eq!(stream.entries[1].timestamp, Some(expected));
        assert!(stream.entries.iter().all(|entry| entry.structured_metadata.is_empty()));
    }

    #[test]
    fn a_request_in_json_has_the_same_entries() {
        let chunk = chunk_of("dns_logs", &RECORDS);
        let sorted = entries(&chunk, RecordTime::Event);
        let settings = Settings { compression: Encoding::None, ..with_metadata("{batch}") };
        let text = String::from_utf8(encode(&settings, &chunk, &sorted).unwrap()).unwrap();
        let request: serde_json::Value = serde_json::from_str(&text).unwrap();
        let stream = &request["streams"][0];
        assert_eq!(stream["stream"], json!({ "job": "logpush", "dataset": "dns_logs" }));
        let batch = format!("{:032x}", chunk.id().digest);
        let expected = json!(["1700000000123456789", RECORDS[1], { "batch": batch }]);
        assert_eq!(stream["values"][1], expected);
        let gzip = Settings { compression: Encoding::Gzip, ..settings };
        let compressed = Compression::Gzip.compress(text.into_bytes().into()).unwrap();
        assert_eq!(encode(&gzip, &chunk, &sorted).unwrap(), compressed);
    }

    #[test]
    fn metadata_distinguishes_equal_records() {
        let chunk = chunk_of("dns_logs", &[RECORDS[2], RECORDS[2]]);
        let settings = with_metadata("{batch}-{position}");
        let stream = decoded(&encode(&settings, &chunk, &entries(&chunk, settings.time)).unwrap());
        let value = format!("{:032x}-1", chunk.id().digest);
        let expected = LabelPair { name: "batch".to_owned(), value };
        assert_eq!(stream.entries[1].structured_metadata, [expected]);
    }

    #[test]
    fn an_empty_request_is_valid() {
        assert_eq!(empty(Encoding::Snappy).unwrap(), [0]);
        assert_eq!(empty(Encoding::None).unwrap(), br#"{"streams":[]}"#);
    }
}
