//! Files of secrets. Their content never enters a message.

use std::{
    fmt,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use crate::{Context, reader::open_regular};

/// More than any list of secrets: a log file that is named by mistake is an error.
const MAX_BYTES: u64 = 1 << 20;

/// Longer than any header.
const MAX_FIRST_LINE: usize = 16 * 1024;

const BYTE_ORDER_MARK: char = '\u{feff}';

const PLAIN_TEXT: &str = "save it as plain text (UTF-8)";

/// Why a file of secrets cannot be used.
#[derive(Debug)]
pub struct SecretFileError {
    path: PathBuf,
    cause: io::Error,
    /// What to do about the content. `None` if the file cannot be read, or has no secret.
    advice: Option<&'static str>,
}

impl SecretFileError {
    /// The content of the file cannot be used.
    pub fn unusable(path: &Path, fault: impl Into<String>, advice: &'static str) -> Self {
        Self { advice: Some(advice), ..Self::new(path, invalid(fault)) }
    }

    fn new(path: &Path, cause: io::Error) -> Self {
        Self { path: path.to_owned(), cause, advice: None }
    }

    /// What failed, without what to do.
    pub fn message(&self) -> String {
        format!("cannot use secret file `{}`: {}", self.path.display(), self.cause)
    }

    /// What to do; `missing` if the file does not exist or has no secret.
    pub fn hint(&self, missing: &str, cx: &Context) -> String {
        self.advice.map_or_else(|| cx.advice(&self.path, &self.cause, missing), str::to_owned)
    }

    /// The kind of the failure; `InvalidData` for the content.
    pub fn kind(&self) -> io::ErrorKind {
        self.cause.kind()
    }
}

/// The message, and what to do.
impl fmt::Display for SecretFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let advice = self.advice.unwrap_or_else(|| match self.kind() {
            io::ErrorKind::PermissionDenied => "make it readable for the user that runs logpushd",
            _ => "create it with the secret as its first line",
        });
        write!(f, "{}; {advice}", self.message())
    }
}

impl std::error::Error for SecretFileError {}

/// Reads every non-empty line, with its number (from 1) and without the white space around it. A byte
/// order mark at the beginning, which some editors write, is skipped.
///
/// # Errors
/// The file cannot be read, contains no secret, or contains one that no HTTP header can carry. An empty
/// file is an error so that truncating it can never open an endpoint.
pub fn read_lines(path: &Path) -> Result<Vec<(usize, String)>, SecretFileError> {
    let text = read(path)?;
    let mut secrets = Vec::new();
    for (line, secret) in (1..).zip(text.lines()) {
        check(path, || format!("line {line}"), secret)?;
        let secret = secret.trim();
        if !secret.is_empty() {
            secrets.push((line, secret.to_owned()));
        }
    }
    if secrets.is_empty() {
        return Err(SecretFileError::new(path, invalid("every line is empty")));
    }
    Ok(secrets)
}

/// Reads the first line, without the white space around it and without a byte order mark.
///
/// # Errors
/// The file cannot be read, or its first line is empty, longer than 16 KiB, or one that no HTTP header can
/// carry.
pub fn read_first_line(path: &Path) -> Result<String, SecretFileError> {
    let text = read(path)?;
    let line = text.lines().next().unwrap_or_default();
    let secret = line.trim();
    if secret.is_empty() {
        return Err(SecretFileError::new(path, invalid("the first line is empty")));
    }
    if secret.len() > MAX_FIRST_LINE {
        let advice = "write only the secret into the first line";
        return Err(SecretFileError::unusable(path, "the first line is too long", advice));
    }
    check(path, || "the first line".to_owned(), line)?;
    Ok(secret.to_owned())
}

fn read(path: &Path) -> Result<String, SecretFileError> {
    let mut bytes = Vec::new();
    open_regular(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| SecretFileError::new(path, error))?;
    let unusable = |fault, advice| Err(SecretFileError::unusable(path, fault, advice));
    if bytes.len() as u64 > MAX_BYTES {
        return unusable("it has more than 1 MiB", "name a file of secrets");
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return unusable("it is UTF-16", PLAIN_TEXT);
    }
    let Ok(mut text) = String::from_utf8(bytes) else {
        return unusable("it is not valid UTF-8", PLAIN_TEXT);
    };
    if text.starts_with(BYTE_ORDER_MARK) {
        text.remove(0);
    }
    Ok(text)
}

