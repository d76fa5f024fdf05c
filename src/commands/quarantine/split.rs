//! Splits a records file that the daemon no longer writes to.

use std::{
    fs::{File, Metadata, OpenOptions},
    io,
    ops::ControlFlow,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown},
    path::{Path, PathBuf},
};

use super::each_line;
use crate::{
    durable,
    quarantine::{self, FileKind},
};

/// The size of the write buffer.
const BUFFER_BYTES: usize = 256 * 1024;

/// What to do with the removed lines.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::commands) enum Removal {
    /// Moves them to a `.replayed-` file, which the daemon deletes by the limits of the quarantine.
    Archive,
    Delete,
}

/// The paths of the two parts of a file. `None` for an empty part.
#[derive(Debug, Default)]
pub(in crate::commands) struct SplitFile {
    pub(in crate::commands) removed: Option<PathBuf>,
    pub(in crate::commands) rest: Option<PathBuf>,
}

/// Splits the file at `source` into the lines that `is_removed` selects and the rest. The rest gets
/// a new name, which the next replay finds.
///
/// A crash loses no line: the file keeps all lines until the rest replaces it, and a repeated call
/// writes the same files again.
pub(in crate::commands) fn split_file(
    source: &Path,
    removal: Removal,
    is_removed: &mut dyn FnMut(u64, &[u8]) -> bool,
) -> io::Result<SplitFile> {
    let metadata = source.metadata().map_err(durable::error_at("reading", source))?;
    let (mut removed, mut rest) = (Part::new(source, "gone"), Part::new(source, "rest"));
    each_line(source, &mut |number, line| {
        if line.trim_ascii().is_empty() {
            return Ok(ControlFlow::Continue(()));
        }
        if !is_removed(number, line) {
            rest.add(line, &metadata)?;
        } else if removal == Removal::Archive {
            removed.add(line, &metadata)?;
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let mut parts = SplitFile::default();
    if let Some(path) = removed.finish(&metadata)? {
        let to = quarantine::replayed_path(source);
        durable::rename(&path, &to)?;
        durable::sync_dir(durable::parent(&to))?;
        parts.removed = Some(to);
    }
    if let Some(path) = rest.finish(&metadata)? {
        durable::rename(&path, source)?;
        durable::sync_dir(durable::parent(source))?;
        // A replayed file keeps its name, so that it is not replayed again.
        parts.rest = Some(match FileKind::of(source) {
            Some(FileKind::Replayed) => source.to_owned(),
            _ => quarantine::put_back(source)?,
        });
    } else {
        durable::remove(source)?;
        durable::sync_dir(durable::parent(source))?;
    }
    Ok(parts)
}

/// A part that is being written, under a name that is not one of the quarantine.
struct Part {
    path: PathBuf,
    file: Option<File>,
    buffer: Vec<u8>,
}

impl Part {
    fn new(source: &Path, suffix: &str) -> Self {
        let mut name = source.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{suffix}~"));
        Self { path: source.with_file_name(name), file: None, buffer: Vec::new() }
    }

    fn add(&mut self, line: &[u8], from: &Metadata) -> io::Result<()> {
        if self.file.is_none() {
            // A killed command may have left this file.
            durable::remove(&self.path)?;
            let mut options = OpenOptions::new();
            options.write(true).create_new(true).mode(from.mode() & 0o777);
            let file = durable::open(&options, &self.path)?;
            let metadata = file.metadata()?;
            if (metadata.uid(), metadata.gid()) != (from.uid(), from.gid()) {
                fchown(&file, Some(from.uid()), Some(from.gid()))
                    .map_err(durable::error_at("changing the owner of", &self.path))?;
            }
            self.file = Some(file);
        }
        self.buffer.extend_from_slice(line);
        if !line.ends_with(b"\n") {
            self.buffer.push(b'\n');
        }
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Some(file) = &self.file {
            durable::write_all(file, &self.buffer, &self.path)?;
            self.buffer.clear();
        }
        Ok(())
    }

    /// Makes the part durable, with the modification time of the source.
    fn finish(mut self, from: &Metadata) -> io::Result<Option<PathBuf>> {
        self.flush()?;
        let Some(file) = self.file else { return Ok(None) };
        file.set_modified(from.modified()?)?;
        durable::sync(&file, &self.path)?;
        Ok(Some(self.path))
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _, time::SystemTime};

    use super::*;
    use crate::quarantine::QuarantineFiles;

    #[test]
    fn parts_keep_age_and_mode() {
        let dir = tempfile::tempdir().unwrap();
        let old = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
        for removal in [Removal::Archive, Removal::Delete] {
            let path = dir.path().join("records-2026-01-02.ndjson.replay-7");
            fs::write(&path, "a\n\nb\nc").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
            // Left by a killed command.
            fs::write(dir.path().join("records-2026-01-02.ndjson.replay-7.rest~"), "x").unwrap();
            let parts = split_file(&path, removal, &mut |number, _| number != 3).unwrap();
            assert!(!path.exists());
            let rest = parts.rest.unwrap();
            assert_eq!(fs::read_to_string(&rest).unwrap(), "b\n");
            assert_eq!(FileKind::of(&rest), Some(FileKind::Records { in_replay: false }));
            let metadata = rest.metadata().unwrap();
            assert_eq!((metadata.mode() & 0o777, metadata.modified().unwrap()), (0o600, old));
            assert_eq!(parts.removed.is_some(), removal == Removal::Archive);
            if let Some(removed) = parts.removed {
                assert!(removed.ends_with("records-2026-01-02.ndjson.replayed-7"), "{removed:?}");
                assert_eq!(fs::read_to_string(&removed).unwrap(), "a\nc\n");
            }
            fs::remove_file(rest).unwrap();
        }
        let path = dir.path().join("records-2026-01-03.ndjson.replay-1");
        fs::write(&path, "a\n").unwrap();
        let parts = split_file(&path, Removal::Delete, &mut |_, _| true).unwrap();
        assert!(parts.removed.is_none() && parts.rest.is_none() && !path.exists());
        assert_eq!(QuarantineFiles::read(dir.path()).unwrap().files.len(), 1);
    }
}
