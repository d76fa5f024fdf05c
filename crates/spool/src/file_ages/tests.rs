use super::*;
use crate::clock::test::ManualClock;

const MINUTE: i64 = 60;
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;
/// A time in 2026.
const BEGIN: i64 = 1_790_000_000;
const LIMIT: Duration = Duration::from_secs(7 * 24 * 3600);

struct Machine {
    clock: ManualClock,
    dir: tempfile::TempDir,
    ages: FileAges,
    files: Vec<ObservedFile>,
}

impl Machine {
    /// With an empty ledger that was just written.
    fn new() -> Self {
        let mut machine = Self::fresh(BEGIN);
        machine.observe();
        machine.run(2 * HOUR);
        machine
    }

    /// Without a ledger.
    fn fresh(wall: i64) -> Self {
        let (clock, dir) = (ManualClock::at(wall), tempfile::tempdir().unwrap());
        let ages = FileAges::open(&dir.path().join("ages.json"), clock.clock());
        Self { clock, dir, ages, files: Vec::new() }
    }

    /// Writes to a file now.
    fn write(&mut self, key: &str) {
        let wall = self.ages.clock.now().wall;
        let modified = UNIX_EPOCH + Duration::from_micros(wall.try_into().unwrap());
        self.files.retain(|file| file.key != key);
        self.files.push(ObservedFile::of(key.to_owned(), modified, 1));
    }

    fn observe(&mut self) -> AgeSnapshot {
        self.ages.observe(&self.files)
    }

    /// Runs for some time, with an observation every 10 minutes.
    fn run(&mut self, seconds: i64) {
        for _ in 0..seconds / (10 * MINUTE) {
            self.clock.advance(10 * MINUTE);
            self.observe();
        }
    }

    /// Stops the daemon, and starts it when the wall clock shows another time.
    fn restart(&mut self, wall: i64) {
        let clock = ManualClock::at(wall);
        self.ages = FileAges::open(&self.dir.path().join("ages.json"), clock.clock());
        self.clock = clock;
    }

    fn wall(&self) -> i64 {
        self.ages.clock.now().wall / 1_000_000
    }

    fn is_old(&mut self, key: &str) -> bool {
        self.observe().is_older(key, LIMIT)
    }

    fn age(&mut self, key: &str) -> i64 {
        self.observe().age(key).as_secs().try_into().unwrap()
    }
}

#[test]
fn a_file_ages_from_its_last_change_across_a_restart() {
    let mut machine = Machine::new();
    machine.write("a");
    machine.observe();
    machine.run(3 * DAY);
    machine.write("a");
    machine.observe();
    machine.run(4 * DAY);
    assert_eq!(machine.age("a"), 4 * DAY);
    let wall = machine.wall() + 20 * HOUR;
    machine.restart(wall);
    assert_eq!(machine.age("a"), 4 * DAY + 20 * HOUR);
    machine.run(2 * DAY);
    assert!(!machine.is_old("a"));
    machine.run(5 * HOUR);
    assert!(machine.is_old("a"));
}

#[test]
fn a_step_changes_no_age_and_suspends_removal_for_an_hour() {
    let mut machine = Machine::new();
    machine.write("old");
    machine.observe();
    machine.run(8 * DAY);
    machine.write("young");
    assert!(machine.is_old("old"));
    for step in [YEAR, -YEAR, -2 * DAY, 40 * YEAR] {
        machine.clock.step(step);
        assert!(!machine.is_old("old"), "after a step of {step}");
        machine.run(50 * MINUTE);
        assert!(!machine.is_old("old"), "50 minutes after a step of {step}");
        machine.run(10 * MINUTE);
        assert!(machine.is_old("old") && !machine.is_old("young"), "{step}");
    }
    assert_eq!(machine.age("young"), 4 * HOUR);
    assert_eq!(machine.age("old"), 8 * DAY + 4 * HOUR);
}

#[test]
fn small_steps_do_not_suspend_removal() {
    let mut machine = Machine::new();
    machine.write("old");
    machine.observe();
    machine.run(8 * DAY);
    for step in [HOUR, -2 * HOUR, 20 * HOUR] {
        machine.clock.step(step);
        assert!(machine.is_old("old"), "{step}");
    }
}

