//! Kills at any time lose, duplicate and truncate no acknowledged record.
//!
//! The real daemon runs under pushers that behave like Cloudflare: they send the same bytes until
//! they are answered with 200. It is killed with SIGKILL repeatedly, at random times and before or
//! after each file operation (`LOGPUSHD_FAULTS`), also during startup and shutdown, and restarted
//! in the same directory. Then a ledger of the answers is compared with the files: every batch that
//! was answered with 200 is in each file sink exactly once, intact and in order; one that was given
//! up is there at most once; rejected records are in quarantine exactly once; and a program that
//! follows the files has read exactly the bytes in them.
//!
//! `LOGPUSHD_CRASH_KILLS` sets how many kills all the tests share, `LOGPUSHD_CRASH_SEED` repeats
//! the choices of a run. Thousands of kills:
//!
//!     LOGPUSHD_CRASH_KILLS=5000 cargo test --locked --test it crash:: -- --nocapture

mod check;
mod ledger;
mod plan;
mod pusher;
mod run;
mod tail;

use std::{env, thread, time::SystemTime};

use self::{
    plan::{Ending, Plan},
    run::Run,
};
use crate::support::Random;

/// The number of kills that `cargo test` has time for.
const DEFAULT_KILLS: u64 = 160;

/// After so many kills the files are compared with the ledger.
const KILLS_A_ROUND: u64 = 20;

/// After so many kills it continues in a new directory.
const KILLS_PER_DIRECTORY: u64 = 100;

/// Prints how to repeat a run that failed.
struct Repeat {
    seed: u64,
    test: &'static str,
}

impl Drop for Repeat {
    fn drop(&mut self) {
        if thread::panicking() {
            let Self { seed, test } = self;
            let kills = kills();
            eprintln!(
                "repeat it: LOGPUSHD_CRASH_SEED={seed} LOGPUSHD_CRASH_KILLS={kills} cargo test --locked --test it crash::{test}"
            );
        }
    }
}

fn number(name: &str) -> Option<u64> {
    let value = env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is {value}, not a number")))
}

fn kills() -> u64 {
    number("LOGPUSHD_CRASH_KILLS").unwrap_or(DEFAULT_KILLS)
}

fn seed() -> u64 {
    number("LOGPUSHD_CRASH_SEED").unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        u64::from(now.subsec_nanos()) ^ now.as_secs() << 20
    })
}

/// Kills a daemon for `percent` of all the kills, each according to `plan`.
fn run(test: &'static str, percent: u64, mut plan: impl FnMut(u64, &mut Random) -> Plan) {
    let seed = seed();
    let _repeat = Repeat { seed, test };
    let mut random = Random::new(seed);
    let mut left = (kills() * percent / 100).max(1);
    let mut directory = 0;
    while left > 0 {
        // A directory's files are held in memory: not all of thousands of kills.
        let mut run = Run::new(seed ^ directory << 56);
        // Five kills may rotate one file only, so a small remainder joins the previous directory.
        let kills =
            if left < KILLS_PER_DIRECTORY + KILLS_A_ROUND { left } else { KILLS_PER_DIRECTORY };
        while run.kills < kills {
            let until = (run.kills + KILLS_A_ROUND).min(kills);
            run.round(until, &mut random, &mut plan);
        }
        run.finish();
        eprintln!("crash::{test}: {}", run.summary());
        left -= kills;
        directory += 1;
    }
}

#[test]
fn killed_at_random_times() {
    run("killed_at_random_times", 40, |_, random| Plan {
        faults: String::new(),
        ending: Ending::Kill { answers: random.below(8), pause_ms: random.below(80) },
    });
}

#[test]
fn killed_around_every_file_operation() {
    let mut points = Vec::new();
    run("killed_around_every_file_operation", 30, |_, random| {
        if points.is_empty() {
            points = plan::shuffled_points(random);
        }
        let point = points.pop().expect("a point");
        Plan { faults: point.line(random), ending: Ending::Fault }
    });
}

#[test]
fn killed_during_startup_and_shutdown() {
    run("killed_during_startup_and_shutdown", 30, |number, random| match number % 3 {
        // A daemon that is killed during startup has something to recover.
        0 => Plan {
            faults: String::new(),
            ending: Ending::Kill { answers: 3, pause_ms: random.below(40) },
        },
        1 => Plan { faults: plan::early(random), ending: Ending::Fault },
        _ => Plan {
            faults: String::new(),
            ending: Ending::Drain {
                answers: random.below(6),
                faults: plan::while_draining(random),
                pause_ms: random.below(60),
            },
        },
    });
}
