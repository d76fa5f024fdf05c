//! Reads the value of a header from the file that the configuration names.

use std::path::Path;

use reqwest::header::HeaderValue;
use settings::secret_file::{self, SecretFileError};

/// Reads the first line of a file as the value of a header. The value never enters a message.
///
/// # Errors
/// As [`secret_file::read_first_line`].
pub(super) fn read_header(path: &Path) -> Result<HeaderValue, SecretFileError> {
    let secret = secret_file::read_first_line(path)?;
    let mut value = HeaderValue::from_bytes(secret.as_bytes()).map_err(|error| {
        SecretFileError::unusable(path, error.to_string(), "write it in printable characters")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_value_is_sensitive() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token.txt");
        for secret in ["Bearer abc", "abc é"] {
            fs::write(&path, format!("{secret}\n")).unwrap();
            let value = read_header(&path).unwrap();
            assert_eq!(value.as_bytes(), secret.as_bytes());
            assert!(!format!("{value:?}").contains("abc"), "{value:?}");
        }
    }
}
