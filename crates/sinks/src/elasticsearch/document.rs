//! The body of a bulk request: an action and the unchanged record for each document.

use std::fmt::Write as _;

use jiff::Timestamp;
use records::record::{EventTime, Value, for_each_member};
use settings::{Context, reference::Takes, setting};
use spool::Header;

use super::{Settings, index::NamePattern};
use crate::{
    record_time::{EventWindow, RecordTime},
    upload::Chunk,
};

/// The maximum length of `_id`, in bytes. A longer one makes the server refuse the whole request.
/// <https://www.elastic.co/docs/reference/elasticsearch/mapping-reference/mapping-id-field>
const MAX_ID_BYTES: usize = 512;

/// The typical length of an action.
const ACTION_BYTES: usize = 160;

/// The member with the time of a document.
const TIMESTAMP: &str = "@timestamp";

setting! {
    /// What `_id` is made of.
    pub struct DocumentIdSetting(DocumentId):
        Takes::String("`\"batch\"`, `\"none\"`, or the name of a field"), read by document_id;
}

/// What the `_id` of a document is made of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum DocumentId {
    /// `"batch"`: the digest of the batch, and the position and the digest of the record.
    Batch,
    /// The value of this top-level field; [`Self::Batch`] where it cannot be used.
    Field(String),
    /// `"none"`: the server makes one.
    None,
}

fn document_id(value: &settings::Value<'_>, cx: &mut Context) -> Option<DocumentId> {
    let text = value.string(cx)?.into_inner();
    Some(match text.as_str() {
        "batch" => DocumentId::Batch,
        "none" => DocumentId::None,
        "" => {
            let problem = value.problem(format!("`{}` is empty", value.name()));
            cx.push(problem.hint("write \"batch\", \"none\" or the name of a field"));
            return None;
        }
        _ => DocumentId::Field(text),
    })
}

/// Encodes chunks.
#[derive(Debug)]
pub(super) struct Encoder {
    name: NamePattern,
    id: DocumentId,
    time: RecordTime,
    window: EventWindow,
    adds_timestamp: bool,
}

/// What a record contains, as far as the encoder needs it.
#[derive(Debug, Default)]
struct Contents {
    time: Option<Timestamp>,
    has_timestamp: bool,
    id: Option<String>,
}

