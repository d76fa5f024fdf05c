//! The secrets in a `secret_file`.
//!
//! No message contains a secret.

use std::{fmt, path::Path};

use settings::secret_file::{self, SecretFileError};

/// A secret: a line of a `secret_file`.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret {
    /// The number of the line, from 1.
    pub line: usize,
    text: String,
    /// The offset of the value, if the line is `name: value`.
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

    /// Returns the name in `name: value`.
    pub fn name(&self) -> Option<&str> {
        self.value_at?;
        self.text.split_once(": ").map(|(name, _)| name)
    }

    /// Returns the name or the line, for the log, metrics and the audit log.
    pub fn label(&self) -> String {
        self.name().map_or_else(|| format!("line {}", self.line), str::to_owned)
    }

    /// Returns the value that senders send.
    pub fn value(&self) -> &str {
        self.value_at.and_then(|at| self.text.get(at..)).unwrap_or(&self.text)
    }

    /// Returns the whole line, which is also accepted: before lines had names, `a: b` was a secret.
    pub fn whole_line(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.label())
    }
}

/// Reads the live secrets of a `secret_file`: every non-empty line. A line `name: value` names its
/// secret.
///
/// # Errors
/// As [`secret_file::read_lines`].
pub fn read_secrets(path: &Path) -> Result<Vec<Secret>, SecretFileError> {
    let lines = secret_file::read_lines(path)?;
    Ok(lines.iter().map(|(line, text)| Secret::new(*line, text)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
