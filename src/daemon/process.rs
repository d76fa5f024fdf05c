//! Asks the system what the process uses, on a thread of its own: the files below `/proc` may block, and
//! the pool for what blocks may be taken by a disk that hangs, which is when metrics are needed.

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

/// How long a scrape waits. After that it shows what was known before.
const PATIENCE: Duration = Duration::from_secs(1);

/// The thread, for as long as there is one of these.
#[derive(Clone)]
pub(super) struct Asker(SyncSender<oneshot::Sender<()>>);

impl Asker {
    pub(super) fn start(metrics: Arc<Metrics>) -> io::Result<Self> {
        let (ask, asked) = mpsc::sync_channel::<oneshot::Sender<()>>(1);
        thread::Builder::new().name("process".into()).spawn(move || {
            for done in asked {
                metrics.process(Process::read());
                // Nobody may wait any more.
                done.send(()).ok();
            }
        })?;
        Ok(Self(ask))
    }

    /// Brings the metrics up to date.
    pub(super) async fn ask(&self) {
        let (done, wait) = oneshot::channel();
        // If the queue is full, the thread is at it, for someone else.
        if self.0.try_send(done).is_ok() {
            timeout(PATIENCE, wait).await.ok();
        }
    }
}
