//! What is to be sent: files that are named, and all that lie in folders.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::argument::reading;

/// A file, or standard input.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Source {
    /// `-` for standard input.
    pub(super) path: PathBuf,
    /// Its length as it lies there; none is known of a pipe.
    pub(super) bytes: u64,
}

impl Source {
    /// Whether it is standard input.
    pub(super) fn is_stdin(&self) -> bool {
        is_stdin(&self.path)
    }
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

/// The files behind `named`, in that order; those of a folder in the order of their paths.
///
/// # Errors
/// Something is not there, or is neither file nor folder.
pub(super) fn find(named: &[PathBuf]) -> io::Result<Vec<Source>> {
    let mut found = Vec::new();
    for path in named {
        if is_stdin(path) {
            found.push(Source { path: path.clone(), bytes: 0 });
            continue;
        }
        // A link that is named is followed, a pipe is read.
        let metadata = fs::metadata(path).map_err(reading(path))?;
        if metadata.is_dir() {
            walk(path, &mut found)?;
        } else {
            found.push(Source { path: path.clone(), bytes: metadata.len() });
        }
    }
    Ok(found)
}

/// Regular files only. What begins with a dot is left out, and links are not followed: they may lead
/// in a circle.
fn walk(folder: &Path, found: &mut Vec<Source>) -> io::Result<()> {
    let read = || fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>();
    let mut entries = read().map_err(reading(folder))?;
    entries.sort_unstable_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let metadata = entry.metadata().map_err(reading(&path))?;
        if metadata.is_dir() {
            walk(&path, found)?;
        } else if metadata.is_file() {
            found.push(Source { bytes: metadata.len(), path });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_read_in_the_order_of_their_paths() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for folder in ["f/b", "f/.git", "f/d"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        for name in ["x", "f/a", "f/b/2", "f/b/1", "f/c", "f/.hidden", "f/.git/y"] {
            fs::write(at(name), name).unwrap();
        }
        std::os::unix::fs::symlink(at("f"), at("f/circle")).unwrap();
        let named = [at("x"), PathBuf::from("-"), at("f"), at("f/a")];
        let found: Vec<_> = find(&named).unwrap();
        let want = ["x", "", "f/a", "f/b/1", "f/b/2", "f/c", "f/a"];
        let paths: Vec<_> = found.iter().map(|source| source.path.clone()).collect();
        let want: Vec<_> =
            want.iter().map(|name| if name.is_empty() { "-".into() } else { at(name) }).collect();
        assert_eq!(paths, want);
        assert_eq!(found[3].bytes, 5);
        let error = find(&[at("gone")]).unwrap_err().to_string();
        assert!(error.contains("gone"), "{error}");
    }
}
