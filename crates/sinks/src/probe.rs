//! Checks of a target without writing a record, for `logpushd validate --probe`.

use std::{future::Future, pin::Pin};

use crate::upload::Verdict;

/// The values of `{dataset}` and `{endpoint}` in the URL of a probe, if the configuration names no
/// dataset.
pub(crate) const PROBED_DATASET: &str = "http_requests";
pub(crate) const PROBED_ENDPOINT: &str = "main";

/// A check of a target: the facts that it found, one line each.
pub type Probe<'a> = Pin<Box<dyn Future<Output = Result<Vec<String>, ProbeError>> + Send + 'a>>;

/// Why a sink cannot deliver to its target.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ProbeError {
    /// What failed, and where.
    pub why: String,
    /// What to do, if it is known.
    pub action: Option<String>,
}

impl ProbeError {
    /// A failure with what the operator has to do.
    pub fn new(why: impl Into<String>, action: impl Into<String>) -> Self {
        Self { why: why.into(), action: Some(action.into()) }
    }
}

/// The failure that a verdict other than [`Verdict::Delivered`] describes.
impl From<Verdict> for ProbeError {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Delivered => {
                Self { why: "the target accepts everything".into(), action: None }
            }
            Verdict::Alert { why, action } => Self { why, action: Some(action) },
            Verdict::Partial { why, action, .. } => Self { why, action },
            Verdict::Retry { why, .. }
            | Verdict::TooLarge { why }
            | Verdict::Refused { why }
            | Verdict::Discarded { why, .. } => Self { why, action: None },
        }
    }
}
