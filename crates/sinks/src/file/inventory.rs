//! Which files a sink has made: all that it may ever pack or remove.
//!
//! A log beside the sink's checkpoint. A file is noted by path and identity when the sink begins it, and
//! under its next name before it gets that. So nothing depends on what a name looks like: what others
//! put into the same folders, or what a dataset with a clever name makes the sink append to, is not
//! in here, and is left alone. If the log is lost, files stay that could go; never the other way
//! round.

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

/// Beside twice the files that there are, so many lines may be in the log before it is written anew.
const SPARE_LINES: usize = 1000;

pub(super) struct Inventory {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    files: BTreeMap<PathBuf, Kept>,
    /// The highest number of a file.
    last: u64,
    /// `None` if it is to be written anew before it is added to.
    log: Option<File>,
    lines: usize,
}

/// A file of the sink's.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Kept {
    #[serde(flatten)]
    pub(super) identity: Identity,
    /// What it is one of many of: files that differ in nothing but time.
    pub(super) stream: String,
    pub(super) stage: Stage,
    /// Files are numbered in the order in which they were begun, since no clock tells it. A file keeps its
    /// number when it is renamed and compressed. None of an earlier version has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) number: Option<u64>,
    /// When it ended, in Unix seconds, by the clock of that moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ended: Option<i64>,
}

impl Kept {
    /// Names the file for as long as it exists, also when it is renamed and compressed.
    pub(super) fn key(&self) -> String {
        let Identity { inode, made } = self.identity;
        self.number.map_or_else(|| format!("{inode}-{made:?}"), |number| number.to_string())
    }
}

/// Which file it is, whatever it is called.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub(super) struct Identity {
    pub(super) inode: u64,
    /// When it was made, in nanoseconds, where the filesystem knows: a number is soon used again.
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
    /// It has the name that the sink writes to, now or at some time.
    Live,
    /// Nothing more comes: it was rotated, or its date has passed.
    Ended,
    /// It was compressed.
    Packed,
}

#[derive(Deserialize, Serialize)]
struct Line {
    path: PathBuf,
    /// `None` when it is gone.
    file: Option<Kept>,
}

