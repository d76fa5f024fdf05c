//! Whoever reads batches: how far each is, who comes, changes and goes, and what may leave the spool
//! for it.

use std::{
    io,
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use super::{Backlog, Batch, Entry, Next, Queue, Spool};

/// Whoever reads batches.
pub struct Consumer {
    /// For the log.
    pub name: String,
    /// Which batches it takes.
    pub wants: Wants,
    /// Whether the spool, when it is full, drops its oldest batches rather than refuse new ones.
    pub may_drop: bool,
}

/// Tells the batches that a consumer takes.
pub type Wants = Arc<dyn Fn(&Batch) -> bool + Send + Sync>;

/// How far a consumer is.
pub(super) struct Cursor {
    pub(super) consumer: Consumer,
    /// The last batch that was handed to it.
    pub(super) begun: u64,
    /// The last batch that it has handled.
    pub(super) handled: u64,
    /// The last batch that it will not ask for again, not even after a crash.
    pub(super) released: u64,
    /// If it is to end: the last batch that it gets.
    until: Option<u64>,
    /// What waits for it.
    pub(super) backlog: Backlog,
}

/// A consumer's place in the spool.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ConsumerId(u64);

/// When a consumer is to end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// Behind the batches that are committed by now.
    AtQueueEnd,
    /// Behind the batch that it is at.
    Now,
}

/// What a consumer lacks.
#[derive(Debug, Eq, PartialEq)]
pub struct Lag {
    /// Its name.
    pub name: String,
    /// The age of the oldest batch that it has not handled.
    pub oldest: Option<Duration>,
    /// How many of the batches that wait it takes and has not handled.
    pub batches: u64,
    /// Size of their files.
    pub bytes: u64,
    /// How many records it, or another of its name, has lost to a full spool.
    pub dropped: u64,
}

impl Spool {
    /// Registers a consumer that has handled the batches up to `released` in an earlier life, or
    /// none (0). All that there are at the start are registered before the first batch is committed,
    /// and before the first of them releases any; one that comes later gets what waits by then.
    pub fn register(&self, consumer: Consumer, released: u64) -> ConsumerId {
        let mut queue = self.queue();
        queue.next_sequence = queue.next_sequence.max(released + 1);
        queue.registered += 1;
        let id = ConsumerId(queue.registered);
        let (begun, handled) = (released, released);
        let backlog = Backlog::default();
        let mut cursor = Cursor { consumer, begun, handled, released, until: None, backlog };
        cursor.count(&queue.waiting);
        queue.cursors.insert(id, cursor);
        id
    }

    /// Tells consumers to end, all at the same place: [`Spool::next`] will say so, and [`Spool::pause`]
    /// no longer pauses. Gives back the last batch that is committed.
    pub fn end(&self, consumers: &[ConsumerId], end: End) -> u64 {
        let mut queue = self.queue();
        // What is being committed has a higher number.
        let committed = queue.next_sequence - 1;
        let last = match end {
            End::AtQueueEnd => committed,
            End::Now => 0,
        };
        for consumer in consumers {
            if let Some(cursor) = queue.cursors.get_mut(consumer) {
                // Told again, it does not get more.
                cursor.until = Some(cursor.until.map_or(last, |until| until.min(last)));
            }
        }
        drop(queue);
        self.changed.notify_all();
        committed
    }

