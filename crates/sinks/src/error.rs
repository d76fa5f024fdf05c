//! The errors that a sink reports to delivery when an attempt fails.

use std::{fmt, io, time::Duration};

/// A failed attempt: what failed, and where and when delivery continues.
///
/// A record that the target refuses permanently is no failure of the attempt: it becomes a dead
/// letter ([`super::DeadLetters`]).
#[derive(Debug)]
pub struct SinkError {
    error: io::Error,
    resume: Resume,
    retry: Retry,
}

/// Where delivery resumes after a failure.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Resume {
    /// At the beginning of the batch that failed.
    Batch,
    /// After the last checkpoint: batches that were finished since then may be lost.
    Checkpoint,
}

/// When delivery retries after a failure.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Retry {
    /// After the usual backoff.
    Backoff,
    /// Not before this delay, which the target has requested (`Retry-After`).
    After(Duration),
    /// Rarely: attempts fail until an operator acts.
    Operator {
        /// What the operator has to do.
        action: String,
    },
}

impl SinkError {
    /// A failure after which batches that were finished since the last checkpoint may be lost.
    pub fn since_checkpoint(error: io::Error) -> Self {
        Self { resume: Resume::Checkpoint, ..error.into() }
    }

    /// The same failure, with the delay that the target has requested.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        Self { retry: Retry::After(delay), ..self }
    }

    /// The same failure, as one that lasts until an operator acts: wrong credentials, a missing
    /// index, a redirect. `action` is what the operator has to do.
    #[must_use]
    pub fn until_operator(self, action: impl Into<String>) -> Self {
        Self { retry: Retry::Operator { action: action.into() }, ..self }
    }

    /// The same failure with another error.
    #[must_use]
    pub fn map(self, change: impl FnOnce(io::Error) -> io::Error) -> Self {
        Self { error: change(self.error), ..self }
    }

    /// Where delivery resumes.
    pub fn resume(&self) -> Resume {
        self.resume
    }

    /// When delivery retries.
    pub fn retry(&self) -> &Retry {
        &self.retry
    }
}

impl From<io::Error> for SinkError {
    fn from(error: io::Error) -> Self {
        Self { error, resume: Resume::Batch, retry: Retry::Backoff }
    }
}

impl fmt::Display for SinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for SinkError {}
