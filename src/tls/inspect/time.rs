//! The two forms of time in a certificate.

use jiff::civil::{self, DateTime};
use yasna::{
    Tag,
    tags::{TAG_GENERALIZEDTIME, TAG_UTCTIME},
};

/// RFC 5280, 4.1.2.5: always UTC, always with seconds, never with fractions.
pub(super) fn unix_seconds(tag: Tag, value: &[u8]) -> Option<i64> {
    let digits = str::from_utf8(value).ok()?.strip_suffix('Z')?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let full = match (tag, digits.len()) {
        (TAG_GENERALIZEDTIME, 14) => digits.to_owned(),
        (TAG_UTCTIME, 12) if digits < "50" => format!("20{digits}"),
        (TAG_UTCTIME, 12) => format!("19{digits}"),
        _ => return None,
    };
    let time = DateTime::strptime("%Y%m%d%H%M%S", full).ok()?;
    // Between civil times, because "never expires" is 9999-12-31T23:59:59 and no timestamp goes
    // that far.
    Some(time.duration_since(civil::datetime(1970, 1, 1, 0, 0, 0, 0)).as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_time_are_read() {
        let cases = [
            (TAG_UTCTIME, "700101000000Z", Some(0)),
            (TAG_UTCTIME, "491231235959Z", Some(2_524_607_999)),
            (TAG_UTCTIME, "500101000000Z", Some(-631_152_000)),
            (TAG_GENERALIZEDTIME, "20500101000000Z", Some(2_524_608_000)),
            (TAG_GENERALIZEDTIME, "99991231235959Z", Some(253_402_300_799)),
            (TAG_GENERALIZEDTIME, "20501301000000Z", None),
            (TAG_GENERALIZEDTIME, "20500101000000", None),
            (TAG_GENERALIZEDTIME, "500101000000Z", None),
            (TAG_UTCTIME, "7001010000Z", None),
            (TAG_UTCTIME, "+00101000000Z", None),
        ];
        for (tag, text, expected) in cases {
            assert_eq!(unix_seconds(tag, text.as_bytes()), expected, "{text}");
        }
    }
}