impl Inventory {
    /// Reads what an earlier life noted. What cannot be read is lost, and says so: it keeps nothing
    /// from starting.
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
                // The last line may be half a line after a crash.
                if torn > 1 {
                    warn!(path = %path.display(), torn, "a sink's list of its files is damaged");
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let path = path.display();
                warn!(%path, %error, "cannot read which files are a sink's: old ones stay");
            }
        }
        Self { path: path.to_owned(), state: Mutex::new(state) }
    }

    /// All files, in the order of their names.
    pub(super) fn files(&self) -> Vec<(PathBuf, Kept)> {
        let state = self.state();
        state.files.iter().map(|(path, kept)| (path.clone(), kept.clone())).collect()
    }

    /// Whether this file is the sink's.
    pub(super) fn has(&self, path: &Path, identity: Identity) -> bool {
        self.state().files.get(path).is_some_and(|kept| kept.identity == identity)
    }

    /// Whether this file is the sink's, and ended: nothing more goes into it.
    pub(super) fn has_ended(&self, path: &Path, identity: Identity) -> bool {
        let is_it = |kept: &Kept| kept.identity == identity && kept.stage != Stage::Live;
        self.state().files.get(path).is_some_and(is_it)
    }

    /// Notes a file, durably, or that it is gone.
    pub(super) fn note(&self, path: &Path, file: Option<Kept>) -> io::Result<()> {
        let mut state = self.state();
        if state.files.get(path) == file.as_ref() {
            return Ok(());
        }
        self.write(&mut state, path, file)
    }

    /// Notes a file that the sink begins, durably, if that is not known.
    pub(super) fn begin(&self, path: &Path, identity: Identity, stream: &str) -> io::Result<()> {
        let mut state = self.state();
        if state.files.get(path).is_some_and(|kept| kept.identity == identity) {
            return Ok(());
        }
        let number = Some(state.last + 1);
        let stream = stream.to_owned();
        let kept = Kept { identity, stream, stage: Stage::Live, number, ended: None };
        self.write(&mut state, path, Some(kept))
    }

    /// Notes that nothing more comes for a file that keeps its name; or that something does.
    pub(super) fn set_ended(&self, path: &Path, ended: Option<i64>) -> io::Result<()> {
        let mut state = self.state();
        let Some(kept) = state.files.get(path) else { return Ok(()) };
        let mut kept = Kept { ended, ..kept.clone() };
        kept.stage = if ended.is_some() { Stage::Ended } else { Stage::Live };
        self.write(&mut state, path, Some(kept))
    }

    /// The compressed files that were made of this one.
    pub(super) fn packed_of(&self, kept: &Kept) -> Vec<(PathBuf, Kept)> {
        let is_it = |other: &Kept| {
            other.stage == Stage::Packed && other.number.is_some() && other.number == kept.number
        };
        let state = self.state();
        let files = state.files.iter().filter(|(_, other)| is_it(other));
        files.map(|(path, other)| (path.clone(), other.clone())).collect()
    }

    /// Renames a file, which has been noted under its new name by then if it is the sink's. `rename`
    /// returns the new file that has the old name now, if there is one.
    pub(super) fn rename(
        &self,
        from: &Path,
        to: &Path,
        rename: impl FnOnce() -> io::Result<Option<Metadata>>,
    ) -> io::Result<()> {
        // Whoever looks for files that are gone waits: between the note and the rename this one is.
        let mut state = self.state();
        let Some(kept) = state.files.get(from).cloned() else { return rename().map(drop) };
        let ended = Some(Timestamp::now().as_second());
        self.write(&mut state, to, Some(Kept { stage: Stage::Ended, ended, ..kept.clone() }))?;
        match rename() {
            Ok(new) => {
                let number = Some(state.last + 1);
                let new = new.map(|new| Kept { identity: Identity::of(&new), number, ..kept });
                self.write(&mut state, from, new)
            }
            Err(error) => {
                self.write(&mut state, to, None)?;
                Err(error)
            }
        }
    }

    /// Forgets a file that is gone, or whose name another one has.
    pub(super) fn forget_if_gone(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let Some(kept) = state.files.get(path) else { return Ok(()) };
        match path.symlink_metadata() {
            Ok(there) if Identity::of(&there) == kept.identity => Ok(()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Ok(()),
            _ => self.write(&mut state, path, None),
        }
    }

    fn write(&self, state: &mut State, path: &Path, file: Option<Kept>) -> io::Result<()> {
        state.put(path.to_owned(), file.clone());
        state.lines += 1;
        if state.lines > 2 * state.files.len() + SPARE_LINES {
            state.log = None;
        }
        let Some(log) = state.log.take() else { return self.write_anew(state) };
        let mut line = serde_json::to_vec(&Line { path: path.to_owned(), file })?;
        line.push(b'\n');
        // If this fails, half a line may be there: the log is then written anew.
        durable::write_all(&log, &line, &self.path)?;
        durable::sync(&log, &self.path)?;
        state.log = Some(log);
        Ok(())
    }

    fn write_anew(&self, state: &mut State) -> io::Result<()> {
        let mut text = Vec::new();
        for (path, kept) in &state.files {
            let line = Line { path: path.clone(), file: Some(kept.clone()) };
            serde_json::to_writer(&mut text, &line)?;
            text.push(b'\n');
        }
        durable::replace(&self.path, &text)?;
        state.log = Some(durable::open(OpenOptions::new().append(true), &self.path)?);
        state.lines = state.files.len();
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic in between leaves at worst a log that is written anew.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn put(&mut self, path: PathBuf, file: Option<Kept>) {
        match file {
            Some(kept) => {
                self.last = self.last.max(kept.number.unwrap_or(0));
                self.files.insert(path, kept)
            }
            None => self.files.remove(&path),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(inode: u64) -> Kept {
        let identity = Identity { inode, made: None };
        Kept { identity, stream: "s".into(), stage: Stage::Live, number: None, ended: None }
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
            inventory.state().files.get(Path::new(path)).map(|kept| kept.number)
        };
        assert_eq!(number(&inventory, "/old"), Some(None));
        inventory.begin(Path::new("/a"), identity(1), "s").unwrap();
        inventory.begin(Path::new("/b"), identity(2), "s").unwrap();
        inventory.begin(Path::new("/a"), identity(1), "s").unwrap();
        assert_eq!(number(&inventory, "/a"), Some(Some(1)), "it is known");
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
    fn what_is_noted_is_found_again_and_a_torn_line_harms_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("archive.files.json");
        let inventory = Inventory::open(&path);
        inventory.note(Path::new("/a"), Some(kept(1))).unwrap();
        inventory.note(Path::new("/b"), Some(kept(2))).unwrap();
        inventory.rename(Path::new("/a"), Path::new("/a-1"), || Ok(None)).unwrap();
        inventory.rename(Path::new("/not-ours"), Path::new("/x"), || Ok(None)).unwrap();
        let failed = || Err(io::ErrorKind::StorageFull.into());
        inventory.rename(Path::new("/b"), Path::new("/b-1"), failed).unwrap_err();
        let ended = inventory.files()[0].1.ended;
        assert!(ended.is_some());
        let want = [
            (PathBuf::from("/a-1"), Kept { stage: Stage::Ended, ended, ..kept(1) }),
            (PathBuf::from("/b"), kept(2)),
        ];
        assert_eq!(inventory.files(), want);
        assert_eq!(Inventory::open(&path).files(), want);
        let mut text = fs::read(&path).unwrap();
        text.extend_from_slice(b"{\"path\":\"/c\",\"file\":{\"ino");
        fs::write(&path, text).unwrap();
        let inventory = Inventory::open(&path);
        assert_eq!(inventory.files(), want);
        inventory.note(Path::new("/d"), Some(kept(4))).unwrap();
        assert_eq!(Inventory::open(&path).files().len(), 3, "behind the torn one");
        inventory.forget_if_gone(Path::new("/d")).unwrap();
        assert_eq!(Inventory::open(&path).files(), want);
    }

    #[test]
    fn the_log_does_not_grow_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("archive.files.json");
        let inventory = Inventory::open(&path);
        for number in 0..5000 {
            inventory.note(Path::new("/a"), Some(kept(number))).unwrap();
        }
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= SPARE_LINES + 3, "{lines}");
        assert_eq!(Inventory::open(&path).files(), [(PathBuf::from("/a"), kept(4999))]);
    }
}
