//! The runs of a daemon, one after the other in the same directory.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    process::Signal,
};

use super::{
    check::{self, Counts},
    plan::{Ending, Plan},
    pusher::{PUSHERS, Pusher, Senders},
    tail::Tail,
};
use crate::support::{
    Daemon, Exit, Random, Setup, Stopped, names_in, same_bytes, wait_for, wait_until,
};

/// How long to wait for a fault, or an answer, when nothing else happens.
const PATIENCE: Duration = Duration::from_millis(2500);

/// The interval between checks.
const LOOK: Duration = Duration::from_millis(100);

/// All runs in one directory.
pub(super) struct Run {
    pub(super) kills: u64,
    /// Runs that were to end at a fault.
    asked: u64,
    /// Faults that were never reached.
    missed: u64,
    seed: u64,
    round: u64,
    senders: Senders,
    tail: Tail,
    /// The number of each pusher's next batch.
    next: Vec<u64>,
    /// `None` only while a daemon has it.
    setup: Option<Setup>,
    counts: Counts,
    started: Instant,
}

/// The failure of the second sink for a run, or for the first part of one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum SinkFailure {
    Nothing,
    /// A file has replaced its directory.
    Away,
    /// Its disk fails.
    Failing,
    /// Its checkpoints cannot be stored.
    Unsaved,
}

