//! Compresses a finished file.
//!
//! The compressed file gets a temporary name, is synced and renamed, and only then is the original
//! removed. A crash in between leaves both; the compressed file is then created again, since
//! nothing proves that it is complete. So a name in `gz` or `zst` always belongs to a whole file.

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
    in_use::FilesInUse,
    inventory::{Identity, Inventory, InventoryEntry, Stage},
    opener::{FileOpener, file_name},
    rotate::{Rotation, with_end},
    settings::{Compress, Rotate},
};

/// The size of a read. Compression can be stopped between two reads.
const READ_BYTES: usize = 128 * 1024;

/// The default of zstd.
const ZSTD_LEVEL: i32 = 3;

/// Compresses the file at `path`, whose entry is `entry`. Returns whether it did: not if the file
/// is in use or no longer exists, or if `stop` was set.
pub(super) fn compress_file(
    (path, entry): (&Path, &InventoryEntry),
    how: Compress,
    (opener, inventory, in_use): (&FileOpener, &Inventory, &FilesInUse),
    stop: &AtomicBool,
) -> io::Result<bool> {
    let Some(end) = how.extension() else { return Ok(false) };
    if !in_use.unless_in_use(path, || Ok(()))? {
        return Ok(false);
    }
    let name = file_name(path)?;
    // Non-blocking, in case a FIFO has the name by now.
    let found = opener.directory(path).and_then(|directory| {
        let file = directory.open(name, OFlags::RDONLY | OFlags::NONBLOCK)?;
        Ok((directory, file))
    });
    let (directory, from) = match found {
        // A crash prevented the rename to this name, or another program removed the file.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return inventory.forget_if_gone(path).map(|()| false);
        }
        outcome => outcome?,
    };
    let metadata = from.metadata().map_err(durable::error_at("reading", path))?;
    if Identity::of(&metadata) != entry.identity {
        return inventory.forget_if_gone(path).map(|()| false);
    }
    if metadata.len() == 0 {
        // The empty live file that followed the last rotation of a date.
        let removed = in_use.unless_in_use(path, || directory.remove(name))?;
        return if removed { inventory.note(path, None).map(|()| true) } else { Ok(false) };
    }
    // Before the next compressed file is stored under the same name: after another crash, the
    // inventory would not identify this one.
    for (partial, of) in inventory.compressed_from(entry) {
        remove_if_same((&partial, &of), opener)?;
        inventory.note(&partial, None)?;
    }
    let to = free_name(path, end, entry, (&directory, inventory))?;
    let to_name = file_name(&to)?;
    let beside = with_end(&to, "tmp");
    let beside_name = file_name(&beside)?;
    // An earlier process may have left one.
    directory.remove(beside_name)?;
    let compressed = directory.create(beside_name, 0o600)?;
    let finished = compress(&from, (&compressed, &beside), how, stop).and_then(|whole| {
        if whole {
            finish(&compressed, &metadata, &beside)?;
        }
        Ok(whole)
    });
    if !matches!(finished, Ok(true)) {
        // If this fails, the next attempt removes it.
        directory.remove(beside_name).ok();
        return finished;
    }
    let metadata = compressed.metadata().map_err(durable::error_at("reading", &beside))?;
    let identity = Identity::of(&metadata);
    inventory
        .note(&to, Some(InventoryEntry { identity, stage: Stage::Compressed, ..entry.clone() }))?;
    directory.rename(beside_name, to_name)?;
    directory.sync()?;
    // A late batch may have been appended to the file: then it is compressed again later.
    let mut is_finished = false;
    in_use.unless_in_use(path, || {
        is_finished = inventory.is_finished(path, entry.identity);
        if is_finished { directory.remove(name) } else { Ok(()) }
    })?;
    let gone = if is_finished { path } else { &to };
    if !is_finished {
        directory.remove(to_name)?;
    }
    inventory.note(gone, None).map(|()| is_finished)
}

