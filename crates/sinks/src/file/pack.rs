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
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use flate2::{Compression, write::GzEncoder};
use rustix::fs::OFlags;
use spool::durable::{self, Directory};

use super::{
    held::Held,
    inventory::{Identity, Inventory, Kept, Stage},
    place::{Place, file_name},
    rotate::{Rotation, with_end},
    settings::{Compress, Rotate},
};

/// How much is read at a time; between two pieces it can be stopped.
const PIECE_BYTES: usize = 128 * 1024;

/// zstd's own default.
const ZSTD_LEVEL: i32 = 3;

/// Compresses the file at `path`, which is `kept`. Says whether that is done: not if it was stopped,
/// or if there is no such file any more.
pub(super) fn pack(
    (path, kept): (&Path, &Kept),
    how: Compress,
    (place, inventory, held): (&Place, &Inventory, &Held),
    stop: &AtomicBool,
) -> io::Result<bool> {
    let Some(end) = how.extension() else { return Ok(false) };
    if !held.unless_held(path, || Ok(()))? {
        return Ok(false);
    }
    let name = file_name(path)?;
    // What is no file by now must not make the keeper wait.
    let opened = place.directory(path).and_then(|directory| {
        let file = directory.open(name, OFlags::RDONLY | OFlags::NONBLOCK)?;
        Ok((directory, file))
    });
    let (directory, from) = match opened {
        // A name that a crash kept it from getting, or somebody removed it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return inventory.forget_if_gone(path).map(|()| false);
        }
        outcome => outcome?,
    };
    let metadata = from.metadata().map_err(durable::error_at("reading", path))?;
    if Identity::of(&metadata) != kept.identity {
        return inventory.forget_if_gone(path).map(|()| false);
    }
    if metadata.len() == 0 {
        // The live file of a date that ended with a rotation.
        let removed = held.unless_held(path, || directory.remove(name))?;
        return if removed { inventory.note(path, None).map(|()| true) } else { Ok(false) };
    }
    // Now, since under its name another one is noted before that is there: a second crash in
    // between would make this one somebody else's.
    for (half, of) in inventory.packed_of(kept) {
        remove_if_it_is((&half, &of), place)?;
        inventory.note(&half, None)?;
    }
    let to = free_name(path, end, kept, (&directory, inventory))?;
    let to_name = file_name(&to)?;
    let beside = with_end(&to, "tmp");
    let beside_name = file_name(&beside)?;
    // An earlier life may have left one.
    directory.remove(beside_name)?;
    let packed = directory.create(beside_name, 0o600)?;
    let finished = compress(&from, (&packed, &beside), how, stop).and_then(|whole| {
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
    let metadata = packed.metadata().map_err(durable::error_at("reading", &beside))?;
    let identity = Identity::of(&metadata);
    inventory.note(&to, Some(Kept { identity, stage: Stage::Packed, ..kept.clone() }))?;
    directory.rename(beside_name, to_name)?;
    directory.sync()?;
    // Something may have come for a file whose date has passed: then it is compressed later, as a whole.
    let mut has_ended = false;
    held.unless_held(path, || {
        has_ended = inventory.has_ended(path, kept.identity);
        if has_ended { directory.remove(name) } else { Ok(()) }
    })?;
    let gone = if has_ended { path } else { &to };
    if !has_ended {
        directory.remove(to_name)?;
    }
    inventory.note(gone, None).map(|()| has_ended)
}

/// The name of the compressed file: that of the file and `end`. If an earlier file of the same name has it,
/// with the time in between.
fn free_name(
    path: &Path,
    end: &str,
    kept: &Kept,
    (directory, inventory): (&Directory, &Inventory),
) -> io::Result<PathBuf> {
    let to = with_end(path, end);
    let Ok(there) = directory.metadata(file_name(&to)?) else { return Ok(to) };
    let identity = Identity::of(&there);
    if !inventory.has(&to, identity) {
        let error = io::Error::new(io::ErrorKind::AlreadyExists, "somebody else's file is there");
        return Err(durable::error_at("compressing to", &to)(error));
    }
    if kept.number.is_none() {
        // Of an earlier version, which gave each file a name of its own: a crash left it.
        directory.remove(file_name(&to)?)?;
        return Ok(to);
    }
    Rotation::new(Rotate::default()).free_name(path, directory).map(|name| with_end(&name, end))
}

fn remove_if_it_is((path, kept): (&Path, &Kept), place: &Place) -> io::Result<()> {
    let (directory, name) = (place.directory(path)?, file_name(path)?);
    match directory.metadata(name) {
        Ok(there) if Identity::of(&there) == kept.identity => directory.remove(name),
        _ => Ok(()),
    }
}

/// Says whether it came to the end.
fn compress(
    from: &File,
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

fn copy(mut from: &File, to: &mut dyn Write, stop: &AtomicBool) -> io::Result<bool> {
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
    like(packed).map_err(durable::error_at("setting owner, mode and time of", path))?;
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
    use std::{fs, process::Command, time::UNIX_EPOCH};

    use super::{super::place::Owner, *};

    struct Folder {
        dir: tempfile::TempDir,
        inventory: Inventory,
        held: Held,
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
            let (stream, stage, number) = ("a".into(), Stage::Ended, Some(1));
            let kept = Kept { identity, stream, stage, number, ended: None };
            inventory.note(&path, Some(kept)).unwrap();
            Self { dir, inventory, held: Held::default(), path }
        }

        fn pack(&self, how: Compress) -> io::Result<bool> {
            let (path, kept) = self.inventory.files().remove(0);
            self.pack_until((&path, &kept), how, false)
        }

        fn pack_until(&self, file: (&Path, &Kept), how: Compress, stop: bool) -> io::Result<bool> {
            let place = Place::new(0o640, Owner::default(), None);
            pack(file, how, (&place, &self.inventory, &self.held), &AtomicBool::new(stop))
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
        let half = Kept { identity, stage: Stage::Packed, ..folder.inventory.files()[0].1.clone() };
        folder.inventory.note(&packed, Some(half)).unwrap();
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
    fn a_file_that_is_not_there_is_forgotten() {
        let folder = Folder::new(&text());
        let (path, kept) = folder.inventory.files().remove(0);
        // Killed between the note of the next name and the rename.
        let next = folder.dir.path().join("a-1.ndjson.20261121T230000Z");
        folder.inventory.note(&next, Some(kept.clone())).unwrap();
        assert!(!folder.pack_until((&next, &kept), Compress::Gzip, false).unwrap());
        assert_eq!(folder.inventory.files(), [(path.clone(), kept.clone())]);
        // Another file has its name.
        fs::write(folder.dir.path().join("other"), "theirs").unwrap();
        fs::rename(folder.dir.path().join("other"), &path).unwrap();
        assert!(!folder.pack_until((&path, &kept), Compress::Gzip, false).unwrap());
        assert_eq!(folder.inventory.files(), []);
        assert_eq!(fs::read(&path).unwrap(), b"theirs");
    }

    #[test]
    fn a_later_file_of_the_same_name_is_compressed_beside_the_earlier_one() {
        let folder = Folder::new(&text());
        assert!(folder.pack(Compress::Gzip).unwrap());
        // A late record begins the file of that date again.
        fs::write(&folder.path, "late\n").unwrap();
        let identity = Identity::of(&fs::metadata(&folder.path).unwrap());
        folder.inventory.begin(&folder.path, identity, "a").unwrap();
        folder.inventory.set_ended(&folder.path, Some(7)).unwrap();
        // Something came for it a moment ago.
        folder.held.hold(&folder.path);
        assert!(!folder.pack(Compress::Gzip).unwrap());
        assert_eq!(folder.names(), ["a-1.ndjson", "a-1.ndjson.gz"]);
        folder.held.let_go_for_test();
        // Something came for it meanwhile: what was made of it is removed again.
        let (path, kept) = folder.inventory.files().remove(0);
        folder.inventory.set_ended(&path, None).unwrap();
        assert!(!folder.pack_until((&path, &kept), Compress::Gzip, false).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"late\n");
        folder.inventory.set_ended(&path, Some(8)).unwrap();
        assert!(folder.pack(Compress::Gzip).unwrap());
        let names = folder.names();
        assert_eq!(names.len(), 2, "{names:?}");
        assert!(names[0].starts_with("a-1.ndjson.2") && names[0].ends_with("Z.gz"), "{names:?}");
        assert_eq!(folder.unpacked(Compress::Gzip), text(), "the earlier one is as it was");
        assert_eq!(folder.inventory.files().len(), 2);
    }

    #[test]
    fn an_empty_file_is_removed() {
        let folder = Folder::new(b"");
        assert!(folder.pack(Compress::Gzip).unwrap());
        assert_eq!(folder.names(), [""; 0]);
        assert_eq!(folder.inventory.files(), []);
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
