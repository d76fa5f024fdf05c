//! Which finished files are kept, and the removal of the others.

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
    held::Held,
    inventory::{Identity, Inventory, Kept, Stage},
    place::{Place, file_name},
    settings::Retain,
    trouble::{Report, Trouble},
};
use crate::template::PathTemplate;

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
    kept: Kept,
    bytes: u64,
    modified: SystemTime,
    /// It is older than `retain.age`.
    is_old: bool,
    /// Its name is one that the sink writes to at this time.
    is_now: bool,
}

/// Removes what the rules do not keep. What cannot be removed is tried again the next time. Without `ages`,
/// nothing is too old.
pub(super) fn enforce(
    (place, inventory, template): (&Place, &Inventory, &PathTemplate),
    held: &Held,
    (rules, ages): (&Retain, Option<&mut FileAges>),
    now: SystemTime,
    troubles: &mut Troubles,
) {
    let time = Timestamp::try_from(now).unwrap_or(Timestamp::UNIX_EPOCH);
    let mut files = Vec::new();
    for (path, kept) in inventory.files() {
        match path.symlink_metadata() {
            Ok(there) if there.is_file() && Identity::of(&there) == kept.identity => {
                let is_now = kept.stage == Stage::Live && template.gives(&path, time);
                let modified = there.modified().unwrap_or(now);
                let bytes = there.len();
                files.push(Finished { path, kept, bytes, modified, is_old: false, is_now });
            }
            _ => {
                if let Err(error) = inventory.forget_if_gone(&path) {
                    troubles.list.failed(error);
                }
            }
        }
    }
    if let (Some(ages), Some(most)) = (ages, rules.age) {
        // Compressing changes the length of a file, and not its age.
        let sighting = |file: &Finished| ObservedFile::of(file.kept.key(), file.modified, 0);
        let round = ages.observe(&files.iter().map(sighting).collect::<Vec<_>>());
        for file in &mut files {
            file.is_old = round.is_older(&file.kept.key(), most);
        }
    }
    for (file, why) in doomed(files, rules) {
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
fn doomed(mut files: Vec<Finished>, rules: &Retain) -> Vec<(Finished, &'static str)> {
    // By number, since times may be of a false clock. Those of an earlier version have none and come first.
    files.sort_by(|a, b| {
        let key = |file: &Finished| (file.kept.number, file.modified, file.path.clone());
        key(a).cmp(&key(b))
    });
    // The newest of each stream is the one that is written to: only age can end it.
    let current: HashMap<String, PathBuf> = files
        .iter()
        .filter(|file| file.kept.stage == Stage::Live)
        .map(|file| (file.kept.stream.clone(), file.path.clone()))
        .collect();
    let is_current =
        |file: &Finished| file.is_now || current.get(&file.kept.stream) == Some(&file.path);
    let mut doomed: HashMap<PathBuf, &'static str> = HashMap::new();
    // The live file is there at any time, also if nothing comes for it.
    for file in files.iter().filter(|file| file.is_old && !(file.is_now && file.bytes == 0)) {
        doomed.insert(file.path.clone(), "older than retain.age");
    }
    if let Some(most) = rules.files {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for file in files.iter().rev().filter(|file| !is_current(file)) {
            let count = counts.entry(&file.kept.stream).or_default();
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
    let there = open.metadata().map_err(durable::error_at("reading", path))?;
    if Identity::of(&there) != file.kept.identity {
        return Ok(false);
    }
    held.unless_held(path, || directory.remove(name))
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use spool::clock::test::ManualClock;

    use super::super::place::Owner;
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    struct Folder {
        inventory: Inventory,
        held: Held,
        now: SystemTime,
        clock: ManualClock,
        ages: FileAges,
        dir: tempfile::TempDir,
    }

    impl Folder {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let inventory = Inventory::open(&dir.path().join("list.json"));
            let now = SystemTime::now();
            let clock = ManualClock::at(Timestamp::try_from(now).unwrap().as_second());
            let ages = FileAges::open(&dir.path().join("ages.json"), clock.clock());
            Self { inventory, held: Held::default(), now, clock, ages, dir }
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
            let kept = Kept { identity, stream, stage, number: None, ended: None };
            self.inventory.note(&path, Some(kept)).unwrap();
        }

        /// A file that the sink begins now.
        fn begin(&self, name: &str) {
            let path = self.file(name, 1, 0);
            let identity = Identity::of(&fs::metadata(&path).unwrap());
            let stream = name.split('-').next().unwrap();
            self.inventory.begin(&path, identity, stream).unwrap();
        }

        /// Twice, with more than an hour in between, in which nobody knows whether the clock is right.
        fn enforce(&mut self, rules: Retain) -> Vec<String> {
            self.enforce_once(rules);
            self.clock.advance(3601);
            self.enforce_once(rules)
        }

        fn enforce_once(&mut self, rules: Retain) -> Vec<String> {
            let place = Place::new(0o640, Owner::default(), None);
            let path = format!("{}/now-%F", self.dir.path().display());
            let template = PathTemplate::parse(&path).unwrap();
            let files = (&place, &self.inventory, &template);
            let ages = Some(&mut self.ages);
            enforce(files, &self.held, (&rules, ages), self.now, &mut Troubles::default());
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
    fn what_is_too_old_goes_whatever_it_is() {
        let mut folder = Folder::new();
        folder.note(Stage::Ended, "a-1", 1, 49);
        folder.note(Stage::Packed, "a-2.gz", 1, 50);
        folder.note(Stage::Packed, "a-3.gz", 1, 45);
        folder.note(Stage::Live, "b", 1, 60);
        folder.note(Stage::Live, "a", 1, 0);
        assert_eq!(folder.enforce(rules()).len(), 5);
        let left = folder.enforce(Retain { age: Some(48 * HOUR), ..rules() });
        assert_eq!(left, ["a", "a-3.gz"]);
        assert_eq!(folder.inventory.files().len(), 2);
    }

    #[test]
    fn each_stream_keeps_so_many_beside_the_one_that_is_written_to() {
        let mut folder = Folder::new();
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
        let mut folder = Folder::new();
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
        let mut folder = Folder::new();
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
    fn files_that_a_false_clock_dated_go_in_the_order_in_which_they_were_begun() {
        let mut folder = Folder::new();
        // The clock was a year ahead for three of them; before that, an earlier version made two.
        folder.note(Stage::Live, "a-old-2", 1, 1);
        folder.note(Stage::Live, "a-old-1", 1, 2);
        folder.now += HOUR * 24 * 365;
        for name in ["a-2027-1", "a-2027-2", "a-2027-3"] {
            folder.begin(name);
        }
        folder.now -= HOUR * 24 * 365;
        for name in ["a-2026-1", "a-2026-2"] {
            folder.begin(name);
        }
        let files = |files| Retain { files: Some(files), ..rules() };
        let left = folder.enforce(files(5));
        assert_eq!(left, ["a-2026-1", "a-2026-2", "a-2027-1", "a-2027-2", "a-2027-3", "a-old-2"]);
        assert_eq!(folder.enforce(files(2)), ["a-2026-1", "a-2026-2", "a-2027-3"]);
    }

    #[test]
    fn nothing_goes_by_age_while_the_clock_is_in_doubt_nor_a_file_that_is_young() {
        let mut folder = Folder::new();
        folder.note(Stage::Ended, "a-1", 1, 90);
        let rules = Retain { age: Some(48 * HOUR), ..rules() };
        assert_eq!(folder.enforce_once(rules), ["a-1"], "the clock may be wrong");
        assert_eq!(folder.enforce(rules), [""; 0]);
        // Booted in 1970: the file is of that time, and then the clock is set.
        folder.begin("a-2");
        let path = folder.dir.path().join("a-2");
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        folder.enforce_once(rules);
        folder.clock.step(-30 * 365 * 24 * 3600);
        assert_eq!(folder.enforce(rules), ["a-2"]);
        folder.clock.step(30 * 365 * 24 * 3600);
        assert_eq!(folder.enforce(rules), ["a-2"]);
        folder.clock.advance(45 * 3600);
        assert_eq!(folder.enforce_once(rules), ["a-2"]);
        folder.clock.advance(3600);
        assert_eq!(folder.enforce_once(rules), [""; 0], "49 hours after it was seen first");
    }

    #[test]
    fn the_file_that_the_sink_writes_to_now_is_not_counted_and_stays_while_it_is_empty() {
        let mut folder = Folder::new();
        let day = Timestamp::try_from(folder.now).unwrap().strftime("%F");
        let now = format!("now-{day}");
        folder.begin(&now);
        let path = folder.dir.path().join(&now);
        // A late record has begun the file of an earlier date since.
        folder.begin("now-2026-01-01");
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_len(0).unwrap();
        file.set_modified(folder.now - 90 * HOUR).unwrap();
        let all = Retain { files: Some(1), age: Some(48 * HOUR), bytes: Some(1) };
        assert_eq!(folder.enforce(all), ["now-2026-01-01", &now]);
    }

    #[test]
    fn what_is_written_to_stays_however_old_its_name() {
        let mut folder = Folder::new();
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
