//! Metrics that remember what the uploader reports.

use std::sync::{Mutex, PoisonError};

use super::super::{RequestErrorClass, RequestOutcome, RequestResult, UploadMetrics};

/// What the uploaders of a test have reported.
#[derive(Debug, Default)]
pub(super) struct RecordedMetrics(Mutex<Reported>);

#[derive(Clone, Debug, Default)]
pub(super) struct Reported {
    pub(super) opened: usize,
    pub(super) sent: usize,
    pub(super) sent_bytes: u64,
    pub(super) results: Vec<(RequestOutcome, Option<RequestErrorClass>)>,
    pub(super) delivered: u64,
}

impl RecordedMetrics {
    pub(super) fn reported(&self) -> Reported {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, change: impl FnOnce(&mut Reported)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl UploadMetrics for RecordedMetrics {
    fn opened(&self) {
        self.change(|reported| reported.opened += 1);
    }

    fn sent(&self, bytes: u64) {
        self.change(|reported| {
            reported.sent += 1;
            reported.sent_bytes += bytes;
        });
    }

    fn ended(&self, result: &RequestResult) {
        self.change(|reported| reported.results.push((result.outcome, result.error)));
    }

    fn records_delivered(&self, records: u64) {
        self.change(|reported| reported.delivered += records);
    }
}
