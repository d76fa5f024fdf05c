//! Tests of deliveries with a scripted sink.

use std::{
    path::Path,
    sync::{Mutex, atomic::Ordering::SeqCst, mpsc},
    thread,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use super::*;
use crate::{
    decode::{Edition, Encoding, Format},
    metrics::{Metrics, Names},
    sink::{SinkError, State},
    spool::{Header, Options, Origin},
};

/// The result of a sink at the end of a batch.
type Finish = Box<dyn FnMut(u64) -> Result<(), SinkError> + Send>;

/// Remembers the last batch that it finished, and how many it began.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
struct Finished {
    #[serde(default)]
    last: u64,
    #[serde(default)]
    begun: u64,
}

struct Scripted {
    finish: Finish,
    batch: u64,
    finished: Finished,
    /// Whether each attempt begins with a checkpoint.
    checkpoints: bool,
    has_checkpoint: bool,
}

impl Sink for Scripted {
    fn begin(&mut self, batch: &Batch) -> Result<Readiness, SinkError> {
        if self.checkpoints && !std::mem::replace(&mut self.has_checkpoint, true) {
            return Ok(Readiness::CheckpointFirst);
        }
        self.has_checkpoint = false;
        self.batch = batch.sequence;
        self.finished.begun += 1;
        Ok(Readiness::Ready)
    }

    fn write(&mut self, _: &Block) -> Result<(), SinkError> {
        Ok(())
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        (self.finish)(self.batch)?;
        self.finished.last = self.batch;
        Ok(())
    }

    fn sync(&mut self) -> Result<State, SinkError> {
        Ok(State::of(&self.finished)?)
    }
}

/// A spool and the environment of a sink.
struct Bench {
    dir: TempDir,
    spool: Arc<Spool>,
    metrics: Arc<Metrics>,
    runtime: Runtime,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let names = Names { sinks: vec!["test".into()], ..Names::default() };
        Self {
            spool: spool(dir.path()),
            dir,
            metrics: Arc::new(Metrics::new(&names)),
            runtime: Builder::new_current_thread().build().unwrap(),
        }
    }

    /// Reopens the spool, as after a restart of the daemon.
    fn restart(&mut self) {
        // Release the lock of the spool first.
        let elsewhere = tempfile::tempdir().unwrap();
        self.spool = spool(elsewhere.path());
        self.spool = spool(self.dir.path());
    }

    fn commit(&self, text: &str) -> u64 {
        let mut staging = self.spool.stage();
        staging.write(text.as_bytes()).unwrap();
        self.spool.commit(staging, header(text), None).unwrap().expect("no duplicate").sequence
    }

    fn delivery(&self, finish: Finish, seen: &mut Finished) -> Delivery {
        self.delivery_with(finish, seen, false)
    }

    fn consumer(&self) -> (Consumer, SinkEnvironment) {
        let consumer =
            Consumer { name: "test".into(), accepts: Arc::new(|_: &Batch| true), may_drop: false };
        let environment = SinkEnvironment {
            runtime: self.runtime.handle().clone(),
            stop: CancellationToken::new(),
            quarantine: self.dir.path().join("quarantine"),
        };
        (consumer, environment)
    }

    /// Creates a delivery. With `checkpoints`, each attempt changes the checkpoint.
    fn delivery_with(&self, finish: Finish, seen: &mut Finished, checkpoints: bool) -> Delivery {
        let (consumer, environment) = self.consumer();
        let metrics = self.metrics.sink("test");
        let (all, spool) = (Choice::default(), Arc::clone(&self.spool));
        let delivery = Delivery::new(consumer, spool, metrics, environment, &all, |context| {
            *seen = context.state.read();
            let finished = seen.clone();
            let has_checkpoint = false;
            Ok(Box::new(Scripted { finish, batch: 0, finished, checkpoints, has_checkpoint }))
        });
        delivery.unwrap()
    }

    /// Delivers the backlog, then stops.
    fn run(&self, finish: Finish) -> Finished {
        let mut seen = Finished::default();
        let delivery = self.delivery(finish, &mut seen);
        self.spool.close();
        assert!(delivery.run().is_none());
        seen
    }

    fn shows(&self, line: &str) -> bool {
        self.metrics.render().lines().any(|shown| shown == line)
    }
}

