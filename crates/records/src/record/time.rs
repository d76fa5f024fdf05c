//! Parses timestamps of records, in every format of Logpush and Splunk's HTTP Event Collector.
//!
//! Exact: does not use floating point, which cannot represent 19 digits.

use jiff::Timestamp;

use super::Value;

impl Value<'_> {
    /// Parses a time: RFC 3339 with up to nine decimal places, or Unix time, quoted or not, as a whole
    /// number of seconds (10 digits), milliseconds (13), microseconds (16) or nanoseconds (19), or as
    /// seconds with up to nine decimal places. Returns `None` for anything else, and for zero in any
    /// format, which Logpush writes for a missing value.
    pub fn time(&self) -> Option<Timestamp> {
        match self {
            Self::Number(text) => since_epoch(text),
            Self::String(text) => since_epoch(text).or_else(|| rfc3339(text)),
            Self::Null | Self::Bool(_) | Self::Composite(_) => None,
        }
    }
}

/// Parses Unix time. The unit follows from the number of digits, which is unambiguous from 2001 to 2286.
fn since_epoch(text: &str) -> Option<Timestamp> {
    if let Some((seconds, fraction)) = text.split_once('.') {
        let is_fraction = (1..=9).contains(&fraction.len());
        let nanoseconds = format!("{seconds}{fraction:0<9}");
        let fits = seconds.len() == 10 && is_fraction && !fraction.contains('.');
        return if fits { since_epoch(&nanoseconds) } else { None };
    }
    if text.starts_with('0') || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    match text.len() {
        10 => Timestamp::from_second(text.parse().ok()?).ok(),
        13 => Timestamp::from_millisecond(text.parse().ok()?).ok(),
        16 => Timestamp::from_microsecond(text.parse().ok()?).ok(),
        19 => Timestamp::from_nanosecond(text.parse().ok()?).ok(),
        _ => None,
    }
}

/// Parses RFC 3339. Checks the shape first, since `Timestamp` accepts more, such as a format without
/// separators.
fn rfc3339(text: &str) -> Option<Timestamp> {
    let shape = |(at, byte): (usize, &u8)| match at {
        4 | 7 => *byte == b'-',
        10 => matches!(byte, b'T' | b't' | b' '),
        13 | 16 => *byte == b':',
        _ => byte.is_ascii_digit(),
    };
    let (date_time, rest) = text.as_bytes().split_at_checked(19)?;
    if !date_time.iter().enumerate().all(shape) || rest.ends_with(b"]") {
        return None;
    }
    let time: Timestamp = text.parse().ok()?;
    // Go's zero time is in the year 1, that of Unix in 1970.
    (time.as_second() > 0).then_some(time)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn time(raw: &str) -> Option<String> {
        Value::of(raw).time().map(|time| time.to_string())
    }

    #[test]
    fn every_format_of_logpush_is_parsed_exactly() {
        let cases = [
            (r#""2022-05-26T09:23:54Z""#, "2022-05-26T09:23:54Z"),
            (r#""2022-05-26T09:23:54.123Z""#, "2022-05-26T09:23:54.123Z"),
            (r#""2022-05-26T09:23:54.123456789Z""#, "2022-05-26T09:23:54.123456789Z"),
            (r#""2022-05-26t09:23:54z""#, "2022-05-26T09:23:54Z"),
            (r#""2023-05-24T02:48:33+09:30""#, "2023-05-23T17:18:33Z"),
            (r#""2023-05-24T02:48:33.5-00:30""#, "2023-05-24T03:18:33.5Z"),
            ("1653557034", "2022-05-26T09:23:54Z"),
            ("1653557034123", "2022-05-26T09:23:54.123Z"),
            ("1653557034123456", "2022-05-26T09:23:54.123456Z"),
            ("1653557034123456789", "2022-05-26T09:23:54.123456789Z"),
            ("1653557034.5", "2022-05-26T09:23:54.5Z"),
            (r#""1653557034.123456789""#, "2022-05-26T09:23:54.123456789Z"),
            (r#""1653557034""#, "2022-05-26T09:23:54Z"),
            (r#""1653557034123456789""#, "2022-05-26T09:23:54.123456789Z"),
        ];
        for (raw, expected) in cases {
            assert_eq!(time(raw).as_deref(), Some(expected), "{raw}");
        }
    }

    #[test]
    fn missing_and_invalid_values_are_rejected() {
        let cases = [
            "0",
            r#""0""#,
            r#""""#,
            "null",
            "true",
            "[1653557034]",
            r#"{"a":1653557034}"#,
            "-1653557034",
            "1653557034.",
            "1653557034.1234567891",
            "1653557034.5.5",
            "1653557034.-5",
            "165355703.45",
            "0653557034.5",
            "1.65e9",
            "16535570341",
            "99999999999999999999",
            r#""+653557034""#,
            r#"" 1653557034""#,
            r#""0653557034""#,
            r#""1653557034000000000Z""#,
            r#""1970-01-01T00:00:00Z""#,
            r#""0001-01-01T00:00:00Z""#,
            r#""2022-05-26""#,
            r#""2022-05-26T09:23:54""#,
            r#""2022-05-26T09:23Z""#,
            r#""2022-13-26T09:23:54Z""#,
            r#""2022-02-30T09:23:54Z""#,
            r#""2022-05-26T25:23:54Z""#,
            r#""2022-05-26T09:23:54.1234567890Z""#,
            r#""20220526T092354Z""#,
            r#""2022-05-26T09:23:54Z[UTC]""#,
            r#""2022-05-26T09:23:54Zebra""#,
            r#""Thu, 21 May 2022 11:17:33 UTC""#,
            "\"2022-05-26T09:23:5\u{e4}Z\"",
        ];
        for raw in cases {
            assert_eq!(time(raw), None, "{raw}");
        }
    }

    proptest! {
        #[test]
        fn a_time_is_the_same_in_every_format(
            second in 1_000_000_000_i64..=9_999_999_999, nanosecond in 0_i32..1_000_000_000,
            offset in -1439_i32..1440, quoted in any::<bool>(),
        ) {
            let exact = Timestamp::new(second, nanosecond).unwrap();
            let offset = jiff::tz::Offset::from_seconds(offset * 60).unwrap();
            let zone = exact.display_with_offset(offset);
            let numbers = [
                (second.to_string(), 1_000_000_000),
                (exact.as_millisecond().to_string(), 1_000_000),
                (exact.as_microsecond().to_string(), 1_000),
                (exact.as_nanosecond().to_string(), 1),
            ];
            for (text, unit) in numbers {
                let raw = if quoted { format!("\"{text}\"") } else { text };
                let read = Value::of(&raw).time().map(Timestamp::as_nanosecond);
                prop_assert_eq!(read, Some(exact.as_nanosecond() / unit * unit));
            }
            for text in [format!("\"{exact}\""), format!("\"{exact:.9}\""), format!("\"{zone}\"")] {
                prop_assert_eq!(Value::of(&text).time(), Some(exact), "{}", text);
            }
        }

        #[test]
        fn no_input_causes_a_panic(text in ".{0,40}", shaped in "[0-9TZ:.+-]{0,35}") {
            for text in [text, shaped] {
                if let Some(time) = Value::String(text.into()).time() {
                    prop_assert!(time.as_second() > 0);
                }
            }
        }
    }
}