/// The name of the compressed file: that of the file and `end`; with the time in between, if an
/// earlier compressed file has that name.
fn free_name(
    path: &Path,
    end: &str,
    entry: &InventoryEntry,
    (directory, inventory): (&Directory, &Inventory),
) -> io::Result<PathBuf> {
    let to = with_end(path, end);
    let Ok(found) = directory.metadata(file_name(&to)?) else { return Ok(to) };
    let identity = Identity::of(&found);
    if !inventory.has(&to, identity) {
        let error = io::Error::new(
            io::ErrorKind::AlreadyExists,
            "another program has created a file of this name; remove or rename it",
        );
        return Err(durable::error_at("compressing to", &to)(error));
    }
    if entry.number.is_none() {
        // A crash of an earlier version left it; that version gave each file a name of its own.
        directory.remove(file_name(&to)?)?;
        return Ok(to);
    }
    Rotation::new(Rotate::default()).free_name(path, directory).map(|name| with_end(&name, end))
}

fn remove_if_same((path, entry): (&Path, &InventoryEntry), opener: &FileOpener) -> io::Result<()> {
    let (directory, name) = (opener.directory(path)?, file_name(path)?);
    match directory.metadata(name) {
        Ok(found) if Identity::of(&found) == entry.identity => directory.remove(name),
        _ => Ok(()),
    }
}

/// Returns whether it reached the end of the file; not if `stop` was set.
fn compress(
    from: &File,
    (file, path): (&File, &Path),
    how: Compress,
    stop: &AtomicBool,
) -> io::Result<bool> {
    let to = CompressedOutput { file, path };
    match how {
        Compress::None => Ok(false),
        Compress::Gzip => {
            let mut encoder = GzEncoder::new(to, Compression::default());
            Ok(copy(from, &mut encoder, stop)? && encoder.finish().map(|_| true)?)
        }
        Compress::Zstd => {
            let mut encoder = zstd::Encoder::new(to, ZSTD_LEVEL)?;
            // As gzip does: a reader detects damage on the disk.
            encoder.include_checksum(true)?;
            Ok(copy(from, &mut encoder, stop)? && encoder.finish().map(|_| true)?)
        }
    }
}