    /// Lets those who came just now pass over the batches up to `last` that nobody else lacks: they
    /// are still there only because nobody has released them yet. Says where they begin.
    pub fn pass_over(&self, newcomers: &[ConsumerId], last: u64) -> u64 {
        let mut queue = self.queue();
        let queue = &mut *queue;
        let is_lacked = |entry: &Entry| {
            let mut others = queue.cursors.iter().filter(|(id, _)| !newcomers.contains(id));
            others.any(|(_, cursor)| cursor.lacks(entry))
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

    /// Takes back that a consumer is to end.
    pub fn go_on(&self, consumer: ConsumerId) {
        if let Some(cursor) = self.queue().cursors.get_mut(&consumer) {
            cursor.until = None;
        }
    }

    /// Lets another take the place of a consumer that has ended, behind the batch `handled`.
    pub fn resume(&self, place: ConsumerId, consumer: Consumer, handled: u64) {
        let mut queue = self.queue();
        let queue = &mut *queue;
        if let Some(cursor) = queue.cursors.get_mut(&place) {
            // A batch that was begun stays so: what is in a file of it must not be all of it.
            cursor.consumer = consumer;
            cursor.handled = handled;
            cursor.count(&queue.waiting);
        }
    }

    /// Forgets a consumer: nothing is kept for it any more.
    ///
    /// # Errors
    /// As [`Spool::release`].
    pub fn leave(&self, consumer: ConsumerId) -> io::Result<()> {
        self.queue().cursors.remove(&consumer);
        self.changed.notify_all();
        self.let_go()
    }

    /// Waits, up to `deadline`, for the batch after the last that the consumer has handled.
    pub fn next(&self, consumer: ConsumerId, deadline: Option<Instant>) -> Next {
        let mut queue = self.queue();
        loop {
            if let Some(entry) = queue.begin_next(consumer) {
                return Next::Entry(entry);
            }
            if queue.is_over(consumer) {
                return Next::Closed;
            }
            if queue.woken.remove(&consumer) {
                return Next::Timeout;
            }
            queue = match deadline {
                None => self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Next::Timeout;
                    }
                    let waited = self.changed.wait_timeout(queue, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Ends the wait of a consumer, so that it looks at what else there is to do.
    pub fn wake(&self, consumer: ConsumerId) {
        self.queue().woken.insert(consumer);
        self.changed.notify_all();
    }

    /// Waits for `pause`, and says whether the consumer goes on.
    pub fn pause(&self, consumer: ConsumerId, pause: Duration) -> bool {
        let queue = self.queue();
        let goes_on = |queue: &mut Queue| !queue.is_over(consumer);
        let waited = self.changed.wait_timeout_while(queue, pause, goes_on);
        !waited.unwrap_or_else(PoisonError::into_inner).0.is_over(consumer)
    }

    /// Says that a consumer has handled the batches up to `sequence`: what lies in memory for it
    /// may go. It may say less than before, down to what it has released: it gets the rest again.
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

    /// Says that a consumer will never ask again for the batches up to `sequence`. Those that no
    /// consumer needs are removed.
    ///
    /// # Errors
    /// It cannot be written down that they were committed: they stay, until a later release.
    pub fn release(&self, consumer: ConsumerId, sequence: u64) -> io::Result<()> {
        if let Some(cursor) = self.queue().cursors.get_mut(&consumer) {
            cursor.released = sequence;
        }
        self.let_go()
    }

    fn let_go(&self) -> io::Result<()> {
        let queue = self.queue();
        let released = queue.released();
        if queue.waiting.range(..=released).next().is_none() {
            return Ok(());
        }
        drop(queue);
        // That they were committed must be known when their files no longer say so.
        self.dedup.sync()?;
        let mut queue = self.queue();
        // Whoever came meanwhile may have begun with them.
        let released = released.min(queue.released());
        let kept = queue.waiting.split_off(&(released + 1));
        let gone = std::mem::replace(&mut queue.waiting, kept);
        queue.bytes -= gone.values().map(|entry| entry.bytes).sum::<u64>();
        for cursor in queue.cursors.values_mut() {
            cursor.lost(gone.values());
        }
        drop(queue);
        self.remove(&gone.into_values().collect::<Vec<_>>());
        Ok(())
    }

    /// What each consumer lacks.
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

    pub(super) fn furthest_behind(&self) -> String {
        let queue = self.queue();
        let last = queue.cursors.values().min_by_key(|cursor| cursor.handled);
        last.map(|cursor| cursor.consumer.name.clone()).unwrap_or_default()
    }
}

impl Cursor {
    /// Whether it takes a batch and has not handled it.
    pub(super) fn lacks(&self, entry: &Entry) -> bool {
        entry.batch.sequence > self.handled && (self.consumer.wants)(&entry.batch)
    }

    /// Whether a batch may vanish for this consumer's sake. One that it has begun may not: a file
    /// would end in the middle of it.
    pub(super) fn can_do_without(&self, entry: &Entry) -> bool {
        let Consumer { wants, may_drop, .. } = &self.consumer;
        let sequence = entry.batch.sequence;
        sequence <= self.released || sequence > self.begun && (*may_drop || !wants(&entry.batch))
    }
}

impl Queue {
    fn begin_next(&mut self, consumer: ConsumerId) -> Option<Entry> {
        let cursor = self.cursors.get_mut(&consumer)?;
        let (sequence, entry) = self.waiting.range(cursor.handled + 1..).next()?;
        if cursor.until.is_some_and(|until| *sequence > until) {
            return None;
        }
        cursor.begun = *sequence;
        Some(entry.clone())
    }

    /// Whether a consumer that has read all there is for it has come to its end.
    fn is_over(&self, consumer: ConsumerId) -> bool {
        self.closed || self.cursors.get(&consumer).is_none_or(|cursor| cursor.until.is_some())
    }

    /// The last batch that all have released.
    fn released(&self) -> u64 {
        self.cursors.values().map(|cursor| cursor.released).min().unwrap_or(0)
    }
}
