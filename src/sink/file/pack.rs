//! Compresses a file that was ended.
//!
//! Beside it under a name of its own, synced, renamed, and only then is the file removed. A crash in
//! between leaves both: the first is then removed and the file compressed again, since nothing says
//! that the first is what it should be. So at no time does a name that ends in `gz` or `zst` stand for
//! less than a whole file, and what is there twice comes to be there once without being looked into.

use std::{
    fs::{File, Metadata, Permissions},
    io::{self, Read as _, Write},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use flate2::{Compression, write::GzEncoder};
use rustix::fs::OFlags;

use super::{
    inventory::{Identity, Inventory, Kept, Stage},
    place::{Place, file_name},
    rotate::with_end,
};
use crate::{config::Compress, durable};

/// How much is read at a time; between two pieces it can be stopped.
const PIECE_BYTES: usize = 128 * 1024;

/// zstd's own default.
const ZSTD_LEVEL: i32 = 3;

/// Compresses the file at `path`, which is `kept`. Says whether that is done: not if it was stopped,
/// or if there is no such file any more.
pub(super) fn pack(
    (path, kept): (&Path, &Kept),
    how: Compress,
    (place, inventory): (&Place, &Inventory),
    stop: &AtomicBool,
) -> io::Result<bool> {
    let Some(end) = how.extension() else { return Ok(false) };
    let name = file_name(path)?;
    // What is no file by now must not make the keeper wait.
    let opened = place.directory(path).and_then(|directory| {
        let file = directory.open(name, OFlags::RDONLY | OFlags::NONBLOCK)?;
        Ok((directory, file))
    });
    let (directory, from) = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        outcome => outcome?,
    };
    let metadata = from.metadata().map_err(durable::at("reading", path))?;
    if Identity::of(&metadata) != kept.identity {
        return Ok(false);
    }
    let to = with_end(path, end);
    let to_name = file_name(&to)?;
    if let Ok(there) = directory.metadata(to_name) {
        if !inventory.has(&to, Identity::of(&there)) {
            let error =
                io::Error::new(io::ErrorKind::AlreadyExists, "somebody else's file is there");
            return Err(durable::at("compressing to", &to)(error));
        }
        // Now, since under its name another one is noted before that is there: a second crash in
        // between would make this one somebody else's.
        directory.remove(to_name)?;
    }
    let beside = with_end(&to, "tmp");
    let beside_name = file_name(&beside)?;
    // An earlier life may have left one.
    directory.remove(beside_name)?;
    let packed = directory.create(beside_name, 0o600)?;
    let finished = compress(from, (&packed, &beside), how, stop).and_then(|whole| {
        if whole {
            finish(&packed, &metadata, &beside)?;
        }
        Ok(whole)
    });
    if !matches!(finished, Ok(true)) {
        // If it stays, the next attempt removes it.
        directory.remove(beside_name).ok();
        return finished;
    }
    let metadata = packed.metadata().map_err(durable::at("reading", &beside))?;
    let identity = Identity::of(&metadata);
    inventory.note(&to, Some(Kept { identity, stage: Stage::Packed, ..kept.clone() }))?;
    directory.rename(beside_name, to_name)?;
    directory.sync()?;
    directory.remove(name)?;
    inventory.note(path, None)?;
    Ok(true)
}

/// Says whether it came to the end.
fn compress(
    from: File,
    (file, path): (&File, &Path),
    how: Compress,
    stop: &AtomicBool,
) -> io::Result<bool> {
    let to = Packed { file, path };
    match how {
        Compress::None => Ok(false),
        Compress::Gzip => {
            let mut encoder = GzEncoder::new(to, Compression::default());
            Ok(copy(from, &mut encoder, stop)? && encoder.finish().map(|_| true)?)
        }
        Compress::Zstd => {
            let mut encoder = zstd::Encoder::new(to, ZSTD_LEVEL)?;
            // As gzip has it: what a disk gets wrong is found out by whoever reads it.
            encoder.include_checksum(true)?;
            Ok(copy(from, &mut encoder, stop)? && encoder.finish().map(|_| true)?)
        }
    }
}

