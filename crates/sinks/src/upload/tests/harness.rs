//! The environment of the uploader: batches, a checkpoint, quarantine, and a delivery that can be
//! killed before any call.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use records::decode::Block;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::{
    super::super::{
        DeadLetter, DeadLetters, Readiness, Resume, Sink as _, SinkContext, SinkCounter,
        SinkCounters, SinkError, SinkWaker, State,
    },
    super::{Intervals, Limits, UploadOptions, Uploader},
    batch,
    mock_target::{MockTarget, RecordKey},
    recorded_metrics::RecordedMetrics,
};

/// The daemon's state on disk, the target, and the clock.
pub(super) struct Harness {
    pub(super) target: MockTarget,
    /// The records of batch 1, 2 and so on.
    pub(super) batches: Vec<Vec<Vec<u8>>>,
    pub(super) options: UploadOptions,
    pub(super) selection: String,
    pub(super) intervals: Intervals,
    /// The stored checkpoint.
    pub(super) cursor: u64,
    pub(super) state: State,
    /// The letters in quarantine.
    pub(super) dead: Vec<DeadLetter>,
    /// The failures that were reported to delivery.
    pub(super) errors: Vec<String>,
    pub(super) stop: CancellationToken,
    pub(super) metrics: Arc<RecordedMetrics>,
    /// How often the thread was woken.
    pub(super) wakes: Arc<AtomicUsize>,
    random: u64,
    runtime: Runtime,
}

/// One process.
struct Process<'w> {
    harness: &'w mut Harness,
    uploader: Uploader<MockTarget>,
    handled: u64,
    /// The number of calls before it is killed.
    calls: usize,
}

/// How a process ends before all batches are delivered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ProcessEnd {
    /// At once.
    Kill,
    /// With a last checkpoint.
    Stop,
}

/// The result of a call, unless the process was killed before it.
type Attempt = Result<Result<(), SinkError>, Killed>;

/// The process was killed.
#[derive(Debug)]
pub(super) struct Killed;

impl Harness {
    pub(super) fn new(target: MockTarget, limits: Limits, in_flight: usize, seed: u64) -> Self {
        let timeout = Duration::from_secs(30);
        Self {
            target,
            batches: Vec::new(),
            options: UploadOptions { limits, in_flight, timeout },
            selection: String::new(),
            intervals: Intervals {
                wait: Duration::ZERO,
                checkpoint: Duration::from_secs(3600),
                poll: Duration::ZERO,
            },
            cursor: 0,
            state: State::default(),
            dead: Vec::new(),
            errors: Vec::new(),
            stop: CancellationToken::new(),
            metrics: Arc::default(),
            wakes: Arc::default(),
            random: seed,
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .unwrap(),
        }
    }

    /// A random number less than `below`.
    fn draw(&mut self, below: usize) -> usize {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(self.random >> 33).unwrap() % below.max(1)
    }

    /// Lets tasks run for the given number of milliseconds.
    pub(super) fn pass(&mut self, milliseconds: u64) {
        self.runtime.block_on(async {
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        });
        let violations = std::mem::take(&mut self.target.seen().violations);
        assert!(violations.is_empty(), "{violations:?}");
    }

    pub(super) fn open(&mut self) -> Uploader<MockTarget> {
        let known = self.dead.iter().map(DeadLetter::id).collect();
        let wakes = Arc::clone(&self.wakes);
        let context = SinkContext {
            name: "test".to_owned(),
            directory: std::path::PathBuf::new(),
            state: self.state.clone(),
            selection: self.selection.clone(),
            waker: SinkWaker::new(move || {
                wakes.fetch_add(1, SeqCst);
            }),
            counters: SinkCounters::default(),
            metrics: self.metrics.clone(),
            dead_letters: DeadLetters::new(known, SinkCounter::default()),
            runtime: self.runtime.handle().clone(),
            stop: self.stop.clone(),
        };
        let mut uploader = Uploader::new(self.target.clone(), &self.options, context);
        uploader.intervals = self.intervals;
        uploader
    }

    /// Starts a process that ends before its call number `calls`.
    pub(super) fn live(&mut self, calls: usize, end: ProcessEnd) -> Result<(), Killed> {
        self.target.seen().restart(&self.state);
        let uploader = self.open();
        let handled = self.cursor;
        let mut process = Process { harness: self, uploader, handled, calls };
        let ended = process.run();
        if ended.is_err() && end == ProcessEnd::Stop {
            process.stop();
        }
        drop(process);
        // Requests in flight end with the process.
        self.pass(1);
        ended
    }

    /// Divides records into blocks of random sizes.
    pub(super) fn blocks(&mut self, records: &[Vec<u8>]) -> Vec<Block> {
        let (mut blocks, mut at) = (Vec::new(), 0);
        while at < records.len() {
            let count = (1 + self.draw(7)).min(records.len() - at);
            let bytes = records[at..at + count]
                .iter()
                .flat_map(|record| [record, &b"\n"[..]].concat())
                .collect();
            blocks.push(Block { bytes, records: count as u64, rejects: Vec::new() });
            at += count;
        }
        blocks
    }

    /// Checks that each record was delivered or is exactly one dead letter.
    pub(super) fn check_complete(&self) {
        let mut dead: BTreeMap<RecordKey, u32> = BTreeMap::new();
        for letter in &self.dead {
            *dead.entry((letter.batch.sequence, letter.position - 1)).or_default() += 1;
        }
        let seen = self.target.seen();
        for (sequence, records) in (1..).zip(&self.batches) {
            for position in 0..records.len() as u64 {
                let key = (sequence, position);
                let letters = dead.get(&key).copied().unwrap_or(0);
                assert!(letters <= 1, "{key:?} has {letters} dead letters");
                let is_taken = seen.taken.contains_key(&key);
                assert!(is_taken || letters == 1, "{key:?} is lost");
            }
        }
        assert!(seen.most_in_flight <= self.options.in_flight);
    }
}