impl Run {
    pub(super) fn new(seed: u64) -> Self {
        let setup = Setup::new()
            .without("sink.archive.file")
            .table(
                "sink.first.file",
                r#"
                path = "out/first/{dataset}.ndjson"
                rotate = { max_bytes = "48KiB", max_age = "3s" }
                compress = "gzip"
                compress_after = "0s"
                "#,
            )
            .table("sink.second.file", r#"path = "out/second/{dataset}.ndjson""#)
            .table("spool", r#"dir = "spool""#);
        // The first start makes the certificate.
        let setup = setup.start().stop().exited_cleanly().setup;
        let trust = crate::support::tls::Client::trusting(&setup.path("fullchain.pem"));
        let directories = ["out/first", "out/second"].map(|directory| setup.path(directory)).into();
        Self {
            kills: 0,
            asked: 0,
            missed: 0,
            seed,
            round: 0,
            senders: Senders::new(seed, trust),
            tail: Tail::new(directories),
            next: vec![0; usize::try_from(PUSHERS).unwrap()],
            setup: Some(setup),
            counts: Counts::default(),
            started: Instant::now(),
        }
    }

    /// Kills until there were `until` kills in all, then waits until everything is delivered, and
    /// checks.
    pub(super) fn round(
        &mut self,
        until: u64,
        random: &mut Random,
        plan: &mut dyn FnMut(u64, &mut Random) -> Plan,
    ) {
        self.round += 1;
        let mut setup = self.setup.take().unwrap();
        self.senders.open();
        let (senders, round, stop) = (&self.senders, self.round, AtomicBool::new(false));
        let (mut kills, mut asked, mut missed) = (self.kills, 0, 0);
        let next = std::mem::take(&mut self.next);
        let setup = thread::scope(|scope| {
            let _guard = senders.guard();
            let tail = &mut self.tail;
            scope.spawn(|| tail.follow(&stop));
            let _stop = SetWhenDropped(&stop);
            let pushers: Vec<_> = (0..PUSHERS)
                .zip(next)
                .map(|(number, next)| {
                    scope.spawn(move || Pusher::new(senders, number, round).run(next))
                })
                .collect();
            while kills < until {
                let plan = plan(kills, random);
                let failure = match random.below(6) {
                    0 | 1 => SinkFailure::Away,
                    2 => SinkFailure::Failing,
                    3 => SinkFailure::Unsaved,
                    _ => SinkFailure::Nothing,
                };
                failure.begin(&setup);
                let recovers = random.below(2) == 0;
                let (ended, hit) = run_daemon(senders, setup, &plan, failure, recovers);
                setup = ended;
                failure.end(&setup);
                kills += 1;
                asked += u64::from(matches!(plan.ending, Ending::Fault));
                missed += u64::from(!hit);
            }
            setup.faults("");
            let daemon = setup.start();
            senders.up(daemon.address);
            senders.close();
            self.next = pushers.into_iter().map(|pusher| pusher.join().unwrap()).collect();
            senders.down();
            let batches = daemon.path("spool/batches");
            wait_until("an empty spool", || names_in(&batches).is_empty());
            let first = daemon.path("out/first");
            wait_until("compression of the rotated files", || {
                let names = names_in(&first);
                // No file is still uncompressed, present in both forms, or being compressed.
                names.iter().all(|name| match name.strip_suffix(".gz") {
                    Some(source) => !names.iter().any(|name| name == source),
                    None => name.ends_with(".ndjson"),
                })
            });
            daemon.stop().exited_cleanly().setup
        });
        self.kills = kills;
        self.asked += asked;
        self.missed += missed;
        self.check(&setup);
        self.setup = Some(setup);
    }

    fn check(&mut self, setup: &Setup) {
        self.tail.check();
        let entries = self.senders.ledger.entries();
        let sinks: [PathBuf; 2] = ["out/first", "out/second"].map(|sink| setup.path(sink));
        let sinks: Vec<&Path> = sinks.iter().map(PathBuf::as_path).collect();
        self.counts = check::check(self.seed, &entries, &sinks, &setup.path("quarantine"));
        assert_eq!(names_in(&setup.path("spool/set-aside")), [""; 0]);
    }

    /// Asserts that both sinks got the same, and that the faults were reached.
    pub(super) fn finish(&self) {
        let setup = self.setup.as_ref().unwrap();
        let [first, second] =
            ["out/first", "out/second"].map(|sink| check::datasets_in(&setup.path(sink)));
        assert!(first.keys().eq(second.keys()));
        for (dataset, text) in &first {
            same_bytes(dataset, &second[dataset], text);
        }
        let rotated = names_in(&setup.path("out/first")).len() - first.len();
        assert!(rotated as u64 > self.kills / 4, "only {rotated} files were rotated");
        // About a sixth are not: what follows a release does not happen while a sink fails.
        let Self { asked, missed, .. } = self;
        assert!(*missed <= asked.div_ceil(2), "{missed} of {asked} faults were never reached");
    }

    pub(super) fn summary(&self) -> String {
        let Counts { batches, given_up, quarantined } = self.counts;
        format!(
            "{} kills ({} of {} not at the fault asked for) in {} s: {batches} batches answered and {given_up} given up, {quarantined} records in quarantine; lost 0, doubled 0",
            self.kills,
            self.missed,
            self.asked,
            self.started.elapsed().as_secs()
        )
    }
}

/// One run. Returns whether it ended as planned.
fn run_daemon(
    senders: &Senders,
    setup: Setup,
    plan: &Plan,
    failure: SinkFailure,
    recovers: bool,
) -> (Setup, bool) {
    let faults = |lines: &str| format!("{}{lines}", failure.faults());
    setup.faults(&faults(&plan.faults));
    let mut daemon = match setup.try_start() {
        Ok(daemon) => daemon,
        Err(Stopped { exit, log, setup, .. }) => {
            assert_eq!(exit, Exit::Killed, "{log}");
            return (setup, true);
        }
    };
    senders.up(daemon.address);
    if recovers && failure != SinkFailure::Nothing {
        wait_answers(senders, &mut daemon, 2);
        failure.end(daemon.setup());
        daemon.setup().faults(&plan.faults);
    }
    let mut hit = true;
    match &plan.ending {
        Ending::Kill { answers, pause_ms } => {
            wait_answers(senders, &mut daemon, *answers);
            thread::sleep(Duration::from_millis(*pause_ms));
        }
        Ending::Fault => hit = wait_fault(senders, &mut daemon),
        Ending::Drain { answers, faults: late, pause_ms } => {
            wait_answers(senders, &mut daemon, *answers);
            daemon.setup().faults(&faults(late));
            daemon.signal(Signal::TERM);
            wait_end(&mut daemon, Duration::from_millis(*pause_ms));
        }
    }
    if !daemon.has_ended() {
        daemon.signal(Signal::KILL);
    }
    senders.down();
    let Stopped { exit, log, setup, .. } = daemon.end();
    let in_order = matches!(plan.ending, Ending::Drain { .. }) && exit == Exit::Code(0);
    assert!(exit == Exit::Killed || in_order, "{exit:?} {plan:?}\n{log}");
    (setup, hit)
}

/// Waits for that many more answers, for a while: perhaps no pusher has another batch for this run.
fn wait_answers(senders: &Senders, daemon: &mut Daemon, answers: u64) {
    let (enough, started) = (senders.answers() + answers, Instant::now());
    wait_for("answers", || {
        let over = started.elapsed() > PATIENCE || daemon.has_ended();
        (over || senders.answers() >= enough).then_some(())
    });
}

/// Waits for a fault while something happens that may lead to it, and for a while longer.
fn wait_fault(senders: &Senders, daemon: &mut Daemon) -> bool {
    let batches = daemon.path("spool/batches");
    let mut last = (senders.answers(), names_in(&batches), Instant::now());
    // The number of answers is limited: see `BATCHES_PER_RUN`.
    loop {
        if wait_end(daemon, LOOK) {
            return true;
        }
        let (answers, names) = (senders.answers(), names_in(&batches));
        if (answers, &names) != (last.0, &last.1) {
            last = (answers, names, Instant::now());
        } else if last.2.elapsed() >= PATIENCE {
            return false;
        }
    }
}

fn wait_end(daemon: &mut Daemon, patience: Duration) -> bool {
    let started = Instant::now();
    wait_for("an end", || {
        let ended = daemon.has_ended();
        (ended || started.elapsed() >= patience).then_some(ended)
    })
}

impl SinkFailure {
    fn begin(self, setup: &Setup) {
        if self == Self::Away {
            let (directory, away) = (setup.path("out/second"), setup.path("away"));
            fs::create_dir_all(&directory).unwrap();
            // The sink finds a file instead of its directory, and later the directory as it was.
            fs::rename(&directory, &away).unwrap();
            setup.write("out/second", "in the way");
        }
    }

    fn end(self, setup: &Setup) {
        let (directory, away) = (setup.path("out/second"), setup.path("away"));
        if self == Self::Away && away.exists() {
            // Atomically: a running daemon would re-create a missing directory.
            renameat_with(CWD, &away, CWD, &directory, RenameFlags::EXCHANGE).unwrap();
            fs::remove_file(&away).unwrap();
        }
    }

    fn faults(self) -> &'static str {
        match self {
            Self::Failing => "fail EIO write /out/second/\n",
            Self::Unsaved => "fail ENOSPC rename /cursors/second\n",
            _ => "",
        }
    }
}

struct SetWhenDropped<'a>(&'a AtomicBool);

impl Drop for SetWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
