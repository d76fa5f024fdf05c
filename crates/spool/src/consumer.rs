//! The consumers of batches: their positions, their life cycle, and which batches they still need.

use std::{
    io,
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use super::{Backlog, Batch, NextBatch, Queue, QueuedBatch, Spool};

/// A consumer of batches.
pub struct Consumer {
    /// The name, for the log.
    pub name: String,
    /// The batches that it accepts.
    pub accepts: BatchFilter,
    /// Whether a full spool may drop its oldest batches instead of refusing new ones.
    pub may_drop: bool,
}

/// Selects the batches that a consumer accepts.
pub type BatchFilter = Arc<dyn Fn(&Batch) -> bool + Send + Sync>;

/// The position of a consumer.
pub(super) struct Cursor {
    pub(super) consumer: Consumer,
    /// The last batch that was passed to it.
    pub(super) started: u64,
    /// The last batch that it has handled.
    pub(super) handled: u64,
    /// The last batch that it will not ask for again, even after a crash.
    pub(super) released: u64,
    /// The last batch that it receives, if it is to stop.
    stop_after: Option<u64>,
    /// The batches that it accepts and has not handled.
    pub(super) backlog: Backlog,
}

/// Identifies a registered consumer.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ConsumerId(u64);

/// The batch after which a consumer stops.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StopAfter {
    /// The last batch that is committed now.
    QueueEnd,
    /// The batch that it is handling.
    CurrentBatch,
}

/// The lag of a consumer.
#[derive(Debug, Eq, PartialEq)]
pub struct Lag {
    /// The name of the consumer.
    pub name: String,
    /// The age of the oldest batch that it has not handled.
    pub oldest: Option<Duration>,
    /// The number of batches that it accepts and has not handled.
    pub batches: u64,
    /// The total size of their files.
    pub bytes: u64,
    /// The number of records that a full spool dropped for consumers of this name.
    pub dropped: u64,
}

impl Spool {
    /// Registers a consumer that has handled the batches up to `released` in an earlier run, or none (0).
    ///
    /// At startup, all consumers must be registered before the first commit and before the first release.
    /// A consumer that is registered later receives the batches that are in the spool by then.
    pub fn register(&self, consumer: Consumer, released: u64) -> ConsumerId {
        let mut queue = self.queue();
        queue.next_sequence = queue.next_sequence.max(released + 1);
        queue.registered += 1;
        let id = ConsumerId(queue.registered);
        let (started, handled) = (released, released);
        let backlog = Backlog::default();
        let mut cursor = Cursor { consumer, started, handled, released, stop_after: None, backlog };
        cursor.count(&queue.waiting);
        queue.cursors.insert(id, cursor);
        id
    }

    /// Stops consumers, all after the same batch. Then [`Spool::next`] returns [`NextBatch::Closed`], and
    /// [`Spool::pause`] does not wait. Returns the last committed batch.
    pub fn stop_consumers(&self, consumers: &[ConsumerId], end: StopAfter) -> u64 {
        let mut queue = self.queue();
        // A batch whose commit is under way has a higher sequence.
        let committed = queue.next_sequence - 1;
        let last = match end {
            StopAfter::QueueEnd => committed,
            StopAfter::CurrentBatch => 0,
        };
        for consumer in consumers {
            if let Some(cursor) = queue.cursors.get_mut(consumer) {
                // A second call does not extend it.
                cursor.stop_after =
                    Some(cursor.stop_after.map_or(last, |stop_after| stop_after.min(last)));
            }
        }
        drop(queue);
        self.changed.notify_all();
        committed
    }

    /// Lets new consumers skip the batches up to `last` that no other consumer needs, which are in the
    /// spool only because they have not been released yet. Returns the last skipped batch.
    pub fn skip_unneeded(&self, newcomers: &[ConsumerId], last: u64) -> u64 {
        let mut queue = self.queue();
        let queue = &mut *queue;
        let is_lacked = |entry: &QueuedBatch| {
            let mut others = queue.cursors.iter().filter(|(id, _)| !newcomers.contains(id));
            others.any(|(_, cursor)| cursor.needs(entry))
        };
        let lacked = queue.waiting.range(..=last).find(|(_, entry)| is_lacked(entry));
        let begin = lacked.map_or(last, |(sequence, _)| sequence - 1);
        for newcomer in newcomers {
            if let Some(cursor) = queue.cursors.get_mut(newcomer) {
                cursor.move_to(cursor.handled.max(begin), &queue.waiting);
            }
        }
        begin
    }

    /// Cancels the stop of a consumer.
    pub fn cancel_stop(&self, consumer: ConsumerId) {
        if let Some(cursor) = self.queue().cursors.get_mut(&consumer) {
            cursor.stop_after = None;
        }
    }

    /// Replaces a stopped consumer by another one, which continues after the batch `handled`.
    pub fn resume(&self, place: ConsumerId, consumer: Consumer, handled: u64) {
        let mut queue = self.queue();
        let queue = &mut *queue;
        if let Some(cursor) = queue.cursors.get_mut(&place) {
            // A started batch stays started, so that it is not dropped: a file may contain a part of it.
            cursor.consumer = consumer;
            cursor.handled = handled;
            cursor.count(&queue.waiting);
        }
    }

    /// Removes a consumer, for which no batches are kept any more.
    ///
    /// # Errors
    /// As [`Spool::release`].
    pub fn unregister(&self, consumer: ConsumerId) -> io::Result<()> {
        self.queue().cursors.remove(&consumer);
        self.changed.notify_all();
        self.remove_released()
    }

