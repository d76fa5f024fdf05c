//! Tracks the requests of one connection, and what their handlers decided about the connection.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use hyper::body::{Body, Frame, SizeHint};
use tokio::{sync::Notify, time::Instant};

use crate::admission::ConnectionSlot;

/// Concurrent requests on a connection without a verified sender, including answers that the client
/// has not received. A sender with a secret is verified by its first request.
const MAX_UNVERIFIED_REQUESTS: usize = 16;

/// State of the requests of one connection.
#[derive(Debug)]
pub(super) struct Activity {
    peer: SocketAddr,
    slot: Option<ConnectionSlot>,
    begun: Instant,
    state: Mutex<State>,
    /// Notified when [`Disposition`] changes.
    changed: Notify,
}

#[derive(Debug)]
struct State {
    /// Requests without an answer.
    in_progress: usize,
    /// Answers that hyper has not sent completely.
    answers: usize,
    served_any: bool,
    quiet_since: Instant,
    /// When an answer was sent completely, or was created while no other was pending.
    answers_moved: Instant,
    is_verified: bool,
    failures: u32,
    is_closing: bool,
    disposition: Disposition,
}

/// Phase of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Phase {
    /// At least one request is in progress.
    Requests,
    /// The client has to receive an answer. With the time of the last received answer.
    Answers(Instant),
    /// The client has not sent a request. With the time of the connection's start.
    Fresh(Instant),
    /// No request is in progress. With the time at which the last one ended.
    Idle(Instant),
}

/// Whether a connection stays open.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Disposition {
    KeepOpen,
    /// Closed after the answers to the requests in progress.
    Close,
    /// Dropped at once, because of too many requests.
    Flooded,
}

impl Activity {
    pub(super) fn new(peer: SocketAddr, slot: Option<ConnectionSlot>) -> Arc<Self> {
        let now = Instant::now();
        let state = State {
            in_progress: 0,
            answers: 0,
            served_any: false,
            quiet_since: now,
            answers_moved: now,
            is_verified: false,
            failures: 0,
            is_closing: false,
            disposition: Disposition::KeepOpen,
        };
        Arc::new(Self { peer, slot, begun: now, state: Mutex::new(state), changed: Notify::new() })
    }

    pub(super) fn peer(&self) -> SocketAddr {
        self.peer
    }

    pub(super) fn begun(&self) -> Instant {
        self.begun
    }

