//! Makes room in a full spool at the cost of consumers that said they may lose batches.

use std::{sync::PoisonError, time::Instant};

use tracing::{info, warn};

use super::{Entry, Queue, Spool};
use crate::{durable, repeats::Losses};

/// More than is needed is freed, so that not every batch has to: this part of the spool.
const SLACK_PART: u64 = 20;

/// What a consumer has lost.
#[derive(Debug, Default)]
pub(super) struct Dropped {
    records: u64,
    /// Which losses are logged.
    losses: Losses,
}

impl Dropped {
    pub(super) fn records(&self) -> u64 {
        self.records
    }
}

fn log_dropped(sink: &str, records: u64) {
    warn!(sink, records, "the spool is full: dropped what this sink had not begun");
}

impl Spool {
    /// Drops the oldest batches that nobody else lacks and that none has begun, until about `bytes`
    /// more have room. Says whether anything was dropped.
    pub(super) fn shed(&self, bytes: u64) -> bool {
        let queue = self.queue();
        if !queue.cursors.values().any(|cursor| cursor.consumer.may_drop) {
            return false;
        }
        let committed_below = queue.next_sequence;
        drop(queue);
        // As before any other removal.
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
            if queue.cursors.values().all(|cursor| cursor.can_do_without(entry)) {
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
            cursor.lost(&gone);
            let lost = gone.iter().filter(|entry| cursor.lacks(entry));
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

    /// Logs the drops that no line contains yet.
    pub fn report_dropped(&self) {
        for (sink, dropped) in &mut self.queue().dropped {
            if let Some(records) = dropped.losses.rest() {
                log_dropped(sink, records);
            }
        }
    }

    /// Makes durable what must be before batches are removed. Every request to a full spool comes
    /// here.
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
                    warn!(%error, repeated, "the spool is full, and no batch can be dropped from it");
                }
            }
        }
        synced.is_ok()
    }

    /// Whether there is a batch that could be dropped.
    pub(super) fn can_shed(&self) -> bool {
        let queue = self.queue();
        let may_vanish =
            |entry: &Entry| queue.cursors.values().all(|cursor| cursor.can_do_without(entry));
        queue.cursors.values().any(|cursor| cursor.consumer.may_drop)
            && queue.waiting.values().any(may_vanish)
    }
}
