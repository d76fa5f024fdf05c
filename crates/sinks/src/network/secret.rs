//! Reads a secret from the file that the configuration names.

use std::{
    io::{self, Read as _},
    path::Path,
};

use reqwest::header::HeaderValue;
use settings::open_regular;

/// No header is longer; a log file that is named by mistake is.
const MAX_BYTES: u64 = 16 * 1024;

/// Reads the first line of a file as the value of a header. White space around it does not count. The
/// value never enters a message.
///
/// # Errors
/// The file cannot be read, its first line is empty or too long, or no header can have it.
pub(super) fn read_header(path: &Path) -> io::Result<HeaderValue> {
    let mut bytes = Vec::new();
    open_regular(path)?.take(MAX_BYTES).read_to_end(&mut bytes)?;
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let value = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line).trim_ascii();
    if value.is_empty() {
        return Err(invalid("the first line is empty"));
    }
    if bytes.len() as u64 == MAX_BYTES && line.len() == bytes.len() {
        return Err(invalid("the first line is too long for a header"));
    }
    let mut value = HeaderValue::from_bytes(value)
        .map_err(|_| invalid("the first line has a character that no header can carry"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn invalid(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_first_line_is_the_value() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token.txt");
        let long = "x".repeat(20_000);
        for (text, expected) in [
            ("Bearer abc\n", Ok("Bearer abc")),
            ("\u{feff} Bearer abc \r\nsecond\n", Ok("Bearer abc")),
            ("abc", Ok("abc")),
            ("", Err("is empty")),
            ("\nabc\n", Err("is empty")),
            ("hid\u{1}den\n", Err("no header can carry")),
            (&long, Err("too long")),
        ] {
            fs::write(&path, text).unwrap();
            match (read_header(&path), expected) {
                (Ok(value), Ok(expected)) => {
                    assert_eq!(value, expected);
                    assert!(!format!("{value:?}").contains("abc"), "{value:?}");
                }
                (Err(error), Err(expected)) => {
                    let error = error.to_string();
                    assert!(error.contains(expected) && !error.contains("hid"), "{error}");
                }
                (read, _) => panic!("{text:?}: {read:?}"),
            }
        }
    }
}
