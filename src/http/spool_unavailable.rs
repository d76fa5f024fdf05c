//! Texts for the sender and the operator about why the spool accepts no batch.

use super::refusal::Refusal;
use crate::{config::format_bytes, spool::SpoolUnavailable};

pub(super) fn text(reason: &SpoolUnavailable) -> String {
    match reason {
        SpoolUnavailable::SpoolFull { max_bytes, slowest_sink } => format!(
            "the spool is full (spool.max_bytes = {}): the sink {slowest_sink} lags; repair it, \
             see the receiver's log",
            format_bytes(*max_bytes)
        ),
        SpoolUnavailable::DiskFull { free, reserve } => format!(
            "the spool's disk is full: {} free, {} reserved; free up space",
            format_bytes(*free),
            format_bytes(*reserve)
        ),
        SpoolUnavailable::CannotWrite { error } => {
            format!("the spool cannot be written to: {error}")
        }
        SpoolUnavailable::DiskHangs => String::from("the disk under spool.dir does not answer"),
    }
}

impl From<SpoolUnavailable> for Refusal {
    fn from(reason: SpoolUnavailable) -> Self {
        Self::Unavailable { why: text(&reason) }
    }
}
