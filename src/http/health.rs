//! Whether batches are taken, for anybody who asks: a failure makes the answer try the disk, so the
//! asking is bounded.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::sync::Mutex;

use super::Intake;

/// How many wait for an answer of their own; others get the last one.
const MAX_WAITING: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Health {
    probing: Mutex<()>,
    waiting: AtomicUsize,
    was_healthy: AtomicBool,
}

struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Health {
    /// As [`Intake::readiness`], one at a time.
    pub(super) async fn ask(&self, intake: Arc<Intake>) -> bool {
        let before = self.waiting.fetch_add(1, Relaxed);
        let _waiting = Waiting(&self.waiting);
        if before >= MAX_WAITING {
            return self.was_healthy.load(Relaxed);
        }
        let _one = self.probing.lock().await;
        // Only after a failure.
        intake.ask_disk(Duration::MAX).await;
        let is_healthy = intake.readiness().is_ok();
        self.was_healthy.store(is_healthy, Relaxed);
        is_healthy
    }
}
