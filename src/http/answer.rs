//! Answers: what was accepted as JSON, what was refused as one line of text.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Response, StatusCode,
    header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER},
};
use serde::Serialize;

use super::refusal::Refusal;
use crate::{ingest::Receipt, metrics::Outcome};

/// The body of an answer.
pub type Body = Full<Bytes>;

/// When a sender may try again, in seconds. Cloudflare is not known to heed it; other senders are.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("10");

/// What a 200 says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Accepted {
    pub(super) outcome: Outcome,
    /// Records that sinks get.
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
                    0 => Outcome::Quarantined,
                    _ => Outcome::Committed,
                };
                (outcome, header.records, header.rejected)
            }
            Receipt::Duplicate { records, rejected } => (Outcome::Duplicate, *records, *rejected),
            Receipt::Empty => (Outcome::Empty, 0, 0),
            Receipt::DestinationCheck => (Outcome::DestinationCheck, 0, 0),
            Receipt::QuarantinedBody { .. } => (Outcome::Quarantined, 0, 1),
        };
        Self { outcome, records, quarantined }
    }
}

pub(super) fn accepted(accepted: &Accepted) -> Response<Body> {
    #[derive(Serialize)]
    struct Answer {
        status: &'static str,
        records: u64,
        quarantined: u64,
    }
    let Accepted { outcome, records, quarantined } = *accepted;
    let answer = Answer { status: outcome.label(), records, quarantined };
    let mut text = serde_json::to_vec(&answer).unwrap_or_default();
    text.push(b'\n');
    let json = HeaderValue::from_static("application/json");
    response(StatusCode::OK, text.into(), json)
}

pub(super) fn refused(refusal: &Refusal) -> Response<Body> {
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    let mut response = response(refusal.status(), refusal.text().into(), text);
    match refusal {
        Refusal::MethodNotAllowed => {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST, PUT"));
        }
        Refusal::Unavailable { .. } => {
            response.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
        }
        _ => {}
    }
    response
}

/// Says that the connection ends behind this answer.
pub(super) fn last(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

fn response(status: StatusCode, body: Bytes, content_type: HeaderValue) -> Response<Body> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
