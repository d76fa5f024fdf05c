//! Collects failures until they are reported to delivery.

use std::{io, time::Duration};

use super::super::SinkError;

/// The failures since the last report to delivery.
#[derive(Debug)]
pub(super) struct UploadFailure {
    why: String,
    /// The delay that the target has requested.
    after: Option<Duration>,
    /// What the operator has to do.
    action: Option<String>,
}

impl UploadFailure {
    /// A temporary failure.
    pub(super) fn new(why: String, after: Option<Duration>) -> Self {
        Self { why, after, action: None }
    }

    /// A failure that lasts until the operator acts.
    pub(super) fn alert(why: String, action: String) -> Self {
        Self { why, after: None, action: Some(action) }
    }

    /// The failure while the circuit breaker is open.
    pub(super) fn refuses_everything(why: &str, refused: u32) -> Self {
        let why =
            format!("the target has refused {refused} records in a row and accepts none: {why}");
        let action =
            "check the target and the sink's settings; then replay the quarantine".to_owned();
        Self::alert(why, action)
    }

    /// Whether the usual delay is enough: neither the target nor the operator needs another.
    pub(super) fn is_ordinary(&self) -> bool {
        self.after.is_none() && self.action.is_none()
    }

    /// Adds a later failure. The longest delay counts, and a failure that needs the operator
    /// replaces one that does not.
    pub(super) fn merge(&mut self, other: Self) {
        self.after = self.after.max(other.after);
        if self.action.is_none() && other.action.is_some() {
            self.why = other.why;
            self.action = other.action;
        }
    }
}

impl From<UploadFailure> for SinkError {
    fn from(UploadFailure { why, after, action }: UploadFailure) -> Self {
        let error = Self::from(io::Error::other(why));
        match (action, after) {
            (Some(action), _) => error.until_operator(action),
            (None, Some(after)) => error.after(after),
            (None, None) => error,
        }
    }
}
