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
    /// How many requests have failed, and the last failure.
    failures: u64,
    failure: Option<Verdict>,
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
        let state = PoolState { idle, failures: 0, failure: None };
        Self { permits: Semaphore::new(size), state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for an idle connection.
    ///
    /// # Errors
    /// Another request has failed meanwhile. All that wait fail as well, without being sent: Splunk
    /// may have requested a delay.
    pub(super) async fn take(&self) -> Result<Turn<'_>, Verdict> {
        let failures = self.state().failures;
        // Fails only if the semaphore is closed, which it never is.
        let permit = self.permits.acquire().await.ok();
        let mut state = self.state();
        if state.failures != failures
            && let Some(verdict) = &state.failure
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
        let failure = match result {
            Ok(answered) => answered.failure(),
            Err(verdict) => Some(verdict.clone()),
        };
        if let Some(failure) = failure {
            let mut state = self.pool.state();
            state.failures += 1;
            state.failure = Some(failure);
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.pool.state().idle.push(Arc::clone(&self.connection));
    }
}
