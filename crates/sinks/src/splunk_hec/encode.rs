//! Encodes the records of a chunk as events.
//!
//! The format is that of `/services/collector/event`: JSON objects, one after another. A record is
//! copied into its event as it is, so its values arrive unchanged.

use std::{fmt::Write as _, io::Write as _};

use jiff::Timestamp;
use records::record;

use super::Settings;
use crate::{origin_text::fill, upload::Chunk};

/// Returns the events of a chunk, each on a line. The same chunk always results in the same bytes.
pub(super) fn events(settings: &Settings, chunk: &Chunk) -> Vec<u8> {
    let origin = &chunk.batch().header.origin;
    let metadata = metadata(settings, &origin.dataset, &origin.endpoint);
    let id = chunk.id().to_string();
    // An estimate for the time, the metadata and the fields of each event.
    let added = metadata.len() + id.len() + 96;
    let mut events = Vec::with_capacity(chunk.bytes().len() + chunk.records() * added);
    for (position, record) in chunk.iter() {
        let time = record::time_of(&origin.dataset, record).unwrap_or(origin.received);
        events.extend_from_slice(b"{\"time\":");
        push_time(&mut events, time);
        events.extend_from_slice(metadata.as_bytes());
        events.extend_from_slice(b",\"event\":");
        events.extend_from_slice(record);
        // The chunk's identity begins with the digest of the batch. With the position it identifies
        // the record, also when the chunk is divided.
        let fields = ",\"fields\":{\"logpushd_chunk\":\"";
        events.extend_from_slice(fields.as_bytes());
        events.extend_from_slice(id.as_bytes());
        // Cannot fail: a `Vec` accepts everything.
        writeln!(events, "\",\"logpushd_record\":{position}}}}}").ok();
    }
    events
}

/// The members that all events of a chunk have, each after a comma. Splunk ends a request silently
/// at an event with a member that it does not know.
fn metadata(settings: &Settings, dataset: &str, endpoint: &str) -> String {
    let Settings { host, source, sourcetype, index, .. } = settings;
    let members = [
        ("host", host.as_deref()),
        ("source", source.as_deref()),
        ("sourcetype", Some(sourcetype.as_str())),
        ("index", index.as_deref()),
    ];
    let mut metadata = String::new();
    for (name, text) in members {
        if let Some(text) = text {
            let value = serde_json::Value::from(fill(text, dataset, endpoint));
            // Cannot fail: a `String` accepts everything.
            write!(metadata, ",\"{name}\":{value}").ok();
        }
    }
    metadata
}

/// Appends the seconds since the Unix epoch with all decimal places, without a floating-point
/// number, which cannot represent them. Splunk stores microseconds.
fn push_time(events: &mut Vec<u8>, time: Timestamp) {
    let time = time.max(Timestamp::UNIX_EPOCH);
    // Cannot fail: a `Vec` accepts everything.
    write!(events, "{}", time.as_second()).ok();
    let nanoseconds = time.subsec_nanosecond();
    if nanoseconds > 0 {
        let decimals = format!("{nanoseconds:09}");
        events.push(b'.');
        events.extend_from_slice(decimals.trim_end_matches('0').as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upload::chunk_of;

    fn sample() -> Settings {
        <Settings as settings::Settings>::sample().unwrap()
    }

    fn lines(settings: &Settings, dataset: &str, records: &[&str]) -> Vec<String> {
        let chunk = chunk_of(dataset, records);
        let events = String::from_utf8(events(settings, &chunk)).unwrap();
        assert!(events.ends_with('\n'));
        events.lines().map(str::to_owned).collect()
    }

    #[test]
    fn an_event_contains_the_record_unchanged() {
        let mut settings = sample();
        settings.index = Some("cf_{dataset}".to_owned());
        settings.source = None;
        settings.host = Some("a\"b-{endpoint}".to_owned());
        let record =
            r#"{ "EdgeStartTimestamp":1669761187123456789, "n":1e400,"s":"\u00e9\ud800" }"#;
        let chunk = chunk_of("http_requests", &[record]);
        let expected = format!(
            "{{\"time\":1669761187.123456789,\"host\":\"a\\\"b-push\",\
             \"sourcetype\":\"cloudflare:json\",\"index\":\"cf_http_requests\",\"event\":{record},\
             \"fields\":{{\"logpushd_chunk\":\"{}\",\"logpushd_record\":0}}}}",
            chunk.id()
        );
        assert_eq!(lines(&settings, "http_requests", &[record]), [expected]);
    }

    #[test]
    fn each_event_has_its_own_time_and_position() {
        let records = [
            r#"{"Datetime":"2022-05-26T09:23:54.120Z"}"#,
            r#"{"Datetime":1653557034}"#,
            r#"{"Datetime":1653557034000000001}"#,
            r#"{"Datetime":0}"#,
        ];
        let received = chunk_of("firewall_events", &records).batch().header.origin.received;
        let mut of_receipt = Vec::new();
        push_time(&mut of_receipt, received);
        let of_receipt = String::from_utf8(of_receipt).unwrap();
        let events = lines(&sample(), "firewall_events", &records);
        let times = ["1653557034.12", "1653557034", "1653557034.000000001", &of_receipt];
        for (position, (event, time)) in events.iter().zip(times).enumerate() {
            assert!(event.starts_with(&format!("{{\"time\":{time},")), "{event}");
            assert!(event.ends_with(&format!("\"logpushd_record\":{position}}}}}")), "{event}");
            serde_json::from_str::<serde_json::Value>(event).unwrap();
        }
        assert_eq!(events.len(), 4);
    }
}