impl Process<'_> {
    /// Delivers all batches and closes the uploader, as `Delivery::run` does.
    fn run(&mut self) -> Result<(), Killed> {
        while let Some(records) =
            self.harness.batches.get(usize::try_from(self.handled).unwrap()).cloned()
        {
            let sequence = self.handled + 1;
            self.persist(&mut |this| this.attempt(sequence, &records))?;
            self.handled = sequence;
            if self.harness.draw(3) == 0 {
                self.persist(&mut Self::checkpoint)?;
            }
            if self.harness.draw(3) == 0 {
                self.persist(&mut Self::maintain)?;
            }
        }
        for _ in 0..10_000 {
            if self.uploader.is_idle() {
                break;
            }
            if self.uploader.due().is_some() {
                self.persist(&mut Self::maintain)?;
            } else {
                // Nothing is due until a request ends.
                self.harness.pass(1000);
            }
            self.persist(&mut Self::checkpoint)?;
        }
        assert!(self.uploader.is_idle(), "nothing is due, and records are left");
        self.call()?;
        self.uploader.close().unwrap();
        self.persist(&mut Self::checkpoint)?;
        assert_eq!(self.harness.cursor, self.harness.batches.len() as u64);
        Ok(())
    }

    /// Shuts down with a cancelled stop token.
    fn stop(&mut self) {
        self.harness.stop.cancel();
        self.uploader.close().ok();
        self.calls = usize::MAX;
        self.persist(&mut Self::checkpoint).unwrap();
        self.harness.stop = CancellationToken::new();
    }

    /// Called before each call: kills the process or lets time pass.
    fn call(&mut self) -> Result<(), Killed> {
        self.calls = self.calls.checked_sub(1).ok_or(Killed)?;
        let pass = [0, 0, 0, 1, 5, 100, 40_000][self.harness.draw(7)];
        self.harness.pass(pass);
        self.check_memory();
        Ok(())
    }

    fn check_memory(&self) {
        let Limits { max_bytes, .. } = self.harness.options.limits;
        let records = self.harness.batches.iter().flatten();
        let longest = records.map(|record| record.len() + 1).max().unwrap_or(0);
        let block = 7 * longest;
        let bound = (self.harness.options.in_flight + 1) * max_bytes.max(longest) + block;
        let memory = self.uploader.memory();
        assert!(memory <= bound, "{memory} of {bound} bytes");
    }

    fn persist(&mut self, attempt: &mut dyn FnMut(&mut Self) -> Attempt) -> Result<(), Killed> {
        for _ in 0..10_000 {
            match attempt(self)? {
                Ok(()) => return Ok(()),
                Err(error) => {
                    assert_eq!(error.resume(), Resume::Batch);
                    self.harness.errors.push(format!("{error} {:?}", error.retry()));
                }
            }
        }
        panic!("no end: {:?}", self.harness.errors.last());
    }

    /// Calls `ask` until the uploader is ready, with checkpoints in between.
    fn ready(
        &mut self,
        ask: &mut dyn FnMut(&mut Uploader<MockTarget>) -> Result<Readiness, SinkError>,
    ) -> Attempt {
        for _ in 0..10_000 {
            self.call()?;
            match ask(&mut self.uploader) {
                Err(error) => return Ok(Err(error)),
                Ok(Readiness::Ready) => return Ok(Ok(())),
                Ok(Readiness::CheckpointFirst) => {
                    if let Err(error) = self.checkpoint()? {
                        return Ok(Err(error));
                    }
                }
            }
        }
        panic!("never ready");
    }

    fn attempt(&mut self, sequence: u64, records: &[Vec<u8>]) -> Attempt {
        let batch = batch(sequence);
        if let Err(error) = self.ready(&mut |uploader| uploader.begin(&batch))? {
            return Ok(Err(error));
        }
        for block in self.harness.blocks(records) {
            if let Err(error) = self.ready(&mut |uploader| uploader.prepare_block(&block))? {
                return Ok(Err(error));
            }
            self.call()?;
            self.uploader.write(&block).unwrap();
        }
        self.call()?;
        self.uploader.finish().unwrap();
        Ok(Ok(()))
    }

    fn maintain(&mut self) -> Attempt {
        self.ready(&mut |uploader| uploader.maintain())
    }

    fn checkpoint(&mut self) -> Attempt {
        self.call()?;
        let acknowledged = self.harness.target.seen().acknowledged.clone();
        let state = self.uploader.sync().unwrap();
        let cursor = self.uploader.in_doubt().map_or(self.handled, |oldest| oldest - 1);
        self.call()?;
        self.harness.dead.extend(self.uploader.dead_letters.take());
        self.call()?;
        if self.harness.draw(10) == 0 {
            return Ok(Err(std::io::Error::other("cannot store the checkpoint").into()));
        }
        assert!(cursor >= self.harness.cursor, "the cursor goes back");
        // Stored as JSON.
        let stored = serde_json::to_string(&state).unwrap();
        self.harness.state = serde_json::from_str(&stored).unwrap();
        self.harness.cursor = cursor;
        self.harness.target.seen().sealed.extend(acknowledged);
        self.uploader.checkpoint_saved();
        Ok(Ok(()))
    }
}