fn copy(mut from: &File, to: &mut dyn Write, stop: &AtomicBool) -> io::Result<bool> {
    let mut chunk = vec![0; READ_BYTES];
    while !stop.load(Ordering::Acquire) {
        match from.read(&mut chunk) {
            Ok(0) => return Ok(true),
            Ok(read) => to.write_all(chunk.get(..read).unwrap_or_default())?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// Copies owner, mode and modification time (and so the age) of the original, and syncs the file.
fn finish(compressed: &File, metadata: &Metadata, path: &Path) -> io::Result<()> {
    let copy_attributes = |compressed: &File| {
        let current = compressed.metadata()?;
        if (current.uid(), current.gid()) != (metadata.uid(), metadata.gid()) {
            fchown(compressed, Some(metadata.uid()), Some(metadata.gid()))?;
        }
        compressed.set_permissions(Permissions::from_mode(metadata.mode() & 0o777))?;
        compressed.set_modified(metadata.modified()?)
    };
    copy_attributes(compressed)
        .map_err(durable::error_at("setting owner, mode and time of", path))?;
    durable::sync(compressed, path)
}

/// Writes through `durable`.
struct CompressedOutput<'a> {
    file: &'a File,
    path: &'a Path,
}

impl Write for CompressedOutput<'_> {
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

    use super::{super::opener::Owner, *};

    struct Fixture {
        dir: tempfile::TempDir,
        inventory: Inventory,
        in_use: FilesInUse,
        path: PathBuf,
    }

    impl Fixture {
        fn new(text: &[u8]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let inventory = Inventory::open(&dir.path().join("list.json"));
            let path = dir.path().join("a-1.ndjson");
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o604)).unwrap();
            let file = File::options().write(true).open(&path).unwrap();
            file.set_modified(UNIX_EPOCH + std::time::Duration::from_secs(1_000_000)).unwrap();
            let identity = Identity::of(&file.metadata().unwrap());
            let (stream, stage, number) = ("a".into(), Stage::Finished, Some(1));
            let entry = InventoryEntry { identity, stream, stage, number, finished_at: None };
            inventory.note(&path, Some(entry)).unwrap();
            Self { dir, inventory, in_use: FilesInUse::default(), path }
        }

        fn compress_file(&self, how: Compress) -> io::Result<bool> {
            let (path, entry) = self.inventory.files().remove(0);
            self.compress_until((&path, &entry), how, false)
        }

        fn compress_until(
            &self,
            file: (&Path, &InventoryEntry),
            how: Compress,
            stop: bool,
        ) -> io::Result<bool> {
            let opener = FileOpener::new(0o640, Owner::default(), None);
            compress_file(
                file,
                how,
                (&opener, &self.inventory, &self.in_use),
                &AtomicBool::new(stop),
            )
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(self.dir.path()).unwrap();
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let mut names: Vec<_> = names.filter(|name| name != "list.json").collect();
            names.sort();
            names
        }

        fn decompressed(&self, how: Compress) -> Vec<u8> {
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
    fn a_compressed_file_keeps_content_mode_and_time() {
        for how in [Compress::Gzip, Compress::Zstd] {
            let fixture = Fixture::new(&text());
            let before = fs::metadata(&fixture.path).unwrap();
            assert!(fixture.compress_file(how).unwrap());
            let name = format!("a-1.ndjson.{}", how.extension().unwrap());
            assert_eq!(fixture.names(), [name.as_str()]);
            assert_eq!(fixture.decompressed(how), text());
            let after = fs::metadata(fixture.dir.path().join(name)).unwrap();
            assert!(after.len() < before.len() / 2);
            assert_eq!(after.mode(), before.mode());
            assert_eq!(after.modified().unwrap(), before.modified().unwrap());
            assert_eq!(fixture.inventory.files()[0].1.stage, Stage::Compressed);
            assert_eq!(fixture.inventory.files().len(), 1);
        }
    }

    #[test]
    fn a_compressed_file_of_a_crashed_process_is_replaced() {
        let fixture = Fixture::new(&text());
        let compressed = with_end(&fixture.path, "gz");
        // Killed after the rename; and the compressed file is damaged.
        fs::write(&compressed, "half").unwrap();
        let identity = Identity::of(&fs::metadata(&compressed).unwrap());
        let half = InventoryEntry {
            identity,
            stage: Stage::Compressed,
            ..fixture.inventory.files()[0].1.clone()
        };
        fixture.inventory.note(&compressed, Some(half)).unwrap();
        // A second crash follows before the file is compressed again.
        let (path, entry) = fixture.inventory.files().remove(0);
        assert!(!fixture.compress_until((&path, &entry), Compress::Gzip, true).unwrap());
        assert_eq!(fixture.names(), ["a-1.ndjson"]);
        // And an earlier process left a temporary file.
        fs::write(with_end(&compressed, "tmp"), vec![b'x'; 1 << 20]).unwrap();
        assert!(fixture.compress_file(Compress::Gzip).unwrap());
        assert_eq!(fixture.names(), ["a-1.ndjson.gz"]);
        assert_eq!(fixture.decompressed(Compress::Gzip), text());
    }

    #[test]
    fn files_of_other_programs_are_left_alone() {
        let fixture = Fixture::new(&text());
        let compressed = with_end(&fixture.path, "gz");
        fs::write(&compressed, "theirs").unwrap();
        let error = fixture.compress_file(Compress::Gzip).unwrap_err().to_string();
        assert!(error.contains("another program"), "{error}");
        assert_eq!(fs::read(&compressed).unwrap(), b"theirs");
        fs::remove_file(&compressed).unwrap();
        // The file is not the one in the inventory.
        fs::write(fixture.dir.path().join("other"), "theirs").unwrap();
        fs::rename(fixture.dir.path().join("other"), &fixture.path).unwrap();
        assert!(!fixture.compress_file(Compress::Gzip).unwrap());
        assert_eq!(fixture.names(), ["a-1.ndjson"]);
    }

    #[test]
    fn the_entry_of_a_missing_file_is_removed() {
        let fixture = Fixture::new(&text());
        let (path, entry) = fixture.inventory.files().remove(0);
        // Killed after the next name was stored and before the rename.
        let next = fixture.dir.path().join("a-1.ndjson.20261121T230000Z");
        fixture.inventory.note(&next, Some(entry.clone())).unwrap();
        assert!(!fixture.compress_until((&next, &entry), Compress::Gzip, false).unwrap());
        assert_eq!(fixture.inventory.files(), [(path.clone(), entry.clone())]);
        // Another file has its name.
        fs::write(fixture.dir.path().join("other"), "theirs").unwrap();
        fs::rename(fixture.dir.path().join("other"), &path).unwrap();
        assert!(!fixture.compress_until((&path, &entry), Compress::Gzip, false).unwrap());
        assert_eq!(fixture.inventory.files(), []);
        assert_eq!(fs::read(&path).unwrap(), b"theirs");
    }

    #[test]
    fn a_later_file_of_the_same_name_is_compressed_beside_the_earlier_one() {
        let fixture = Fixture::new(&text());
        assert!(fixture.compress_file(Compress::Gzip).unwrap());
        // A late record begins the file of that date again.
        fs::write(&fixture.path, "late\n").unwrap();
        let identity = Identity::of(&fs::metadata(&fixture.path).unwrap());
        fixture.inventory.begin(&fixture.path, identity, "a").unwrap();
        fixture.inventory.set_finished(&fixture.path, Some(7)).unwrap();
        // It got a batch a moment ago.
        fixture.in_use.note_use(&fixture.path);
        assert!(!fixture.compress_file(Compress::Gzip).unwrap());
        assert_eq!(fixture.names(), ["a-1.ndjson", "a-1.ndjson.gz"]);
        fixture.in_use.release_for_test();
        // It gets a batch during the compression: the compressed file is removed.
        let (path, entry) = fixture.inventory.files().remove(0);
        fixture.inventory.set_finished(&path, None).unwrap();
        assert!(!fixture.compress_until((&path, &entry), Compress::Gzip, false).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"late\n");
        fixture.inventory.set_finished(&path, Some(8)).unwrap();
        assert!(fixture.compress_file(Compress::Gzip).unwrap());
        let names = fixture.names();
        assert_eq!(names.len(), 2, "{names:?}");
        assert!(names[0].starts_with("a-1.ndjson.2") && names[0].ends_with("Z.gz"), "{names:?}");
        assert_eq!(fixture.decompressed(Compress::Gzip), text(), "the earlier file is unchanged");
        assert_eq!(fixture.inventory.files().len(), 2);
    }

    #[test]
    fn an_empty_file_is_removed() {
        let fixture = Fixture::new(b"");
        assert!(fixture.compress_file(Compress::Gzip).unwrap());
        assert_eq!(fixture.names(), [""; 0]);
        assert_eq!(fixture.inventory.files(), []);
    }

    #[test]
    fn a_stop_leaves_the_file_unchanged() {
        let fixture = Fixture::new(&text());
        let (path, entry) = fixture.inventory.files().remove(0);
        assert!(!fixture.compress_until((&path, &entry), Compress::Zstd, true).unwrap());
        assert_eq!(fixture.names(), ["a-1.ndjson"]);
        assert_eq!(fs::read(&path).unwrap(), text());
    }
}
