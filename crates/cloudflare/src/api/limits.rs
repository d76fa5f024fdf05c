//! Parsers for option values, with Cloudflare's limits: a value that the API would refuse is an error.

use std::time::Duration;

/// Parses `max_upload_bytes`; 0 means Cloudflare's default.
///
/// # Errors
/// The text is not a size, or Cloudflare does not accept it.
pub fn upload_bytes(text: &str) -> Result<u64, String> {
    let bytes = settings::parse_bytes(text).map_err(|what| format!("it {what}"))?;
    match bytes {
        0 | 5_000_000..=1_000_000_000 => Ok(bytes),
        _ => Err(format!(
            "{bytes} bytes: Cloudflare accepts 5MB to 1GB (5,000,000 to 1,000,000,000 bytes, uncompressed), or 0 for its default"
        )),
    }
}

/// Parses `max_upload_records`; 0 means Cloudflare's default.
///
/// # Errors
/// The text is not a number, or Cloudflare does not accept it.
pub fn upload_records(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(records @ (0 | 1_000..=1_000_000)) => Ok(records),
        _ => Err("Cloudflare accepts 1000 to 1000000, or 0 for its default (100000)".into()),
    }
}

/// Parses `max_upload_interval_seconds`: `90s`, `2m` or plain seconds; 0 means Cloudflare's default.
///
/// # Errors
/// The text is not a duration, or Cloudflare does not accept it.
pub fn upload_interval(text: &str) -> Result<u64, String> {
    let plain = text.parse().ok().map(Duration::from_secs);
    let interval = match plain {
        Some(interval) => interval,
        None => settings::parse_duration(text).map_err(|what| format!("it {what}"))?,
    };
    match interval.as_secs() {
        seconds @ (0 | 30..=300) if interval.subsec_millis() == 0 => Ok(seconds),
        _ => Err("Cloudflare accepts 30s to 5m, or 0 for its default (30s)".into()),
    }
}

/// Parses `sample_rate`.
///
/// # Errors
/// The text is not a number above 0 and up to 1.
pub fn sample_rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if rate > 0.0 && rate <= 1.0 => Ok(rate),
        _ => Err(
            "Cloudflare accepts a number above 0 and up to 1, such as 0.1 for every tenth record"
                .into(),
        ),
    }
}

/// Parses the name of a job.
///
/// # Errors
/// Cloudflare does not accept the name.
pub fn job_name(text: &str) -> Result<String, String> {
    const MAX_CHARS: usize = 512;
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if let Some(c) = text.chars().find(|c| !is_allowed(*c)) {
        return Err(format!(
            "the name of a job may contain letters, digits, `.`, `-` and `_`, but not {c:?}"
        ));
    }
    match text.len() {
        ..=MAX_CHARS => Ok(text.to_owned()),
        length => Err(format!(
            "the name has {length} characters, and Cloudflare accepts at most {MAX_CHARS}"
        )),
    }
}

/// Returns a warning if the name has an underscore, which some versions of Cloudflare's schema exclude.
pub fn check_job_name(name: &str) -> Option<String> {
    name.contains('_').then(|| {
        "the name contains `_`, which some versions of Cloudflare's API refuse: use `-`".to_owned()
    })
}

/// Replaces the escapes `\n`, `\r`, `\t` and `\\`, since a line end is hard to type in a shell.
///
/// # Errors
/// The text contains another escape.
pub fn unescape(text: &str) -> Result<String, String> {
    let mut plain = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        plain.push(match c {
            '\\' => match chars.next() {
                Some('n') => '\n',
                Some('r') => '\r',
                Some('t') => '\t',
                Some('\\') => '\\',
                _ => return Err(r"the escapes are \n, \r, \t and \\".into()),
            },
            c => c,
        });
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batch_limits_are_within_cloudflares_bounds() {
        for (text, bytes) in
            [("0", 0), ("5MB", 5_000_000), ("16MiB", 16 << 20), ("1GB", 1_000_000_000)]
        {
            assert_eq!(upload_bytes(text), Ok(bytes));
        }
        for text in ["4999999", "1000000001", "1GiB", "1"] {
            assert!(upload_bytes(text).unwrap_err().contains("5MB to 1GB"), "{text}");
        }
        assert!(upload_bytes("5mb").unwrap_err().contains("unknown unit"));
        for (text, records) in [("0", 0), ("1000", 1000), ("1000000", 1_000_000)] {
            assert_eq!(upload_records(text), Ok(records));
        }
        for text in ["999", "1000001", "-1", "1k"] {
            assert!(upload_records(text).unwrap_err().contains("1000 to 1000000"), "{text}");
        }
        for (text, seconds) in [("0", 0), ("30", 30), ("30s", 30), ("5m", 300), ("1m30s", 90)] {
            assert_eq!(upload_interval(text), Ok(seconds));
        }
        for text in ["29", "301s", "30500ms", "6m"] {
            assert!(upload_interval(text).unwrap_err().contains("30s to 5m"), "{text}");
        }
    }

    #[test]
    fn job_names_have_characters_that_cloudflare_accepts() {
        for name in ["", "http-requests.v2", "A_b", &"x".repeat(512)] {
            assert_eq!(job_name(name), Ok(name.to_owned()));
            assert_eq!(check_job_name(name).is_some(), name.contains('_'));
        }
        for (name, want) in [
            ("my job", "not ' '"),
            ("caf\u{e9}", "not '\u{e9}'"),
            ("a/b", "not '/'"),
            (&"x".repeat(513), "513"),
        ] {
            let error = job_name(name).unwrap_err();
            assert!(error.contains(want), "{error}");
        }
    }

    #[test]
    fn sample_rates_are_above_0_and_up_to_1() {
        assert_eq!(sample_rate("1"), Ok(1.0));
        assert_eq!(sample_rate("0.01"), Ok(0.01));
        for text in ["0", "0.0", "-0.5", "1.01", "NaN", "inf", "10%"] {
            assert!(sample_rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn escapes_are_replaced() {
        assert_eq!(unescape(r"a\tb\r\n\\n"), Ok("a\tb\r\n\\n".into()));
        assert_eq!(unescape("{\"events\":["), Ok("{\"events\":[".into()));
        for text in [r"\x", "\\", r"\0"] {
            unescape(text).unwrap_err();
        }
    }
}
