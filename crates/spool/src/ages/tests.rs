use super::*;
use crate::clock::test::Hands;

const MINUTE: i64 = 60;
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;
/// In 2026.
const BEGIN: i64 = 1_790_000_000;
const LIMIT: Duration = Duration::from_secs(7 * 24 * 3600);

struct Machine {
    hands: Hands,
    dir: tempfile::TempDir,
    ages: Ages,
    files: Vec<Sighting>,
}

impl Machine {
    /// With a ledger of no files that was just written.
    fn new() -> Self {
        let mut machine = Self::fresh(BEGIN);
        machine.look();
        machine.run(2 * HOUR);
        machine
    }

    /// Without a ledger.
    fn fresh(wall: i64) -> Self {
        let (hands, dir) = (Hands::at(wall), tempfile::tempdir().unwrap());
        let ages = Ages::open(&dir.path().join("ages.json"), hands.clock());
        Self { hands, dir, ages, files: Vec::new() }
    }

    /// A file that is written to now.
    fn write(&mut self, key: &str) {
        let wall = self.ages.clock.now().wall;
        let modified = UNIX_EPOCH + Duration::from_micros(wall.try_into().unwrap());
        self.files.retain(|file| file.key != key);
        self.files.push(Sighting::of(key.to_owned(), modified, 1));
    }

    fn look(&mut self) -> Round {
        self.ages.look(&self.files)
    }

    /// Runs for a time, with a look every 10 minutes.
    fn run(&mut self, seconds: i64) {
        for _ in 0..seconds / (10 * MINUTE) {
            self.hands.wait(10 * MINUTE);
            self.look();
        }
    }

    /// Ends the daemon, and starts it when the clock shows something else.
    fn restart(&mut self, wall: i64) {
        let hands = Hands::at(wall);
        self.ages = Ages::open(&self.dir.path().join("ages.json"), hands.clock());
        self.hands = hands;
    }

    fn wall(&self) -> i64 {
        self.ages.clock.now().wall / 1_000_000
    }

    fn is_old(&mut self, key: &str) -> bool {
        self.look().is_older(key, LIMIT)
    }

    fn age(&mut self, key: &str) -> i64 {
        self.look().age(key).as_secs().try_into().unwrap()
    }
}

#[test]
fn a_file_ages_from_its_last_change_across_a_restart() {
    let mut machine = Machine::new();
    machine.write("a");
    machine.look();
    machine.run(3 * DAY);
    machine.write("a");
    machine.look();
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
fn a_step_changes_no_age_and_holds_for_an_hour() {
    let mut machine = Machine::new();
    machine.write("old");
    machine.look();
    machine.run(8 * DAY);
    machine.write("young");
    assert!(machine.is_old("old"));
    for step in [YEAR, -YEAR, -2 * DAY, 40 * YEAR] {
        machine.hands.step(step);
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
fn small_steps_do_not_hold() {
    let mut machine = Machine::new();
    machine.write("old");
    machine.look();
    machine.run(8 * DAY);
    for step in [HOUR, -2 * HOUR, 20 * HOUR] {
        machine.hands.step(step);
        assert!(machine.is_old("old"), "{step}");
    }
}

#[test]
fn a_file_of_a_clock_that_was_ahead_is_not_kept_until_that_date() {
    let mut machine = Machine::new();
    machine.hands.step(YEAR);
    machine.write("a");
    machine.look();
    machine.hands.step(-YEAR);
    machine.run(7 * DAY);
    assert!(!machine.is_old("a"));
    machine.run(HOUR);
    assert!(machine.is_old("a"));
}

#[test]
fn a_boot_in_1970_ages_nothing() {
    let mut machine = Machine::new();
    machine.write("before");
    machine.look();
    machine.run(2 * DAY);
    let wall = machine.wall();
    machine.restart(0);
    machine.write("fresh");
    assert!(!machine.is_old("before") && !machine.is_old("fresh"));
    // NTP.
    machine.run(10 * MINUTE);
    machine.hands.set(wall + 10 * MINUTE);
    assert!(!machine.is_old("before") && !machine.is_old("fresh"));
    machine.run(2 * HOUR);
    assert!(!machine.is_old("before") && !machine.is_old("fresh"));
    let (wall, young) = (machine.wall(), machine.age("fresh"));
    machine.restart(wall);
    assert_eq!(machine.age("fresh"), young, "also when it runs again");
    assert!(!machine.is_old("before"));
}

#[test]
fn a_start_with_a_clock_that_is_ahead_ages_nothing_if_it_is_corrected_within_the_hour() {
    let mut machine = Machine::new();
    machine.write("a");
    machine.look();
    machine.run(2 * DAY);
    let wall = machine.wall();
    machine.restart(wall + YEAR);
    machine.run(50 * MINUTE);
    assert!(!machine.is_old("a"));
    machine.hands.step(-YEAR);
    machine.run(2 * HOUR);
    assert_eq!(machine.age("a"), 2 * DAY + 2 * HOUR + 50 * MINUTE);
    // The same if the daemon ends before it is corrected.
    let wall = machine.wall();
    machine.restart(wall + YEAR);
    machine.look();
    machine.restart(wall);
    assert!(!machine.is_old("a"));
}

#[test]
fn what_a_long_stop_made_old_goes_after_an_hour() {
    let mut machine = Machine::new();
    machine.write("a");
    machine.look();
    machine.run(2 * DAY);
    let wall = machine.wall() + 6 * DAY;
    machine.restart(wall);
    machine.run(50 * MINUTE);
    assert!(!machine.is_old("a"));
    machine.run(10 * MINUTE);
    assert!(machine.is_old("a"));
}

#[test]
fn without_a_ledger_the_files_that_are_there_count_from_their_change() {
    let mut machine = Machine::fresh(BEGIN);
    machine.write("old");
    machine.hands.set(BEGIN + 10 * DAY);
    // The daemon starts here for the first time.
    machine.restart(BEGIN + 10 * DAY);
    machine.run(50 * MINUTE);
    assert!(!machine.is_old("old"), "nobody knows yet whether the clock is right");
    machine.run(10 * MINUTE);
    assert!(machine.is_old("old"));
    // What comes later with an old time, as from a backup, counts from then.
    machine.files.push(Sighting::of("restored".to_owned(), UNIX_EPOCH, 1));
    machine.run(HOUR);
    assert!(!machine.is_old("restored"));
}

#[test]
fn a_first_start_with_a_false_clock_ages_nothing() {
    let mut machine = Machine::fresh(BEGIN);
    machine.write("fresh");
    machine.restart(BEGIN + YEAR);
    machine.run(50 * MINUTE);
    machine.hands.step(-YEAR);
    machine.run(2 * HOUR);
    assert!(!machine.is_old("fresh"));
}

#[test]
fn a_damaged_ledger_makes_files_young() {
    let mut machine = Machine::new();
    machine.write("a");
    machine.look();
    machine.run(8 * DAY);
    fs::write(machine.dir.path().join("ages.json"), "{\"written\":1").unwrap();
    let wall = machine.wall();
    machine.restart(wall);
    machine.run(6 * DAY);
    assert!(!machine.is_old("a"));
    machine.run(2 * DAY);
    assert!(machine.is_old("a"));
}
