//! Removes the finished files that the rules of `retain` do not keep.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    time::{Instant, SystemTime},
};

use jiff::Timestamp;
use rustix::fs::OFlags;
use settings::format_bytes;
use spool::{
    durable,
    file_ages::{FileAges, ObservedFile},
};
use tracing::{info, warn};

use super::{
    in_use::FilesInUse,
    inventory::{Identity, Inventory, InventoryEntry, Stage},
    opener::{FileOpener, file_name},
    round_failures::{RoundFailures, RoundReport},
    settings::Retain,
};
use crate::template::PathTemplate;

/// Limits the log lines about failures.
#[derive(Default)]
pub(super) struct RetainFailures {
    remove: RoundFailures,
    list: RoundFailures,
}

/// A file of the inventory that exists, with its current size and time.
#[derive(Clone, Debug)]
struct Candidate {
    path: PathBuf,
    entry: InventoryEntry,
    bytes: u64,
    modified: SystemTime,
    /// Whether it is older than `retain.age`.
    is_old: bool,
    /// Whether its path is one that the sink writes to at this time.
    is_now: bool,
}

/// Removes the files that the rules do not keep. The next round retries a removal that failed.
/// Without `ages`, no file is too old.
pub(super) fn enforce(
    (opener, inventory, template): (&FileOpener, &Inventory, &PathTemplate),
    in_use: &FilesInUse,
    (rules, ages): (&Retain, Option<&mut FileAges>),
    now: SystemTime,
    failures: &mut RetainFailures,
) {
    let time = Timestamp::try_from(now).unwrap_or(Timestamp::UNIX_EPOCH);
    let mut files = Vec::new();
    for (path, entry) in inventory.files() {
        match path.symlink_metadata() {
            Ok(found) if found.is_file() && Identity::of(&found) == entry.identity => {
                let is_now = entry.stage == Stage::Live && template.gives(&path, time);
                let modified = found.modified().unwrap_or(now);
                let bytes = found.len();
                files.push(Candidate { path, entry, bytes, modified, is_old: false, is_now });
            }
            _ => {
                if let Err(error) = inventory.forget_if_gone(&path) {
                    failures.list.failed(error);
                }
            }
        }
    }
    if let (Some(ages), Some(most)) = (ages, rules.age) {
        // Compression changes the length of a file, but not its age.
        let sighting = |file: &Candidate| ObservedFile::of(file.entry.key(), file.modified, 0);
        let round = ages.observe(&files.iter().map(sighting).collect::<Vec<_>>());
        for file in &mut files {
            file.is_old = round.is_older(&file.entry.key(), most);
        }
    }
    for (file, why) in to_remove(files, rules) {
        let path = file.path.display();
        match remove(&file, opener, in_use) {
            Ok(true) => {
                info!(%path, size = format_bytes(file.bytes), why, "removed an old file");
                if let Err(error) = inventory.note(&file.path, None) {
                    failures.list.failed(error);
                }
            }
            Ok(false) => {}
            Err(error) => failures.remove.failed(error),
        }
    }
    failures.log(Instant::now());
}

impl RetainFailures {
    /// Logs the failures of the round.
    fn log(&mut self, now: Instant) {
        match self.remove.end_round(now) {
            RoundReport::Nothing => {}
            RoundReport::Failed { error, files, repeated } => {
                warn!(%error, files, repeated, "cannot remove an old file");
            }
            RoundReport::Recovered => info!("old files can be removed again"),
        }
        match self.list.end_round(now) {
            RoundReport::Nothing => {}
            RoundReport::Failed { error, files, repeated } => {
                warn!(%error, files, repeated, "cannot store that a file was removed");
            }
            RoundReport::Recovered => info!("the sink's list of its files can be written again"),
        }
    }
}

