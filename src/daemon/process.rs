//! Reads the resource usage of the process on a separate thread.
//!
//! Reading `/proc` may block, and a disk that hangs may occupy all threads for blocking work.
//! Metrics must work then, too.

use std::{
    io,
    sync::{
        Arc,
        mpsc::{self, SyncSender},
    },
    thread,
    time::Duration,
};

use tokio::{sync::oneshot, time::timeout};

use crate::metrics::{Metrics, Process};

/// How long a scrape waits for new values. After that it shows the previous ones.
const TIMEOUT: Duration = Duration::from_secs(1);

/// A handle to the thread, which ends when the last handle is dropped.
#[derive(Clone)]
pub(super) struct ProcessReader(SyncSender<oneshot::Sender<()>>);

impl ProcessReader {
    pub(super) fn start(metrics: Arc<Metrics>) -> io::Result<Self> {
        let (sender, requests) = mpsc::sync_channel::<oneshot::Sender<()>>(1);
        thread::Builder::new().name("process".into()).spawn(move || {
            for done in requests {
                metrics.process(Process::read());
                // The scrape may have timed out.
                done.send(()).ok();
            }
        })?;
        Ok(Self(sender))
    }

    /// Updates the metrics of the process.
    pub(super) async fn refresh(&self) {
        let (done, wait) = oneshot::channel();
        // If the queue is full, another scrape is already waiting for new values.
        if self.0.try_send(done).is_ok() {
            timeout(TIMEOUT, wait).await.ok();
        }
    }
}
