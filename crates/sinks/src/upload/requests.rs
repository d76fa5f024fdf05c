//! The requests in flight: tasks on the daemon's runtime that report to the thread of the sink.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
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
use crate::SinkWaker;

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
    /// The number of results that [`Self::next`] has not returned yet.
    waiting: Arc<AtomicUsize>,
    waker: SinkWaker,
}

/// Reports the result of a request exactly once.
struct RequestReport {
    key: Key,
    begin: Instant,
    answer: Option<(Verdict, RequestResult)>,
    sender: SyncSender<(Key, Verdict)>,
    metrics: Arc<dyn UploadMetrics>,
    waiting: Arc<AtomicUsize>,
    waker: SinkWaker,
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
        self.waiting.fetch_add(1, SeqCst);
        // The channel has room for each request. Without a receiver, the uploader was dropped.
        drop(self.sender.try_send((self.key, verdict)));
        self.waker.wake();
    }
}

impl<T: Target> Requests<T> {
    /// `limit` is the maximum number of concurrent requests.
    pub(super) fn new(
        target: Arc<T>,
        runtime: Handle,
        limit: usize,
        deadline: Duration,
        (metrics, waker): (Arc<dyn UploadMetrics>, SinkWaker),
    ) -> Self {
        let (sender, receiver) = sync_channel(limit);
        Self {
            target,
            runtime,
            deadline,
            metrics,
            tasks: JoinSet::new(),
            sender,
            receiver,
            waiting: Arc::default(),
            waker,
        }
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
            waiting: Arc::clone(&self.waiting),
            waker: self.waker.clone(),
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
        let result = self.receiver.recv_timeout(wait).ok()?;
        self.waiting.fetch_sub(1, SeqCst);
        Some(result)
    }

    /// Whether [`Self::next`] has a result, or has one in a moment.
    pub(super) fn has_result(&self) -> bool {
        self.waiting.load(SeqCst) > 0
    }

    /// Aborts all requests in flight.
    pub(super) fn abandon(&mut self) {
        self.tasks.abort_all();
    }
}
