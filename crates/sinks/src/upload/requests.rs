//! The requests in flight: tasks on the daemon's runtime that report to the thread of the sink.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::Duration,
};

use tokio::{runtime::Handle, task::JoinSet, time::timeout};

use super::{
    target::{Target, Verdict},
    window::Key,
};

/// The requests that are in flight.
#[derive(Debug)]
pub(super) struct Requests<T> {
    target: Arc<T>,
    runtime: Handle,
    /// The timeout of a request.
    deadline: Duration,
    /// Aborted when this is dropped.
    tasks: JoinSet<()>,
    sender: SyncSender<(Key, Verdict)>,
    receiver: Receiver<(Key, Verdict)>,
}

/// Reports the result of a request exactly once.
struct RequestReport {
    key: Key,
    verdict: Option<Verdict>,
    sender: SyncSender<(Key, Verdict)>,
}

impl RequestReport {
    fn send(mut self, verdict: Verdict) {
        self.verdict = Some(verdict);
    }
}

impl Drop for RequestReport {
    /// Also if the task panicked, or ended with the runtime.
    fn drop(&mut self) {
        let verdict = self.verdict.take().unwrap_or_else(|| Verdict::Retry {
            after: None,
            why: "the request ended without an answer".to_owned(),
        });
        // The channel has room for each request. Without a receiver, the uploader was dropped.
        drop(self.sender.try_send((self.key, verdict)));
    }
}

impl<T: Target> Requests<T> {
    /// `limit` is the maximum number of concurrent requests.
    pub(super) fn new(target: Arc<T>, runtime: Handle, limit: usize, deadline: Duration) -> Self {
        let (sender, receiver) = sync_channel(limit);
        Self { target, runtime, deadline, tasks: JoinSet::new(), sender, receiver }
    }

    /// Sends a request.
    pub(super) fn send(&mut self, key: Key, request: T::Request) {
        // Removes tasks that have ended.
        while self.tasks.try_join_next().is_some() {}
        let (target, deadline) = (Arc::clone(&self.target), self.deadline);
        let report = RequestReport { key, verdict: None, sender: self.sender.clone() };
        let task = async move {
            let answer = timeout(deadline, target.send(request)).await;
            report.send(answer.unwrap_or_else(|_| Verdict::Retry {
                after: None,
                why: format!("no answer within {} ms", deadline.as_millis()),
            }));
        };
        self.tasks.spawn_on(task, &self.runtime);
    }

    /// Returns the result of a request. Waits up to `wait` for one that ends.
    pub(super) fn next(&self, wait: Duration) -> Option<(Key, Verdict)> {
        self.receiver.recv_timeout(wait).ok()
    }

    /// Aborts all requests in flight.
    pub(super) fn abandon(&mut self) {
        self.tasks.abort_all();
    }
}
