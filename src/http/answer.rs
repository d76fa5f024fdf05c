//! Answers in the format of the endpoint's protocol. With Logpush, a 200 is JSON and a refusal is
//! one line of text.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Response, StatusCode,
    header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER},
};
use serde::Serialize;

use super::{
    hec,
    refusal::{Methods, Refusal},
};
use crate::{config::Protocol, decode::Format, ingest::Receipt, metrics::BatchOutcome};

/// Body of an answer.
pub type Body = Full<Bytes>;

/// Seconds after which a sender may retry. Cloudflare is not known to heed it; other senders do.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("10");

/// With HEC, whose 200 has Splunk's body: the JSON body that Logpush would get.
const RESULT: HeaderName = HeaderName::from_static("x-logpushd-result");

/// In the answer to a destination check, if the endpoint takes CSV: `logpushd doctor` then sends no
/// record, which would be quarantined.
const FORMAT: HeaderName = HeaderName::from_static("x-logpushd-format");

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Content of a 200.
#[derive(Clone, Copy, Debug)]
pub(super) struct Accepted {
    pub(super) outcome: BatchOutcome,
    /// Records for the sinks.
    pub(super) records: u64,
    /// Records in quarantine; a whole body counts as one.
    pub(super) quarantined: u64,
}

impl From<&Receipt> for Accepted {
    fn from(receipt: &Receipt) -> Self {
        let (outcome, records, quarantined) = match receipt {
            Receipt::Committed { batch, .. } => {
                let header = &batch.header;
                let outcome = match header.records {
                    0 => BatchOutcome::Quarantined,
                    _ => BatchOutcome::Committed,
                };
                (outcome, header.records, header.rejected)
            }
            Receipt::Duplicate { records, rejected } => {
                (BatchOutcome::Duplicate, *records, *rejected)
            }
            Receipt::Empty => (BatchOutcome::Empty, 0, 0),
            Receipt::DestinationCheck => (BatchOutcome::DestinationCheck, 0, 0),
            Receipt::QuarantinedBody { .. } => (BatchOutcome::Quarantined, 0, 1),
        };
        Self { outcome, records, quarantined }
    }
}

pub(super) fn accepted(protocol: Protocol, accepted: &Accepted, format: Format) -> Response<Body> {
    #[derive(Serialize)]
    struct Answer {
        status: &'static str,
        records: u64,
        quarantined: u64,
    }
    let Accepted { outcome, records, quarantined } = *accepted;
    let answer = Answer { status: status_word(outcome), records, quarantined };
    let mut text = serde_json::to_vec(&answer).unwrap_or_default();
    let mut response = match protocol {
        Protocol::Logpush => {
            text.push(b'\n');
            response(StatusCode::OK, text.into(), JSON)
        }
        Protocol::SplunkHec => {
            let mut response = response(StatusCode::OK, hec::accepted(), JSON);
            if let Ok(text) = HeaderValue::from_maybe_shared(Bytes::from(text)) {
                response.headers_mut().insert(RESULT, text);
            }
            response
        }
    };
    if let (BatchOutcome::DestinationCheck, Format::Csv(_)) = (outcome, format) {
        response.headers_mut().insert(FORMAT, HeaderValue::from_static("csv"));
    }
    response
}

/// Returns the `status` of the JSON answer.
fn status_word(outcome: BatchOutcome) -> &'static str {
    match outcome {
        BatchOutcome::Committed => "committed",
        BatchOutcome::Duplicate => "duplicate",
        BatchOutcome::DestinationCheck => "destination_check",
        BatchOutcome::Quarantined => "quarantined",
        BatchOutcome::Empty => "empty",
    }
}

/// Answers a HEC health query.
pub(super) fn health(is_healthy: bool) -> Response<Body> {
    let (status, body) = hec::health(is_healthy);
    response(status, body, JSON)
}

/// Answers OPTIONS with the methods of a path.
pub(super) fn methods(methods: Methods) -> Response<Body> {
    let mut response = Response::default();
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods.allow()));
    response
}

/// Returns the status of a refusal.
pub(super) fn status(protocol: Protocol, refusal: &Refusal) -> StatusCode {
    match protocol {
        Protocol::Logpush => refusal.status(),
        Protocol::SplunkHec => hec::status(refusal),
    }
}

pub(super) fn refused(protocol: Protocol, refusal: &Refusal) -> Response<Body> {
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    let (body, content_type) = match protocol {
        Protocol::Logpush => (refusal.text().into(), text),
        Protocol::SplunkHec => (hec::refused(refusal), JSON),
    };
    let mut response = response(status(protocol, refusal), body, content_type);
    match refusal {
        Refusal::MethodNotAllowed(methods) => {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods.allow()));
        }
        Refusal::Unavailable { .. } => {
            response.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
        }
        _ => {}
    }
    response
}

/// Announces in the answer that the connection closes after it.
pub(super) fn close_after(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

fn response(status: StatusCode, body: Bytes, content_type: HeaderValue) -> Response<Body> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
