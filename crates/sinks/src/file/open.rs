//! A file that is open: what it holds, what of it is durable, and what others may have left in it.

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

use super::{claim::Claim, place::Place};

/// How much is read at a time.
const PIECE_BYTES: usize = 64 * 1024;

pub(super) struct Open {
    file: File,
    /// Behind the file, so that it ends when the file is closed.
    _claim: Claim,
    device: u64,
    pub(super) length: u64,
    /// How much of it survives a power cut.
    synced: u64,
    /// Whether there is something to sync.
    dirty: bool,
    /// A sync failed: the system may have forgotten what it did not write.
    doubtful: bool,
}

/// Finds the file that `is_it` beside `path`, by a name that begins as that of `path` does: so do those
/// that rotation gives.
pub(super) fn renamed(
    path: &Path,
    place: &Place,
    is_it: &dyn Fn(&Path, &Metadata) -> bool,
) -> Option<(File, Metadata)> {
    let stem = path.file_stem()?.as_encoded_bytes();
    let directory = place.directory(path).ok()?;
    let is_it = |name: &OsStr, it: &Metadata| it.is_file() && is_it(&path.with_file_name(name), it);
    let is_named = |name: &OsString| {
        name.as_encoded_bytes().starts_with(stem)
            && directory.metadata(name).is_ok_and(|it| is_it(name, &it))
    };
    let name = directory.names().ok()?.into_iter().find(is_named)?;
    let file = directory.open(&name, OFlags::RDWR | OFlags::APPEND).ok()?;
    // Renaming goes on meanwhile.
    let metadata = file.metadata().ok().filter(|it| is_it(&name, it))?;
    Some((file, metadata))
}

impl Open {
    /// `synced` is how much of the file was durable when it was last written to.
    pub(super) fn new(
        (file, metadata): (File, &Metadata),
        claim: Claim,
        length: u64,
        synced: u64,
    ) -> Self {
        let device = metadata.dev();
        Self { file, _claim: claim, device, length, synced, dirty: false, doubtful: false }
    }

    /// Whether this file is on the same filesystem: inodes of two are not comparable.
    pub(super) fn is_beside(&self, named: &Metadata) -> bool {
        self.device == named.dev()
    }

    pub(super) fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// Asks for the length, which others may have changed.
    pub(super) fn measure(&mut self, path: &Path) -> io::Result<()> {
        self.length = self.file.metadata().map_err(durable::error_at("reading", path))?.len();
        Ok(())
    }

    /// Whether any name leads to the file.
    pub(super) fn is_named(&self, path: &Path) -> io::Result<bool> {
        Ok(self.file.metadata().map_err(durable::error_at("reading", path))?.nlink() > 0)
    }

    /// Appends what the file takes at once, and says how much that is.
    pub(super) fn append(&mut self, bytes: &[u8], path: &Path) -> io::Result<u64> {
        self.dirty = true;
        let written = durable::write(&self.file, bytes, path)? as u64;
        self.length += written;
        Ok(written)
    }

    /// Whether the file holds `bytes` at `offset`. If so, they count as written: an earlier life may
    /// have been killed before it synced them.
    pub(super) fn holds(&mut self, offset: u64, bytes: &[u8], path: &Path) -> io::Result<bool> {
        let mut there = vec![0; bytes.len()];
        self.file.read_exact_at(&mut there, offset).map_err(durable::error_at("reading", path))?;
        let holds = there == bytes;
        self.dirty |= holds && !bytes.is_empty();
        Ok(holds)
    }

