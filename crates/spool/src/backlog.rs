//! How much waits for a consumer, kept up to date with each step: to count it anew would take as long as
//! the backlog is, while nothing can be committed.

use std::{borrow::Borrow, collections::BTreeMap};

use super::{Entry, consumer::Cursor};

/// The batches that a consumer takes and has not handled.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Backlog {
    pub(super) batches: u64,
    /// Of their files.
    pub(super) bytes: u64,
}

impl Backlog {
    fn of<E: Borrow<Entry>>(entries: impl Iterator<Item = E>) -> Self {
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
    /// Counts all of it.
    pub(super) fn count(&mut self, waiting: &BTreeMap<u64, Entry>) {
        self.backlog = self.wanted(waiting, self.handled, u64::MAX);
    }

    /// The consumer has handled the batches up to `handled`, which may be fewer than before.
    pub(super) fn move_to(&mut self, handled: u64, waiting: &BTreeMap<u64, Entry>) {
        let before = std::mem::replace(&mut self.handled, handled);
        if handled > before {
            let done = self.wanted(waiting, before, handled);
            self.backlog.shrink(done);
        } else {
            let again = self.wanted(waiting, handled, before);
            self.backlog.grow(again);
        }
    }

    /// A batch was committed.
    pub(super) fn added(&mut self, entry: &Entry) {
        if self.lacks(entry) {
            self.backlog.grow(Backlog::of([entry].into_iter()));
        }
    }

    /// Batches are no longer there.
    pub(super) fn lost<E: Borrow<Entry>>(&mut self, gone: impl IntoIterator<Item = E>) {
        let lost = Backlog::of(gone.into_iter().filter(|entry| self.lacks(entry.borrow())));
        self.backlog.shrink(lost);
    }

    /// What it takes of the batches behind `from`, up to `to`.
    fn wanted(&self, waiting: &BTreeMap<u64, Entry>, from: u64, to: u64) -> Backlog {
        if from >= to {
            return Backlog::default();
        }
        let between = waiting.range(from + 1..=to).map(|(_, entry)| entry);
        Backlog::of(between.filter(|entry| (self.consumer.wants)(&entry.batch)))
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use crate::{
        Consumer, ConsumerId, Next, Options, Spool,
        tests::{commit, consumer},
    };

    /// Every step is followed by a count of all that waits.
    struct Counted {
        spool: Spool,
        seen: u64,
    }

    impl Counted {
        fn check(&mut self, step: &str) {
            let lags = self.spool.lags();
            let queue = self.spool.queue();
            for (lag, cursor) in lags.iter().zip(queue.cursors.values()) {
                let lacked = || queue.waiting.values().filter(|entry| cursor.lacks(entry));
                let bytes = lacked().map(|entry| entry.bytes).sum::<u64>();
                let what = (lag.batches, lag.bytes);
                assert_eq!(what, (lacked().count() as u64, bytes), "{}: {step}", lag.name);
                self.seen = self.seen.max(lag.batches);
            }
        }

        fn handle(&mut self, consumer: ConsumerId) -> u64 {
            let Next::Entry(entry) = self.spool.next(consumer, None) else { panic!("none waits") };
            self.spool.advance(consumer, entry.batch.sequence);
            self.check("advance");
            entry.batch.sequence
        }
    }

    fn picky(may_drop: bool) -> Consumer {
        let wants = Arc::new(|batch: &crate::Batch| !batch.sequence.is_multiple_of(3));
        Consumer { wants, ..consumer(may_drop) }
    }

    #[test]
    fn it_is_what_a_count_comes_to_after_each_step() {
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
        counted.check("back to the checkpoint");
        let late = counted.spool.register(picky(false), 0);
        counted.check("register");
        counted.spool.pass_over(&[late], 4);
        counted.check("pass over");
        counted.spool.resume(all, picky(false), 5);
        counted.check("resume");
        for consumer in [all, late, some] {
            let last = counted.handle(consumer);
            counted.spool.release(consumer, last).unwrap();
            counted.check("release");
        }
        counted.spool.leave(late).unwrap();
        counted.check("leave");
        drop(counted);
        let spool = Spool::open(
            dir.path(),
            Options { max_bytes: 1 << 30, dedup_window: Duration::from_secs(3600) },
        )
        .unwrap();
        let mut counted = Counted { spool, seen: 0 };
        counted.spool.register(consumer(false), 5);
        counted.check("a restart");
        assert!(counted.seen > 1);
    }

    #[test]
    fn what_is_dropped_waits_no_longer() {
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
