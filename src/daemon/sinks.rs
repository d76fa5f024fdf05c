//! Starts, ends and replaces the threads of the sinks, each independently of the others.

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

use super::EndedTask;
use crate::{
    blocking,
    config::{Config, SinkConfig},
    delivery::{self, Delivery, Reopen},
    sink,
    spool::{Consumer, ConsumerId, Spool, StopAfter},
};

/// How long a reload waits for a changed or removed sink to deliver its backlog.
const BACKLOG: Duration = Duration::from_secs(10);

/// How long a reload then waits for the sink to finish its current batch.
const LAST_BATCH: Duration = Duration::from_secs(5);

/// The sinks that have a thread.
pub(super) struct Sinks {
    spool: Arc<Spool>,
    threads: TaskTracker,
    ended_sender: mpsc::Sender<EndedTask>,
    by_name: BTreeMap<String, Running>,
    returned_sender: mpsc::Sender<Delivery>,
    /// Deliveries whose threads have ended on request.
    returned: mpsc::Receiver<Delivery>,
}

struct Running {
    id: ConsumerId,
    reopen: Reopen,
    /// Cancels what the sink has in flight.
    stop: CancellationToken,
    on_end: OnEnd,
}

/// What to do when the thread of a sink ends.
enum OnEnd {
    /// Report a defect: the sink was not asked to end.
    Fail,
    /// Start it with new settings.
    Restart(Box<Plan>),
    /// Remove it: it is no longer in the configuration.
    Remove,
}

