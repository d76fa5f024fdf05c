//! What the requests of one connection are doing, and what their handlers decided about it.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use hyper::body::{Body, Frame, SizeHint};
use tokio::{sync::Notify, time::Instant};

use crate::admission::ConnectionPlace;

/// Requests at a time on a connection whose sender is not verified, answers that the client has
/// not taken included. A sender with a secret is verified by its first request.
const MAX_UNVERIFIED_REQUESTS: usize = 16;

/// Counts the requests of one connection.
#[derive(Debug)]
pub(super) struct Activity {
    peer: SocketAddr,
    place: Option<ConnectionPlace>,
    begun: Instant,
    state: Mutex<State>,
    /// Told when [`Fate`] changes.
    changed: Notify,
}

#[derive(Debug)]
struct State {
    /// Requests without an answer.
    under_way: usize,
    /// Answers that hyper has not taken over completely.
    answers: usize,
    served_any: bool,
    quiet_since: Instant,
    /// When an answer was taken, or was made while none was waiting.
    answers_moved: Instant,
    is_verified: bool,
    failures: u32,
    takes_no_more: bool,
    fate: Fate,
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Doing {
    /// At least one request is under way.
    Requests,
    /// The client has to take an answer; with the time at which it took one last.
    Answers(Instant),
    /// It has not made a request yet; with the time of its start.
    NothingYet(Instant),
    /// Its last request ended then.
    NothingSince(Instant),
}

/// What is to become of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fate {
    Continues,
    /// It is closed after the answers to the requests under way.
    Closes,
    /// It is dropped.
    Flooded,
}

impl Activity {
    pub(super) fn new(peer: SocketAddr, place: Option<ConnectionPlace>) -> Arc<Self> {
        let now = Instant::now();
        let state = State {
            under_way: 0,
            answers: 0,
            served_any: false,
            quiet_since: now,
            answers_moved: now,
            is_verified: false,
            failures: 0,
            takes_no_more: false,
            fate: Fate::Continues,
        };
        Arc::new(Self { peer, place, begun: now, state: Mutex::new(state), changed: Notify::new() })
    }

    pub(super) fn peer(&self) -> SocketAddr {
        self.peer
    }

    pub(super) fn begun(&self) -> Instant {
        self.begun
    }

    /// A request begins; it ends when what is returned is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> UnderWay {
        let mut state = self.state();
        state.under_way += 1;
        state.served_any = true;
        drop(state);
        UnderWay { activity: Arc::clone(self), is_answered: false }
    }

    pub(super) fn doing(&self) -> Doing {
        let state = self.state();
        match (state.under_way, state.answers, state.served_any) {
            (1.., _, _) => Doing::Requests,
            (0, 1.., _) => Doing::Answers(state.answers_moved),
            (0, 0, false) => Doing::NothingYet(state.quiet_since),
            (0, 0, true) => Doing::NothingSince(state.quiet_since),
        }
    }

    /// Since when the client leaves answers waiting, also beside requests that are under way.
    pub(super) fn answers_wait_since(&self) -> Option<Instant> {
        let state = self.state();
        (state.answers > 0).then_some(state.answers_moved)
    }

    pub(super) fn is_verified(&self) -> bool {
        self.state().is_verified
    }

    /// Checked after each request has reached its handler, which may have verified its sender.
    pub(super) fn bound_unverified(&self) {
        let mut state = self.state();
        if !state.is_verified && state.under_way + state.answers > MAX_UNVERIFIED_REQUESTS {
            state.takes_no_more = true;
            state.fate = Fate::Flooded;
            drop(state);
            self.changed.notify_one();
        }
    }

    /// Waits until the connection is to end.
    pub(super) async fn ends(&self) -> Fate {
        loop {
            let changed = self.changed.notified();
            match self.state().fate {
                Fate::Continues => {}
                fate => return fate,
            }
            changed.await;
        }
    }

    pub(super) fn handshake_done(&self) {
        if let Some(place) = &self.place {
            place.handshake_done();
        }
    }

    /// Waits until the connection has to make room for another.
    pub(super) async fn evicted(&self) {
        match &self.place {
            Some(place) => place.evicted().await,
            None => std::future::pending().await,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The connection that a request came in by.
#[derive(Clone, Debug)]
pub struct Client(pub(super) Arc<Activity>);

impl Client {
    /// The address of the other side.
    pub fn address(&self) -> SocketAddr {
        self.0.peer
    }

    /// The sender has proved that it may send: the connection is not closed for others, and may
    /// have as many requests as HTTP allows.
    pub fn verify(&self) {
        let mut state = self.0.state();
        if !std::mem::replace(&mut state.is_verified, true)
            && let Some(place) = &self.0.place
        {
            place.verify();
        }
    }

    /// Whether a sender on this connection has proved that it may send.
    pub fn is_verified(&self) -> bool {
        self.0.is_verified()
    }

    /// Counts a wrong secret, and returns how many there were on this connection.
    pub fn fail(&self) -> u32 {
        let mut state = self.0.state();
        state.failures = state.failures.saturating_add(1);
        state.failures
    }

    /// No more requests are to be answered on this connection, which is about to be closed.
    pub fn take_no_more(&self) {
        self.0.state().takes_no_more = true;
    }

    /// Closes the connection once the requests under way are answered.
    pub fn close(&self) {
        let mut state = self.0.state();
        state.takes_no_more = true;
        if state.fate == Fate::Continues {
            state.fate = Fate::Closes;
            drop(state);
            self.0.changed.notify_one();
        }
    }

    /// Whether a new request is to be sent on another connection.
    pub fn takes_no_more(&self) -> bool {
        self.0.state().takes_no_more
    }
}

/// A request under way.
#[derive(Debug)]
pub(super) struct UnderWay {
    activity: Arc<Activity>,
    is_answered: bool,
}

impl UnderWay {
    /// There is an answer, which the client has yet to take.
    pub(super) fn answered(mut self) -> Self {
        self.is_answered = true;
        let mut state = self.activity.state();
        state.under_way = state.under_way.saturating_sub(1);
        if state.answers == 0 {
            state.answers_moved = Instant::now();
        }
        state.answers += 1;
        drop(state);
        self
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut state = self.activity.state();
        let now = Instant::now();
        if self.is_answered {
            state.answers = state.answers.saturating_sub(1);
            state.answers_moved = now;
        } else {
            state.under_way = state.under_way.saturating_sub(1);
        }
        state.quiet_since = now;
    }
}

/// The body of a response: the client has taken it when hyper has taken all of it.
#[derive(Debug)]
pub(super) struct CountedBody<B> {
    pub(super) body: B,
    pub(super) _request: UnderWay,
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
    fn it_is_quiet_when_the_last_request_has_ended() {
        let activity = activity();
        let Doing::NothingYet(start) = activity.doing() else { panic!("{activity:?}") };
        let (first, second) = (activity.begin(), activity.begin());
        drop(first);
        assert_eq!(activity.doing(), Doing::Requests);
        let answer = second.answered();
        let Doing::Answers(made) = activity.doing() else { panic!("{activity:?}") };
        assert!(made >= start);
        assert_eq!(activity.answers_wait_since(), Some(made));
        drop(answer);
        let Doing::NothingSince(end) = activity.doing() else { panic!("{activity:?}") };
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
            activity.bound_unverified();
            drop((answers, requests));
            Client(activity).takes_no_more()
        };
        assert!(flooded(false));
        assert!(!flooded(true));
    }
}
