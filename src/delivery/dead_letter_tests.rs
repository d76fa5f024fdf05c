//! A sink whose target refuses some records, in processes that are killed at every step.

use std::{
    collections::BTreeMap,
    env,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{self, Command, ExitStatus, Stdio},
    thread,
};

use tokio::runtime::Builder;

use super::{
    tests::{header, spool},
    *,
};
use crate::{
    metrics::{Metrics, Names},
    quarantine::{self, Line},
    sink::{DeadLetters, SinkError, State},
    spool::Options,
};

/// Passes the directory to a process that delivers.
const DIRECTORY: &str = "LOGPUSHD_TEST_DELIVERY";

/// When the sink is certain of a batch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Doubt {
    /// At once.
    Never,
    /// Not until the sink is closed.
    UntilClosed,
}

/// Appends records to a file, and refuses those that contain `bad`.
struct Refusing {
    doubt: Doubt,
    taken: PathBuf,
    letters: DeadLetters,
    batch: Option<Batch>,
    position: u64,
    /// The batch that the sink last requested a checkpoint before.
    asked_before: u64,
    /// The first finished batch that is not certain.
    doubtful: Option<u64>,
}

impl Refusing {
    fn new(dir: &Path, doubt: Doubt, letters: DeadLetters) -> Self {
        let taken = dir.join("taken");
        let (batch, position, asked_before, doubtful) = (None, 0, 0, None);
        Self { doubt, taken, letters, batch, position, asked_before, doubtful }
    }
}

impl Sink for Refusing {
    fn begin(&mut self, batch: &Batch) -> Result<Readiness, SinkError> {
        self.position = 0;
        self.batch = Some(batch.clone());
        if self.asked_before < batch.sequence {
            self.asked_before = batch.sequence;
            return Ok(Readiness::CheckpointFirst);
        }
        Ok(Readiness::Ready)
    }

