//! Failures on their way from the answers of a target to delivery.

use std::{io, time::Duration};

use super::super::SinkError;

/// What failed since delivery last heard of a failure.
#[derive(Debug)]
pub(super) struct Failure {
    why: String,
    /// How long the target wants to be left alone.
    after: Option<Duration>,
    /// What the operator has to do.
    action: Option<String>,
}

impl Failure {
    /// A failure that may not last.
    pub(super) fn new(why: String, after: Option<Duration>) -> Self {
        Self { why, after, action: None }
    }

    /// A failure that lasts until the operator acts.
    pub(super) fn alert(why: String, action: String) -> Self {
        Self { why, after: None, action: Some(action) }
    }

    /// The breaker is open.
    pub(super) fn refuses_everything(why: &str, refused: u32) -> Self {
        let why =
            format!("the target has refused {refused} records in a row and accepts none: {why}");
        let action =
            "check the target and the sink's settings; then replay the quarantine".to_owned();
        Self::alert(why, action)
    }

    /// Adds a later failure: one that the operator must act on is more important, and the longest delay
    /// counts.
    pub(super) fn merge(&mut self, other: Self) {
        self.after = self.after.max(other.after);
        if self.action.is_none() && other.action.is_some() {
            self.why = other.why;
            self.action = other.action;
        }
    }
}

impl From<Failure> for SinkError {
    fn from(Failure { why, after, action }: Failure) -> Self {
        let error = Self::from(io::Error::other(why));
        match (action, after) {
            (Some(action), _) => error.until_operator(action),
            (None, Some(after)) => error.after(after),
            (None, None) => error,
        }
    }
}
