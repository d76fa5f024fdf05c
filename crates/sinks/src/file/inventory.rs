//! The files that a sink has created: the only ones that it may compress or remove.
//!
//! The inventory is a log in the directory of the checkpoints. The sink adds a file, by path and
//! identity, when it creates it, and adds its next path before it renames it. So the sink does not
//! judge by names: it leaves files of other programs in the same directories alone, and files that
//! existed before and that the name of a dataset leads to. If the log is lost, files remain that
//! could be removed; no file is removed that must remain.

use std::{
    collections::BTreeMap,
    fs::{self, File, Metadata, OpenOptions},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::UNIX_EPOCH,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use spool::durable;
use tracing::warn;

/// How many lines the log may have in addition to two per file before it is rewritten.
const SPARE_LINES: usize = 1000;

pub(super) struct Inventory {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    files: BTreeMap<PathBuf, InventoryEntry>,
    /// The highest number of a file.
    last: u64,
    /// `None` if the log has to be rewritten before the next line.
    log: Option<File>,
    lines: usize,
}

/// A file that the sink has created.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct InventoryEntry {
    #[serde(flatten)]
    pub(super) identity: Identity,
    /// The stream that the file is a part of: files whose paths differ only in time.
    pub(super) stream: String,
    pub(super) stage: Stage,
    /// Numbers the files in the order in which they were created, since clocks can be set back. A
    /// file keeps its number when it is renamed and compressed. Entries of earlier versions have
    /// none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) number: Option<u64>,
    /// When the file was finished, in Unix seconds, by the clock at that time.
    #[serde(default, rename = "ended", skip_serializing_if = "Option::is_none")]
    pub(super) finished_at: Option<i64>,
}

impl InventoryEntry {
    /// Identifies the file as long as it exists, also after it is renamed and compressed.
    pub(super) fn key(&self) -> String {
        let Identity { inode, made } = self.identity;
        self.number.map_or_else(|| format!("{inode}-{made:?}"), |number| number.to_string())
    }
}

/// Identifies a file independently of its name.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub(super) struct Identity {
    pub(super) inode: u64,
    /// Its time of birth in nanoseconds, if the filesystem has it: inode numbers are soon reused.
    pub(super) made: Option<u64>,
}

impl Identity {
    pub(super) fn of(file: &Metadata) -> Self {
        let made = file.created().ok().and_then(|made| made.duration_since(UNIX_EPOCH).ok());
        Self { inode: file.ino(), made: made.and_then(|made| u64::try_from(made.as_nanos()).ok()) }
    }
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stage {
    /// It has a name that the sink writes to.
    Live,
    /// It was rotated, or its date has passed: no record is added.
    #[serde(rename = "ended")]
    Finished,
    /// It is the compressed form of a finished file.
    #[serde(rename = "packed")]
    Compressed,
}

#[derive(Deserialize, Serialize)]
struct Line {
    path: PathBuf,
    /// `None` if it no longer exists.
    file: Option<InventoryEntry>,
}

impl Inventory {
    /// Reads the log of an earlier process. Lines that cannot be read are dropped and logged; they
    /// do not prevent the start.
    pub(super) fn open(path: &Path) -> Self {
        let mut state = State::default();
        match fs::read(path) {
            Ok(bytes) => {
                let mut torn = 0;
                for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                    match serde_json::from_slice(line) {
                        Ok(Line { path, file }) => state.put(path, file),
                        Err(_) => torn += 1,
                    }
                }
                // After a crash, the last line may be incomplete.
                if torn > 1 {
                    warn!(path = %path.display(), torn, "a sink's list of its files is damaged");
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let path = path.display();
                warn!(%path, %error, "cannot read a sink's list of its files: old files remain");
            }
        }
        Self { path: path.to_owned(), state: Mutex::new(state) }
    }

    /// All files, in the order of their paths.
    pub(super) fn files(&self) -> Vec<(PathBuf, InventoryEntry)> {
        let state = self.state();
        state.files.iter().map(|(path, entry)| (path.clone(), entry.clone())).collect()
    }

    /// Whether the sink has created this file.
    pub(super) fn has(&self, path: &Path, identity: Identity) -> bool {
        self.state().files.get(path).is_some_and(|entry| entry.identity == identity)
    }

    /// Whether the sink has created this file, and it is finished.
    pub(super) fn is_finished(&self, path: &Path, identity: Identity) -> bool {
        let is_match =
            |entry: &InventoryEntry| entry.identity == identity && entry.stage != Stage::Live;
        self.state().files.get(path).is_some_and(is_match)
    }

