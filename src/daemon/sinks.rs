//! The threads of the deliveries: started, ended, and replaced one by one while the others go on.

use std::{
    collections::{BTreeMap, BTreeSet},
    io, mem,
    panic::{self, AssertUnwindSafe},
    sync::Arc,
    thread,
    time::Duration,
};

use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, warn};

use super::Ended;
use crate::{
    blocking,
    config::{Config, SinkConfig},
    delivery::{self, Delivery, Reopen},
    sink,
    spool::{Consumer, ConsumerId, Spool, StopAfter},
};

/// How long a sink that ends may go on with what waits for it, then with the batch that it is at. Who
/// asked for a reload waits for it.
const DELIVER: Duration = Duration::from_secs(10);
const LAST_BATCH: Duration = Duration::from_secs(5);

/// The sinks that have a thread.
pub(super) struct Sinks {
    spool: Arc<Spool>,
    threads: TaskTracker,
    tell_end: mpsc::Sender<Ended>,
    by_name: BTreeMap<String, Running>,
    back: mpsc::Sender<Delivery>,
    /// Those that have ended since they were told to.
    ended: mpsc::Receiver<Delivery>,
}

struct Running {
    id: ConsumerId,
    reopen: Reopen,
    /// Stops what it is at.
    stop: CancellationToken,
    then: Then,
}

/// What becomes of a sink.
enum Then {
    /// It goes on as it is.
    Stays,
    /// It was told to end, and is to be this.
    Becomes(Box<Plan>),
    /// It was told to end: the configuration no longer has it.
    Leaves,
}

/// What a sink is to be from now on.
pub(super) struct Plan {
    sink: SinkConfig,
    consumer: Consumer,
}

impl Plan {
    pub(super) fn new(config: &Config, sink: &SinkConfig) -> Self {
        Self { sink: sink.clone(), consumer: delivery::sink_consumer(config, sink) }
    }
}

impl Sinks {
    /// `threads` are those to wait for at the end of the daemon.
    pub(super) fn new(
        spool: Arc<Spool>,
        threads: TaskTracker,
        tell_end: mpsc::Sender<Ended>,
    ) -> Self {
        // Who finds it full waits: there is nothing else for it to do.
        let (back, ended) = mpsc::channel(1);
        Self { spool, threads, tell_end, by_name: BTreeMap::new(), back, ended }
    }

    /// Starts one that is not there.
    pub(super) fn start(&mut self, delivery: Delivery) -> io::Result<()> {
        let (id, reopen, stop) = (delivery.id(), delivery.reopen(), delivery.stop());
        let running = Running { id, reopen, stop, then: Then::Stays };
        let name = delivery.name().to_owned();
        self.spawn(&name, || Ok(delivery))?;
        self.by_name.insert(name, running);
        Ok(())
    }

    fn spawn(
        &self,
        name: &str,
        begin: impl FnOnce() -> Result<Delivery, String> + Send + 'static,
    ) -> io::Result<()> {
        let name = format!("sink {name}");
        let (tell_end, back) = (self.tell_end.clone(), self.back.clone());
        let token = self.threads.token();
        thread::Builder::new().name(name.clone()).spawn(move || {
            let outcome = panic::catch_unwind(AssertUnwindSafe(|| begin().map(Delivery::run)));
            let defect = match outcome {
                // The receiver is gone when the daemon stops meanwhile.
                Ok(Ok(Some(delivery))) => back.blocking_send(delivery).map_or(None, |()| None),
                Ok(Ok(None)) => None,
                Ok(Err(error)) => Some(format!("could not go on ({error})")),
                Err(_) => Some("panicked".to_owned()),
            };
            if let Some(how) = defect {
                // One of them is enough.
                tell_end.try_send((name, how)).ok();
            }
            drop(token);
        })?;
        Ok(())
    }

    /// Lets all of them let go of what they have open, but for those that are gone.
    pub(super) fn reopen(&self) {
        let there = self.by_name.values().filter(|sink| !matches!(sink.then, Then::Leaves));
        there.for_each(|sink| sink.reopen.ask());
    }

    /// Those that are gone for the configuration, and whose threads still are there.
    pub(super) fn lingering(&self) -> BTreeSet<String> {
        let gone = self.by_name.iter().filter(|(_, sink)| matches!(sink.then, Then::Leaves));
        gone.map(|(name, _)| name.clone()).collect()
    }

