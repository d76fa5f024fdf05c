//! Divides a records file that the daemon no longer writes to.

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

/// How much is gathered before it is written.
const BUFFER_BYTES: usize = 256 * 1024;

/// What becomes of the lines that go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::commands) enum Gone {
    /// They are kept in a `.replayed-` file until the bounds of the quarantine remove it.
    Kept,
    Deleted,
}

/// Where the two parts are. `None`: there was nothing.
#[derive(Debug, Default)]
pub(in crate::commands) struct Parts {
    pub(in crate::commands) gone: Option<PathBuf>,
    pub(in crate::commands) rest: Option<PathBuf>,
}

/// Divides the file at `aside` into the lines that `goes` picks and the rest, which gets a name of its own
/// that the next replay takes.
///
/// A crash before the end leaves the file whole, or all of it in its two parts: until the rest has
/// replaced the file, it has every line, and a repeated call writes the same files again.
pub(in crate::commands) fn divide(
    aside: &Path,
    how: Gone,
    goes: &mut dyn FnMut(u64, &[u8]) -> bool,
) -> io::Result<Parts> {
    let metadata = aside.metadata().map_err(durable::error_at("reading", aside))?;
    let (mut gone, mut rest) = (Part::new(aside, "gone"), Part::new(aside, "rest"));
    each_line(aside, &mut |number, line| {
        if line.trim_ascii().is_empty() {
            return Ok(ControlFlow::Continue(()));
        }
        let goes = goes(number, line);
        if !goes {
            rest.add(line, &metadata)?;
        } else if how == Gone::Kept {
            gone.add(line, &metadata)?;
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let mut parts = Parts::default();
    if let Some(path) = gone.finish(&metadata)? {
        let to = quarantine::replayed_path(aside);
        durable::rename(&path, &to)?;
        durable::sync_dir(durable::parent(&to))?;
        parts.gone = Some(to);
    }
    if let Some(path) = rest.finish(&metadata)? {
        durable::rename(&path, aside)?;
        durable::sync_dir(durable::parent(aside))?;
        // What was replayed must not be replayed again.
        parts.rest = Some(match FileKind::of(aside) {
            Some(FileKind::Replayed) => aside.to_owned(),
            _ => quarantine::put_back(aside)?,
        });
    } else {
        durable::remove(aside)?;
        durable::sync_dir(durable::parent(aside))?;
    }
    Ok(parts)
}

/// A file that is being written, under a name that nothing takes for one of the quarantine.
struct Part {
    path: PathBuf,
    file: Option<File>,
    buffer: Vec<u8>,
}

impl Part {
    fn new(of: &Path, what: &str) -> Self {
        let mut name = of.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{what}~"));
        Self { path: of.with_file_name(name), file: None, buffer: Vec::new() }
    }

    fn add(&mut self, line: &[u8], from: &Metadata) -> io::Result<()> {
        if self.file.is_none() {
            // What a call that was killed has left.
            durable::remove(&self.path)?;
            let mut options = OpenOptions::new();
            options.write(true).create_new(true).mode(from.mode() & 0o777);
            let file = durable::open(&options, &self.path)?;
            let made = file.metadata()?;
            if (made.uid(), made.gid()) != (from.uid(), from.gid()) {
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

    /// Makes it durable. It is as old as the file that it comes from.
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
    fn a_file_is_divided_and_keeps_its_age_and_mode() {
        let dir = tempfile::tempdir().unwrap();
        let old = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
        for how in [Gone::Kept, Gone::Deleted] {
            let path = dir.path().join("records-2026-01-02.ndjson.replay-7");
            fs::write(&path, "a\n\nb\nc").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
            // What a call that was killed has left.
            fs::write(dir.path().join("records-2026-01-02.ndjson.replay-7.rest~"), "x").unwrap();
            let parts = divide(&path, how, &mut |number, _| number != 3).unwrap();
            assert!(!path.exists());
            let rest = parts.rest.unwrap();
            assert_eq!(fs::read_to_string(&rest).unwrap(), "b\n");
            assert_eq!(FileKind::of(&rest), Some(FileKind::Records { in_replay: false }));
            let metadata = rest.metadata().unwrap();
            assert_eq!((metadata.mode() & 0o777, metadata.modified().unwrap()), (0o600, old));
            assert_eq!(parts.gone.is_some(), how == Gone::Kept);
            if let Some(gone) = parts.gone {
                assert!(gone.ends_with("records-2026-01-02.ndjson.replayed-7"), "{gone:?}");
                assert_eq!(fs::read_to_string(&gone).unwrap(), "a\nc\n");
            }
            fs::remove_file(rest).unwrap();
        }
        let path = dir.path().join("records-2026-01-03.ndjson.replay-1");
        fs::write(&path, "a\n").unwrap();
        let parts = divide(&path, Gone::Deleted, &mut |_, _| true).unwrap();
        assert!(parts.gone.is_none() && parts.rest.is_none() && !path.exists());
        assert_eq!(QuarantineFiles::read(dir.path()).unwrap().files.len(), 1);
    }
}
