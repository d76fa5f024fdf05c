//! The backlog of a consumer, updated incrementally: counting it again would block commits for a time
//! proportional to the backlog.

use std::{borrow::Borrow, collections::BTreeMap};

use super::{QueuedBatch, consumer::Cursor};

/// The batches that a consumer accepts and has not handled.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Backlog {
    pub(super) batches: u64,
    /// The total size of their files.
    pub(super) bytes: u64,
}

impl Backlog {
    fn of<E: Borrow<QueuedBatch>>(entries: impl Iterator<Item = E>) -> Self {
        entries.fold(Self::default(), |sum, entry| Self {
            batches: sum.batches + 1,
            bytes: sum.bytes + entry.borrow().bytes,
        })
    }

    fn grow(&mut self, by: Self) {
        self.batches += by.batches;
        self.bytes += by.bytes;
    }

    fn shrink(&mut self, by: Self) {
        self.batches = self.batches.saturating_sub(by.batches);
        self.bytes = self.bytes.saturating_sub(by.bytes);
    }
}

impl Cursor {
    /// Counts the whole backlog.
    pub(super) fn count(&mut self, waiting: &BTreeMap<u64, QueuedBatch>) {
        self.backlog = self.wanted(waiting, self.handled, u64::MAX);
    }

    /// Sets the last handled batch, which may be earlier than before.
    pub(super) fn move_to(&mut self, handled: u64, waiting: &BTreeMap<u64, QueuedBatch>) {
        let before = std::mem::replace(&mut self.handled, handled);
        if handled > before {
            let done = self.wanted(waiting, before, handled);
            self.backlog.shrink(done);
        } else {
            let added = self.wanted(waiting, handled, before);
            self.backlog.grow(added);
        }
    }

    /// Adds a committed batch.
    pub(super) fn added(&mut self, entry: &QueuedBatch) {
        if self.needs(entry) {
            self.backlog.grow(Backlog::of([entry].into_iter()));
        }
    }

    /// Subtracts removed batches.
    pub(super) fn removed<E: Borrow<QueuedBatch>>(&mut self, gone: impl IntoIterator<Item = E>) {
        let lost = Backlog::of(gone.into_iter().filter(|entry| self.needs(entry.borrow())));
        self.backlog.shrink(lost);
    }

    /// Counts the accepted batches after `from`, up to `to`.
    fn wanted(&self, waiting: &BTreeMap<u64, QueuedBatch>, from: u64, to: u64) -> Backlog {
        if from >= to {
            return Backlog::default();
        }
        let between = waiting.range(from + 1..=to).map(|(_, entry)| entry);
        Backlog::of(between.filter(|entry| (self.consumer.accepts)(&entry.batch)))
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use crate::{
        Consumer, ConsumerId, NextBatch, Options, Spool,
        tests::{commit, consumer},
    };

    /// Compares the backlog with a full count after every step.
    struct Counted {
        spool: Spool,
        seen: u64,
    }

    impl Counted {
        fn check(&mut self, step: &str) {
            let lags = self.spool.lags();
            let queue = self.spool.queue();
            for (lag, cursor) in lags.iter().zip(queue.cursors.values()) {
                let lacked = || queue.waiting.values().filter(|entry| cursor.needs(entry));
                let bytes = lacked().map(|entry| entry.bytes).sum::<u64>();
                let what = (lag.batches, lag.bytes);
                assert_eq!(what, (lacked().count() as u64, bytes), "{}: {step}", lag.name);
                self.seen = self.seen.max(lag.batches);
            }
        }

        fn handle(&mut self, consumer: ConsumerId) -> u64 {
            let NextBatch::Ready(entry) = self.spool.next(consumer, None) else {
                panic!("no batch")
            };
            self.spool.advance(consumer, entry.batch.sequence);
            self.check("advance");
            entry.batch.sequence
        }
    }

    fn picky(may_drop: bool) -> Consumer {
        let accepts = Arc::new(|batch: &crate::Batch| !batch.sequence.is_multiple_of(3));
        Consumer { accepts, ..consumer(may_drop) }
    }

    #[test]
    fn the_backlog_matches_a_full_count_after_every_step() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(
            dir.path(),
            Options { max_bytes: 1 << 30, dedup_window: Duration::from_secs(3600) },
        )
        .unwrap();
        let mut counted = Counted { spool, seen: 0 };
        let all = counted.spool.register(consumer(false), 0);
        let some = counted.spool.register(picky(false), 0);
        for length in 1..=9 {
            commit(&counted.spool, &format!("{{\"a\":{}}}\n", "7".repeat(length)));
            counted.check("commit");
        }
        assert_eq!(counted.seen, 9);
        for consumer in [all, all, all, some, all, some, some, some] {
            counted.handle(consumer);
        }
        counted.spool.release(all, 3).unwrap();
        counted.spool.release(some, 2).unwrap();
        counted.check("release");
        counted.spool.advance(all, 3);
        counted.check("return to the checkpoint");
        let late = counted.spool.register(picky(false), 0);
        counted.check("register");
        counted.spool.skip_unneeded(&[late], 4);
        counted.check("skip");
        counted.spool.resume(all, picky(false), 5);
        counted.check("resume");
        for consumer in [all, late, some] {
            let last = counted.handle(consumer);
            counted.spool.release(consumer, last).unwrap();
            counted.check("release");
        }
        counted.spool.unregister(late).unwrap();
        counted.check("leave");
        drop(counted);
        let spool = Spool::open(
            dir.path(),
            Options { max_bytes: 1 << 30, dedup_window: Duration::from_secs(3600) },
        )
        .unwrap();
        let mut counted = Counted { spool, seen: 0 };
        counted.spool.register(consumer(false), 5);
        counted.check("restart");
        assert!(counted.seen > 1);
    }

    #[test]
    fn dropped_batches_leave_the_backlog() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(
            dir.path(),
            Options { max_bytes: 40, dedup_window: Duration::from_secs(3600) },
        )
        .unwrap();
        let mut counted = Counted { spool, seen: 0 };
        counted.spool.register(picky(true), 0);
        counted.spool.register(consumer(true), 0);
        for _ in 0..4 {
            commit(&counted.spool, "{\"a\":7}\n");
            counted.check("commit");
        }
        assert!(counted.spool.shed(20));
        counted.check("shed");
        assert!(counted.spool.size().0 < 4);
    }
}
