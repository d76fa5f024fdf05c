//! A daemon under attack: its memory, and a sender with the right secret that keeps sending.

use std::{
    fs,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, ScopedJoinHandle},
    time::{Duration, Instant},
};

use super::attacker::Attacker;
use crate::support::{Daemon, Http, Setup, Upload};

/// How much an attack may add to the memory of an idle daemon, and how much may remain of that.
const PEAK_KIB: u64 = 64 << 10;
const LEFT_KIB: u64 = 10 << 10;

/// Longer than any step takes, also on a host that pauses for a while.
const PATIENCE: Duration = Duration::from_secs(240);

/// Uploads that must be answered during each attack.
const UPLOADS: usize = 20;

/// Names a daemon other than the one of this tree. Its figures are not asserted.
const PROGRAM: &str = "LOGPUSHD_ATTACK_PROGRAM";

/// Sets the duration of attacks in seconds: longer ones for measurements.
fn duration() -> Duration {
    let seconds = std::env::var("LOGPUSHD_ATTACK_SECONDS").ok();
    Duration::from_secs(seconds.and_then(|seconds| seconds.parse().ok()).unwrap_or(3))
}

/// A daemon, and what was measured of it.
pub(super) struct Watch {
    pub(super) daemon: Daemon,
    name: &'static str,
    idle: u64,
    peak: AtomicU64,
    latencies: Mutex<Vec<Duration>>,
    failures: AtomicU64,
    is_over: AtomicBool,
    ends: Mutex<Option<Instant>>,
}

impl Watch {
    pub(super) fn start(name: &'static str, mut setup: Setup) -> Self {
        setup.service.program = std::env::var_os(PROGRAM).map(Into::into);
        let daemon = setup.start();
        // The memory that every use takes is not part of the attack.
        for _ in 0..3 {
            upload(&daemon).unwrap();
        }
        let idle = rss_kib(&daemon);
        Self {
            daemon,
            name,
            idle,
            peak: AtomicU64::new(0),
            latencies: Mutex::default(),
            failures: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            ends: Mutex::default(),
        }
    }

    /// Runs the attack beside a sender, and asserts that the daemon withstands it. `attack` returns
    /// its open connections, and continues as long as [`Watch::continues`].
    pub(super) fn assert_withstands(
        self,
        attack: impl Fn(&Self) -> Vec<Attacker> + Sync,
        attackers: usize,
    ) {
        let held = thread::scope(|scope| {
            scope.spawn(|| self.sample());
            let sender = scope.spawn(|| self.send());
            let attacks: Vec<_> = (0..attackers).map(|_| scope.spawn(|| attack(&self))).collect();
            let held: Vec<_> = attacks.into_iter().map(ScopedJoinHandle::join).collect();
            let oldest = held.into_iter().map(|held| self.wait_closed(held.unwrap())).max();
            self.is_over.store(true, Relaxed);
            sender.join().unwrap();
            oldest.unwrap_or_default()
        });
        let left = self.recovers();
        let peak = self.peak.load(Relaxed);
        let mut latencies = self.latencies.into_inner().unwrap();
        latencies.sort_unstable();
        let at = |share: usize| latencies[(latencies.len() - 1) * share / 100];
        eprintln!(
            "attack {}: idle {} KiB, peak +{} KiB, after +{left} KiB, {} uploads p50 {:?} p99 {:?}, {} failed, last connection {:.1} s",
            self.name,
            self.idle,
            peak.saturating_sub(self.idle),
            latencies.len(),
            at(50),
            at(99),
            self.failures.load(Relaxed),
            held.as_secs_f64(),
        );
        let stopped = self.daemon.stop();
        if observes_only() {
            return;
        }
        let stopped = stopped.exited_cleanly();
        assert!(!stopped.log.contains("panicked"), "{}", stopped.log);
        assert!(peak < self.idle + PEAK_KIB, "{}: {peak} KiB, {} idle", self.name, self.idle);
        assert!(latencies.len() >= UPLOADS, "{}: {} uploads", self.name, latencies.len());
    }

    /// Whether the attack continues.
    pub(super) fn continues(&self) -> bool {
        let mut ends = self.ends.lock().unwrap();
        Instant::now() < *ends.get_or_insert_with(|| Instant::now() + duration())
    }

    /// Waits until the daemon has closed all of these, and returns the age of the oldest.
    fn wait_closed(&self, mut held: Vec<Attacker>) -> Duration {
        let started = Instant::now();
        while held.iter().any(Attacker::is_open) {
            for attacker in &mut held {
                attacker.listen();
            }
            let waited = started.elapsed();
            let is_stuck = waited > PATIENCE || observes_only() && waited > PATIENCE / 3;
            if is_stuck {
                let open = held.iter().filter(|attacker| attacker.is_open()).count();
                assert!(observes_only(), "{}: {open} attacking connections are alive", self.name);
                return waited;
            }
            thread::sleep(Duration::from_millis(20));
        }
        held.iter().filter_map(|attacker| attacker.age).max().unwrap_or_default()
    }

    fn send(&self) {
        let mut kept = None;
        for number in 0.. {
            let is_enough = observes_only() || self.latencies.lock().unwrap().len() >= UPLOADS;
            if self.is_over.load(Relaxed) && is_enough {
                return;
            }
            let started = Instant::now();
            // As often over a new connection as over a reused one.
            let sent = if number % 2 == 0 {
                upload(&self.daemon)
            } else {
                let daemon = &self.daemon;
                let connection = match kept.take() {
                    Some(connection) => Ok(connection),
                    None => daemon.try_connect(Http::Two),
                };
                connection.and_then(|connection| {
                    kept = Some(connection.clone());
                    connection.try_send(batch()).inspect_err(|_| kept = None)
                })
            };
            match sent {
                Ok(answer) if answer.status == 200 => {
                    self.latencies.lock().unwrap().push(started.elapsed());
                }
                _ => drop(self.failures.fetch_add(1, Relaxed)),
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn sample(&self) {
        while !self.is_over.load(Relaxed) {
            self.peak.fetch_max(rss_kib(&self.daemon), Relaxed);
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the memory is freed, and returns how much remains.
    fn recovers(&self) -> u64 {
        let started = Instant::now();
        loop {
            let left = rss_kib(&self.daemon).saturating_sub(self.idle);
            let waited = started.elapsed();
            if left < LEFT_KIB || observes_only() && waited > Duration::from_secs(10) {
                return left;
            }
            assert!(waited < PATIENCE, "{}: {left} KiB are not given back", self.name);
            thread::sleep(Duration::from_millis(100));
        }
    }
}

fn observes_only() -> bool {
    std::env::var_os(PROGRAM).is_some()
}

fn batch() -> Upload {
    Upload::of("{\"good\":1}\n").gzipped()
}

fn upload(daemon: &Daemon) -> Result<crate::support::Answer, String> {
    daemon.try_connect(Http::Two)?.try_send(batch())
}

fn rss_kib(daemon: &Daemon) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0)
}
