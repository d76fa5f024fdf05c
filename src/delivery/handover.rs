//! Controls a delivery from outside its thread, and continues it with a new sink after a reload.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use tokio_util::sync::CancellationToken;

use super::{Delivery, opening::Opening};
use crate::{
    log_throttle::FailureThrottle,
    retry::Backoff,
    select::{Choice, Selection},
    sink::{Sink, SinkContext, SinkWaker},
    spool::{Consumer, ConsumerId, Spool},
};

/// Asks a sink, from any thread, to reopen its files and connections.
pub struct Reopen {
    requested: Arc<AtomicBool>,
    spool: Arc<Spool>,
    id: ConsumerId,
}

impl Reopen {
    /// Requests it. The sink does so before its next batch, or at once if it waits for one.
    pub fn request(&self) {
        self.requested.store(true, Ordering::Release);
        self.spool.wake(self.id);
    }
}

/// Creates a waker for the thread of a consumer, once the consumer is registered. Requests that
/// outlive the sink do not keep the spool open.
pub(super) fn waker(spool: &Arc<Spool>, id: &Arc<OnceLock<ConsumerId>>) -> SinkWaker {
    let (spool, id) = (Arc::downgrade(spool), Arc::clone(id));
    SinkWaker::new(move || {
        if let (Some(spool), Some(id)) = (spool.upgrade(), id.get()) {
            spool.wake(*id);
        }
    })
}

impl Delivery {
    /// Returns a handle that asks the sink to reopen.
    pub fn reopen(&self) -> Reopen {
        Reopen { requested: Arc::clone(&self.reopen), spool: Arc::clone(&self.spool), id: self.id }
    }

    /// Returns the stop token of the sink.
    pub fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Creates a new stop token, for the next sink.
    pub fn renew_stop(&mut self) -> CancellationToken {
        self.stop = self.environment.stop.child_token();
        self.stop.clone()
    }

    /// Starts after the batch that [`Spool::skip_unneeded`] returned, and writes a checkpoint with
    /// it soon.
    #[must_use]
    pub fn starting_after(mut self, batch: u64) -> Self {
        self.handled = self.handled.max(batch);
        self.unsaved_since = Some(Instant::now());
        self
    }

    /// Continues after the last checkpoint with another sink, when [`Delivery::run`] has returned
    /// `self`. The old sink is dropped before `open` creates the new one, since they may have the
    /// same files.
    ///
    /// # Errors
    /// As [`Delivery::new`].
    pub fn resume(
        self,
        consumer: Consumer,
        choice: &Choice,
        open: impl FnOnce(SinkContext) -> Result<Box<dyn Sink>, String>,
    ) -> Result<Self, String> {
        drop(self.sink);
        drop(self.dead_letters);
        let waker = waker(&self.spool, &Arc::new(OnceLock::from(self.id)));
        let opening = Opening {
            name: &self.name,
            spool: &self.spool,
            saved: &self.saved,
            metrics: &self.metrics,
            waker,
            choice,
        };
        let (sink, dead_letters) = opening.run(&self.environment, self.stop.clone(), open)?;
        let (handled, accepts) = (self.saved.batch, Arc::clone(&consumer.accepts));
        self.spool.resume(self.id, consumer, handled);
        self.metrics.action_required(false);
        Ok(Self {
            accepts,
            sink,
            dead_letters,
            selection: Selection::new(choice),
            fingerprint: choice.fingerprint(),
            handled,
            returns: Backoff::default(),
            alarm: None,
            failures: FailureThrottle::default(),
            release_failures: FailureThrottle::default(),
            ..self
        })
    }
}