fn copy(mut from: File, to: &mut dyn Write, stop: &AtomicBool) -> io::Result<bool> {
    let mut piece = vec![0; PIECE_BYTES];
    while !stop.load(Ordering::Acquire) {
        match from.read(&mut piece) {
            Ok(0) => return Ok(true),
            Ok(read) => to.write_all(piece.get(..read).unwrap_or_default())?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// The compressed file is in all but its content what the other one was; its age counts on.
fn finish(packed: &File, metadata: &Metadata, path: &Path) -> io::Result<()> {
    let like = |packed: &File| {
        let there = packed.metadata()?;
        if (there.uid(), there.gid()) != (metadata.uid(), metadata.gid()) {
            fchown(packed, Some(metadata.uid()), Some(metadata.gid()))?;
        }
        packed.set_permissions(Permissions::from_mode(metadata.mode() & 0o777))?;
        packed.set_modified(metadata.modified()?)
    };
    like(packed).map_err(durable::at("setting owner, mode and time of", path))?;
    durable::sync(packed, path)
}

/// Writes by way of `durable`.
struct Packed<'a> {
    file: &'a File,
    path: &'a Path,
}

impl Write for Packed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        durable::write(self.file, bytes, self.path)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf, process::Command, time::UNIX_EPOCH};

    use super::*;
    use crate::config::Owner;

    struct Folder {
        dir: tempfile::TempDir,
        inventory: Inventory,
        path: PathBuf,
    }

    impl Folder {
        fn new(text: &[u8]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let inventory = Inventory::open(&dir.path().join("list.json"));
            let path = dir.path().join("a-1.ndjson");
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o604)).unwrap();
            let file = File::options().write(true).open(&path).unwrap();
            file.set_modified(UNIX_EPOCH + std::time::Duration::from_secs(1_000_000)).unwrap();
            let identity = Identity::of(&file.metadata().unwrap());
            let kept = Kept { identity, stream: "a".into(), stage: Stage::Ended };
            inventory.note(&path, Some(kept)).unwrap();
            Self { dir, inventory, path }
        }

        fn pack(&self, how: Compress) -> io::Result<bool> {
            let (path, kept) = self.inventory.files().remove(0);
            self.pack_until((&path, &kept), how, false)
        }

        fn pack_until(&self, file: (&Path, &Kept), how: Compress, stop: bool) -> io::Result<bool> {
            let place = Place::new(0o640, Owner::default(), None);
            pack(file, how, (&place, &self.inventory), &AtomicBool::new(stop))
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(self.dir.path()).unwrap();
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let mut names: Vec<_> = names.filter(|name| name != "list.json").collect();
            names.sort();
            names
        }

        fn unpacked(&self, how: Compress) -> Vec<u8> {
            let path = with_end(&self.path, how.extension().unwrap());
            match how {
                Compress::Zstd => zstd::decode_all(File::open(path).unwrap()).unwrap(),
                _ => Command::new("gzip").arg("-dc").arg(path).output().unwrap().stdout,
            }
        }
    }

    fn text() -> Vec<u8> {
        (0..100_000).flat_map(|number| format!("{{\"n\":{number}}}\n").into_bytes()).collect()
    }

    #[test]
    fn a_packed_file_is_the_same_file_in_less_room() {
        for how in [Compress::Gzip, Compress::Zstd] {
            let folder = Folder::new(&text());
            let before = fs::metadata(&folder.path).unwrap();
            assert!(folder.pack(how).unwrap());
            let name = format!("a-1.ndjson.{}", how.extension().unwrap());
            assert_eq!(folder.names(), [name.as_str()]);
            assert_eq!(folder.unpacked(how), text());
            let after = fs::metadata(folder.dir.path().join(name)).unwrap();
            assert!(after.len() < before.len() / 2);
            assert_eq!(after.mode(), before.mode());
            assert_eq!(after.modified().unwrap(), before.modified().unwrap());
            assert_eq!(folder.inventory.files()[0].1.stage, Stage::Packed);
            assert_eq!(folder.inventory.files().len(), 1);
        }
    }

    #[test]
    fn what_a_crash_left_is_done_again_as_a_whole() {
        let folder = Folder::new(&text());
        let packed = with_end(&folder.path, "gz");
        // Killed behind the rename; and what is there is not what it should be.
        fs::write(&packed, "half").unwrap();
        let identity = Identity::of(&fs::metadata(&packed).unwrap());
        let kept = Kept { identity, stream: "a".into(), stage: Stage::Packed };
        folder.inventory.note(&packed, Some(kept)).unwrap();
        // A second crash comes before it is done again.
        let (path, kept) = folder.inventory.files().remove(0);
        assert!(!folder.pack_until((&path, &kept), Compress::Gzip, true).unwrap());
        assert_eq!(folder.names(), ["a-1.ndjson"]);
        // And an earlier life had begun.
        fs::write(with_end(&packed, "tmp"), vec![b'x'; 1 << 20]).unwrap();
        assert!(folder.pack(Compress::Gzip).unwrap());
        assert_eq!(folder.names(), ["a-1.ndjson.gz"]);
        assert_eq!(folder.unpacked(Compress::Gzip), text());
    }

    #[test]
    fn nothing_of_others_is_touched() {
        let folder = Folder::new(&text());
        let packed = with_end(&folder.path, "gz");
        fs::write(&packed, "theirs").unwrap();
        let error = folder.pack(Compress::Gzip).unwrap_err().to_string();
        assert!(error.contains("somebody else"), "{error}");
        assert_eq!(fs::read(&packed).unwrap(), b"theirs");
        fs::remove_file(&packed).unwrap();
        // The file is another one than was noted.
        fs::write(folder.dir.path().join("other"), "theirs").unwrap();
        fs::rename(folder.dir.path().join("other"), &folder.path).unwrap();
        assert!(!folder.pack(Compress::Gzip).unwrap());
        assert_eq!(folder.names(), ["a-1.ndjson"]);
    }

    #[test]
    fn a_stop_leaves_the_file_as_it_was() {
        let folder = Folder::new(&text());
        let (path, kept) = folder.inventory.files().remove(0);
        assert!(!folder.pack_until((&path, &kept), Compress::Zstd, true).unwrap());
        assert_eq!(folder.names(), ["a-1.ndjson"]);
        assert_eq!(fs::read(&path).unwrap(), text());
    }
}
