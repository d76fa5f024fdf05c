//! What is asked of a delivery from outside its thread, and what becomes of one when the configuration
//! changes.

use std::{
    sync::{
        Arc,
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
    sink::{Sink, SinkContext},
    spool::{Consumer, ConsumerId, Spool},
};

/// Asks a sink, from any thread, to let go of what it has open.
pub struct Reopen {
    asked: Arc<AtomicBool>,
    spool: Arc<Spool>,
    id: ConsumerId,
}

impl Reopen {
    /// It does so before its next batch, or at once if it waits for one.
    pub fn ask(&self) {
        self.asked.store(true, Ordering::Release);
        self.spool.wake(self.id);
    }
}

impl Delivery {
    /// How to ask its sink to reopen.
    pub fn reopen(&self) -> Reopen {
        Reopen { asked: Arc::clone(&self.reopen), spool: Arc::clone(&self.spool), id: self.id }
    }

    /// The stop token of the sink.
    pub fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Makes a new stop token, for the sink that takes the place of this one.
    pub fn renew_stop(&mut self) -> CancellationToken {
        self.stop = self.environment.stop.child_token();
        self.stop.clone()
    }

    /// Begins behind a batch that [`Spool::skip_unneeded`] has named, and puts that on record.
    #[must_use]
    pub fn beginning_behind(mut self, batch: u64) -> Self {
        self.handled = self.handled.max(batch);
        self.unsaved_since = Some(Instant::now());
        self
    }

    /// Goes on behind the last checkpoint with another sink, after [`Delivery::run`] has given this
    /// back. The old sink is gone before `open` makes the new one: they may have the same files.
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
        let opening = Opening {
            name: &self.name,
            spool: &self.spool,
            saved: &self.saved,
            metrics: &self.metrics,
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
            handled,
            returns: Backoff::default(),
            alarm: None,
            failures: FailureThrottle::default(),
            kept: FailureThrottle::default(),
            ..self
        })
    }
}
