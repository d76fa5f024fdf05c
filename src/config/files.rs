//! The live secrets of a file that the configuration names.
//!
//! Their content never enters a message.

use std::{
    fmt,
    io::{self, Read as _},
    path::Path,
};

use settings::open_regular;

/// Far above any list of secrets; somebody who names a log file by mistake gets an error.
const MAX_SECRETS_BYTES: u64 = 1 << 20;

const BYTE_ORDER_MARK: char = '\u{feff}';

/// A live secret: a line of a `secret_file`.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret {
    /// From 1.
    pub line: usize,
    text: String,
    /// Where the value begins, if the line is `name: value`.
    value_at: Option<usize>,
}

impl Secret {
    fn new(line: usize, text: &str) -> Self {
        let is_of_a_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        let is_name = |name: &str| (1..=64).contains(&name.len()) && name.bytes().all(is_of_a_name);
        let parts = text.split_once(": ").filter(|(name, _)| is_name(name));
        let value = parts.map(|(_, value)| value.trim_start()).filter(|value| !value.is_empty());
        let value_at = value.map(|value| text.len() - value.len());
        Self { line, text: text.to_owned(), value_at }
    }

    /// The name in `name: value`.
    pub fn name(&self) -> Option<&str> {
        self.value_at?;
        self.text.split_once(": ").map(|(name, _)| name)
    }

    /// What the log, metrics and the audit log call it: its name, or its line.
    pub fn label(&self) -> String {
        self.name().map_or_else(|| format!("line {}", self.line), str::to_owned)
    }

    /// What a sender shows.
    pub fn value(&self) -> &str {
        self.value_at.and_then(|at| self.text.get(at..)).unwrap_or(&self.text)
    }

    /// The whole line. It is accepted as well: before lines had names, `a: b` was a secret.
    pub fn whole_line(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.label())
    }
}

/// Reads the live secrets of a `secret_file`: every non-empty line, without the white space around
/// it. A line `name: value` names its secret. A byte order mark at the beginning is no part of it: some
/// editors write one.
///
/// # Errors
/// The file cannot be read, holds no secret, or holds one that no HTTP header can carry. An empty
/// file is an error so that truncating it can never open an endpoint.
pub fn read_secrets(path: &Path) -> io::Result<Vec<Secret>> {
    let mut bytes = Vec::new();
    open_regular(path)?.take(MAX_SECRETS_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_SECRETS_BYTES {
        return Err(invalid(format!("more than {MAX_SECRETS_BYTES} bytes: not a list of secrets")));
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(invalid("is UTF-16: save it as plain text (UTF-8)".to_owned()));
    }
    let text = str::from_utf8(&bytes)
        .map_err(|_| invalid("is not valid UTF-8: save it as plain text (UTF-8)".to_owned()))?;
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let mut secrets = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let secret = line.trim();
        // A mark within the file comes from joining files, and the secret would never match.
        if secret.contains(|c: char| c.is_control() || c == BYTE_ORDER_MARK) {
            let line = index + 1;
            return Err(invalid(format!("line {line} holds a character that no header can carry")));
        }
        if !secret.is_empty() {
            secrets.push(Secret::new(index + 1, secret));
        }
    }
    if secrets.is_empty() {
        return Err(invalid("holds no secret: every line is empty".to_owned()));
    }
    Ok(secrets)
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn reads_secrets() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secrets.txt");
        let good: [(&str, &[&str]); 6] = [
            ("one", &["one"]),
            ("one\n", &["one"]),
            ("  one \r\n\n\t\n two words\n", &["one", "two words"]),
            ("é", &["é"]),
            ("\u{feff}one\r\ntwo\r\n", &["one", "two"]),
            ("\u{feff}\none", &["one"]),
        ];
        for (text, expected) in good {
            fs::write(&path, text).unwrap();
            let secrets = read_secrets(&path).unwrap();
            let values: Vec<_> = secrets.iter().map(Secret::value).collect();
            assert_eq!(values, expected, "{text:?}");
        }
    }

    #[test]
    fn a_line_may_name_its_secret() {
        let long = "n".repeat(65);
        for (line, name, value) in [
            ("new: abc", Some("new"), "abc"),
            ("2026-11_a.b:   a b", Some("2026-11_a.b"), "a b"),
            ("a: b: c", Some("a"), "b: c"),
            ("new:abc", None, "new:abc"),
            ("new:", None, "new:"),
            (": abc", None, ": abc"),
            ("two words: abc", None, "two words: abc"),
            (&format!("{long}: abc"), None, &format!("{long}: abc")),
        ] {
            let secret = Secret::new(7, line);
            assert_eq!((secret.name(), secret.value()), (name, value), "{line}");
            assert_eq!(secret.whole_line(), line);
            assert_eq!(secret.label(), name.unwrap_or("line 7"));
            assert!(!format!("{secret:?}").contains("abc"));
        }
    }

    #[test]
    fn refuses_what_holds_no_secret() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secrets.txt");
        let long = "a\n".repeat(600_000);
        let bad: [(&[u8], &str); 8] = [
            (b"", "holds no secret"),
            (b" \n\r\n", "holds no secret"),
            (b"ok\nhidden\x00secret", "line 2 holds"),
            ("one\n\u{feff}hidden".as_bytes(), "line 2 holds"),
            ("\u{feff}".as_bytes(), "holds no secret"),
            (b"\xff\xfeh\x00i\x00d\x00d\x00e\x00n\x00", "is UTF-16"),
            (b"hidden\xff", "valid UTF-8"),
            (long.as_bytes(), "not a list of secrets"),
        ];
        for (text, expected) in bad {
            fs::write(&path, text).unwrap();
            let error = read_secrets(&path).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains("hidden"), "{error}");
        }
        assert!(read_secrets(dir.path()).unwrap_err().to_string().contains("directory"));
        assert!(read_secrets(Path::new("/dev/null")).unwrap_err().to_string().contains("regular"));
    }
}
