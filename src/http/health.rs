//! Answers health queries, which need no secret. After a failure, a query checks the disk, so the
//! number of concurrent queries is bounded.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::sync::Mutex;

use super::Intake;

/// Queries that wait for a new result. Others get the last result.
const MAX_WAITING: usize = 16;

/// Runs one health check at a time.
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
    /// Whether batches are accepted, by [`Intake::readiness`].
    pub(super) async fn ask(&self, intake: Arc<Intake>) -> bool {
        let before = self.waiting.fetch_add(1, Relaxed);
        let _waiting = Waiting(&self.waiting);
        if before >= MAX_WAITING {
            return self.was_healthy.load(Relaxed);
        }
        let _one = self.probing.lock().await;
        // Checks the disk only after a failure.
        intake.ask_disk(Duration::MAX).await;
        let is_healthy = intake.readiness().is_ok();
        self.was_healthy.store(is_healthy, Relaxed);
        is_healthy
    }
}
