//! Whether a connection has requests under way, and if not, since when.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use hyper::body::{Body, Frame, SizeHint};
use tokio::time::Instant;

/// Counts the requests of one connection.
#[derive(Debug)]
pub(super) struct Activity(Mutex<State>);

#[derive(Debug)]
struct State {
    under_way: usize,
    served_any: bool,
    quiet_since: Instant,
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Doing {
    /// At least one request is under way.
    Requests,
    /// It has not made a request yet; with the time of its start.
    NothingYet(Instant),
    /// Its last request ended then.
    NothingSince(Instant),
}

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        let state = State { under_way: 0, served_any: false, quiet_since: Instant::now() };
        Arc::new(Self(Mutex::new(state)))
    }

    /// A request begins; it ends when what is returned is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> UnderWay {
        let mut state = self.state();
        state.under_way += 1;
        state.served_any = true;
        drop(state);
        UnderWay(Arc::clone(self))
    }

    pub(super) fn doing(&self) -> Doing {
        let state = self.state();
        match (state.under_way, state.served_any) {
            (0, false) => Doing::NothingYet(state.quiet_since),
            (0, true) => Doing::NothingSince(state.quiet_since),
            _ => Doing::Requests,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request under way.
#[derive(Debug)]
pub(super) struct UnderWay(Arc<Activity>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.under_way = state.under_way.saturating_sub(1);
        state.quiet_since = Instant::now();
    }
}

/// The body of a response: its request is under way until hyper has taken all of it.
#[derive(Debug)]
pub(super) struct Counted<B> {
    pub(super) body: B,
    pub(super) _request: UnderWay,
}

impl<B: Body + Unpin> Body for Counted<B> {
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
    use super::*;

    #[test]
    fn it_is_quiet_when_the_last_request_has_ended() {
        let activity = Activity::new();
        let Doing::NothingYet(start) = activity.doing() else { panic!("{activity:?}") };
        let (first, second) = (activity.begin(), activity.begin());
        drop(first);
        assert_eq!(activity.doing(), Doing::Requests);
        drop(second);
        let Doing::NothingSince(end) = activity.doing() else { panic!("{activity:?}") };
        assert!(end >= start);
    }
}
