//! Reads command-line values that may contain a secret: literally, from a file, or from standard input.
//!
//! A file or standard input keeps the secret out of the process list and the shell history.

use std::{
    fs,
    io::{self, Read as _},
    path::Path,
};

use command::fatal::Fatal;

/// The value or file name that means standard input.
const STDIN: &str = "-";

/// The most bytes read from a file. The longest valid value, a destination, has 4096 characters.
const MAX_BYTES: u64 = 1 << 20;

/// Reads a value: `@FILE` reads a file, `-` reads standard input, anything else is the value itself.
pub(super) fn read(value: &str) -> Result<String, Fatal> {
    match value.strip_prefix('@') {
        Some(file) => read_file(Path::new(file)),
        None if is_stdin(value) => read_file(Path::new(STDIN)),
        None => Ok(value.to_owned()),
    }
}

/// Adds the path to an error from reading a file or directory.
pub(super) fn read_error(path: &Path) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("cannot read {}: {error}", path.display()))
}

/// Reports whether a value or file name means standard input.
pub(super) fn is_stdin(value: &str) -> bool {
    matches!(value, STDIN | "@-")
}

/// Reads a file, or standard input for `-`, and strips a byte order mark.
pub(super) fn read_file(path: &Path) -> Result<String, Fatal> {
    let mut text = String::new();
    if path == Path::new(STDIN) {
        let read = io::stdin().lock().take(MAX_BYTES).read_to_string(&mut text);
        read.map_err(|error| Fatal::Io(format!("cannot read standard input: {error}")))?;
    } else {
        let file = fs::File::open(path).map_err(read_error(path))?;
        file.take(MAX_BYTES).read_to_string(&mut text).map_err(read_error(path))?;
    }
    if text.starts_with('\u{feff}') {
        text.remove(0);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_literal_or_read_from_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        fs::write(&path, "\u{feff}https://h/p?header_X=y\n").unwrap();
        let named = format!("@{}", path.display());
        assert_eq!(read(&named).unwrap(), "https://h/p?header_X=y\n");
        assert_eq!(read("https://h/@x").unwrap(), "https://h/@x");
        assert!(read("@/nowhere").unwrap_err().to_string().contains("/nowhere"));
        assert!(is_stdin("-") && is_stdin("@-") && !is_stdin("--"));
    }
}