    /// Records the start of a request, which ends when the returned value is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> RequestInProgress {
        let mut state = self.state();
        state.in_progress += 1;
        state.served_any = true;
        drop(state);
        RequestInProgress { activity: Arc::clone(self), is_answered: false }
    }

    pub(super) fn phase(&self) -> Phase {
        let state = self.state();
        match (state.in_progress, state.answers, state.served_any) {
            (1.., _, _) => Phase::Requests,
            (0, 1.., _) => Phase::Answers(state.answers_moved),
            (0, 0, false) => Phase::Fresh(state.quiet_since),
            (0, 0, true) => Phase::Idle(state.quiet_since),
        }
    }

    /// Returns since when answers are pending, even while requests are in progress.
    pub(super) fn answers_wait_since(&self) -> Option<Instant> {
        let state = self.state();
        (state.answers > 0).then_some(state.answers_moved)
    }

    pub(super) fn is_verified(&self) -> bool {
        self.state().is_verified
    }

    /// Drops a connection with too many requests and no verified sender. Called after each request
    /// has reached its handler, which may have verified the sender.
    pub(super) fn limit_unverified(&self) {
        let mut state = self.state();
        if !state.is_verified && state.in_progress + state.answers > MAX_UNVERIFIED_REQUESTS {
            state.is_closing = true;
            state.disposition = Disposition::Flooded;
            drop(state);
            self.changed.notify_one();
        }
    }

    /// Waits until the connection must end.
    pub(super) async fn must_end(&self) -> Disposition {
        loop {
            let changed = self.changed.notified();
            match self.state().disposition {
                Disposition::KeepOpen => {}
                disposition => return disposition,
            }
            changed.await;
        }
    }

    pub(super) fn handshake_done(&self) {
        if let Some(slot) = &self.slot {
            slot.handshake_done();
        }
    }

    /// Waits until the connection is closed in favor of another.
    pub(super) async fn evicted(&self) {
        match &self.slot {
            Some(slot) => slot.evicted().await,
            None => std::future::pending().await,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The connection of a request.
#[derive(Clone, Debug)]
pub struct Client(pub(super) Arc<Activity>);

impl Client {
    /// Returns the address of the client.
    pub fn address(&self) -> SocketAddr {
        self.0.peer
    }

    /// Records that the sender is authenticated: the connection is not closed in favor of others,
    /// and may have as many concurrent requests as HTTP allows.
    pub fn verify(&self) {
        let mut state = self.0.state();
        if !std::mem::replace(&mut state.is_verified, true)
            && let Some(slot) = &self.0.slot
        {
            slot.verify();
        }
    }

    /// Whether a sender on this connection is authenticated.
    pub fn is_verified(&self) -> bool {
        self.0.is_verified()
    }

    /// Counts a wrong secret, and returns the number of wrong secrets on this connection.
    pub fn fail(&self) -> u32 {
        let mut state = self.0.state();
        state.failures = state.failures.saturating_add(1);
        state.failures
    }

    /// Announces that the connection is about to be closed, so that no more requests are answered.
    pub fn announce_close(&self) {
        self.0.state().is_closing = true;
    }

    /// Closes the connection after the requests in progress are answered.
    pub fn close(&self) {
        let mut state = self.0.state();
        state.is_closing = true;
        if state.disposition == Disposition::KeepOpen {
            state.disposition = Disposition::Close;
            drop(state);
            self.0.changed.notify_one();
        }
    }

    /// Whether new requests must be sent on another connection.
    pub fn is_closing(&self) -> bool {
        self.0.state().is_closing
    }
}

/// A request in progress, or its answer until the client has received it.
#[derive(Debug)]
pub(super) struct RequestInProgress {
    activity: Arc<Activity>,
    is_answered: bool,
}

impl RequestInProgress {
    /// Records that the request is answered. The client has yet to receive the answer.
    pub(super) fn answered(mut self) -> Self {
        self.is_answered = true;
        let mut state = self.activity.state();
        state.in_progress = state.in_progress.saturating_sub(1);
        if state.answers == 0 {
            state.answers_moved = Instant::now();
        }
        state.answers += 1;
        drop(state);
        self
    }
}

impl Drop for RequestInProgress {
    fn drop(&mut self) {
        let mut state = self.activity.state();
        let now = Instant::now();
        if self.is_answered {
            state.answers = state.answers.saturating_sub(1);
            state.answers_moved = now;
        } else {
            state.in_progress = state.in_progress.saturating_sub(1);
        }
        state.quiet_since = now;
    }
}

/// Body of a response. The client counts as having received it when hyper has sent all of it.
#[derive(Debug)]
pub(super) struct CountedBody<B> {
    pub(super) body: B,
    pub(super) _request: RequestInProgress,
}

impl<B: Body + Unpin> Body for CountedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn activity() -> Arc<Activity> {
        Activity::new((Ipv4Addr::LOCALHOST, 1).into(), None)
    }

    #[test]
    fn a_connection_is_idle_when_the_last_request_has_ended() {
        let activity = activity();
        let Phase::Fresh(start) = activity.phase() else { panic!("{activity:?}") };
        let (first, second) = (activity.begin(), activity.begin());
        drop(first);
        assert_eq!(activity.phase(), Phase::Requests);
        let answer = second.answered();
        let Phase::Answers(made) = activity.phase() else { panic!("{activity:?}") };
        assert!(made >= start);
        assert_eq!(activity.answers_wait_since(), Some(made));
        drop(answer);
        let Phase::Idle(end) = activity.phase() else { panic!("{activity:?}") };
        assert!(end >= made);
        assert_eq!(activity.answers_wait_since(), None);
    }

    #[test]
    fn an_unverified_connection_has_few_requests() {
        let flooded = |is_verified: bool| {
            let activity = activity();
            if is_verified {
                Client(Arc::clone(&activity)).verify();
            }
            let answers: Vec<_> = (0..10).map(|_| activity.begin().answered()).collect();
            let requests: Vec<_> = (0..7).map(|_| activity.begin()).collect();
            activity.limit_unverified();
            drop((answers, requests));
            Client(activity).is_closing()
        };
        assert!(flooded(false));
        assert!(!flooded(true));
    }
}
