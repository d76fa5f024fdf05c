//! Compares JSON numbers exactly as text. Floating point cannot represent 19 digits, and the comparison
//! decides which records a sink receives.

use std::cmp::Ordering;

/// A parsed number: its value is 0.DIGITS * 10^`scale`, and the first digit is not 0.
struct Number<'a> {
    negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
    scale: i64,
}

/// Compares two JSON numbers. An exponent of more than 18 digits counts as the largest with 18 digits.
pub(super) fn compare(one: &str, other: &str) -> Ordering {
    let (one, other) = (Number::of(one), Number::of(other));
    match (one.sign(), other.sign()) {
        (1, 1) => one.compare_size(&other),
        (-1, -1) => other.compare_size(&one),
        (one, other) => one.cmp(&other),
    }
}

impl<'a> Number<'a> {
    fn of(text: &'a str) -> Self {
        let (negative, text) = match text.strip_prefix('-') {
            Some(text) => (true, text),
            None => (false, text),
        };
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, mut fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let whole = whole.trim_start_matches('0');
        let mut scale = exponent_of(exponent).saturating_add(length(whole));
        if whole.is_empty() {
            let digits = fraction.trim_start_matches('0');
            scale = scale.saturating_sub(length(fraction) - length(digits));
            fraction = digits;
        }
        Self { negative, whole: whole.as_bytes(), fraction: fraction.as_bytes(), scale }
    }

    /// -1, 0 or 1.
    fn sign(&self) -> i8 {
        match (self.whole.is_empty() && self.fraction.is_empty(), self.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        }
    }

    /// Compares two numbers that are not 0, without their signs.
    fn compare_size(&self, other: &Self) -> Ordering {
        self.scale.cmp(&other.scale).then_with(|| {
            let (mut one, mut other) = (self.digits(), other.digits());
            loop {
                match (one.next(), other.next()) {
                    (None, None) => return Ordering::Equal,
                    (one, other) => match one.unwrap_or(b'0').cmp(&other.unwrap_or(b'0')) {
                        Ordering::Equal => {}
                        unequal => return unequal,
                    },
                }
            }
        })
    }

    fn digits(&self) -> impl Iterator<Item = u8> {
        self.whole.iter().chain(self.fraction).copied()
    }
}

fn length(digits: &str) -> i64 {
    i64::try_from(digits.len()).unwrap_or(i64::MAX)
}

fn exponent_of(text: &str) -> i64 {
    /// Small enough to add the number of digits of any record without an overflow.
    const LARGEST: i64 = 999_999_999_999_999_999;
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let size = digits.trim_start_matches('0');
    let size = if size.is_empty() { 0 } else { size.parse().unwrap_or(LARGEST).min(LARGEST) };
    if negative { -size } else { size }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_compared_to_the_last_digit() {
        use Ordering::{Equal, Greater, Less};
        let cases = [
            ("1669761187123456789", "1669761187123456788", Greater),
            ("1669761187123456789", "1669761187123456789.0", Equal),
            ("1669761187123456789", "1669761187123456789.1", Less),
            ("0.1", "0.10", Equal),
            ("0.1", "0.09999999999999999999999", Greater),
            ("1e3", "1000", Equal),
            ("1.5E+2", "150", Equal),
            ("15e-1", "1.5", Equal),
            ("0.00e9", "-0", Equal),
            ("-0.0", "0", Equal),
            ("-1", "0", Less),
            ("-2", "-10", Greater),
            ("2", "10", Less),
            ("100", "0.1e4", Less),
            ("0", "1e-400", Less),
            ("1e400", "1e401", Less),
            ("-1e400", "1e-400", Less),
            ("1e99999999999999999999", "9e999999999999999998", Greater),
            ("0e99999999999999999999", "0", Equal),
            ("18446744073709551616", "18446744073709551615", Greater),
        ];
        for (one, other, expected) in cases {
            assert_eq!(compare(one, other), expected, "{one} and {other}");
            assert_eq!(compare(other, one), expected.reverse(), "{other} and {one}");
        }
    }

    /// The value in units of 10^-18, which all values in this test are multiples of.
    fn exactly(negative: bool, digits: u64, point: u32) -> i128 {
        let size = i128::from(digits) * 10_i128.pow(18 - point);
        if negative { -size } else { size }
    }

    fn written(negative: bool, digits: u64, point: u32, exponent: i32) -> String {
        let digits = format!("{digits:0>width$}", width = point as usize + 1);
        let (whole, fraction) = digits.split_at(digits.len() - point as usize);
        let sign = if negative { "-" } else { "" };
        let dot = if fraction.is_empty() { "" } else { "." };
        let exponent = if exponent == 0 { String::new() } else { format!("e{exponent}") };
        format!("{sign}{whole}{dot}{fraction}{exponent}")
    }

    proptest! {
        #[test]
        fn numbers_compare_like_scaled_integers(
            (one, other) in (any::<u64>(), any::<u64>(), any::<bool>())
                .prop_map(|(one, other, near)| (one, if near { one ^ (other & 3) } else { other })),
            signs in any::<(bool, bool)>(),
            points in (0_u32..18, 0_u32..18),
            shift in 0_u32..18,
        ) {
            let expected = exactly(signs.0, one, points.0).cmp(&exactly(signs.1, other, points.1));
            let plain = written(signs.0, one, points.0, 0);
            // The same value with another decimal point and exponent.
            let exponent = i32::try_from(shift).unwrap() - i32::try_from(points.1).unwrap();
            let shifted = written(signs.1, other, shift, exponent);
            prop_assert_eq!(compare(&plain, &shifted), expected, "{} and {}", plain, shifted);
            prop_assert_eq!(compare(&shifted, &plain), expected.reverse());
        }
    }
}