/// The files to remove, and why: the oldest first.
fn to_remove(mut files: Vec<Candidate>, rules: &Retain) -> Vec<(Candidate, &'static str)> {
    // By number, since the clock may have been wrong. Entries of earlier versions have no number
    // and come first.
    files.sort_by(|a, b| {
        let key = |file: &Candidate| (file.entry.number, file.modified, file.path.clone());
        key(a).cmp(&key(b))
    });
    // The sink writes to the newest file of each stream. Only `retain.age` can remove it.
    let current: HashMap<String, PathBuf> = files
        .iter()
        .filter(|file| file.entry.stage == Stage::Live)
        .map(|file| (file.entry.stream.clone(), file.path.clone()))
        .collect();
    let is_current =
        |file: &Candidate| file.is_now || current.get(&file.entry.stream) == Some(&file.path);
    let mut to_remove: HashMap<PathBuf, &'static str> = HashMap::new();
    // An empty live file stays, also without records.
    for file in files.iter().filter(|file| file.is_old && !(file.is_now && file.bytes == 0)) {
        to_remove.insert(file.path.clone(), "older than retain.age");
    }
    if let Some(most) = rules.files {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for file in files.iter().rev().filter(|file| !is_current(file)) {
            let count = counts.entry(&file.entry.stream).or_default();
            *count += 1;
            if *count > most {
                to_remove.entry(file.path.clone()).or_insert("more than retain.files");
            }
        }
    }
    if let Some(most) = rules.bytes {
        let entry = files.iter().filter(|file| !to_remove.contains_key(&file.path));
        let mut bytes: u64 = entry.map(|file| file.bytes).sum();
        for file in files.iter().filter(|file| !is_current(file)) {
            if bytes > most && !to_remove.contains_key(&file.path) {
                bytes -= file.bytes;
                to_remove.insert(file.path.clone(), "all files are more than retain.bytes");
            }
        }
    }
    files
        .into_iter()
        .filter_map(|file| to_remove.get(&file.path).map(|why| (file.clone(), *why)))
        .collect()
}