    /// Tells sinks to end behind what is committed by now, and says what that is. What comes later is
    /// for what they are to be then, or not for them.
    pub(super) fn end(&mut self, plans: Vec<(String, Option<Plan>)>) -> u64 {
        let mut ids = Vec::new();
        for (name, plan) in plans {
            if let Some(sink) = self.by_name.get_mut(&name) {
                ids.push(sink.id);
                sink.then = plan.map_or(Then::Leaves, |plan| Then::Becomes(Box::new(plan)));
            }
        }
        self.spool.stop_consumers(&ids, StopAfter::QueueEnd)
    }

    /// Waits for those that were told to end, then starts what they are to be, and `added`.
    /// `committed` is what [`Sinks::end`] said. Names those that took too long.
    pub(super) async fn settle(
        &mut self,
        added: Vec<Delivery>,
        names: &[String],
        committed: u64,
    ) -> Vec<String> {
        let mut awaited: BTreeSet<&String> =
            names.iter().filter(|name| self.by_name.contains_key(*name)).collect();
        let mut ended = Vec::new();
        for (patience, then) in [(DELIVER, Some(StopAfter::CurrentBatch)), (LAST_BATCH, None)] {
            let deadline = Instant::now() + patience;
            while !awaited.is_empty() {
                let Ok(delivery) = timeout_at(deadline, self.ended.recv()).await else {
                    break;
                };
                let Some(delivery) = delivery else { break };
                awaited.retain(|name| *name != delivery.name());
                ended.push(delivery);
            }
            if let Some(then) = then {
                let late = awaited.iter().filter_map(|name| self.by_name.get(*name));
                self.spool.stop_consumers(&late.map(|sink| sink.id).collect::<Vec<_>>(), then);
            }
        }
        let newcomers: Vec<_> = added.iter().map(Delivery::id).collect();
        let begin = self.spool.skip_unneeded(&newcomers, committed);
        for delivery in ended {
            self.replace(delivery).await;
        }
        for delivery in added {
            let name = delivery.name().to_owned();
            if let Err(error) = self.start(delivery.beginning_behind(begin)) {
                self.defect(&name, &error);
            }
        }
        for name in &awaited {
            // What it has in flight would keep it for as long as its target takes.
            self.by_name.get(*name).inspect(|sink| sink.stop.cancel());
            if let Some(Running { id, then: Then::Leaves, .. }) = self.by_name.get(*name) {
                self.leave(*id).await;
                warn!(sink = name, "reload: it is gone, and still busy with a batch");
            } else {
                warn!(sink = name, "reload: it is busy with a batch, and changes behind that");
            }
        }
        awaited.into_iter().cloned().collect()
    }

    /// Waits for one that took too long.
    pub(super) async fn late(&mut self) -> Option<Delivery> {
        self.ended.recv().await
    }

    /// Starts what a sink that has ended is to be.
    pub(super) async fn replace(&mut self, mut delivery: Delivery) {
        let name = delivery.name().to_owned();
        let told = self.by_name.get_mut(&name);
        let told = told.map(|sink| {
            sink.stop = delivery.renew_stop();
            (sink.id, mem::replace(&mut sink.then, Then::Stays))
        });
        match told {
            Some((id, Then::Becomes(plan))) => {
                let Plan { sink, consumer } = *plan;
                // Here, not by its thread: it may be told to end again before that has opened it.
                self.spool.cancel_stop(id);
                let outcome = self.spawn(&name, move || {
                    delivery
                        .resume(consumer, &sink.choice, |context| sink::open(&sink.kind, context))
                });
                if let Err(error) = outcome {
                    self.defect(&name, &error);
                }
            }
            Some((id, Then::Leaves)) => {
                self.by_name.remove(&name);
                // It may have a thread of its own, which is waited for.
                blocking::run(move || drop(delivery)).await.ok();
                self.leave(id).await;
            }
            Some((_, Then::Stays)) | None => self.defect(&name, &"it was not told to end"),
        }
    }

    /// What it alone lacks goes from the spool.
    async fn leave(&self, id: ConsumerId) {
        let spool = Arc::clone(&self.spool);
        if let Ok(Err(error)) = blocking::run(move || spool.unregister(id)).await {
            error!(%error, "what a sink that is gone had not delivered stays in the spool for now");
        }
    }

    fn defect(&self, name: &str, error: &dyn std::fmt::Display) {
        self.tell_end.try_send((format!("sink {name}"), format!("could not go on ({error})"))).ok();
    }
}
