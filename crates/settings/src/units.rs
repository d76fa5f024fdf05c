//! Parses sizes and durations such as `"64MiB"` and `"1h30m"`, and formats sizes.

use std::time::Duration;

/// The units of a size. They are case-sensitive: `Mb` is rejected, since it could mean bits.
const SIZES: &[(&str, u64)] = &[
    ("", 1),
    ("B", 1),
    ("byte", 1),
    ("bytes", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// The units of a duration in milliseconds, longest first.
const DURATIONS: &[(&str, u64)] =
    &[("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Parses a size such as `64MiB`, `500kB` or `1024`.
///
/// # Errors
/// A message that continues a sentence whose subject is the text.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = split_number(text.trim());
    if number.is_empty() {
        return Err("is not a size: write a whole number and a unit, such as \"64MiB\"".into());
    }
    let unit = unit.trim_start();
    let Some((_, factor)) = SIZES.iter().find(|(name, _)| *name == unit) else {
        return Err(if unit.starts_with(['.', ',', '_']) {
            "is not a size: write a whole number, such as \"1536MiB\"".into()
        } else {
            format!(
                "has the unknown unit `{unit}`: use kB, MB, GB, TB (of 1000) or KiB, MiB, GiB, TiB (of 1024)"
            )
        });
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(*factor))
        .ok_or_else(|| "is too large a size".into())
}

/// Parses a duration such as `30s`, `90d` or `1h30m`.
///
/// # Errors
/// A message that continues a sentence whose subject is the text.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let mut rest = text.trim();
    let mut millis = Some(0_u64);
    let mut units = DURATIONS.iter();
    if rest.is_empty() {
        return Err("is not a duration: write one such as \"30s\" or \"24h\"".into());
    }
    while !rest.is_empty() {
        let (number, after) = split_number(rest);
        if number.is_empty() {
            return Err("is not a duration: write one such as \"30s\" or \"24h\"".into());
        }
        let after = after.trim_start();
        let unit_len = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_len);
        if unit.is_empty() {
            return Err("has a number without a unit: use ms, s, m, h or d".into());
        }
        // `units` is not restarted, so "30m1h" and "1h1h" are errors, not sums.
        let Some((_, factor)) = units.find(|(name, _)| *name == unit) else {
            return Err(if DURATIONS.iter().any(|(name, _)| *name == unit) {
                "must contain each unit once, the longest first, such as \"1h30m\"".into()
            } else {
                match short(unit) {
                    Some(short) => {
                        format!("has the unknown unit `{unit}`: write `{number}{short}`")
                    }
                    None => format!("has the unknown unit `{unit}`: use ms, s, m, h or d"),
                }
            });
        };
        let part = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*factor));
        millis = millis.zip(part).and_then(|(sum, part)| sum.checked_add(part));
        rest = after;
    }
    millis.map(Duration::from_millis).ok_or_else(|| "is too long a duration".into())
}

/// The abbreviation of a spelled-out unit.
fn short(unit: &str) -> Option<&'static str> {
    let words = [
        ("ms", &["msec", "millis", "milliseconds"][..]),
        ("s", &["S", "sec", "secs", "second", "seconds"]),
        ("m", &["M", "min", "mins", "minute", "minutes"]),
        ("h", &["H", "hr", "hrs", "hour", "hours"]),
        ("d", &["D", "day", "days"]),
    ];
    words.iter().find(|(_, words)| words.contains(&unit)).map(|(short, _)| *short)
}

/// Formats a size for people: `256 MiB`, `1.5 GiB`, `1000 bytes`.
pub fn format_bytes(bytes: u64) -> String {
    if bytes == 1 {
        return "1 byte".into();
    }
    let mut unit = ("bytes", 1);
    for next in [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)] {
        // Compares the rounded value, so that one byte less than 1 MiB is not "1024.0 KiB".
        if bytes < next.1 && (bytes.is_multiple_of(unit.1) || tenths(bytes, unit.1) < 10_240) {
            break;
        }
        unit = next;
    }
    let (name, size) = unit;
    if bytes.is_multiple_of(size) {
        format!("{} {name}", bytes / size)
    } else {
        format!("{}.{} {name}", tenths(bytes, size) / 10, tenths(bytes, size) % 10)
    }
}