/// Refuses control characters within a line. So is a byte order mark: it comes from joining files, and
/// the secret would never match.
fn check(path: &Path, line: impl Fn() -> String, text: &str) -> Result<(), SecretFileError> {
    if text.trim().contains(|c: char| c.is_control() || c == BYTE_ORDER_MARK) {
        let fault = format!("{} contains a character that no header can carry", line());
        return Err(SecretFileError::unusable(path, fault, "remove the character"));
    }
    Ok(())
}

fn invalid(fault: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, fault.into())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn every_line_is_a_secret() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secrets.txt");
        let good: [(&str, &[(usize, &str)]); 6] = [
            ("one", &[(1, "one")]),
            ("one\n", &[(1, "one")]),
            ("  one \r\n\n\t\n two words\n", &[(1, "one"), (4, "two words")]),
            ("é", &[(1, "é")]),
            ("\u{feff}one\r\ntwo\r\n", &[(1, "one"), (2, "two")]),
            ("\u{feff}\none", &[(2, "one")]),
        ];
        for (text, expected) in good {
            fs::write(&path, text).unwrap();
            let secrets = read_lines(&path).unwrap();
            let secrets: Vec<_> = secrets.iter().map(|(line, text)| (*line, &**text)).collect();
            assert_eq!(secrets, expected, "{text:?}");
        }
    }

    #[test]
    fn the_first_line_is_the_secret() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token.txt");
        let long = "x".repeat(20_000);
        for (text, expected) in [
            ("Bearer abc\n", Ok("Bearer abc")),
            ("\u{feff} Bearer abc \r\nsecond\u{1}\n", Ok("Bearer abc")),
            ("abc", Ok("abc")),
            ("", Err("the first line is empty; create it with the secret")),
            ("\nabc\n", Err("the first line is empty")),
            ("hid\u{1}den\n", Err("the first line contains a character that no header can carry")),
            (&long, Err("the first line is too long; write only")),
        ] {
            fs::write(&path, text).unwrap();
            match (read_first_line(&path), expected) {
                (Ok(secret), Ok(expected)) => assert_eq!(secret, expected),
                (Err(error), Err(expected)) => {
                    let error = error.to_string();
                    assert!(error.contains(expected) && !error.contains("hid"), "{error}");
                    assert!(error.starts_with("cannot use secret file `/"), "{error}");
                }
                (read, _) => panic!("{text:?}: {read:?}"),
            }
        }
    }

    #[test]
    fn a_file_without_a_usable_secret_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secrets.txt");
        let long = "a\n".repeat(600_000);
        let bad: [(&[u8], &str); 8] = [
            (b"", "every line is empty"),
            (b" \n\r\n", "every line is empty"),
            (b"ok\nhidden\x00secret", "line 2 contains"),
            ("one\n\u{feff}hidden".as_bytes(), "line 2 contains"),
            ("\u{feff}".as_bytes(), "every line is empty"),
            (b"\xff\xfeh\x00i\x00d\x00d\x00e\x00n\x00", "it is UTF-16; save it as plain text"),
            (b"hidden\xff", "it is not valid UTF-8; save it as plain text"),
            (long.as_bytes(), "it has more than 1 MiB; name a file of secrets"),
        ];
        for (text, expected) in bad {
            fs::write(&path, text).unwrap();
            let error = read_lines(&path).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains("hidden"), "{error}");
        }
        for (path, expected) in [
            (dir.path(), "is a directory"),
            (Path::new("/dev/null"), "is not a regular file"),
            (Path::new("/nowhere/x"), "cannot use secret file `/nowhere/x`: No such file"),
        ] {
            let error = read_lines(path).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn the_hint_is_about_the_cause() {
        let cx = Context::new(Path::new("/"));
        let io = |kind: io::ErrorKind| SecretFileError::new(Path::new("/x"), kind.into());
        assert_eq!(io(io::ErrorKind::NotFound).hint("make one", &cx), "make one");
        assert!(io(io::ErrorKind::PermissionDenied).hint("make one", &cx).contains("readable"));
        let unusable = SecretFileError::unusable(Path::new("/x"), "is bad", "repair it");
        assert_eq!(unusable.hint("make one", &cx), "repair it");
        assert_eq!(unusable.to_string(), "cannot use secret file `/x`: is bad; repair it");
    }
}
