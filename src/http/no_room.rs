//! Why the spool takes no batch, in words for the sender and the operator.

use super::refusal::Refusal;
use crate::{config::format_bytes, spool::NoRoom};

pub(super) fn text(reason: &NoRoom) -> String {
    match reason {
        NoRoom::SpoolFull { max_bytes, behind } => format!(
            "the spool is full (spool.max_bytes = {}): the sink {behind} lags, see the receiver's \
             log",
            format_bytes(*max_bytes)
        ),
        NoRoom::DiskFull { free, reserve } => format!(
            "the spool's disk is full: {} are free, and {} stay so",
            format_bytes(*free),
            format_bytes(*reserve)
        ),
        NoRoom::CannotWrite { error } => format!("the spool cannot be written to: {error}"),
        NoRoom::Hangs => String::from("the disk under spool.dir does not answer"),
    }
}

impl From<NoRoom> for Refusal {
    fn from(reason: NoRoom) -> Self {
        Self::Unavailable { why: text(&reason) }
    }
}