    fn write(&mut self, block: &Block) -> Result<(), SinkError> {
        let mut taken = OpenOptions::new().create(true).append(true).open(&self.taken)?;
        for record in block.iter() {
            self.position += 1;
            let batch = self.batch.as_ref().unwrap();
            if record.windows(3).any(|part| part == b"bad") {
                // Each process gives another reason, of another length.
                let reason = format!("no {}", "x".repeat(process::id() as usize % 97));
                self.letters.add(batch, self.position, record, &reason);
                self.letters.add(batch, self.position, record, &reason);
            } else {
                taken.write_all(&[record, b"\n"].concat())?;
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        if self.doubt == Doubt::UntilClosed {
            self.doubtful = self.doubtful.or(self.batch.as_ref().map(|batch| batch.sequence));
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<State, SinkError> {
        Ok(State::default())
    }

    fn in_doubt(&self) -> Option<u64> {
        self.doubtful
    }

    fn close(&mut self) -> Result<(), SinkError> {
        self.doubtful = None;
        Ok(())
    }
}

/// Delivers all batches in the spool of `dir` to a sink that refuses some records.
fn deliver(dir: &Path, doubt: Doubt) {
    let (spool, runtime) = (unlocked_spool(dir), Builder::new_current_thread().build().unwrap());
    let consumer =
        Consumer { name: "test".into(), accepts: Arc::new(|_: &Batch| true), may_drop: false };
    let environment = SinkEnvironment {
        runtime: runtime.handle().clone(),
        stop: CancellationToken::new(),
        quarantine: dir.join("quarantine"),
    };
    let names = Names { sinks: vec!["test".into()], ..Names::default() };
    let metrics = Metrics::new(&names).sink("test");
    let (all, shared) = (Choice::default(), Arc::clone(&spool));
    let delivery = Delivery::new(consumer, shared, metrics, environment, &all, |context| {
        Ok(Box::new(Refusing::new(dir, doubt, context.dead_letters)))
    });
    let mut delivery = delivery.unwrap();
    delivery.release_delivered();
    spool.close();
    assert!(delivery.run().is_none());
    assert_eq!(spool.size().0, 0, "all is delivered");
}

/// Opens the spool when its lock is free: a process that another test starts inherits the lock
/// until it executes its program.
fn unlocked_spool(dir: &Path) -> Arc<Spool> {
    loop {
        match Spool::open(dir, Options { max_bytes: 1 << 30, dedup_window: Duration::ZERO }) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                thread::sleep(Duration::from_millis(1));
            }
            spool => return Arc::new(spool.unwrap()),
        }
    }
}

/// Delivers in the process that [`SpooledRecords::deliver`] starts. Otherwise does nothing.
#[test]
fn delivering_process() {
    let Some(dir) = env::var_os(DIRECTORY) else { return };
    let dir = PathBuf::from(dir);
    let is_in_doubt = dir.join("in-doubt").exists();
    deliver(&dir, if is_in_doubt { Doubt::UntilClosed } else { Doubt::Never });
}

/// A spool with batches that contain good and bad records.
struct SpooledRecords(tempfile::TempDir);

impl SpooledRecords {
    fn new(doubt: Doubt) -> Self {
        let spooled = Self(tempfile::tempdir().unwrap());
        let spool = spool(spooled.0.path());
        for batch in 0..3 {
            let text = (0..4).map(|n| {
                let word = if n % 2 == 1 { "bad" } else { "good" };
                format!("{{\"batch\":{batch},\"n\":{n},\"is\":\"{word}\"}}\n")
            });
            let text = text.collect::<String>();
            let mut staging = spool.stage();
            staging.write(text.as_bytes()).unwrap();
            spool.commit(staging, header(&text), None).unwrap().expect("no duplicate");
        }
        if doubt == Doubt::UntilClosed {
            fs::write(spooled.0.path().join("in-doubt"), "").unwrap();
        }
        spooled
    }

    fn deliver(&self, fault: &str) -> ExitStatus {
        let dir = self.0.path();
        let faults = dir.join("faults");
        fs::write(&faults, fault).unwrap();
        let mut command = Command::new(env::current_exe().unwrap());
        let filter = "delivery::dead_letter_tests::delivering_process";
        command.args(["--exact", filter]).env(DIRECTORY, dir);
        if fault.is_empty() {
            command.env_remove("LOGPUSHD_FAULTS");
        } else {
            command.env("LOGPUSHD_FAULTS", faults);
        }
        let output = command.stdin(Stdio::null()).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        let is_expected = output.status.success() || output.status.signal().is_some();
        assert!(is_expected, "{fault}: {}", String::from_utf8_lossy(&text));
        output.status
    }

    /// Counts the lines of each record in the quarantine, by batch and position.
    fn letters(&self) -> BTreeMap<(u64, u64), usize> {
        let mut letters = BTreeMap::new();
        for file in fs::read_dir(self.0.path().join("quarantine")).unwrap() {
            let path = file.unwrap().path();
            assert!(path.file_name().unwrap().to_string_lossy().starts_with("records-test-1970"));
            for line in fs::read_to_string(&path).unwrap().lines() {
                let line: Line<'_> = serde_json::from_str(line).unwrap();
                assert_eq!((line.sink.as_deref(), line.reason_label()), (Some("test"), "refused"));
                assert!(line.record.unwrap().contains("bad"));
                *letters.entry((line.batch, line.position)).or_default() += 1;
            }
        }
        letters
    }

    fn check(&self, what: &str) {
        let expected = (1..=3).flat_map(|batch| [((batch, 2), 1), ((batch, 4), 1)]).collect();
        assert_eq!(self.letters(), expected, "{what}");
        let taken = fs::read_to_string(self.0.path().join("taken")).unwrap();
        for batch in 0..3 {
            for n in [0, 2] {
                let record = format!("{{\"batch\":{batch},\"n\":{n},");
                assert!(taken.contains(&record), "{what}: {record} is missing");
            }
        }
        assert!(!taken.contains("bad"), "{what}");
    }
}

/// Kills the process at each step, and checks the result after a restart.
fn kill_everywhere(doubt: Doubt) {
    let mut kills = 0;
    let steps = [
        ("before open", "quarantine"),
        ("before makedir", "quarantine"),
        ("before syncdir", "quarantine"),
        ("before write", "quarantine"),
        ("after write", "quarantine"),
        ("before sync", "quarantine"),
        ("after sync", "quarantine"),
        ("after lock", "dead-letters"),
        ("before write", "test"),
        ("before rename", "test.json"),
        ("after rename", "test.json"),
        ("before remove", "batches"),
    ];
    for (step, part) in steps {
        for count in 1.. {
            let spooled = SpooledRecords::new(doubt);
            let fault = format!("kill {step} {part} {count}\n");
            let status = spooled.deliver(&fault);
            if status.success() {
                break;
            }
            assert_eq!(status.signal(), Some(9), "{fault}");
            kills += 1;
            // The next process is killed after it has truncated a file, if it does.
            spooled.deliver("kill after truncate quarantine 1\n");
            assert!(spooled.deliver("").success());
            spooled.check(&format!("{doubt:?}, {fault}"));
        }
    }
    for count in 1.. {
        let spooled = SpooledRecords::new(doubt);
        if spooled.deliver(&format!("tear quarantine {count}\n")).success() {
            break;
        }
        kills += 1;
        assert!(spooled.deliver("").success());
        spooled.check(&format!("{doubt:?}, torn {count}"));
    }
    assert!(kills > 30, "{kills} kills");
}

#[test]
fn a_refused_record_is_one_line_of_quarantine_whenever_the_process_is_killed() {
    kill_everywhere(Doubt::Never);
}

#[test]
fn a_record_that_is_refused_again_after_a_restart_is_one_line_of_quarantine() {
    kill_everywhere(Doubt::UntilClosed);
}

#[test]
fn a_renamed_file_is_not_truncated() {
    let spooled = SpooledRecords::new(Doubt::Never);
    let dir = spooled.0.path();
    // Killed with two lines written, and no checkpoint of them.
    assert_eq!(spooled.deliver("kill before rename test.json 3\n").signal(), Some(9));
    let quarantine = dir.join("quarantine");
    let path = quarantine.join("records-test-1970-01-01.ndjson");
    assert!(fs::read_to_string(&path).unwrap().lines().count() >= 2);
    let renamed = quarantine::rename_for_replay(&path).unwrap();
    assert!(
        quarantine::is_settled(&dir.join("cursors")).unwrap(),
        "the lock ends with its process"
    );
    assert!(spooled.deliver("").success());
    let length = fs::metadata(&renamed).unwrap().len();
    assert!(path.exists() || length > 0);
    spooled.check("renamed");
}