/// Removes the file if the path still leads to it and it is not in use. Returns whether it did.
fn remove(file: &Candidate, opener: &FileOpener, in_use: &FilesInUse) -> io::Result<bool> {
    let path: &Path = &file.path;
    let (directory, name) = (opener.directory(path)?, file_name(path)?);
    // Held open over the removal: the kernel frees the blocks on close, which may take long, and
    // `unless_in_use` blocks the sink. Non-blocking, in case a FIFO has the name by now.
    let open = directory.open(name, OFlags::RDONLY | OFlags::NONBLOCK)?;
    let found = open.metadata().map_err(durable::error_at("reading", path))?;
    if Identity::of(&found) != file.entry.identity {
        return Ok(false);
    }
    in_use.unless_in_use(path, || directory.remove(name))
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use spool::clock::test::ManualClock;

    use super::super::opener::Owner;
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    struct Fixture {
        inventory: Inventory,
        in_use: FilesInUse,
        now: SystemTime,
        clock: ManualClock,
        ages: FileAges,
        dir: tempfile::TempDir,
    }

    impl Fixture {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let inventory = Inventory::open(&dir.path().join("list.json"));
            let now = SystemTime::now();
            let clock = ManualClock::at(Timestamp::try_from(now).unwrap().as_second());
            let ages = FileAges::open(&dir.path().join("ages.json"), clock.clock());
            Self { inventory, in_use: FilesInUse::default(), now, clock, ages, dir }
        }

        /// Creates a file, without an entry.
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
            let entry = InventoryEntry { identity, stream, stage, number: None, finished_at: None };
            self.inventory.note(&path, Some(entry)).unwrap();
        }

        /// Creates a file with an entry, as the sink does.
        fn begin(&self, name: &str) {
            let path = self.file(name, 1, 0);
            let identity = Identity::of(&fs::metadata(&path).unwrap());
            let stream = name.split('-').next().unwrap();
            self.inventory.begin(&path, identity, stream).unwrap();
        }

        /// Enforces the rules twice, with more than an hour in between, until which the clock is
        /// not trusted.
        fn enforce(&mut self, rules: Retain) -> Vec<String> {
            self.enforce_once(rules);
            self.clock.advance(3601);
            self.enforce_once(rules)
        }

        fn enforce_once(&mut self, rules: Retain) -> Vec<String> {
            let opener = FileOpener::new(0o640, Owner::default(), None);
            let path = format!("{}/now-%F", self.dir.path().display());
            let template = PathTemplate::parse(&path).unwrap();
            let files = (&opener, &self.inventory, &template);
            let ages = Some(&mut self.ages);
            enforce(files, &self.in_use, (&rules, ages), self.now, &mut RetainFailures::default());
            self.names()
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(self.dir.path()).unwrap();
            let mut names: Vec<_> =
                entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.retain(|name| name != "list.json" && name != "ages.json");
            names.sort();
            names
        }
    }

    fn rules() -> Retain {
        Retain::default()
    }

    #[test]
    fn files_of_any_stage_that_are_too_old_are_removed() {
        let mut fixture = Fixture::new();
        fixture.note(Stage::Finished, "a-1", 1, 49);
        fixture.note(Stage::Compressed, "a-2.gz", 1, 50);
        fixture.note(Stage::Compressed, "a-3.gz", 1, 45);
        fixture.note(Stage::Live, "b", 1, 60);
        fixture.note(Stage::Live, "a", 1, 0);
        assert_eq!(fixture.enforce(rules()).len(), 5);
        let left = fixture.enforce(Retain { age: Some(48 * HOUR), ..rules() });
        assert_eq!(left, ["a", "a-3.gz"]);
        assert_eq!(fixture.inventory.files().len(), 2);
    }

    #[test]
    fn each_stream_keeps_the_number_of_files_besides_the_live_one() {
        let mut fixture = Fixture::new();
        for hours in 1..=5 {
            fixture.note(Stage::Finished, &format!("a-{}", 9 - hours), 1, hours);
        }
        fixture.note(Stage::Live, "a", 1, 0);
        // Another stream, with a date in its path: no file of it was rotated.
        for hours in 1..=4 {
            fixture.note(Stage::Live, &format!("b-{}", 9 - hours), 1, hours);
        }
        let left = fixture.enforce(Retain { files: Some(2), ..rules() });
        assert_eq!(left, ["a", "a-7", "a-8", "b-6", "b-7", "b-8"]);
    }

    #[test]
    fn the_oldest_files_are_removed_until_all_are_within_the_bytes() {
        let mut fixture = Fixture::new();
        fixture.note(Stage::Live, "b", 100, 9);
        fixture.note(Stage::Finished, "a-1", 100, 4);
        fixture.note(Stage::Compressed, "b-2", 100, 3);
        fixture.note(Stage::Finished, "a-3", 100, 2);
        fixture.note(Stage::Live, "a", 100, 0);
        let within = |bytes| Retain { bytes: Some(bytes), ..rules() };
        assert_eq!(fixture.enforce(within(500)).len(), 5);
        assert_eq!(fixture.enforce(within(499)), ["a", "a-3", "b", "b-2"]);
        assert_eq!(fixture.enforce(within(1)), ["a", "b"], "but not a live file");
    }

    #[test]
    fn files_that_the_sink_did_not_create_are_not_removed() {
        let mut fixture = Fixture::new();
        fixture.file("a-20200101T000000.000000Z.ndjson", 100, 99);
        fixture.note(Stage::Finished, "a-2", 1, 99);
        let path = fixture.dir.path().join("a-2");
        // Another program replaced them, with a restored backup and with a link.
        let other = fixture.file("other", 1, 99);
        fs::rename(other, &path).unwrap();
        let victim = fixture.file("victim", 1, 99);
        fixture.note(Stage::Finished, "a-3", 1, 99);
        let link = fixture.dir.path().join("a-3");
        fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(&victim, &link).unwrap();
        let all = Retain { files: Some(1), age: Some(HOUR), bytes: Some(1) };
        let left = fixture.enforce(all);
        assert_eq!(left, ["a-2", "a-20200101T000000.000000Z.ndjson", "a-3", "victim"]);
        assert!(fixture.inventory.files().is_empty(), "their entries are removed");
    }

    #[test]
    fn files_are_removed_in_the_order_of_their_creation_also_after_a_wrong_clock() {
        let mut fixture = Fixture::new();
        // An earlier version created two files; then the clock was a year ahead for three.
        fixture.note(Stage::Live, "a-old-2", 1, 1);
        fixture.note(Stage::Live, "a-old-1", 1, 2);
        fixture.now += HOUR * 24 * 365;
        for name in ["a-2027-1", "a-2027-2", "a-2027-3"] {
            fixture.begin(name);
        }
        fixture.now -= HOUR * 24 * 365;
        for name in ["a-2026-1", "a-2026-2"] {
            fixture.begin(name);
        }
        let files = |files| Retain { files: Some(files), ..rules() };
        let left = fixture.enforce(files(5));
        assert_eq!(left, ["a-2026-1", "a-2026-2", "a-2027-1", "a-2027-2", "a-2027-3", "a-old-2"]);
        assert_eq!(fixture.enforce(files(2)), ["a-2026-1", "a-2026-2", "a-2027-3"]);
    }

    #[test]
    fn no_file_is_removed_by_age_while_the_clock_is_not_trusted_nor_a_young_one() {
        let mut fixture = Fixture::new();
        fixture.note(Stage::Finished, "a-1", 1, 90);
        let rules = Retain { age: Some(48 * HOUR), ..rules() };
        assert_eq!(fixture.enforce_once(rules), ["a-1"], "the clock may be wrong");
        assert_eq!(fixture.enforce(rules), [""; 0]);
        // The file is from 1970, after a boot without a clock; then the clock is set.
        fixture.begin("a-2");
        let path = fixture.dir.path().join("a-2");
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        fixture.enforce_once(rules);
        fixture.clock.step(-30 * 365 * 24 * 3600);
        assert_eq!(fixture.enforce(rules), ["a-2"]);
        fixture.clock.step(30 * 365 * 24 * 3600);
        assert_eq!(fixture.enforce(rules), ["a-2"]);
        fixture.clock.advance(45 * 3600);
        assert_eq!(fixture.enforce_once(rules), ["a-2"]);
        fixture.clock.advance(3600);
        assert_eq!(fixture.enforce_once(rules), [""; 0], "49 hours after it was seen first");
    }

    #[test]
    fn the_live_file_is_not_counted_and_stays_while_it_is_empty() {
        let mut fixture = Fixture::new();
        let day = Timestamp::try_from(fixture.now).unwrap().strftime("%F");
        let now = format!("now-{day}");
        fixture.begin(&now);
        let path = fixture.dir.path().join(&now);
        // A late record has created the file of an earlier date since.
        fixture.begin("now-2026-01-01");
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_len(0).unwrap();
        file.set_modified(fixture.now - 90 * HOUR).unwrap();
        let all = Retain { files: Some(1), age: Some(48 * HOUR), bytes: Some(1) };
        assert_eq!(fixture.enforce(all), ["now-2026-01-01", &now]);
    }

    #[test]
    fn a_file_in_use_stays_however_old_its_name() {
        let mut fixture = Fixture::new();
        fixture.note(Stage::Live, "a-1", 100, 90);
        fixture.note(Stage::Live, "a-2", 100, 1);
        let path = fixture.dir.path().join("a-1");
        fixture.in_use.note_use(&path);
        let all = Retain { files: Some(1), age: Some(48 * HOUR), bytes: Some(1) };
        assert_eq!(fixture.enforce(all), ["a-1", "a-2"]);
        fixture.in_use.release_for_test();
        assert_eq!(fixture.enforce(all), ["a-2"]);
    }
}
