//! Which finished files are kept, and the removal of the others.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    time::{Instant, SystemTime},
};

use rustix::fs::OFlags;
use tracing::{info, warn};

use super::{
    inventory::{Identity, Inventory, Stage},
    keeper::Held,
    place::{Place, file_name},
    trouble::{Report, Trouble},
};
use crate::{
    config::{Retain, format_bytes},
    durable,
};

/// Which failures are logged.
#[derive(Default)]
pub(super) struct Troubles {
    remove: Trouble,
    list: Trouble,
}

/// A file as it is now.
#[derive(Clone, Debug)]
struct Finished {
    path: PathBuf,
    identity: Identity,
    stream: String,
    stage: Stage,
    bytes: u64,
    modified: SystemTime,
}

/// Removes what the rules do not keep. What cannot be removed is tried again the next time.
pub(super) fn enforce(
    (place, inventory): (&Place, &Inventory),
    held: &Held,
    rules: &Retain,
    now: SystemTime,
    troubles: &mut Troubles,
) {
    let mut files = Vec::new();
    for (path, kept) in inventory.files() {
        match path.symlink_metadata() {
            Ok(there) if there.is_file() && Identity::of(&there) == kept.identity => {
                files.push(Finished {
                    path,
                    identity: kept.identity,
                    stream: kept.stream,
                    stage: kept.stage,
                    bytes: there.len(),
                    modified: there.modified().unwrap_or(now),
                });
            }
            _ => {
                if let Err(error) = inventory.forget_if_gone(&path) {
                    troubles.list.failed(error);
                }
            }
        }
    }
    for (file, why) in doomed(files, rules, now) {
        let path = file.path.display();
        match remove(&file, place, held) {
            Ok(true) => {
                info!(%path, size = format_bytes(file.bytes), why, "removed an old file");
                if let Err(error) = inventory.note(&file.path, None) {
                    troubles.list.failed(error);
                }
            }
            Ok(false) => {}
            Err(error) => troubles.remove.failed(error),
        }
    }
    troubles.log(Instant::now());
}

impl Troubles {
    /// Ends a round.
    fn log(&mut self, now: Instant) {
        match self.remove.end_round(now) {
            Report::Nothing => {}
            Report::Failed { error, files, repeated } => {
                warn!(%error, files, repeated, "cannot remove an old file");
            }
            Report::Recovered => info!("old files can be removed again"),
        }
        match self.list.end_round(now) {
            Report::Nothing => {}
            Report::Failed { error, files, repeated } => {
                warn!(%error, files, repeated, "cannot note that a file is gone");
            }
            Report::Recovered => info!("the sink's list of its files can be written again"),
        }
    }
}

/// The files to remove, and why: the oldest first.
fn doomed(
    mut files: Vec<Finished>,
    rules: &Retain,
    now: SystemTime,
) -> Vec<(Finished, &'static str)> {
    files.sort_by(|a, b| (a.modified, &a.path).cmp(&(b.modified, &b.path)));
    // The newest of each stream is the one that is written to: only age can end it.
    let current: HashMap<String, PathBuf> = files
        .iter()
        .filter(|file| file.stage == Stage::Live)
        .map(|file| (file.stream.clone(), file.path.clone()))
        .collect();
    let is_current = |file: &Finished| current.get(&file.stream) == Some(&file.path);
    let mut doomed: HashMap<PathBuf, &'static str> = HashMap::new();
    for file in &files {
        let age = now.duration_since(file.modified).unwrap_or_default();
        if rules.age.is_some_and(|most| age > most) {
            doomed.insert(file.path.clone(), "older than retain.age");
        }
    }
    if let Some(most) = rules.files {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for file in files.iter().rev().filter(|file| !is_current(file)) {
            let count = counts.entry(&file.stream).or_default();
            *count += 1;
            if *count > most {
                doomed.entry(file.path.clone()).or_insert("more than retain.files");
            }
        }
    }
    if let Some(most) = rules.bytes {
        let kept = files.iter().filter(|file| !doomed.contains_key(&file.path));
        let mut bytes: u64 = kept.map(|file| file.bytes).sum();
        for file in files.iter().filter(|file| !is_current(file)) {
            if bytes > most && !doomed.contains_key(&file.path) {
                bytes -= file.bytes;
                doomed.insert(file.path.clone(), "all files are more than retain.bytes");
            }
        }
    }
    files
        .into_iter()
        .filter_map(|file| doomed.get(&file.path).map(|why| (file.clone(), *why)))
        .collect()
}

