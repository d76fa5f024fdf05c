//! A sender that behaves like Cloudflare: it sends the same bytes until they are answered with 200.

use std::{
    net::SocketAddr,
    sync::{
        Condvar, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use super::ledger::{Key, Ledger, Records};
use crate::support::{Connection, Http, Random, Upload, tls};

/// How many send at the same time.
pub(super) const PUSHERS: u64 = 4;

/// How long a sender waits after a failure. Cloudflare's is longer.
const RETRY: Duration = Duration::from_millis(10);

/// How many batches one sends in a run: enough for every way to end a run.
const BATCHES_PER_RUN: u64 = 6;

/// What the pushers and the killer of the daemon share.
pub(super) struct Senders {
    seed: u64,
    pub(super) ledger: Ledger,
    trust: tls::Client,
    /// The current daemon, and how many ran before it.
    daemon: Mutex<(Option<SocketAddr>, u64)>,
    changed: Condvar,
    answers: AtomicU64,
    /// No new batch is started.
    closing: AtomicBool,
    /// A thread has failed.
    over: AtomicBool,
}

impl Senders {
    pub(super) fn new(seed: u64, trust: tls::Client) -> Self {
        Self {
            seed,
            ledger: Ledger::default(),
            trust,
            daemon: Mutex::default(),
            changed: Condvar::new(),
            answers: AtomicU64::new(0),
            closing: AtomicBool::new(false),
            over: AtomicBool::new(false),
        }
    }

    pub(super) fn up(&self, address: SocketAddr) {
        let mut daemon = self.daemon.lock().unwrap();
        *daemon = (Some(address), daemon.1 + 1);
        drop(daemon);
        self.changed.notify_all();
    }

    pub(super) fn down(&self) {
        self.daemon.lock().unwrap().0 = None;
    }

    pub(super) fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    pub(super) fn open(&self) {
        self.closing.store(false, Ordering::Relaxed);
    }

    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    /// Ends the pushers when it goes out of scope in a panic: no thread restarts the daemon then.
    pub(super) fn guard(&self) -> impl Drop + '_ {
        struct Guard<'a>(&'a Senders);
        impl Drop for Guard<'_> {
            fn drop(&mut self) {
                if thread::panicking() {
                    self.0.over.store(true, Ordering::Relaxed);
                }
            }
        }
        Guard(self)
    }

    /// The current daemon and its number, or nothing at the end of the test.
    fn alive(&self) -> Option<(SocketAddr, u64)> {
        let mut daemon = self.daemon.lock().unwrap();
        loop {
            if self.over.load(Ordering::Relaxed) {
                return None;
            }
            if let (Some(address), run) = *daemon {
                return Some((address, run));
            }
            daemon = self.changed.wait_timeout(daemon, RETRY).unwrap().0;
        }
    }
}

/// One sender.
pub(super) struct Pusher<'a> {
    senders: &'a Senders,
    number: u64,
    random: Random,
    connection: Option<(u64, Connection)>,
}

impl<'a> Pusher<'a> {
    pub(super) fn new(senders: &'a Senders, number: u64, round: u64) -> Self {
        let random = Random::new(senders.seed ^ number << 48 ^ round << 32);
        Self { senders, number, random, connection: None }
    }

    /// Sends batches from `next` on until they are stopped. Returns the number of the next one.
    pub(super) fn run(&mut self, mut next: u64) -> u64 {
        let _guard = self.senders.guard();
        let (mut of_run, mut begun) = (0, 0);
        // A connection of the other HTTP version.
        let mut twin = Self::new(self.senders, self.number + PUSHERS + 1, 0);
        while !self.senders.closing.load(Ordering::Relaxed) {
            let Some((_, run)) = self.senders.alive() else { break };
            if of_run != run {
                (of_run, begun) = (run, 0);
            }
            if begun == BATCHES_PER_RUN {
                thread::sleep(RETRY);
                continue;
            }
            begun += 1;
            // Starts a new file from time to time.
            let dataset = format!("d{}_{}", run / 2, self.number % 2);
            let key = (self.number, next);
            next += 1;
            self.senders.ledger.sending(key, &dataset);
            if self.random.below(6) == 0 {
                // Sends the batch as a sender that gave up waiting for an answer.
                thread::scope(|scope| {
                    scope.spawn(|| twin.push(key, &dataset, false));
                    self.push(key, &dataset, false);
                });
                self.senders.answers.fetch_add(1, Ordering::Relaxed);
            } else if self.push(key, &dataset, true) == Some("committed") {
                self.senders.answers.fetch_add(1, Ordering::Relaxed);
                if self.random.below(6) == 0 {
                    // Sends the batch resent, as a sender that did not see the answer.
                    let resent = self.push(key, &dataset, false);
                    assert!(matches!(resent, Some("duplicate") | None), "{resent:?}");
                }
            }
        }
        next
    }

    /// Sends a batch until it is answered, or given up. Returns whether it was new.
    fn push(&mut self, key: Key, dataset: &str, may_give_up: bool) -> Option<&'static str> {
        let body = Records::of(self.senders.seed, key).body;
        let gives_up = may_give_up && self.random.below(8) == 0;
        let gzipped = self.random.below(3) > 0;
        loop {
            let sent = self.senders.alive().map(|at| self.attempt(at, &body, dataset, gzipped))?;
            match sent {
                Ok(answer) if answer.status == 200 => {
                    self.senders.ledger.answered(key);
                    // An attempt that saw no answer may have committed it.
                    return Some(match answer.ok().0.as_str() {
                        "duplicate" if !may_give_up => "duplicate",
                        _ => "committed",
                    });
                }
                Ok(answer) => assert_eq!(answer.status, 503, "{}", answer.text),
                Err(_) => self.connection = None,
            }
            if gives_up {
                return None;
            }
            thread::sleep(RETRY);
        }
    }

    fn attempt(
        &mut self,
        (address, run): (SocketAddr, u64),
        body: &[u8],
        dataset: &str,
        gzipped: bool,
    ) -> Result<crate::support::Answer, String> {
        if self.connection.as_ref().is_none_or(|(of, _)| *of != run) {
            let http = Http::BOTH[usize::try_from((self.number + run) % 2).unwrap()];
            let connection = Connection::open(address, self.senders.trust.clone(), http)?;
            self.connection = Some((run, connection));
        }
        let (_, connection) = self.connection.as_ref().ok_or("no connection")?;
        let upload = Upload::of(body).to(&format!("/logpush/{dataset}"));
        connection.try_send(if gzipped { upload.gzipped() } else { upload })
    }
}