pub(super) fn spool(dir: &Path) -> Arc<Spool> {
    Arc::new(
        Spool::open(dir, Options { max_bytes: 1 << 30, dedup_window: Duration::ZERO }).unwrap(),
    )
}

pub(super) fn header(text: &str) -> Header {
    Header {
        origin: Origin {
            endpoint: "push".into(),
            dataset: "http_requests".into(),
            received: Timestamp::UNIX_EPOCH,
            sink: None,
        },
        records: text.lines().count() as u64,
        rejected: 0,
        record_limit: 1 << 20,
        digest: Header::short_digest(blake3::hash(text.as_bytes()).as_bytes()),
        encoding: Encoding::Identity,
        format: Format::Json,
        edition: Edition::First,
    }
}

fn failure(text: &str) -> SinkError {
    std::io::Error::other(text.to_owned()).into()
}

#[test]
fn a_sink_gets_its_state_back() {
    let mut bench = Bench::new();
    let last = bench.commit("{}\n");
    assert_eq!(bench.run(Box::new(|_| Ok(()))), Finished::default());
    bench.restart();
    bench.commit("{\"a\":1}\n");
    assert_eq!(bench.run(Box::new(|_| Ok(()))), Finished { last, begun: 1 });
}

#[test]
fn a_sink_is_opened_with_its_selection() {
    let bench = Bench::new();
    let choice = Choice { rename: vec![("a".into(), "b".into())], ..Choice::default() };
    let (consumer, environment) = bench.consumer();
    let (spool, metrics) = (Arc::clone(&bench.spool), bench.metrics.sink("test"));
    let open = |context: SinkContext| {
        assert_eq!(context.selection, choice.selection_text());
        Err("not this time".to_owned())
    };
    let error = Delivery::new(consumer, spool, metrics, environment, &choice, open).err();
    assert_eq!(error.as_deref(), Some("not this time"));
}

/// A sink whose work between batches is due when a test sets it.
struct Woken {
    is_due: Arc<AtomicBool>,
    maintained: mpsc::SyncSender<()>,
}

impl Sink for Woken {
    fn begin(&mut self, _: &Batch) -> Result<Readiness, SinkError> {
        Ok(Readiness::Ready)
    }