/// Removes the file if it is still the one that was meant, and nothing is written to it.
fn remove(file: &Finished, place: &Place, held: &Held) -> io::Result<bool> {
    let path: &Path = &file.path;
    let (directory, name) = (place.directory(path)?, file_name(path)?);
    // As long as it is open its room is not given back, which may take long: not while the sink waits.
    // And what is no file by now must not make the keeper wait.
    let open = directory.open(name, OFlags::RDONLY | OFlags::NONBLOCK)?;
    let there = open.metadata().map_err(durable::at("reading", path))?;
    if Identity::of(&there) != file.identity {
        return Ok(false);
    }
    held.unless_held(path, || directory.remove(name))
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use super::{super::inventory::Kept, *};
    use crate::config::Owner;

    const HOUR: Duration = Duration::from_secs(3600);

    struct Folder {
        inventory: Inventory,
        held: Held,
        now: SystemTime,
        dir: tempfile::TempDir,
    }

    impl Folder {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let inventory = Inventory::open(&dir.path().join("list.json"));
            Self { inventory, held: Held::default(), now: SystemTime::now(), dir }
        }

        /// Not the sink's until it is noted.
        fn file(&self, name: &str, bytes: usize, hours: u32) -> PathBuf {
            let path = self.dir.path().join(name);
            fs::write(&path, vec![b'x'; bytes]).unwrap();
            let file = fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(self.now - HOUR * hours).unwrap();
            path
        }

        fn note(&self, stage: Stage, name: &str, bytes: usize, hours: u32) {
            let path = self.file(name, bytes, hours);
            let identity = Identity::of(&fs::metadata(&path).unwrap());
            let stream = name.split('-').next().unwrap().to_owned();
            self.inventory.note(&path, Some(Kept { identity, stream, stage })).unwrap();
        }

        fn enforce(&self, rules: Retain) -> Vec<String> {
            let place = Place::new(0o640, Owner::default(), None);
            let files = (&place, &self.inventory);
            enforce(files, &self.held, &rules, self.now, &mut Troubles::default());
            self.names()
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(self.dir.path()).unwrap();
            let mut names: Vec<_> =
                entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.retain(|name| name != "list.json");
            names.sort();
            names
        }
    }

    fn rules() -> Retain {
        Retain::default()
    }

    #[test]
    fn what_is_too_old_goes_whatever_it_is() {
        let folder = Folder::new();
        folder.note(Stage::Ended, "a-1", 1, 49);
        folder.note(Stage::Packed, "a-2.gz", 1, 50);
        folder.note(Stage::Packed, "a-3.gz", 1, 47);
        folder.note(Stage::Live, "b", 1, 60);
        folder.note(Stage::Live, "a", 1, 0);
        assert_eq!(folder.enforce(rules()).len(), 5);
        let left = folder.enforce(Retain { age: Some(48 * HOUR), ..rules() });
        assert_eq!(left, ["a", "a-3.gz"]);
        assert_eq!(folder.inventory.files().len(), 2);
    }

    #[test]
    fn each_stream_keeps_so_many_beside_the_one_that_is_written_to() {
        let folder = Folder::new();
        for hours in 1..=5 {
            folder.note(Stage::Ended, &format!("a-{}", 9 - hours), 1, hours);
        }
        folder.note(Stage::Live, "a", 1, 0);
        // Another one, whose files are by date: nothing of it was rotated.
        for hours in 1..=4 {
            folder.note(Stage::Live, &format!("b-{}", 9 - hours), 1, hours);
        }
        let left = folder.enforce(Retain { files: Some(2), ..rules() });
        assert_eq!(left, ["a", "a-7", "a-8", "b-6", "b-7", "b-8"]);
    }

    #[test]
    fn all_together_keep_within_the_bytes_oldest_first() {
        let folder = Folder::new();
        folder.note(Stage::Live, "b", 100, 9);
        folder.note(Stage::Ended, "a-1", 100, 4);
        folder.note(Stage::Packed, "b-2", 100, 3);
        folder.note(Stage::Ended, "a-3", 100, 2);
        folder.note(Stage::Live, "a", 100, 0);
        let within = |bytes| Retain { bytes: Some(bytes), ..rules() };
        assert_eq!(folder.enforce(within(500)).len(), 5);
        assert_eq!(folder.enforce(within(499)), ["a", "a-3", "b", "b-2"]);
        assert_eq!(folder.enforce(within(1)), ["a", "b"], "not what is written to");
    }

    #[test]
    fn nothing_goes_that_the_sink_did_not_make() {
        let folder = Folder::new();
        folder.file("a-20200101T000000.000000Z.ndjson", 100, 99);
        folder.note(Stage::Ended, "a-2", 1, 99);
        let path = folder.dir.path().join("a-2");
        // Somebody put another one in its place, as a restored backup or a link.
        let other = folder.file("other", 1, 99);
        fs::rename(other, &path).unwrap();
        let victim = folder.file("victim", 1, 99);
        folder.note(Stage::Ended, "a-3", 1, 99);
        let link = folder.dir.path().join("a-3");
        fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(&victim, &link).unwrap();
        let all = Retain { files: Some(1), age: Some(HOUR), bytes: Some(1) };
        let left = folder.enforce(all);
        assert_eq!(left, ["a-2", "a-20200101T000000.000000Z.ndjson", "a-3", "victim"]);
        assert!(folder.inventory.files().is_empty(), "and is not asked about again");
    }

    #[test]
    fn what_is_written_to_stays_however_old_its_name() {
        let folder = Folder::new();
        folder.note(Stage::Live, "a-1", 100, 90);
        folder.note(Stage::Live, "a-2", 100, 1);
        let path = folder.dir.path().join("a-1");
        folder.held.hold(&path);
        let all = Retain { files: Some(1), age: Some(48 * HOUR), bytes: Some(1) };
        assert_eq!(folder.enforce(all), ["a-1", "a-2"]);
        folder.held.let_go_for_test();
        assert_eq!(folder.enforce(all), ["a-2"]);
    }
}
