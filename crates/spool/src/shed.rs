//! Drops batches from a full spool for consumers that allow it.

use std::{sync::PoisonError, time::Instant};

use tracing::{info, warn};

use super::{Queue, QueuedBatch, Spool};
use crate::{durable, log_throttle::LossThrottle};

/// The part of the spool that is freed in addition, so that not every batch has to drop others.
const SLACK_PART: u64 = 20;

/// The records that a consumer has lost.
#[derive(Debug, Default)]
pub(super) struct Dropped {
    records: u64,
    /// Throttles the log.
    losses: LossThrottle,
}

impl Dropped {
    pub(super) fn records(&self) -> u64 {
        self.records
    }
}

fn log_dropped(sink: &str, records: u64) {
    warn!(sink, records, "spool full: dropped batches that the sink had not started");
}

impl Spool {
    /// Drops the oldest batches that no other consumer needs and that none has started, to make room for
    /// about `bytes`. Returns whether it dropped any.
    pub(super) fn shed(&self, bytes: u64) -> bool {
        let queue = self.queue();
        if !queue.cursors.values().any(|cursor| cursor.consumer.may_drop) {
            return false;
        }
        let committed_below = queue.next_sequence;
        drop(queue);
        // As before every removal of batches.
        if !self.may_remove() {
            return false;
        }
        let mut queue = self.queue();
        let wanted = bytes.saturating_add(self.max_bytes() / SLACK_PART);
        let mut freed = 0;
        let mut gone = Vec::new();
        for (_, entry) in queue.waiting.range(..committed_below) {
            if freed >= wanted {
                break;
            }
            if queue.cursors.values().all(|cursor| cursor.can_drop(entry)) {
                freed += entry.bytes;
                gone.push(entry.clone());
            }
        }
        queue.bytes -= freed;
        for entry in &gone {
            queue.waiting.remove(&entry.batch.sequence);
        }
        let now = Instant::now();
        let Queue { cursors, dropped, .. } = &mut *queue;
        for cursor in cursors.values_mut() {
            cursor.removed(&gone);
            let lost = gone.iter().filter(|entry| cursor.needs(entry));
            let records: u64 = lost.map(|entry| entry.batch.header.records).sum();
            if records > 0 {
                let sink = &cursor.consumer.name;
                let dropped = dropped.entry(sink.clone()).or_default();
                dropped.records += records;
                if let Some(records) = dropped.losses.add(records, now) {
                    log_dropped(sink, records);
                }
            }
        }
        drop(queue);
        self.remove(&gone);
        !gone.is_empty()
    }

    /// Logs the dropped records that have not been logged yet.
    pub fn report_dropped(&self) {
        for (sink, dropped) in &mut self.queue().dropped {
            if let Some(records) = dropped.losses.rest() {
                log_dropped(sink, records);
            }
        }
    }

    /// Makes the deduplication log durable, which must precede the removal of batches. Every request to a
    /// full spool calls this.
    fn may_remove(&self) -> bool {
        let synced = self.dedup.sync();
        let mut failures = self.shedding.lock().unwrap_or_else(PoisonError::into_inner);
        match &synced {
            Ok(()) => {
                if failures.recovered() {
                    info!("batches can be dropped from the full spool again");
                }
            }
            Err(error) => {
                if let Some(repeated) = failures.failed(&durable::cause(error), Instant::now()) {
                    warn!(%error, repeated, "spool full, and batches cannot be dropped");
                }
            }
        }
        synced.is_ok()
    }

    /// Reports whether a batch could be dropped.
    pub(super) fn can_shed(&self) -> bool {
        let queue = self.queue();
        let may_vanish =
            |entry: &QueuedBatch| queue.cursors.values().all(|cursor| cursor.can_drop(entry));
        queue.cursors.values().any(|cursor| cursor.consumer.may_drop)
            && queue.waiting.values().any(may_vanish)
    }
}