    /// Waits until `deadline` for the batch after the last one that the consumer has handled.
    pub fn next(&self, consumer: ConsumerId, deadline: Option<Instant>) -> NextBatch {
        let mut queue = self.queue();
        loop {
            if let Some(entry) = queue.take_next(consumer) {
                return NextBatch::Ready(entry);
            }
            if queue.is_stopped(consumer) {
                return NextBatch::Closed;
            }
            if queue.woken.remove(&consumer) {
                return NextBatch::TimedOut;
            }
            queue = match deadline {
                None => self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return NextBatch::TimedOut;
                    }
                    let waited = self.changed.wait_timeout(queue, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Ends the current wait of a consumer, so that it can do other work.
    pub fn wake(&self, consumer: ConsumerId) {
        self.queue().woken.insert(consumer);
        self.changed.notify_all();
    }

    /// Waits for `pause`. Returns `false` if the consumer has to stop.
    pub fn pause(&self, consumer: ConsumerId, pause: Duration) -> bool {
        let queue = self.queue();
        let goes_on = |queue: &mut Queue| !queue.is_stopped(consumer);
        let waited = self.changed.wait_timeout_while(queue, pause, goes_on);
        !waited.unwrap_or_else(PoisonError::into_inner).0.is_stopped(consumer)
    }

    /// Sets the last batch that a consumer has handled, whose cached blocks may be dropped. It may be earlier
    /// than before, down to the last released batch, to receive batches again.
    pub fn advance(&self, consumer: ConsumerId, sequence: u64) {
        let mut queue = self.queue();
        let queue = &mut *queue;
        if let Some(cursor) = queue.cursors.get_mut(&consumer) {
            cursor.move_to(sequence, &queue.waiting);
        }
        let handled = queue.cursors.values().map(|cursor| cursor.handled).min().unwrap_or(0);
        while let Some(oldest) = queue.resident.front().copied().filter(|at| *at <= handled) {
            queue.resident.pop_front();
            queue.forget_blocks(oldest);
        }
    }

    /// Sets the last batch that a consumer will never ask for again, and removes the batches that no
    /// consumer needs.
    ///
    /// # Errors
    /// The deduplication log cannot be written. The batches stay until a later release.
    pub fn release(&self, consumer: ConsumerId, sequence: u64) -> io::Result<()> {
        if let Some(cursor) = self.queue().cursors.get_mut(&consumer) {
            cursor.released = sequence;
        }
        self.remove_released()
    }

    fn remove_released(&self) -> io::Result<()> {
        let queue = self.queue();
        let released = queue.released();
        if queue.waiting.range(..=released).next().is_none() {
            return Ok(());
        }
        drop(queue);
        // The deduplication log must contain the batches before their files are removed.
        self.dedup.sync()?;
        let mut queue = self.queue();
        // A consumer that was registered in the meantime may have started with them.
        let released = released.min(queue.released());
        let kept = queue.waiting.split_off(&(released + 1));
        let gone = std::mem::replace(&mut queue.waiting, kept);
        queue.bytes -= gone.values().map(|entry| entry.bytes).sum::<u64>();
        for cursor in queue.cursors.values_mut() {
            cursor.removed(gone.values());
        }
        drop(queue);
        self.remove(&gone.into_values().collect::<Vec<_>>());
        Ok(())
    }

    /// Returns the lag of each consumer.
    pub fn lags(&self) -> Vec<Lag> {
        let (queue, now) = (self.queue(), Instant::now());
        let lag = |cursor: &Cursor| Lag {
            name: cursor.consumer.name.clone(),
            oldest: queue
                .waiting
                .range(cursor.handled + 1..)
                .next()
                .map(|(_, entry)| entry.age.at(now)),
            batches: cursor.backlog.batches,
            bytes: cursor.backlog.bytes,
            dropped: queue
                .dropped
                .get(&cursor.consumer.name)
                .map_or(0, super::shed::Dropped::records),
        };
        queue.cursors.values().map(lag).collect()
    }

    pub(super) fn slowest_consumer(&self) -> String {
        let queue = self.queue();
        let last = queue.cursors.values().min_by_key(|cursor| cursor.handled);
        last.map(|cursor| cursor.consumer.name.clone()).unwrap_or_default()
    }
}

impl Cursor {
    /// Reports whether it accepts a batch and has not handled it.
    pub(super) fn needs(&self, entry: &QueuedBatch) -> bool {
        entry.batch.sequence > self.handled && (self.consumer.accepts)(&entry.batch)
    }

    /// Reports whether a batch may be dropped. A started batch may not, since a file would end in the
    /// middle of it.
    pub(super) fn can_drop(&self, entry: &QueuedBatch) -> bool {
        let Consumer { accepts, may_drop, .. } = &self.consumer;
        let sequence = entry.batch.sequence;
        sequence <= self.released
            || sequence > self.started && (*may_drop || !accepts(&entry.batch))
    }
}

impl Queue {
    fn take_next(&mut self, consumer: ConsumerId) -> Option<QueuedBatch> {
        let cursor = self.cursors.get_mut(&consumer)?;
        let (sequence, entry) = self.waiting.range(cursor.handled + 1..).next()?;
        if cursor.stop_after.is_some_and(|stop_after| *sequence > stop_after) {
            return None;
        }
        cursor.started = *sequence;
        Some(entry.clone())
    }

    /// Reports whether the consumer has to stop after the batches that it has read.
    fn is_stopped(&self, consumer: ConsumerId) -> bool {
        self.closed || self.cursors.get(&consumer).is_none_or(|cursor| cursor.stop_after.is_some())
    }

    /// Returns the last batch that all consumers have released.
    fn released(&self) -> u64 {
        self.cursors.values().map(|cursor| cursor.released).min().unwrap_or(0)
    }
}
