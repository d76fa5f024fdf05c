//! The requests in flight: tasks on the daemon's runtime that report to the thread of the sink.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::{Duration, Instant},
};

use tokio::{runtime::Handle, task::JoinSet, time::timeout};

use super::{
    metrics::{RequestErrorClass, RequestResult, UploadMetrics, measure, note_error_class},
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
    metrics: Arc<dyn UploadMetrics>,
    /// Aborted when this is dropped.
    tasks: JoinSet<()>,
    sender: SyncSender<(Key, Verdict)>,
    receiver: Receiver<(Key, Verdict)>,
}

/// Reports the result of a request exactly once.
struct RequestReport {
    key: Key,
    begin: Instant,
    answer: Option<(Verdict, RequestResult)>,
    sender: SyncSender<(Key, Verdict)>,
    metrics: Arc<dyn UploadMetrics>,
}

impl RequestReport {
    fn send(mut self, answer: (Verdict, RequestResult)) {
        self.answer = Some(answer);
    }
}

impl Drop for RequestReport {
    /// Also if the task panicked, or ended with the runtime.
    fn drop(&mut self) {
        let (verdict, result) = self.answer.take().unwrap_or_else(|| {
            let why = "the request ended without an answer".to_owned();
            let verdict = Verdict::Retry { after: None, why };
            let result = RequestResult::of(&verdict, None, self.begin.elapsed());
            (verdict, result)
        });
        self.metrics.ended(&result);
        // The channel has room for each request. Without a receiver, the uploader was dropped.
        drop(self.sender.try_send((self.key, verdict)));
    }
}

impl<T: Target> Requests<T> {
    /// `limit` is the maximum number of concurrent requests.
    pub(super) fn new(
        target: Arc<T>,
        runtime: Handle,
        limit: usize,
        deadline: Duration,
        metrics: Arc<dyn UploadMetrics>,
    ) -> Self {
        let (sender, receiver) = sync_channel(limit);
        Self { target, runtime, deadline, metrics, tasks: JoinSet::new(), sender, receiver }
    }

    /// Sends a request, whose records have `bytes` bytes.
    pub(super) fn send(&mut self, key: Key, bytes: usize, request: T::Request) {
        // Removes tasks that have ended.
        while self.tasks.try_join_next().is_some() {}
        let (target, deadline) = (Arc::clone(&self.target), self.deadline);
        self.metrics.sent(u64::try_from(bytes).unwrap_or(u64::MAX));
        let report = RequestReport {
            key,
            begin: Instant::now(),
            answer: None,
            sender: self.sender.clone(),
            metrics: Arc::clone(&self.metrics),
        };
        let task = async move {
            let request = async {
                timeout(deadline, target.send(request)).await.unwrap_or_else(|_| {
                    note_error_class(Some(RequestErrorClass::Timeout));
                    let why = format!("no answer within {} ms", deadline.as_millis());
                    Verdict::Retry { after: None, why }
                })
            };
            report.send(measure(request).await);
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