/// The new settings of a sink.
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
    /// Creates an empty set. A shutdown waits for `threads`.
    pub(super) fn new(
        spool: Arc<Spool>,
        threads: TaskTracker,
        ended_sender: mpsc::Sender<EndedTask>,
    ) -> Self {
        // A thread that has ended may wait here; it has no work left.
        let (returned_sender, returned) = mpsc::channel(1);
        let by_name = BTreeMap::new();
        Self { spool, threads, ended_sender, by_name, returned_sender, returned }
    }

    /// Starts a new sink.
    pub(super) fn start(&mut self, delivery: Delivery) -> io::Result<()> {
        let (id, reopen, stop) = (delivery.id(), delivery.reopen(), delivery.stop());
        let running = Running { id, reopen, stop, on_end: OnEnd::Fail };
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
        let (ended, returned) = (self.ended_sender.clone(), self.returned_sender.clone());
        let token = self.threads.token();
        thread::Builder::new().name(name.clone()).spawn(move || {
            let outcome = panic::catch_unwind(AssertUnwindSafe(|| begin().map(Delivery::run)));
            let defect = match outcome {
                // The receiver is gone if the daemon has stopped meanwhile.
                Ok(Ok(Some(delivery))) => returned.blocking_send(delivery).map_or(None, |()| None),
                Ok(Ok(None)) => None,
                Ok(Err(error)) => Some(format!("could not continue ({error})")),
                Err(_) => Some("panicked".to_owned()),
            };
            if let Some(how) = defect {
                // It may be full: one report stops the daemon.
                ended.try_send((name, how)).ok();
            }
            drop(token);
        })?;
        Ok(())
    }

    /// Asks all sinks to reopen their files, except removed ones.
    pub(super) fn reopen(&self) {
        let configured = self.by_name.values().filter(|sink| !matches!(sink.on_end, OnEnd::Remove));
        configured.for_each(|sink| sink.reopen.request());
    }

    /// Returns the names of removed sinks whose threads have not ended yet.
    pub(super) fn lingering(&self) -> BTreeSet<String> {
        let removed = self.by_name.iter().filter(|(_, sink)| matches!(sink.on_end, OnEnd::Remove));
        removed.map(|(name, _)| name.clone()).collect()
    }

    /// Asks sinks to end after the last committed batch, and returns its sequence. Later batches
    /// are delivered with the new settings, or not delivered to a removed sink. A sink without a
    /// plan is removed.
    pub(super) fn end(&mut self, plans: Vec<(String, Option<Plan>)>) -> u64 {
        let mut ids = Vec::new();
        for (name, plan) in plans {
            if let Some(sink) = self.by_name.get_mut(&name) {
                ids.push(sink.id);
                sink.on_end = plan.map_or(OnEnd::Remove, |plan| OnEnd::Restart(Box::new(plan)));
            }
        }
        self.spool.stop_consumers(&ids, StopAfter::QueueEnd)
    }

    /// Waits until the sinks `names` have ended, then starts them with their new settings, and
    /// starts the sinks `added`. `committed` is the sequence that [`Sinks::end`] returned. Returns
    /// the names of the sinks that did not end in time.
    pub(super) async fn settle(
        &mut self,
        added: Vec<Delivery>,
        names: &[String],
        committed: u64,
    ) -> Vec<String> {
        let mut awaited: BTreeSet<&String> =
            names.iter().filter(|name| self.by_name.contains_key(*name)).collect();
        let mut ended = Vec::new();
        for (limit, next) in [(BACKLOG, Some(StopAfter::CurrentBatch)), (LAST_BATCH, None)] {
            let deadline = Instant::now() + limit;
            while !awaited.is_empty() {
                let Ok(delivery) = timeout_at(deadline, self.returned.recv()).await else {
                    break;
                };
                let Some(delivery) = delivery else { break };
                awaited.retain(|name| *name != delivery.name());
                ended.push(delivery);
            }
            if let Some(next) = next {
                let late = awaited.iter().filter_map(|name| self.by_name.get(*name));
                self.spool.stop_consumers(&late.map(|sink| sink.id).collect::<Vec<_>>(), next);
            }
        }
        let new: Vec<_> = added.iter().map(Delivery::id).collect();
        let begin = self.spool.skip_unneeded(&new, committed);
        for delivery in ended {
            self.replace(delivery).await;
        }
        for delivery in added {
            let name = delivery.name().to_owned();
            if let Err(error) = self.start(delivery.starting_after(begin)) {
                self.defect(&name, &error);
            }
        }
        for name in &awaited {
            // A request in flight would keep it busy for as long as the target takes to answer.
            self.by_name.get(*name).inspect(|sink| sink.stop.cancel());
            if let Some(Running { id, on_end: OnEnd::Remove, .. }) = self.by_name.get(*name) {
                self.leave(*id).await;
                warn!(sink = name, "reload: removed sink is still busy with a batch");
            } else {
                warn!(sink = name, "reload: sink is busy with a batch, and changes after it");
            }
        }
        awaited.into_iter().cloned().collect()
    }

    /// Waits until a sink ends that did not end in time.
    pub(super) async fn late(&mut self) -> Option<Delivery> {
        self.returned.recv().await
    }

    /// Restarts or removes a sink that has ended on request.
    pub(super) async fn replace(&mut self, mut delivery: Delivery) {
        let name = delivery.name().to_owned();
        let running = self.by_name.get_mut(&name);
        let on_end = running.map(|sink| {
            sink.stop = delivery.renew_stop();
            (sink.id, mem::replace(&mut sink.on_end, OnEnd::Fail))
        });
        match on_end {
            Some((id, OnEnd::Restart(plan))) => {
                let Plan { sink, consumer } = *plan;
                // Not in its thread: the sink may be asked to end again before the thread has
                // opened it.
                self.spool.cancel_stop(id);
                let outcome = self.spawn(&name, move || {
                    delivery
                        .resume(consumer, &sink.choice, |context| sink::open(&sink.kind, context))
                });
                if let Err(error) = outcome {
                    self.defect(&name, &error);
                }
            }
            Some((id, OnEnd::Remove)) => {
                self.by_name.remove(&name);
                // Dropping the sink may wait for a thread that the sink started.
                blocking::run(move || drop(delivery)).await.ok();
                self.leave(id).await;
            }
            Some((_, OnEnd::Fail)) | None => self.defect(&name, &"it was not asked to end"),
        }
    }

    /// Discards the batches that only this sink still needs.
    async fn leave(&self, id: ConsumerId) {
        let spool = Arc::clone(&self.spool);
        if let Ok(Err(error)) = blocking::run(move || spool.unregister(id)).await {
            error!(%error, "cannot discard the backlog of a removed sink yet");
        }
    }

    fn defect(&self, name: &str, error: &dyn std::fmt::Display) {
        let how = format!("could not continue ({error})");
        self.ended_sender.try_send((format!("sink {name}"), how)).ok();
    }
}
