//! Finds the files to send, also in directories.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::argument::read_error;

/// A file, or standard input.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct InputFile {
    /// The path, `-` for standard input.
    pub(super) path: PathBuf,
    /// The length on disk; 0 for standard input and pipes.
    pub(super) bytes: u64,
}

impl InputFile {
    /// Reports whether the source is standard input.
    pub(super) fn is_stdin(&self) -> bool {
        is_stdin(&self.path)
    }
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

/// Lists the files to send: `named`, in that order, with directories replaced by their files.
///
/// # Errors
/// A path does not exist, or a directory cannot be read.
pub(super) fn find(named: &[PathBuf]) -> io::Result<Vec<InputFile>> {
    let mut found = Vec::new();
    for path in named {
        if is_stdin(path) {
            found.push(InputFile { path: path.clone(), bytes: 0 });
            continue;
        }
        // Follows a symbolic link that is named, and accepts a pipe.
        let metadata = fs::metadata(path).map_err(read_error(path))?;
        if metadata.is_dir() {
            walk(path, &mut found)?;
        } else {
            found.push(InputFile { path: path.clone(), bytes: metadata.len() });
        }
    }
    Ok(found)
}

/// Adds the regular files of a directory and its subdirectories, in the order of their paths.
///
/// Skips hidden files and directories, and symbolic links, which may form a cycle.
fn walk(directory: &Path, found: &mut Vec<InputFile>) -> io::Result<()> {
    let read = || fs::read_dir(directory)?.collect::<io::Result<Vec<_>>>();
    let mut entries = read().map_err(read_error(directory))?;
    entries.sort_unstable_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let metadata = entry.metadata().map_err(read_error(&path))?;
        if metadata.is_dir() {
            walk(&path, found)?;
        } else if metadata.is_file() {
            found.push(InputFile { bytes: metadata.len(), path });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_directories_are_sorted_by_path() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for directory in ["f/b", "f/.git", "f/d"] {
            fs::create_dir_all(at(directory)).unwrap();
        }
        for name in ["x", "f/a", "f/b/2", "f/b/1", "f/c", "f/.hidden", "f/.git/y"] {
            fs::write(at(name), name).unwrap();
        }
        std::os::unix::fs::symlink(at("f"), at("f/cycle")).unwrap();
        let named = [at("x"), PathBuf::from("-"), at("f"), at("f/a")];
        let found: Vec<_> = find(&named).unwrap();
        let want = ["x", "", "f/a", "f/b/1", "f/b/2", "f/c", "f/a"];
        let paths: Vec<_> = found.iter().map(|source| source.path.clone()).collect();
        let want: Vec<_> =
            want.iter().map(|name| if name.is_empty() { "-".into() } else { at(name) }).collect();
        assert_eq!(paths, want);
        assert_eq!(found[3].bytes, 5);
        let error = find(&[at("missing")]).unwrap_err().to_string();
        assert!(error.contains("missing"), "{error}");
    }
}