    /// Stores an entry durably, or that the file no longer exists.
    pub(super) fn note(&self, path: &Path, file: Option<InventoryEntry>) -> io::Result<()> {
        let mut state = self.state();
        if state.files.get(path) == file.as_ref() {
            return Ok(());
        }
        self.write(&mut state, path, file)
    }

    /// Stores a file that the sink creates, durably, unless it is listed already.
    pub(super) fn begin(&self, path: &Path, identity: Identity, stream: &str) -> io::Result<()> {
        let mut state = self.state();
        if state.files.get(path).is_some_and(|entry| entry.identity == identity) {
            return Ok(());
        }
        let number = Some(state.last + 1);
        let stream = stream.to_owned();
        let entry =
            InventoryEntry { identity, stream, stage: Stage::Live, number, finished_at: None };
        self.write(&mut state, path, Some(entry))
    }

    /// Stores that a file is finished and keeps its name; or, with `None`, that it is live again.
    pub(super) fn set_finished(&self, path: &Path, finished_at: Option<i64>) -> io::Result<()> {
        let mut state = self.state();
        let Some(entry) = state.files.get(path) else { return Ok(()) };
        let mut entry = InventoryEntry { finished_at, ..entry.clone() };
        entry.stage = if finished_at.is_some() { Stage::Finished } else { Stage::Live };
        self.write(&mut state, path, Some(entry))
    }

    /// The compressed forms of a file.
    pub(super) fn compressed_from(&self, entry: &InventoryEntry) -> Vec<(PathBuf, InventoryEntry)> {
        let is_match = |other: &InventoryEntry| {
            other.stage == Stage::Compressed
                && other.number.is_some()
                && other.number == entry.number
        };
        let state = self.state();
        let files = state.files.iter().filter(|(_, other)| is_match(other));
        files.map(|(path, other)| (path.clone(), other.clone())).collect()
    }

    /// Calls `rename`, and stores the new path of the file before, if it is listed. `rename`
    /// returns the metadata of the new file that has the old name, if it created one.
    pub(super) fn rename(
        &self,
        from: &Path,
        to: &Path,
        rename: impl FnOnce() -> io::Result<Option<Metadata>>,
    ) -> io::Result<()> {
        // Holds the lock until the end, so that `forget_if_gone` does not see the new path before
        // the rename.
        let mut state = self.state();
        let Some(entry) = state.files.get(from).cloned() else { return rename().map(drop) };
        let finished_at = Some(Timestamp::now().as_second());
        self.write(
            &mut state,
            to,
            Some(InventoryEntry { stage: Stage::Finished, finished_at, ..entry.clone() }),
        )?;
        match rename() {
            Ok(new) => {
                let number = Some(state.last + 1);
                let new =
                    new.map(|new| InventoryEntry { identity: Identity::of(&new), number, ..entry });
                self.write(&mut state, from, new)
            }
            Err(error) => {
                self.write(&mut state, to, None)?;
                Err(error)
            }
        }
    }

