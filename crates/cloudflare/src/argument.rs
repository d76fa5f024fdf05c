//! Values of the command line that may hold a secret: as they are, from a file, or from standard input, so
//! that no other user of the machine sees them and no history keeps them.

use std::{
    fs,
    io::{self, Read as _},
    path::Path,
};

use command::fatal::Fatal;

/// Standard input as a value, and as a file.
const STDIN: &str = "-";

/// No value is longer: a destination has 4096 characters.
const MAX_BYTES: u64 = 1 << 20;

/// Reads a value: `@FILE` is the text of a file, `-` that of standard input, anything else itself.
pub(super) fn text(value: &str) -> Result<String, Fatal> {
    match value.strip_prefix('@') {
        Some(file) => from_file(Path::new(file)),
        None if is_stdin(value) => from_file(Path::new(STDIN)),
        None => Ok(value.to_owned()),
    }
}

/// Adds the path to an error of reading a file or a directory.
pub(super) fn reading(path: &Path) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("reading {}: {error}", path.display()))
}

/// Whether a value, or the name of a file, stands for standard input.
pub(super) fn is_stdin(value: &str) -> bool {
    matches!(value, STDIN | "@-")
}

/// Reads a file's text, or standard input's for `-`, without a byte order mark.
pub(super) fn from_file(path: &Path) -> Result<String, Fatal> {
    let mut text = String::new();
    if path == Path::new(STDIN) {
        let read = io::stdin().lock().take(MAX_BYTES).read_to_string(&mut text);
        read.map_err(|error| Fatal::Io(format!("reading standard input: {error}")))?;
    } else {
        let file = fs::File::open(path).map_err(reading(path))?;
        file.take(MAX_BYTES).read_to_string(&mut text).map_err(reading(path))?;
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
    fn a_value_is_itself_or_a_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        fs::write(&path, "\u{feff}https://h/p?header_X=y\n").unwrap();
        let named = format!("@{}", path.display());
        assert_eq!(text(&named).unwrap(), "https://h/p?header_X=y\n");
        assert_eq!(text("https://h/@x").unwrap(), "https://h/@x");
        assert!(text("@/nowhere").unwrap_err().to_string().contains("/nowhere"));
        assert!(is_stdin("-") && is_stdin("@-") && !is_stdin("--"));
    }
}
