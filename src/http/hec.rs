//! The parts of Splunk's HTTP Event Collector that differ from Logpush: tokens and answers.
//!
//! Senders evaluate status and code, so both are Splunk's. If Splunk has no code for a refusal, the
//! code is the status, as in Splunk's own answer to an unknown path.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD_PAD_INDIFFERENT as BASE64};
use bytes::Bytes;
use hyper::StatusCode;
use serde::Serialize;

use super::refusal::{Refusal, ShownSecret};

/// JSON body of an answer.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    text: &'a str,
    code: u16,
    /// What to do, if Splunk's text does not state it.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

/// Returns the body of a 200.
pub(super) fn accepted() -> Bytes {
    body("Success", 0, None)
}

/// Returns status and body of the answer to a health query.
pub(super) fn health(is_healthy: bool) -> (StatusCode, Bytes) {
    // The query needs no secret, so the answer contains no reason.
    if is_healthy {
        (StatusCode::OK, body("HEC is healthy", 17, None))
    } else {
        let text = "HEC is unhealthy, queues are full";
        (StatusCode::SERVICE_UNAVAILABLE, body(text, 18, None))
    }
}

/// Returns the status of a refusal.
pub(super) fn status(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::Unauthorized(ShownSecret::Wrong) => StatusCode::FORBIDDEN,
        Refusal::Unauthorized(ShownSecret::InQuery) => StatusCode::BAD_REQUEST,
        other => other.status(),
    }
}

/// Returns the body of a refusal.
pub(super) fn refused(refusal: &Refusal) -> Bytes {
    let text = refusal.text();
    let detail = Some(text.trim_end());
    let status = status(refusal);
    match refusal {
        Refusal::Unauthorized(ShownSecret::Nothing) => body("Token is required", 2, None),
        Refusal::Unauthorized(ShownSecret::Unreadable) => body("Invalid authorization", 3, None),
        Refusal::Unauthorized(ShownSecret::Wrong) => body("Invalid token", 4, None),
        Refusal::Unauthorized(ShownSecret::InQuery) => {
            body("Query string authorization is not enabled", 16, None)
        }
        Refusal::NoData => body("No data", 5, None),
        Refusal::AckDisabled => body("ACK is disabled", 14, None),
        Refusal::Malformed { .. } | Refusal::Disconnected { .. } | Refusal::SinkNotTaken(_) => {
            body("Invalid data format", 6, detail)
        }
        Refusal::Unavailable { .. } => body("Server is busy", 9, detail),
        Refusal::NotFound => {
            let detail =
                "this endpoint has the paths /event, /raw, /health and /ack after its prefix";
            let text = "The requested URL was not found on this server.";
            body(text, status.as_u16(), Some(detail))
        }
        Refusal::Forbidden
        | Refusal::MethodNotAllowed(_)
        | Refusal::BodyTimeout { .. }
        | Refusal::DatasetNotListed
        | Refusal::TooManyDatasets { .. }
        | Refusal::TooLarge { .. }
        | Refusal::UnsupportedEncoding => {
            body(status.canonical_reason().unwrap_or_default(), status.as_u16(), detail)
        }
    }
}

/// Returns what the log reports about a refused token: what the sender must change.
pub(super) fn advice(shown: ShownSecret) -> &'static str {
    match shown {
        ShownSecret::Nothing => {
            "no token: the sender must send `Authorization: Splunk TOKEN`; for a Logpush job, add \
             header_Authorization=Splunk%20TOKEN to destination_conf"
        }
        ShownSecret::Unreadable => {
            "`Authorization` is neither `Splunk TOKEN` nor Basic with the token as the password"
        }
        ShownSecret::InQuery => {
            "the token is in the query, where proxies may log it: create a new token, and send it \
             as `Authorization: Splunk TOKEN`"
        }
        ShownSecret::Wrong => "wrong token: the endpoint's secret_file does not contain it",
    }
}

fn body(text: &str, code: u16, detail: Option<&str>) -> Bytes {
    serde_json::to_vec(&Answer { text, code, detail }).unwrap_or_default().into()
}

/// Returns the token in a value of `Authorization`: after `Splunk`, or the password of Basic.
pub(super) fn token(value: &[u8]) -> Option<Cow<'_, [u8]>> {
    let (scheme, rest) = value.split_at(value.iter().position(|byte| *byte == b' ')?);
    let rest = rest.trim_ascii();
    if rest.is_empty() {
        None
    } else if scheme.eq_ignore_ascii_case(b"splunk") {
        Some(rest.into())
    } else if scheme.eq_ignore_ascii_case(b"basic") {
        // Some senders omit the padding.
        let mut token = BASE64.decode(rest).ok()?;
        let colon = token.iter().position(|byte| *byte == b':')?;
        Some(token.split_off(colon + 1).into())
    } else {
        None
    }
}

/// Whether a query contains a token. Splunk does not accept it there by default, either.
pub(super) fn has_token_in_query(query: Option<&str>) -> bool {
    query.is_some_and(|query| query.split('&').any(|pair| pair.starts_with("token=")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_basic_password_is_the_token() {
        for (value, want) in [
            ("Basic eDpmb28=", Some("foo")),
            ("basic  eDpmb28", Some("foo")),
            ("Basic Pz8/Pj4+Ojpm", Some(":f")),
            ("Basic Og==", Some("")),
            ("Basic Zm9v", None),
            ("Basic eDpm b28=", None),
            ("Basic eDpmb-8=", None),
            ("Basic eDpmb28=eDpmb28=", None),
            ("Basic eDpmb29=", None),
            ("Basic e", None),
            ("Basic ", None),
        ] {
            let got = token(value.as_bytes());
            assert_eq!(got.as_deref(), want.map(str::as_bytes), "{value}");
        }
    }

    #[test]
    fn answers_are_splunks_with_a_detail_where_needed() {
        let text = |refusal: &Refusal| String::from_utf8(refused(refusal).to_vec()).unwrap();
        assert_eq!(*accepted(), *b"{\"text\":\"Success\",\"code\":0}");
        assert_eq!(text(&Refusal::NoData), "{\"text\":\"No data\",\"code\":5}");
        let large = text(&Refusal::body_too_large(1000, None));
        assert!(large.starts_with("{\"text\":\"Payload Too Large\",\"code\":413,"), "{large}");
        assert!(large.contains("raise limits.max_body_bytes"), "{large}");
        let busy = text(&Refusal::unavailable("the spool is full"));
        let want = "{\"text\":\"Server is busy\",\"code\":9,\"detail\":\"the spool is full\"}";
        assert_eq!(busy, want);
    }
}
