//! Reads members of a record. Pure: no clock, no files.
//!
//! Borrows slices of the record and never re-serializes it, so numbers of 19 digits and duplicate members
//! are passed on unchanged.

mod dataset;
mod time;
mod value;

use std::{borrow::Cow, fmt};

use jiff::Timestamp;
use serde::{
    Deserialize, Deserializer as _,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

pub use self::value::Value;

/// Calls `visit` for each member of a record, in order, with the unescaped name and the unchanged value.
///
/// # Errors
/// The record is not a JSON object in UTF-8, or a name contains a lone surrogate. A valid record fails only
/// for the latter reason.
pub fn for_each_member<'a>(
    record: &'a [u8],
    visit: &mut dyn FnMut(Cow<'a, str>, &'a str),
) -> Result<(), serde_json::Error> {
    let text = std::str::from_utf8(record).map_err(serde::de::Error::custom)?;
    let mut input = serde_json::Deserializer::from_str(text);
    input.deserialize_map(Members(visit))?;
    input.end()
}

/// The value of the member `name`. Of duplicate members the last one counts, as in most JSON parsers.
/// `None` also if the record cannot be read.
pub fn find<'a>(record: &'a [u8], name: &str) -> Option<Value<'a>> {
    let mut found = None;
    let read = for_each_member(record, &mut |member, value| {
        if member == name {
            found = Some(value);
        }
    });
    read.ok().and(found).map(Value::of)
}

/// The time of a record of `dataset`. `None` also if the record cannot be read.
pub fn time_of(dataset: &str, record: &[u8]) -> Option<Timestamp> {
    let mut time = EventTime::new(dataset);
    let read = for_each_member(record, &mut |member, value| time.observe(&member, value));
    read.ok().and(time.get())
}

/// Finds the time of a record within a call of [`for_each_member`]: the time of the most preferred member
/// that contains a valid time.
#[derive(Debug)]
pub struct EventTime {
    members: &'static [&'static str],
    best: Option<(usize, Timestamp)>,
}

impl EventTime {
    /// Creates a search in a record of `dataset`.
    pub fn new(dataset: &str) -> Self {
        Self { members: dataset::time_members(dataset), best: None }
    }

    /// Examines one member, with its value as in the record.
    pub fn observe(&mut self, member: &str, value: &str) {
        let Some(rank) = self.members.iter().position(|name| *name == member) else { return };
        if self.best.is_some_and(|(best, _)| best < rank) {
            return;
        }
        if let Some(time) = Value::of(value).time() {
            self.best = Some((rank, time));
        }
    }

    /// The time found so far.
    pub fn get(&self) -> Option<Timestamp> {
        self.best.map(|(_, time)| time)
    }
}

struct Members<'a, 'v>(&'v mut dyn FnMut(Cow<'a, str>, &'a str));

impl<'a> Visitor<'a> for Members<'a, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((Name(name), value)) = map.next_entry::<Name<'a>, &'a RawValue>()? {
            (self.0)(name, value.get());
        }
        Ok(())
    }
}

/// A wrapper that lets serde borrow. A plain `Cow` would always be owned.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_visited_in_order_and_unchanged() {
        let record =
            br#" { "b" : 1669761187123456789 ,"a\u0062":"x\ty", "o":{"b": 1},"b":1e400 } "#;
        let mut seen = Vec::new();
        for_each_member(record, &mut |name, value| seen.push((name.into_owned(), value))).unwrap();
        let expected = [
            ("b", "1669761187123456789"),
            ("ab", r#""x\ty""#),
            ("o", r#"{"b": 1}"#),
            ("b", "1e400"),
        ];
        assert_eq!(seen, expected.map(|(name, value)| (name.to_owned(), value)));
    }

    #[test]
    fn the_last_duplicate_is_found() {
        let record = br#"{"a":1,"b":"x","a":2}"#;
        assert_eq!(find(record, "a"), Some(Value::Number("2")));
        assert_eq!(find(record, "c"), None);
        assert_eq!(find(b"[1]", "a"), None);
        assert_eq!(find(br#"{"a":1"#, "a"), None);
    }

    #[test]
    fn each_dataset_has_its_own_time() {
        let expect = |dataset, record: &str, second: Option<i64>| {
            let time = time_of(dataset, record.as_bytes());
            assert_eq!(time.map(Timestamp::as_second), second, "{dataset}: {record}");
        };
        let http = r#"{"Timestamp":1600000001,"EdgeEndTimestamp":1600000003000000000,"EdgeStartTimestamp":"2020-09-13T12:26:42Z"}"#;
        expect("http_requests", http, Some(1_600_000_002));
        expect("firewall_events", http, None);
        expect("dns_logs", http, Some(1_600_000_001));
        expect("custom", http, Some(1_600_000_002));
        expect("custom", r#"{"CreatedAt":1600000001,"x":1600000002}"#, Some(1_600_000_001));
        expect("custom", "{}", None);
        expect("custom", r#"{"Timestamp":1600000001"#, None);
    }

    #[test]
    fn a_member_without_a_valid_time_is_skipped() {
        for (record, second) in [
            (r#"{"EdgeStartTimestamp":0,"EdgeEndTimestamp":1600000001}"#, 1_600_000_001),
            (r#"{"EdgeEndTimestamp":1600000001,"EdgeStartTimestamp":""}"#, 1_600_000_001),
            (r#"{"EdgeEndTimestamp":1600000001,"EdgeStartTimestamp":1600000002}"#, 1_600_000_002),
            (r#"{"EdgeStartTimestamp":1600000002,"EdgeEndTimestamp":1600000001}"#, 1_600_000_002),
            (r#"{"EdgeStartTimestamp":1600000002,"EdgeStartTimestamp":1600000003}"#, 1_600_000_003),
        ] {
            let time = time_of("http_requests", record.as_bytes());
            assert_eq!(time.map(Timestamp::as_second), Some(second), "{record}");
        }
    }

    /// The fields have different names for a zone and for an account.
    #[test]
    fn websocket_analytics_has_two_sets_of_names() {
        for (record, second) in [
            (
                r#"{"EdgeEndTimestamp":1600000009,"EdgeStartTimestamp":"2020-09-13T12:26:42Z","RayID":"6f0a"}"#,
                1_600_000_002,
            ),
            (r#"{"EdgeEndTimestamp":1600000009000000000}"#, 1_600_000_009),
            (
                r#"{"timestampEndNanos":1600000009000000000,"timestampStartNanos":1600000003000000000}"#,
                1_600_000_003,
            ),
            (r#"{"timestampEndNanos":"1600000009000000000"}"#, 1_600_000_009),
            (
                r#"{"EdgeStartTimestamp":0,"timestampStartNanos":1600000003000000000}"#,
                1_600_000_003,
            ),
        ] {
            let time = time_of("websocket_analytics", record.as_bytes());
            assert_eq!(time.map(Timestamp::as_second), Some(second), "{record}");
        }
    }

    #[test]
    fn names_and_strings_without_escapes_are_borrowed() {
        for_each_member(br#"{"name":"value"}"#, &mut |name, value| {
            assert!(matches!(name, Cow::Borrowed("name")));
            assert!(matches!(Value::of(value), Value::String(Cow::Borrowed("value"))));
        })
        .unwrap();
    }
}