    fn write(&mut self, _: &Block) -> Result<(), SinkError> {
        Ok(())
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    fn sync(&mut self) -> Result<State, SinkError> {
        Ok(State::default())
    }

    fn due(&self) -> Option<Instant> {
        self.is_due.load(SeqCst).then(Instant::now)
    }

    fn maintain(&mut self) -> Result<Readiness, SinkError> {
        self.is_due.store(false, SeqCst);
        self.maintained.send(()).unwrap();
        Ok(Readiness::Ready)
    }
}

#[test]
fn a_sink_wakes_its_delivery() {
    let bench = Bench::new();
    let (consumer, environment) = bench.consumer();
    let (spool, metrics) = (Arc::clone(&bench.spool), bench.metrics.sink("test"));
    let (is_due, (maintained, received)) =
        (Arc::new(AtomicBool::new(false)), mpsc::sync_channel(1));
    let mut wakers = Vec::new();
    let open = |context: SinkContext| -> Result<Box<dyn Sink>, String> {
        wakers.push(context.waker);
        Ok(Box::new(Woken { is_due: Arc::clone(&is_due), maintained }))
    };
    let delivery =
        Delivery::new(consumer, spool, metrics, environment, &Choice::default(), open).unwrap();
    let running = thread::spawn(|| delivery.run());
    for _ in 0..100 {
        // Whether the delivery waits by now or is about to.
        is_due.store(true, SeqCst);
        wakers[0].wake();
        received.recv_timeout(Duration::from_secs(60)).expect("the delivery was woken");
    }
    bench.spool.close();
    assert!(running.join().unwrap().is_none());
    // A request may outlive the sink and the spool.
    drop(bench);
    wakers[0].wake();
}

#[test]
fn a_stop_within_a_batch_stores_the_delivered_part() {
    let mut bench = Bench::new();
    bench.commit("{}\n");
    bench.run(Box::new(|_| Err(failure("busy"))));
    bench.restart();
    let seen = bench.run(Box::new(|_| Ok(())));
    assert!(seen.begun > 0 && seen.last == 0, "{seen:?}");
}

#[test]
fn a_return_to_the_checkpoint_stores_no_new_one_at_a_stop() {
    let mut bench = Bench::new();
    bench.commit("{}\n");
    bench.run(Box::new(|_| Err(SinkError::since_checkpoint(std::io::Error::other("lost")))));
    bench.restart();
    assert_eq!(bench.run(Box::new(|_| Ok(()))), Finished::default());
}

#[test]
fn delays_do_not_grow_while_the_checkpoint_advances() {
    // Growing delays would take at least 51 s.
    const FAILURES: usize = 10;
    let bench = Bench::new();
    bench.commit("{}\n");
    let mut attempts = 0;
    let finish: Finish = Box::new(move |_| {
        attempts += 1;
        if attempts > FAILURES { Ok(()) } else { Err(failure("busy")) }
    });
    let delivery = bench.delivery_with(finish, &mut Finished::default(), true);
    let begun = Instant::now();
    let running = thread::spawn(|| delivery.run());
    while bench.spool.size().0 > 0 {
        thread::yield_now();
    }
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    bench.spool.close();
    assert!(running.join().unwrap().is_none());
}

#[test]
fn a_delay_that_the_target_requests_is_respected() {
    let asked = Duration::from_millis(700);
    let bench = Bench::new();
    bench.commit("{}\n");
    let (sender, attempts) = mpsc::sync_channel(2);
    let mut is_first = true;
    let finish: Finish = Box::new(move |_| {
        sender.send(Instant::now()).unwrap();
        if std::mem::take(&mut is_first) { Err(failure("busy").after(asked)) } else { Ok(()) }
    });
    let delivery = bench.delivery(finish, &mut Finished::default());
    let running = thread::spawn(|| delivery.run());
    let (first, second) = (attempts.recv().unwrap(), attempts.recv().unwrap());
    assert!(second - first >= asked, "{:?}", second - first);
    bench.spool.close();
    assert!(running.join().unwrap().is_none());
}

#[test]
fn a_stop_neither_waits_for_a_delay_nor_shortens_it() {
    let bench = Bench::new();
    bench.commit("{}\n");
    let attempts = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&attempts);
    let begun = Instant::now();
    bench.run(Box::new(move |_| {
        *counted.lock().unwrap() += 1;
        Err(failure("busy").after(Duration::from_secs(3600)))
    }));
    assert!(begun.elapsed() < Duration::from_secs(60));
    assert_eq!(*attempts.lock().unwrap(), 1);
}

#[test]
fn a_required_action_is_shown_until_a_delivery() {
    const RAISED: &str = "logpushd_sink_action_required{sink=\"test\"} 1";
    const ENDED: &str = "logpushd_sink_action_required{sink=\"test\"} 0";
    let wrong_token = || failure("401").until_operator("repair the token");
    for resume in [Resume::Batch, Resume::Checkpoint] {
        let bench = Bench::new();
        assert!(bench.shows(ENDED));
        bench.commit("{}\n");
        let refuses = Arc::new(AtomicBool::new(true));
        let refusing = Arc::clone(&refuses);
        let finish: Finish = Box::new(move |_| match (refusing.load(SeqCst), resume) {
            (false, _) => Ok(()),
            (true, Resume::Batch) => Err(wrong_token()),
            (true, Resume::Checkpoint) => {
                let error = SinkError::since_checkpoint(std::io::Error::other("401"));
                Err(error.until_operator("repair the token"))
            }
        });
        let delivery = bench.delivery(finish, &mut Finished::default());
        let id = delivery.id();
        let running = thread::spawn(|| delivery.run());
        while !bench.shows(RAISED) {
            thread::yield_now();
        }
        refuses.store(false, SeqCst);
        // A reload does not wait for the long interval.
        bench.spool.stop_consumers(&[id], spool::StopAfter::QueueEnd);
        let delivery = running.join().unwrap().expect("the daemon continues");
        let is_delivered = delivery.saved.batch == 1;
        assert_eq!(is_delivered, resume == Resume::Batch, "a return is not retried");
        assert_eq!(bench.shows(ENDED), is_delivered);
        bench.spool.cancel_stop(id);
        let running = thread::spawn(|| delivery.run());
        while !bench.shows(ENDED) {
            thread::yield_now();
        }
        bench.spool.close();
        assert!(running.join().unwrap().is_none());
    }
}