impl Encoder {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            name: settings.pattern().clone(),
            id: settings.id.clone(),
            time: settings.time,
            window: settings.event_window,
            adds_timestamp: settings.add_timestamp,
        }
    }

    /// The body of the bulk request for a chunk.
    pub(super) fn body(&self, chunk: &Chunk) -> Vec<u8> {
        let mut body = Vec::with_capacity(chunk.bytes().len() + chunk.records() * ACTION_BYTES);
        self.encode(&chunk.batch().header, &mut chunk.iter(), &mut body);
        body
    }

    /// Appends the action and the document for each record, which has its position in the batch.
    fn encode(
        &self,
        header: &Header,
        records: &mut dyn Iterator<Item = (u64, &[u8])>,
        body: &mut Vec<u8>,
    ) {
        let received = header.origin.received;
        let mut action = String::new();
        // Records of the same second have the same name.
        let mut second = received.as_second();
        let mut name = self.name.name(&header.origin, received);
        for (position, record) in records {
            let contents = self.contents(&header.origin.dataset, record);
            let own = contents.time.filter(|time| self.window.contains(*time, received));
            let time = own.unwrap_or(received);
            if second != time.as_second() {
                second = time.as_second();
                name = self.name.name(&header.origin, time);
            }
            action.clear();
            // The name contains no character that JSON escapes.
            action.push_str(r#"{"create":{"_index":""#);
            action.push_str(&name);
            action.push('"');
            if self.id != DocumentId::None {
                action.push_str(r#","_id":"#);
                match contents.id {
                    Some(id) => action.push_str(&id),
                    None => push_batch_id(&mut action, header.digest, position, record),
                }
            }
            action.push_str("}}\n");
            body.extend_from_slice(action.as_bytes());
            let timestamp = (self.adds_timestamp && !contents.has_timestamp).then_some(time);
            push_record(body, record, timestamp);
            body.push(b'\n');
        }
    }

    /// Reads the members that the encoder needs. A record that cannot be read has a time stamp, so
    /// that none is added.
    fn contents(&self, dataset: &str, record: &[u8]) -> Contents {
        let has_event_time = self.time == RecordTime::Event;
        let field = match &self.id {
            DocumentId::Field(field) => Some(field.as_str()),
            DocumentId::Batch | DocumentId::None => None,
        };
        if !has_event_time && !self.adds_timestamp && field.is_none() {
            return Contents::default();
        }
        let mut time = EventTime::new(dataset);
        let mut contents = Contents::default();
        let read = for_each_member(record, &mut |name, value| {
            if has_event_time {
                time.observe(&name, value);
            }
            contents.has_timestamp |= name == TIMESTAMP;
            if field == Some(&*name) {
                contents.id = usable_id(value);
            }
        });
        if read.is_err() {
            return Contents { has_timestamp: true, ..Contents::default() };
        }
        Contents { time: time.get(), ..contents }
    }
}

/// Appends `_id` for a record of a batch, as JSON.
///
/// The digest of the record distinguishes records that get the same position after a change of the
/// sink's selection of records or fields. Documents of one batch have a common prefix, so that the
/// server finds out quickly that it does not have an `_id` yet.
fn push_batch_id(out: &mut String, digest: u128, position: u64, record: &[u8]) {
    let hash = blake3::hash(record).to_hex();
    let hash = hash.get(..16).unwrap_or_default();
    // Writing to a string cannot fail.
    write!(out, "\"{digest:032x}-{position}-{hash}\"").ok();
}

/// The value of a field as `_id`, as JSON: a number, or a string that is neither empty nor too
/// long. U+FFFD may stand for different characters that are no Unicode, so it is not used.
fn usable_id(value: &str) -> Option<String> {
    let text = match Value::of(value) {
        Value::Number(text) => text.into(),
        Value::String(text) => text,
        Value::Null | Value::Bool(_) | Value::Composite(_) => return None,
    };
    let is_usable = (1..=MAX_ID_BYTES).contains(&text.len()) && !text.contains('\u{fffd}');
    is_usable.then(|| serde_json::Value::from(text).to_string())
}

/// Appends a record, with a time as its first member.
fn push_record(out: &mut Vec<u8>, record: &[u8], timestamp: Option<Timestamp>) {
    let begin = record.iter().position(|byte| *byte == b'{');
    let (Some(timestamp), Some(begin)) = (timestamp, begin) else {
        return out.extend_from_slice(record);
    };
    let (begin, members) = record.split_at_checked(begin + 1).unwrap_or_default();
    out.extend_from_slice(begin);
    out.extend_from_slice(format!("\"{TIMESTAMP}\":\"{timestamp}\"").as_bytes());
    if !members.trim_ascii_start().starts_with(b"}") {
        out.push(b',');
    }
    out.extend_from_slice(members);
}

#[cfg(test)]
mod tests {
    use settings::Settings as _;

    use super::*;
    use crate::upload::batch;

    /// The lines of the body for records of a batch that was received at this time.
    fn lines(settings: &Settings, received: &str, records: &[(u64, &str)]) -> Vec<String> {
        let mut header = batch(1).header;
        header.origin.received = received.parse().unwrap();
        let mut records = records.iter().map(|(position, record)| (*position, record.as_bytes()));
        let mut body = Vec::new();
        Encoder::new(settings).encode(&header, &mut records, &mut body);
        let text = String::from_utf8(body).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_document_has_the_index_and_the_time_of_its_record() {
        let settings = Settings::sample().unwrap();
        let id = |position, record: &str| {
            let mut id = String::new();
            push_batch_id(&mut id, batch(1).header.digest, position, record.as_bytes());
            id
        };
        let records = [
            (0, r#"{"EdgeStartTimestamp":1770163199123456789,"a":1.50}"#),
            (7, r#"{"EdgeStartTimestamp":"2026-02-05T00:00:00Z","a":2}"#),
            // Neither within the window nor a time.
            (8, r#"{"EdgeStartTimestamp":"2025-02-05T00:00:00Z"}"#),
            (9, r#"{"@timestamp":"mine"}"#),
        ];
        let lines = lines(&settings, "2026-02-04T12:00:00Z", &records);
        let expected = [
            ("2026.02.03", Some("2026-02-03T23:59:59.123456789Z")),
            ("2026.02.05", Some("2026-02-05T00:00:00Z")),
            ("2026.02.04", Some("2026-02-04T12:00:00Z")),
            ("2026.02.04", None),
        ];
        assert_eq!(lines.len(), 8);
        for (pair, ((position, record), (day, time))) in
            lines.chunks(2).zip(records.into_iter().zip(expected))
        {
            let id = id(position, record);
            let action =
                format!(r#"{{"create":{{"_index":"logpush-http_requests-{day}","_id":{id}}}}}"#);
            let document = match time {
                Some(time) => record.replacen('{', &format!(r#"{{"@timestamp":"{time}","#), 1),
                None => record.to_owned(),
            };
            assert_eq!(pair, [action, document]);
        }
    }

    #[test]
    fn a_document_is_as_the_settings_describe_it() {
        let sample = || Settings::sample().unwrap();
        let record = r#"{"EdgeStartTimestamp":"2026-02-03T00:00:00Z","RayID":"r\u0031"}"#;
        let received = "2026-02-04T12:00:00Z";
        let by_receipt = Settings { time: RecordTime::Received, add_timestamp: false, ..sample() };
        let plain = lines(&by_receipt, received, &[(0, record)]);
        assert!(plain[0].contains("http_requests-2026.02.04"), "{plain:?}");
        assert_eq!(plain[1], record);
        let none = Settings { id: DocumentId::None, ..by_receipt.clone() };
        assert!(!lines(&none, received, &[(0, record)])[0].contains("_id"));
        let field = Settings { id: DocumentId::Field("RayID".to_owned()), ..by_receipt };
        let both = lines(&field, received, &[(0, record), (1, "{}")]);
        assert!(both[0].ends_with(r#""_id":"r1"}}"#), "{both:?}");
        assert!(both[2].contains("-1-"), "{both:?}");
        let pattern = NamePattern::parse("logs-cloudflare.{dataset}-default").unwrap();
        let stream = Settings { data_stream: Some(pattern), ..sample() };
        let action = &lines(&stream, received, &[(0, record)])[0];
        assert!(action.contains(r#""_index":"logs-cloudflare.http_requests-default""#), "{action}");
    }

    fn with_timestamp(record: &str) -> String {
        let mut out = Vec::new();
        let time = "2026-02-03T04:05:06.789Z".parse().unwrap();
        push_record(&mut out, record.as_bytes(), Some(time));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_time_is_the_first_member_and_the_rest_is_unchanged() {
        for (record, expected) in [
            ("{}", r#"{"@timestamp":"2026-02-03T04:05:06.789Z"}"#),
            ("{ }", r#"{"@timestamp":"2026-02-03T04:05:06.789Z" }"#),
            (r#" { "a" :1.0e1}"#, r#" {"@timestamp":"2026-02-03T04:05:06.789Z", "a" :1.0e1}"#),
        ] {
            assert_eq!(with_timestamp(record), expected);
        }
    }

    #[test]
    fn only_a_scalar_of_a_suitable_length_is_an_id() {
        let long = format!("\"{}\"", "x".repeat(512));
        for value in [r#""a\"b""#, "1669761187123456789", "\"é\"", &long] {
            let expected = if value.starts_with('"') { value } else { r#""1669761187123456789""# };
            assert_eq!(usable_id(value).as_deref(), Some(expected));
        }
        let longer = format!("\"{}\"", "é".repeat(257));
        for value in ["\"\"", "null", "true", "{}", "[1]", r#""\ud800""#, &longer] {
            assert_eq!(usable_id(value), None, "{value}");
        }
    }

    #[test]
    fn an_id_depends_on_batch_position_and_record() {
        let id = |digest, position, record: &[u8]| {
            let mut id = String::new();
            push_batch_id(&mut id, digest, position, record);
            id
        };
        let first = id(5, 7, b"{}");
        assert_eq!(first, id(5, 7, b"{}"));
        assert!(first.starts_with("\"00000000000000000000000000000005-7-"), "{first}");
        for other in [id(6, 7, b"{}"), id(5, 8, b"{}"), id(5, 7, b"{ }")] {
            assert_ne!(first, other);
        }
    }
}
