//! The texts that a strftime conversion can write.

use std::collections::BTreeSet;

use jiff::{Timestamp, fmt::strtime::BrokenDownTime};

const DAY: i64 = 24 * 3600;

/// A step that reaches each hour, minute and second in a few steps.
const HOUR_MINUTE_SECOND: i64 = 3661;

/// Extreme times: the longest texts, negative years, and fractions of every length.
const EXTREME_TIMES: [&str; 8] = [
    "-009999-01-02T01:59:59Z",
    "-000001-06-15T00:00:00.1Z",
    "0000-01-01T00:00:00Z",
    "0999-12-31T23:59:59.999999999Z",
    "1969-12-31T23:59:59Z",
    "1970-01-01T00:00:00Z",
    "2026-11-30T12:34:56.123456789Z",
    "9999-12-30T22:00:00.999Z",
];

/// The texts of a conversion.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Times {
    /// Exactly these texts.
    OneOf(Vec<String>),
    /// A superset: all texts of these characters, of a length from `least` to `most`.
    Like { characters: BTreeSet<char>, least: usize, most: usize },
}

/// Returns the texts of `conversion`, which is valid.
pub(crate) fn of(conversion: &str) -> Times {
    let letter = conversion.chars().next_back().unwrap_or_default();
    let write = |time: Timestamp| {
        let mut text = String::new();
        // Cannot fail: the template has checked it.
        BrokenDownTime::from(time).format(conversion, &mut text).ok();
        text
    };
    if let Some((count, step)) = steps(letter) {
        let seconds = (0..count).map(|number| number * step);
        let times = seconds.filter_map(|second| Timestamp::from_second(second).ok());
        return Times::OneOf(times.map(write).collect::<BTreeSet<_>>().into_iter().collect());
    }
    let times = EXTREME_TIMES.iter().filter_map(|text| text.parse().ok());
    let texts: BTreeSet<_> = times.map(write).collect();
    if texts.len() == 1 {
        return Times::OneOf(texts.into_iter().collect());
    }
    let mut characters: BTreeSet<char> = texts.iter().flat_map(|text| text.chars()).collect();
    if characters.iter().any(char::is_ascii_digit) {
        characters.extend('0'..='9');
    }
    if characters.iter().any(char::is_ascii_alphabetic) {
        characters.extend(('a'..='z').chain('A'..='Z'));
    }
    let lengths = || texts.iter().map(|text| text.chars().count());
    let (least, most) = (lengths().min().unwrap_or(0), lengths().max().unwrap_or(0));
    Times::Like { characters, least, most }
}

/// For a conversion with few values, returns the number and length (in seconds) of steps that reach
/// all.
fn steps(letter: char) -> Option<(i64, i64)> {
    match letter {
        'H' | 'I' | 'k' | 'l' | 'M' | 'p' | 'P' | 'S' => Some((120, HOUR_MINUTE_SECOND)),
        'a' | 'A' | 'b' | 'B' | 'd' | 'e' | 'h' | 'm' | 'u' | 'w' => Some((400, DAY)),
        // Leap years, and years that begin on each day of the week.
        'j' | 'U' | 'V' | 'W' => Some((3000, DAY)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_values_are_all_found() {
        for (conversion, count) in [
            ("%a", 7),
            ("%A", 7),
            ("%b", 12),
            ("%h", 12),
            ("%^B", 12),
            ("%d", 31),
            ("%-d", 31),
            ("%e", 31),
            ("%H", 24),
            ("%k", 24),
            ("%I", 12),
            ("%l", 12),
            ("%j", 366),
            ("%m", 12),
            ("%M", 60),
            ("%p", 2),
            ("%P", 2),
            ("%S", 60),
            ("%u", 7),
            ("%w", 7),
            ("%U", 54),
            ("%V", 53),
            ("%W", 54),
        ] {
            let Times::OneOf(values) = of(conversion) else { panic!("{conversion}") };
            // Week 53 of %U is that of a leap year that begins on a Saturday.
            let least = if conversion == "%U" { count - 1 } else { count };
            assert!((least..=count).contains(&values.len()), "{conversion} {values:?}");
        }
    }

    #[test]
    fn other_values_are_within_the_returned_set() {
        for conversion in ["%Y", "%y", "%G", "%C", "%s", "%f", "%3f", "%.f", "%N", "%-Y", "%D"] {
            let Times::Like { characters, least, most } = of(conversion) else { continue };
            for second in [0, 1, 60, 86_399, 1_700_000_000, 253_000_000_000, -5_000_000_000] {
                for nanos in [0, 1, 500_000_000, 123_000_000] {
                    let time = Timestamp::new(second, nanos).unwrap();
                    let mut text = String::new();
                    BrokenDownTime::from(time).format(conversion, &mut text).unwrap();
                    let length = text.chars().count();
                    assert!((least..=most).contains(&length), "{conversion} {text}");
                    assert!(text.chars().all(|c| characters.contains(&c)), "{conversion} {text}");
                }
            }
        }
    }
}
