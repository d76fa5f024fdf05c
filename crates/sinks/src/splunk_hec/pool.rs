//! The connections of the sink, each for one request at a time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::connection::{Answered, Connection};
use crate::upload::Verdict;

/// The connections.
#[derive(Debug)]
pub(super) struct Pool {
    permits: Semaphore,
    state: Mutex<PoolState>,
}

#[derive(Debug)]
struct PoolState {
    idle: Vec<Arc<Connection>>,
    /// How often there was a reason to send no other request for now, and the last reason.
    pauses: u64,
    reason: Option<Verdict>,
}

/// A connection until it is idle again.
pub(super) struct Turn<'a> {
    connection: Arc<Connection>,
    pool: &'a Pool,
    _permit: Option<SemaphorePermit<'a>>,
}

impl Pool {
    /// `size` is the number of connections, at least 1.
    pub(super) fn new(size: usize) -> Self {
        let idle = (0..size).map(|_| Arc::new(Connection::new())).collect();
        let state = PoolState { idle, pauses: 0, reason: None };
        Self { permits: Semaphore::new(size), state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for an idle connection.
    ///
    /// # Errors
    /// Another request was refused meanwhile because Splunk is busy, or because only the operator
    /// can help. All requests that wait fail as well, without being sent.
    pub(super) async fn take(&self) -> Result<Turn<'_>, Verdict> {
        let pauses = self.state().pauses;
        // Fails only if the semaphore is closed, which it never is.
        let permit = self.permits.acquire().await.ok();
        let mut state = self.state();
        if state.pauses != pauses
            && let Some(verdict) = &state.reason
        {
            return Err(verdict.clone());
        }
        // The connection that was used last. The others may be closed in the end.
        let suspect = state.idle.iter().position(|connection| connection.is_suspect());
        let connection = match suspect {
            Some(at) => Some(state.idle.swap_remove(at)),
            None => state.idle.pop(),
        };
        let connection = connection.unwrap_or_else(|| Arc::new(Connection::new()));
        Ok(Turn { connection, pool: self, _permit: permit })
    }
}

impl Turn<'_> {
    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Ends the turn with the result of a request.
    pub(super) fn end(self, result: &Result<Answered, Verdict>) {
        let reason = match result {
            Ok(answered) => answered.reason_to_pause(),
            // A file that cannot be used. Another request may succeed after a failed connection.
            Err(verdict @ Verdict::Alert { .. }) => Some(verdict.clone()),
            Err(_) => None,
        };
        if let Some(reason) = reason {
            let mut state = self.pool.state();
            state.pauses += 1;
            state.reason = Some(reason);
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.pool.state().idle.push(Arc::clone(&self.connection));
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::{Pin, pin},
        task::{Context, Poll, Waker},
    };

    use super::*;

    fn poll<F: Future>(future: Pin<&mut F>) -> Option<F::Output> {
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    fn take(pool: &Pool) -> Turn<'_> {
        poll(pin!(pool.take())).unwrap().unwrap()
    }

    #[test]
    fn requests_that_wait_fail_if_only_the_operator_can_help() {
        let pool = Pool::new(1);
        let refused = Verdict::Alert { why: "403".to_owned(), action: String::new() };
        let broken = Verdict::Retry { after: None, why: "connection reset".to_owned() };
        for (verdict, expected) in [(refused.clone(), Some(refused)), (broken, None)] {
            let first = take(&pool);
            let mut second = pin!(pool.take());
            assert!(poll(second.as_mut()).is_none());
            first.end(&Err(verdict));
            assert_eq!(poll(second).unwrap().err(), expected);
        }
        // The next attempt is sent.
        take(&pool);
    }

    #[test]
    fn one_connection_is_used_as_long_as_it_is_idle() {
        let pool = Pool::new(3);
        let first = Arc::clone(take(&pool).connection());
        let second = take(&pool);
        assert!(Arc::ptr_eq(second.connection(), &first));
        assert!(!Arc::ptr_eq(take(&pool).connection(), &first));
    }
}