/// Converts `bytes` to tenths of a unit, rounded.
fn tenths(bytes: u64, unit: u64) -> u128 {
    (u128::from(bytes) * 10 + u128::from(unit) / 2) / u128::from(unit)
}

/// Splits a text after its leading ASCII digits.
fn split_number(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_are_parsed() {
        let cases = [
            ("0", 0),
            ("1024", 1024),
            ("7B", 7),
            ("500kB", 500_000),
            ("64MiB", 64 << 20),
            ("64 MiB", 64 << 20),
            ("1GiB", 1 << 30),
            ("2TB", 2_000_000_000_000),
            ("16777215TiB", 16_777_215 << 40),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_bytes(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn invalid_sizes_are_rejected() {
        let cases = [
            ("", "is not a size"),
            ("MiB", "is not a size"),
            ("-1", "is not a size"),
            ("1.5GiB", "write a whole number, such as"),
            ("64mb", "unknown unit `mb`"),
            ("64MiBs", "unknown unit `MiBs`"),
            ("16777216TiB", "too large"),
            ("99999999999999999999", "too large"),
        ];
        for (text, expected) in cases {
            let error = parse_bytes(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn durations_are_parsed() {
        let cases = [
            ("0s", 0),
            ("30 s", 30_000),
            ("500ms", 500),
            ("30s", 30_000),
            ("5m", 300_000),
            ("24h", 86_400_000),
            ("90d", 7_776_000_000),
            ("1h30m", 5_400_000),
            ("1d2h3m4s5ms", 93_784_005),
        ];
        for (text, millis) in cases {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn invalid_durations_are_rejected() {
        let cases = [
            ("", "is not a duration"),
            ("soon", "is not a duration"),
            ("-1s", "is not a duration"),
            ("30", "without a unit"),
            ("1.5h", "without a unit"),
            ("1w", "unknown unit `w`"),
            ("30m1h", "the longest first"),
            ("1h1h", "the longest first"),
            ("99999999999999999999d", "too long"),
            ("18446744073709551615s", "too long"),
        ];
        for (text, expected) in cases {
            let error = parse_duration(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn sizes_are_formatted() {
        let cases = [
            (0, "0 bytes"),
            (1, "1 byte"),
            (1_000, "1000 bytes"),
            (1_024, "1 KiB"),
            (1_023, "1023 bytes"),
            (1_536, "1.5 KiB"),
            (1_000 << 10, "1000 KiB"),
            (1_000_000, "976.6 KiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (268_435_456, "256 MiB"),
            (2 << 30, "2 GiB"),
            (10_000_000_000, "9.3 GiB"),
            (u64::MAX, "16777216.0 TiB"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(format_bytes(bytes), expected, "{bytes}");
        }
    }

    proptest! {
        #[test]
        fn exact_sizes_round_trip(number in 1_u64..1024, power in 0_u32..5) {
            let bytes = number << (10 * power);
            prop_assert_eq!(parse_bytes(&format_bytes(bytes)), Ok(bytes));
        }

        #[test]
        fn rounded_sizes_are_close(bytes in 1024_u64..) {
            let text = format_bytes(bytes);
            let (number, unit) = text.split_once(' ').unwrap();
            let unit = u128::from(parse_bytes(&format!("1{unit}")).unwrap());
            let (whole, tenth) = number.split_once('.').unwrap_or((number, "0"));
            let tenths = format!("{whole}{tenth}").parse::<u128>().unwrap();
            prop_assert!((tenths * unit).abs_diff(u128::from(bytes) * 10) <= unit / 2, "{}", text);
        }

        #[test]
        fn durations_round_trip(h in 0_u64..100, m in 0_u64..60, s in 0_u64..60) {
            prop_assert_eq!(
                parse_duration(&format!("{h}h{m}m{s}s")),
                Ok(Duration::from_secs(h * 3600 + m * 60 + s))
            );
        }

        #[test]
        fn never_panics(text in any::<String>(), near in "[0-9]{0,25} ?[dhmskKMGTiB.é]{0,4}[0-9]{0,3}[a-z]?") {
            for text in [text, near] {
                drop((parse_bytes(&text), parse_duration(&text)));
            }
        }
    }
}
