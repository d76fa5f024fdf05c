//! What Cloudflare takes as a value of an option. Each function reads one as it is typed and says
//! what would be right; what the API would refuse is refused before it is asked.

use std::time::Duration;

/// `max_upload_bytes`; 0 leaves it to Cloudflare.
///
/// # Errors
/// It is no size, or none that Cloudflare takes.
pub fn upload_bytes(text: &str) -> Result<u64, String> {
    let bytes = settings::parse_bytes(text).map_err(|what| format!("it {what}"))?;
    match bytes {
        0 | 5_000_000..=1_000_000_000 => Ok(bytes),
        _ => Err(format!(
            "{bytes} bytes: Cloudflare takes 5MB to 1GB (5,000,000 to 1,000,000,000 bytes, inflated), or 0 for its own limit"
        )),
    }
}

/// `max_upload_records`; 0 leaves it to Cloudflare.
///
/// # Errors
/// It is no number, or none that Cloudflare takes.
pub fn upload_records(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(records @ (0 | 1_000..=1_000_000)) => Ok(records),
        _ => Err("Cloudflare takes 1000 to 1000000, or 0 for its own limit (100000)".into()),
    }
}

/// `max_upload_interval_seconds`, as `90s`, `2m` or plain seconds; 0 leaves it to Cloudflare.
///
/// # Errors
/// It is no duration, or none that Cloudflare takes.
pub fn upload_interval(text: &str) -> Result<u64, String> {
    let plain = text.parse().ok().map(Duration::from_secs);
    let interval = match plain {
        Some(interval) => interval,
        None => settings::parse_duration(text).map_err(|what| format!("it {what}"))?,
    };
    match interval.as_secs() {
        seconds @ (0 | 30..=300) if interval.subsec_millis() == 0 => Ok(seconds),
        _ => Err("Cloudflare takes 30s to 5m, or 0 for its own limit (30s)".into()),
    }
}

/// `sample_rate`.
///
/// # Errors
/// It is no number above 0 and up to 1.
pub fn sample_rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if rate > 0.0 && rate <= 1.0 => Ok(rate),
        _ => {
            Err("Cloudflare takes a number above 0 and up to 1: 0.1 sends one record of ten".into())
        }
    }
}

/// The name of a job.
///
/// # Errors
/// Cloudflare refuses it.
pub fn job_name(text: &str) -> Result<String, String> {
    const MAX_CHARS: usize = 512;
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if let Some(c) = text.chars().find(|c| !is_allowed(*c)) {
        return Err(format!(
            "Cloudflare takes letters, digits, `.`, `-` and `_` in the name of a job, and no {c:?}"
        ));
    }
    match text.len() {
        ..=MAX_CHARS => Ok(text.to_owned()),
        length => Err(format!("it has {length} characters, Cloudflare takes {MAX_CHARS}")),
    }
}

/// What is doubtful about the name of a job: some versions of Cloudflare's schema have no underscore.
pub fn job_name_doubt(name: &str) -> Option<String> {
    name.contains('_').then(|| {
        "the name has a `_`, which some versions of Cloudflare's API refuse: use `-`".to_owned()
    })
}

/// A part of the output as it is typed: `\n`, `\r`, `\t` and `\\` stand for what they do in most
/// languages, since a shell makes it hard to type a line end.
///
/// # Errors
/// A backslash before anything else.
pub fn unescape(text: &str) -> Result<String, String> {
    let mut plain = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        plain.push(match letter {
            '\\' => match letters.next() {
                Some('n') => '\n',
                Some('r') => '\r',
                Some('t') => '\t',
                Some('\\') => '\\',
                _ => return Err(r"behind a backslash stands n, r, t or another backslash".into()),
            },
            letter => letter,
        });
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_that_cloudflare_takes() {
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
    fn names_of_jobs_are_those_that_cloudflare_takes() {
        for name in ["", "http-requests.v2", "A_b", &"x".repeat(512)] {
            assert_eq!(job_name(name), Ok(name.to_owned()));
            assert_eq!(job_name_doubt(name).is_some(), name.contains('_'));
        }
        for (name, want) in [
            ("my job", "no ' '"),
            ("caf\u{e9}", "no '\u{e9}'"),
            ("a/b", "no '/'"),
            (&"x".repeat(513), "513"),
        ] {
            let error = job_name(name).unwrap_err();
            assert!(error.contains(want), "{error}");
        }
    }

    #[test]
    fn a_sample_is_a_part_of_the_whole() {
        assert_eq!(sample_rate("1"), Ok(1.0));
        assert_eq!(sample_rate("0.01"), Ok(0.01));
        for text in ["0", "0.0", "-0.5", "1.01", "NaN", "inf", "10%"] {
            assert!(sample_rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn line_ends_can_be_typed() {
        assert_eq!(unescape(r"a\tb\r\n\\n"), Ok("a\tb\r\n\\n".into()));
        assert_eq!(unescape("{\"events\":["), Ok("{\"events\":[".into()));
        for text in [r"\x", "\\", r"\0"] {
            unescape(text).unwrap_err();
        }
    }
}
