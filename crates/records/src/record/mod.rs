//! What stands in a record, for whoever needs a field of it. Pure: no clock, no files.
//!
//! Nothing is kept of a record but slices of it, so that what is passed on is passed on as it came:
//! numbers of 19 digits, and members whose names stand twice.

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

/// Leads the members of `record`, a JSON object in UTF-8, through `visit` in their order: the name,
/// without its escapes, and the value as it stands there.
///
/// # Errors
/// It is no such object, or a name has half of a surrogate pair. Nothing else keeps what a sink
/// gets from being read.
pub fn each<'a>(
    record: &'a [u8],
    visit: &mut dyn FnMut(Cow<'a, str>, &'a str),
) -> Result<(), serde_json::Error> {
    let text = std::str::from_utf8(record).map_err(serde::de::Error::custom)?;
    let mut input = serde_json::Deserializer::from_str(text);
    input.deserialize_map(Members(visit))?;
    input.end()
}

/// The value of the member `name`; of the last one if there are several, as most readers of JSON
/// have it. `None` too if the record cannot be read.
pub fn find<'a>(record: &'a [u8], name: &str) -> Option<Value<'a>> {
    let mut found = None;
    let read = each(record, &mut |member, value| {
        if member == name {
            found = Some(value);
        }
    });
    read.ok().and(found).map(Value::of)
}

/// The time of a record of `dataset`, in one pass over it. `None` too if it cannot be read.
pub fn time_of(dataset: &str, record: &[u8]) -> Option<Timestamp> {
    let mut time = EventTime::of(dataset);
    let read = each(record, &mut |member, value| time.see(&member, value));
    read.ok().and(time.found())
}

/// Finds the time of a record while somebody else leads its members through [`each`]: that of the
/// first of the members which hold a time in its dataset that does hold one.
#[derive(Debug)]
pub struct EventTime {
    members: &'static [&'static str],
    best: Option<(usize, Timestamp)>,
}

impl EventTime {
    /// For a record of `dataset`.
    pub fn of(dataset: &str) -> Self {
        Self { members: dataset::time_members(dataset), best: None }
    }

    /// Looks at one member, its value as it stands in the record.
    pub fn see(&mut self, member: &str, value: &str) {
        let Some(rank) = self.members.iter().position(|name| *name == member) else { return };
        if self.best.is_some_and(|(best, _)| best < rank) {
            return;
        }
        if let Some(time) = Value::of(value).time() {
            self.best = Some((rank, time));
        }
    }

    /// What was found so far.
    pub fn found(&self) -> Option<Timestamp> {
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

/// `Cow` alone would always be owned: serde does not borrow through it by itself.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_come_in_order_and_as_they_stand() {
        let record =
            br#" { "b" : 1669761187123456789 ,"a\u0062":"x\ty", "o":{"b": 1},"b":1e400 } "#;
        let mut seen = Vec::new();
        each(record, &mut |name, value| seen.push((name.into_owned(), value))).unwrap();
        let expected = [
            ("b", "1669761187123456789"),
            ("ab", r#""x\ty""#),
            ("o", r#"{"b": 1}"#),
            ("b", "1e400"),
        ];
        assert_eq!(seen, expected.map(|(name, value)| (name.to_owned(), value)));
    }

    #[test]
    fn the_last_of_several_is_found() {
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
        expect("somebodys", http, Some(1_600_000_002));
        expect("somebodys", r#"{"CreatedAt":1600000001,"x":1600000002}"#, Some(1_600_000_001));
        expect("somebodys", "{}", None);
        expect("somebodys", r#"{"Timestamp":1600000001"#, None);
    }

    #[test]
    fn a_member_without_a_time_gives_way_to_the_next_best() {
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

    /// At the scope of a zone its fields have other names than at that of an account.
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
        each(br#"{"name":"value"}"#, &mut |name, value| {
            assert!(matches!(name, Cow::Borrowed("name")));
            assert!(matches!(Value::of(value), Value::String(Cow::Borrowed("value"))));
        })
        .unwrap();
    }
}