    /// Removes the entry of a file that no longer exists, or whose name leads to another file.
    pub(super) fn forget_if_gone(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let Some(entry) = state.files.get(path) else { return Ok(()) };
        match path.symlink_metadata() {
            Ok(found) if Identity::of(&found) == entry.identity => Ok(()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Ok(()),
            _ => self.write(&mut state, path, None),
        }
    }

    fn write(
        &self,
        state: &mut State,
        path: &Path,
        file: Option<InventoryEntry>,
    ) -> io::Result<()> {
        state.put(path.to_owned(), file.clone());
        state.lines += 1;
        if state.lines > 2 * state.files.len() + SPARE_LINES {
            state.log = None;
        }
        let Some(log) = state.log.take() else { return self.rewrite(state) };
        let mut line = serde_json::to_vec(&Line { path: path.to_owned(), file })?;
        line.push(b'\n');
        // If this fails, the log may end with an incomplete line; the next call rewrites it.
        durable::write_all(&log, &line, &self.path)?;
        durable::sync(&log, &self.path)?;
        state.log = Some(log);
        Ok(())
    }

    fn rewrite(&self, state: &mut State) -> io::Result<()> {
        let mut text = Vec::new();
        for (path, entry) in &state.files {
            let line = Line { path: path.clone(), file: Some(entry.clone()) };
            serde_json::to_writer(&mut text, &line)?;
            text.push(b'\n');
        }
        durable::replace(&self.path, &text)?;
        state.log = Some(durable::open(OpenOptions::new().append(true), &self.path)?);
        state.lines = state.files.len();
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // After a panic, the worst is a log that has to be rewritten.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn put(&mut self, path: PathBuf, file: Option<InventoryEntry>) {
        match file {
            Some(entry) => {
                self.last = self.last.max(entry.number.unwrap_or(0));
                self.files.insert(path, entry)
            }
            None => self.files.remove(&path),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(inode: u64) -> InventoryEntry {
        let identity = Identity { inode, made: None };
        InventoryEntry {
            identity,
            stream: "s".into(),
            stage: Stage::Live,
            number: None,
            finished_at: None,
        }
    }

    #[test]
    fn files_are_numbered_in_order_across_restarts_and_a_list_without_numbers_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let list = dir.path().join("archive.files.json");
        let old = r#"{"path":"/old","file":{"inode":7,"made":null,"stream":"s","stage":"ended"}}"#;
        fs::write(&list, format!("{old}\n")).unwrap();
        let identity = |inode| Identity { inode, made: None };
        let inventory = Inventory::open(&list);
        let number = |inventory: &Inventory, path: &str| {
            inventory.state().files.get(Path::new(path)).map(|entry| entry.number)
        };
        assert_eq!(number(&inventory, "/old"), Some(None));
        inventory.begin(Path::new("/a"), identity(1), "s").unwrap();
        inventory.begin(Path::new("/b"), identity(2), "s").unwrap();
        inventory.begin(Path::new("/a"), identity(1), "s").unwrap();
        assert_eq!(number(&inventory, "/a"), Some(Some(1)), "it is listed");
        // A rotated file keeps its number, and the next live one has another.
        let new = || {
            fs::write(dir.path().join("new"), "").and_then(|()| dir.path().join("new").metadata())
        };
        inventory.rename(Path::new("/a"), Path::new("/a.1"), || new().map(Some)).unwrap();
        let inventory = Inventory::open(&list);
        inventory.begin(Path::new("/c"), identity(3), "s").unwrap();
        let numbers = ["/a.1", "/b", "/a", "/c"].map(|path| number(&inventory, path));
        assert_eq!(numbers, [1, 2, 3, 4].map(|number| Some(Some(number))));
    }

    #[test]
    fn entries_survive_a_restart_and_a_torn_line_harms_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("archive.files.json");
        let inventory = Inventory::open(&path);
        inventory.note(Path::new("/a"), Some(entry(1))).unwrap();
        inventory.note(Path::new("/b"), Some(entry(2))).unwrap();
        inventory.rename(Path::new("/a"), Path::new("/a-1"), || Ok(None)).unwrap();
        inventory.rename(Path::new("/not-ours"), Path::new("/x"), || Ok(None)).unwrap();
        let failed = || Err(io::ErrorKind::StorageFull.into());
        inventory.rename(Path::new("/b"), Path::new("/b-1"), failed).unwrap_err();
        let finished_at = inventory.files()[0].1.finished_at;
        assert!(finished_at.is_some());
        let want = [
            (
                PathBuf::from("/a-1"),
                InventoryEntry { stage: Stage::Finished, finished_at, ..entry(1) },
            ),
            (PathBuf::from("/b"), entry(2)),
        ];
        assert_eq!(inventory.files(), want);
        assert_eq!(Inventory::open(&path).files(), want);
        let mut text = fs::read(&path).unwrap();
        text.extend_from_slice(b"{\"path\":\"/c\",\"file\":{\"ino");
        fs::write(&path, text).unwrap();
        let inventory = Inventory::open(&path);
        assert_eq!(inventory.files(), want);
        inventory.note(Path::new("/d"), Some(entry(4))).unwrap();
        assert_eq!(Inventory::open(&path).files().len(), 3, "the entry after the torn line");
        inventory.forget_if_gone(Path::new("/d")).unwrap();
        assert_eq!(Inventory::open(&path).files(), want);
    }

    #[test]
    fn the_log_does_not_grow_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("archive.files.json");
        let inventory = Inventory::open(&path);
        for number in 0..5000 {
            inventory.note(Path::new("/a"), Some(entry(number))).unwrap();
        }
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= SPARE_LINES + 3, "{lines}");
        assert_eq!(Inventory::open(&path).files(), [(PathBuf::from("/a"), entry(4999))]);
    }
}