    /// Cuts off zeros that a power cut left: says whether there were any, behind the beginning of
    /// `bytes` at `offset` and up to the end. The length was written then and not the bytes. No line
    /// of ours holds a zero, and who reads lines has seen none there.
    pub(super) fn cut_zeros(&mut self, offset: u64, bytes: &[u8], path: &Path) -> io::Result<bool> {
        let mut there = vec![0; bytes.len()];
        self.file.read_exact_at(&mut there, offset).map_err(durable::error_at("reading", path))?;
        let same = there.iter().zip(bytes).take_while(|(there, byte)| there == byte).count();
        let kept = offset + same as u64;
        let only_zeros =
            self.each_piece(kept, path, &mut |_, piece| Ok(piece.iter().all(|byte| *byte == 0)))?;
        if only_zeros {
            let bytes = self.length - kept;
            warn!(path = %path.display(), bytes, "a power cut left zeros in a file: cut them off");
            self.cut(kept, path)?;
        }
        Ok(only_zeros)
    }

    /// Cuts the file off after `length` bytes.
    pub(super) fn cut(&mut self, length: u64, path: &Path) -> io::Result<()> {
        self.dirty = true;
        durable::truncate(&self.file, length, path)?;
        self.length = length;
        Ok(())
    }

    /// A line that somebody else left open must not swallow the first of ours.
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

    /// Makes what the file holds survive a power cut.
    pub(super) fn sync(&mut self, path: &Path) -> io::Result<()> {
        if !self.dirty {
            return Ok(());
        }
        if self.doubtful {
            self.write_again(path)?;
        }
        // After a failure Linux takes the pages for written: the next sync would work, and say
        // nothing of them.
        self.doubtful = true;
        durable::sync(&self.file, path)?;
        self.doubtful = false;
        self.dirty = false;
        self.synced = self.length;
        Ok(())
    }

    /// Writes the same bytes to the same place, so that the next sync is about them again.
    fn write_again(&self, path: &Path) -> io::Result<()> {
        // By the handle, not by the name, which may be another file's now; and not to append.
        let same = PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()));
        let file = durable::open(OpenOptions::new().write(true), &same)?;
        self.each_piece(self.synced.min(self.length), path, &mut |at, piece| {
            file.write_all_at(piece, at).map_err(durable::error_at("writing", path))?;
            Ok(true)
        })?;
        Ok(())
    }

    /// Leads the bytes from `at` on through `visit`, for as long as it says so. Says whether all
    /// were.
    fn each_piece(
        &self,
        mut at: u64,
        path: &Path,
        visit: &mut dyn FnMut(u64, &[u8]) -> io::Result<bool>,
    ) -> io::Result<bool> {
        let mut piece = vec![0; PIECE_BYTES];
        while at < self.length {
            let left = usize::try_from(self.length - at).unwrap_or(usize::MAX);
            let piece = piece.get_mut(..left.min(PIECE_BYTES)).unwrap_or_default();
            self.file.read_exact_at(piece, at).map_err(durable::error_at("reading", path))?;
            if !visit(at, piece)? {
                return Ok(false);
            }
            at += piece.len() as u64;
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, time::UNIX_EPOCH};

    use super::{super::claim::Claimant, *};

    fn opened(file: File, path: &Path, length: u64, synced: u64) -> Open {
        let metadata = file.metadata().unwrap();
        let claim = Claimant::new("x").claim(&metadata, path).unwrap();
        Open::new((file, &metadata), claim, length, synced)
    }

    #[test]
    fn what_a_failed_sync_left_in_doubt_is_written_again_as_it_was() {
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
        open.write_again(&path).unwrap();
        assert!(fs::metadata(&renamed).unwrap().modified().unwrap() > UNIX_EPOCH, "written");
        open.sync(&path).unwrap();
        assert_eq!(fs::read(&renamed).unwrap(), [&text[..], b"more"].concat());
        assert!(!open.is_dirty() && !open.doubtful);
        assert_eq!(open.synced, open.length);
    }

    #[test]
    fn what_was_there_already_is_synced_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "{}\n").unwrap();
        let file = OpenOptions::new().read(true).append(true).open(&path).unwrap();
        let mut open = opened(file, &path, 3, 0);
        assert!(!open.holds(0, b"{x\n", &path).unwrap() && !open.is_dirty());
        assert!(open.holds(0, b"{}\n", &path).unwrap() && open.is_dirty());
    }
}
