//! An open file: its length, how much of it is durable, and bytes that other programs left in it.

use std::{
    ffi::{OsStr, OsString},
    fs::{File, Metadata, OpenOptions},
    io,
    os::{
        fd::AsRawFd as _,
        unix::fs::{FileExt as _, MetadataExt as _},
    },
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;
use spool::durable;
use tracing::warn;

use super::{claim::Claim, opener::FileOpener};

/// The size of a read.
const READ_BYTES: usize = 64 * 1024;

pub(super) struct OpenFile {
    file: File,
    /// After `file`, so that the claim is dropped once the file is closed.
    _claim: Claim,
    device: u64,
    pub(super) length: u64,
    /// The length that is durable.
    synced: u64,
    /// Whether bytes were written since the last sync.
    dirty: bool,
    /// A sync failed: the kernel may have dropped pages without writing them.
    doubtful: bool,
}

/// Finds a renamed file: one in the directory of `path` that `is_match` accepts, and whose name
/// begins with the stem of `path`, as the names of rotated files do.
pub(super) fn renamed(
    path: &Path,
    opener: &FileOpener,
    is_match: &dyn Fn(&Path, &Metadata) -> bool,
) -> Option<(File, Metadata)> {
    let stem = path.file_stem()?.as_encoded_bytes();
    let directory = opener.directory(path).ok()?;
    let is_match =
        |name: &OsStr, it: &Metadata| it.is_file() && is_match(&path.with_file_name(name), it);
    let is_named = |name: &OsString| {
        name.as_encoded_bytes().starts_with(stem)
            && directory.metadata(name).is_ok_and(|it| is_match(name, &it))
    };
    let name = directory.names().ok()?.into_iter().find(is_named)?;
    let file = directory.open(&name, OFlags::RDWR | OFlags::APPEND).ok()?;
    // The name may lead to another file by now.
    let metadata = file.metadata().ok().filter(|it| is_match(&name, it))?;
    Some((file, metadata))
}

impl OpenFile {
    /// `synced` is the length that was durable when the file was last written to.
    pub(super) fn new(
        (file, metadata): (File, &Metadata),
        claim: Claim,
        length: u64,
        synced: u64,
    ) -> Self {
        let device = metadata.dev();
        Self { file, _claim: claim, device, length, synced, dirty: false, doubtful: false }
    }

    /// Whether `named` is on the same filesystem, so that inode numbers can be compared.
    pub(super) fn is_on_device_of(&self, named: &Metadata) -> bool {
        self.device == named.dev()
    }

    pub(super) fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// Updates the length, which another program may have changed.
    pub(super) fn measure(&mut self, path: &Path) -> io::Result<()> {
        self.length = self.file.metadata().map_err(durable::error_at("reading", path))?.len();
        Ok(())
    }

    /// Whether the file has a name.
    pub(super) fn is_named(&self, path: &Path) -> io::Result<bool> {
        Ok(self.file.metadata().map_err(durable::error_at("reading", path))?.nlink() > 0)
    }

    /// Appends bytes with one write, and returns how many were written.
    pub(super) fn append(&mut self, bytes: &[u8], path: &Path) -> io::Result<u64> {
        self.dirty = true;
        let written = durable::write(&self.file, bytes, path)? as u64;
        self.length += written;
        Ok(written)
    }

    /// Whether the file contains `bytes` at `offset`. If so, they need a sync: an earlier process
    /// may have been killed before it synced them.
    pub(super) fn contains(&mut self, offset: u64, bytes: &[u8], path: &Path) -> io::Result<bool> {
        let mut stored = vec![0; bytes.len()];
        self.file.read_exact_at(&mut stored, offset).map_err(durable::error_at("reading", path))?;
        let contains = stored == bytes;
        self.dirty |= contains && !bytes.is_empty();
        Ok(contains)
    }

    /// Truncates zeros that a power cut left: the filesystem stored the length, but not the bytes.
    /// Returns whether the file had zeros only, from `offset` or from the first byte after it that
    /// differs from `bytes`, up to its end. Lines of the sink contain no zeros, and a program that
    /// reads lines has read none of these bytes.
    pub(super) fn truncate_zeros(
        &mut self,
        offset: u64,
        bytes: &[u8],
        path: &Path,
    ) -> io::Result<bool> {
        let mut stored = vec![0; bytes.len()];
        self.file.read_exact_at(&mut stored, offset).map_err(durable::error_at("reading", path))?;
        let same = stored.iter().zip(bytes).take_while(|(stored, byte)| stored == byte).count();
        let kept = offset + same as u64;
        let only_zeros =
            self.each_chunk(kept, path, &mut |_, chunk| Ok(chunk.iter().all(|byte| *byte == 0)))?;
        if only_zeros {
            let bytes = self.length - kept;
            warn!(path = %path.display(), bytes, "truncated zeros that a power cut left in a file");
            self.truncate(kept, path)?;
        }
        Ok(only_zeros)
    }

    /// Truncates the file to `length` bytes.
    pub(super) fn truncate(&mut self, length: u64, path: &Path) -> io::Result<()> {
        self.dirty = true;
        durable::truncate(&self.file, length, path)?;
        self.length = length;
        Ok(())
    }

    /// Appends a line end if another program left a line without one, so that the first record
    /// begins on a line of its own.
    pub(super) fn end_line(&mut self, path: &Path) -> io::Result<()> {
        let mut last = [b'\n'];
        self.measure(path)?;
        if let Some(at) = self.length.checked_sub(1) {
            self.file.read_exact_at(&mut last, at).map_err(durable::error_at("reading", path))?;
        }
        if last != [b'\n'] {
            self.append(b"\n", path)?;
        }
        Ok(())
    }

    /// Makes the contents of the file durable.
    pub(super) fn sync(&mut self, path: &Path) -> io::Result<()> {
        if !self.dirty {
            return Ok(());
        }
        if self.doubtful {
            self.rewrite(path)?;
        }
        // After a failed fsync, Linux considers the pages clean: the next fsync succeeds without
        // writing them.
        self.doubtful = true;
        durable::sync(&self.file, path)?;
        self.doubtful = false;
        self.dirty = false;
        self.synced = self.length;
        Ok(())
    }

    /// Writes the bytes that are not durable again at the same offsets, so that the next sync
    /// covers them.
    fn rewrite(&self, path: &Path) -> io::Result<()> {
        // Through the descriptor, since the name may lead to another file by now; and not to
        // append.
        let same = PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()));
        let file = durable::open(OpenOptions::new().write(true), &same)?;
        self.each_chunk(self.synced.min(self.length), path, &mut |at, chunk| {
            file.write_all_at(chunk, at).map_err(durable::error_at("writing", path))?;
            Ok(true)
        })?;
        Ok(())
    }

    /// Passes the bytes from `at` to `handle`, chunk by chunk, until it returns `false` or the file
    /// ends. Returns whether all bytes were passed.
    fn each_chunk(
        &self,
        mut at: u64,
        path: &Path,
        handle: &mut dyn FnMut(u64, &[u8]) -> io::Result<bool>,
    ) -> io::Result<bool> {
        let mut chunk = vec![0; READ_BYTES];
        while at < self.length {
            let left = usize::try_from(self.length - at).unwrap_or(usize::MAX);
            let chunk = chunk.get_mut(..left.min(READ_BYTES)).unwrap_or_default();
            self.file.read_exact_at(chunk, at).map_err(durable::error_at("reading", path))?;
            if !handle(at, chunk)? {
                return Ok(false);
            }
            at += chunk.len() as u64;
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, time::UNIX_EPOCH};

    use super::{super::claim::Claimant, *};

    fn opened(file: File, path: &Path, length: u64, synced: u64) -> OpenFile {
        let metadata = file.metadata().unwrap();
        let claim = Claimant::new("x").claim(&metadata, path).unwrap();
        OpenFile::new((file, &metadata), claim, length, synced)
    }

    #[test]
    fn bytes_of_a_failed_sync_are_rewritten_unchanged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let text: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
        fs::write(&path, &text).unwrap();
        let file = OpenOptions::new().read(true).append(true).open(&path).unwrap();
        let mut open = opened(file, &path, text.len() as u64, 1001);
        open.append(b"more", &path).unwrap();
        open.doubtful = true;
        let renamed = dir.path().join("renamed");
        fs::rename(&path, &renamed).unwrap();
        open.file.set_modified(UNIX_EPOCH).unwrap();
        open.rewrite(&path).unwrap();
        assert!(fs::metadata(&renamed).unwrap().modified().unwrap() > UNIX_EPOCH, "written");
        open.sync(&path).unwrap();
        assert_eq!(fs::read(&renamed).unwrap(), [&text[..], b"more"].concat());
        assert!(!open.is_dirty() && !open.doubtful);
        assert_eq!(open.synced, open.length);
    }

    #[test]
    fn bytes_of_an_earlier_process_are_synced_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "{}\n").unwrap();
        let file = OpenOptions::new().read(true).append(true).open(&path).unwrap();
        let mut open = opened(file, &path, 3, 0);
        assert!(!open.contains(0, b"{x\n", &path).unwrap() && !open.is_dirty());
        assert!(open.contains(0, b"{}\n", &path).unwrap() && open.is_dirty());
    }
}