#[test]
fn a_file_written_with_a_clock_that_was_ahead_ages() {
    let mut machine = Machine::new();
    machine.clock.step(YEAR);
    machine.write("a");
    machine.observe();
    machine.clock.step(-YEAR);
    machine.run(7 * DAY);
    assert!(!machine.is_old("a"));
    machine.run(HOUR);
    assert!(machine.is_old("a"));
}

#[test]
fn a_boot_in_1970_ages_nothing() {
    let mut machine = Machine::new();
    machine.write("before");
    machine.observe();
    machine.run(2 * DAY);
    let wall = machine.wall();
    machine.restart(0);
    machine.write("fresh");
    assert!(!machine.is_old("before") && !machine.is_old("fresh"));
    // NTP corrects the clock.
    machine.run(10 * MINUTE);
    machine.clock.set(wall + 10 * MINUTE);
    assert!(!machine.is_old("before") && !machine.is_old("fresh"));
    machine.run(2 * HOUR);
    assert!(!machine.is_old("before") && !machine.is_old("fresh"));
    let (wall, young) = (machine.wall(), machine.age("fresh"));
    machine.restart(wall);
    assert_eq!(machine.age("fresh"), young, "after a restart");
    assert!(!machine.is_old("before"));
}

#[test]
fn a_start_with_a_clock_that_is_ahead_ages_nothing_if_it_is_corrected_within_an_hour() {
    let mut machine = Machine::new();
    machine.write("a");
    machine.observe();
    machine.run(2 * DAY);
    let wall = machine.wall();
    machine.restart(wall + YEAR);
    machine.run(50 * MINUTE);
    assert!(!machine.is_old("a"));
    machine.clock.step(-YEAR);
    machine.run(2 * HOUR);
    assert_eq!(machine.age("a"), 2 * DAY + 2 * HOUR + 50 * MINUTE);
    // The same if the daemon stops before the correction.
    let wall = machine.wall();
    machine.restart(wall + YEAR);
    machine.observe();
    machine.restart(wall);
    assert!(!machine.is_old("a"));
}

#[test]
fn files_that_a_long_stop_made_old_are_old_after_an_hour() {
    let mut machine = Machine::new();
    machine.write("a");
    machine.observe();
    machine.run(2 * DAY);
    let wall = machine.wall() + 6 * DAY;
    machine.restart(wall);
    machine.run(50 * MINUTE);
    assert!(!machine.is_old("a"));
    machine.run(10 * MINUTE);
    assert!(machine.is_old("a"));
}

#[test]
fn without_a_ledger_existing_files_count_from_their_change() {
    let mut machine = Machine::fresh(BEGIN);
    machine.write("old");
    machine.clock.set(BEGIN + 10 * DAY);
    // The first start of the daemon.
    machine.restart(BEGIN + 10 * DAY);
    machine.run(50 * MINUTE);
    assert!(!machine.is_old("old"), "the clock may be wrong");
    machine.run(10 * MINUTE);
    assert!(machine.is_old("old"));
    // A file that appears later with an old time, such as from a backup, counts from its appearance.
    machine.files.push(ObservedFile::of("restored".to_owned(), UNIX_EPOCH, 1));
    machine.run(HOUR);
    assert!(!machine.is_old("restored"));
}

#[test]
fn a_first_start_with_a_wrong_clock_ages_nothing() {
    let mut machine = Machine::fresh(BEGIN);
    machine.write("fresh");
    machine.restart(BEGIN + YEAR);
    machine.run(50 * MINUTE);
    machine.clock.step(-YEAR);
    machine.run(2 * HOUR);
    assert!(!machine.is_old("fresh"));
}

#[test]
fn a_damaged_ledger_makes_files_young() {
    let mut machine = Machine::new();
    machine.write("a");
    machine.observe();
    machine.run(8 * DAY);
    fs::write(machine.dir.path().join("ages.json"), "{\"written\":1").unwrap();
    let wall = machine.wall();
    machine.restart(wall);
    machine.run(6 * DAY);
    assert!(!machine.is_old("a"));
    machine.run(2 * DAY);
    assert!(machine.is_old("a"));
}
