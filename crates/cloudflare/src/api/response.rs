//! Parses API responses: a result, or an error with Cloudflare's messages and our advice.

use std::{fmt, time::Duration};

use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use super::{destination::printable, health};

/// The most characters quoted from a response that is not in the API's format.
const QUOTED_CHARS: usize = 200;

/// The JSON object around every result.
#[derive(Deserialize)]
struct Envelope {
    success: bool,
    #[serde(default)]
    errors: Vec<ErrorDetail>,
    #[serde(default)]
    result: Value,
}

/// One error that the API reports.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub struct ErrorDetail {
    /// Cloudflare's error code.
    #[serde(default)]
    pub code: u64,
    /// Cloudflare's error message.
    #[serde(default)]
    pub message: String,
    /// The causes of the error.
    #[serde(default)]
    pub error_chain: Vec<Self>,
}

/// A request that the API refused, or a response that did not come from the API.
#[derive(Debug)]
pub struct ApiError {
    /// The status of the response.
    pub status: StatusCode,
    /// The errors that the API reports; may be empty.
    pub errors: Vec<ErrorDetail>,
    /// The body of a response that is not in the API's format.
    body: String,
    retry_after: Option<Duration>,
}

/// Parses a response and returns its result.
///
/// # Errors
/// The API refused the request, or the response is not in the API's format.
pub fn parse(
    status: StatusCode,
    retry_after: Option<Duration>,
    text: &str,
) -> Result<Value, Box<ApiError>> {
    let envelope = serde_json::from_str::<Envelope>(text).ok();
    let errors = match envelope {
        Some(envelope) if envelope.success && status.is_success() => return Ok(envelope.result),
        Some(envelope) => Some(envelope.errors),
        None => None,
    };
    Err(Box::new(ApiError {
        status,
        body: if errors.is_some() { String::new() } else { text.to_owned() },
        errors: errors.unwrap_or_default(),
        retry_after,
    }))
}

impl ApiError {
    /// Applies `hide` to the body of a response that is not in the API's format.
    ///
    /// Call this before formatting: `Display` truncates the body, and a truncated secret can no longer
    /// be found.
    #[must_use]
    pub fn map_body(mut self, hide: impl Fn(&str) -> String) -> Self {
        self.body = hide(&self.body);
        self
    }

    fn has_code(&self, codes: &[u64]) -> bool {
        let mut errors = self.errors.iter().flat_map(|r| std::iter::once(r).chain(&r.error_chain));
        errors.any(|error| codes.contains(&error.code))
    }

    fn message_contains(&self, words: &str) -> bool {
        self.errors.iter().any(|error| error.message.contains(words))
    }

    /// Returns advice, if the cause is known.
    fn advice(&self) -> Option<String> {
        const PERMISSION: &str = "the token needs the permission \"Logs: Edit\" (Logs Write) for this zone or account, even to read; Access, Gateway and DEX datasets also need \"Zero Trust: PII Read\"";
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            let wait = self.retry_after.map(|wait| format!("{} s", wait.as_secs()));
            let wait = wait.unwrap_or_else(|| "a few minutes".to_owned());
            return Some(format!("too many requests with this token; retry in {wait}"));
        }
        if self.message_contains("exceeded max jobs allowed") {
            return Some("either the zone or account already has as many jobs as the plan allows (4 for a zone; see `logpushd job list`), or the plan does not include Logpush for this dataset; Cloudflare reports both with this message".into());
        }
        if self.message_contains("Bot Management fields") {
            return Some(
                "the plan does not include Bot Management; remove its fields from --fields".into(),
            );
        }
        if self.message_contains("bad predicate") {
            return Some("the filter compares a field with a value of the wrong type; `in` and `!in` take an array".into());
        }
        if self.message_contains("reading job for product") {
            return Some("the token does not have the permission \"Zero Trust: PII Read\"".into());
        }
        if self.message_contains("config string must match") {
            return Some("percent-encode the characters that a destination may not contain, such as a space as %20".into());
        }
        let cause = self.errors.iter().find_map(|error| health::advice(&error.message));
        if let Some(cause) = cause {
            return Some(cause.to_owned());
        }
        if self.has_code(&[9109, 10001, 6003, 6111, 9106, 9107]) {
            return Some("the token is malformed, expired or revoked; use a file that contains only an API token (not the global API key)".into());
        }
        if self.has_code(&[10000]) {
            return Some(format!(
                "the token is wrong, or it is missing a permission: {PERMISSION}"
            ));
        }
        match self.status {
            StatusCode::UNAUTHORIZED => Some(format!("check the token: {PERMISSION}")),
            StatusCode::FORBIDDEN => Some(PERMISSION.into()),
            StatusCode::NOT_FOUND => Some("the job, zone or account does not exist, or the token has no access to it; see `logpushd job list`, with --account for the jobs of an account and --zone for those of a zone".into()),
            status if status.is_server_error() => {
                Some("Cloudflare's API failed; retry later, and see www.cloudflarestatus.com".into())
            }
            _ => None,
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        for error in &self.errors {
            write!(f, ": {error}")?;
        }
        if !self.body.is_empty() {
            let start: String = self.body.chars().take(QUOTED_CHARS).collect();
            write!(f, ", in a response that is not from Cloudflare's API: {}", printable(&start))?;
        }
        match self.advice() {
            Some(advice) => write!(f, "\n  {advice}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for ErrorDetail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, printable(&self.message))?;
        for cause in &self.error_chain {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, text: &str) -> String {
        let status = StatusCode::from_u16(status).unwrap();
        parse(status, Some(Duration::from_secs(7)), text).unwrap_err().to_string()
    }

    fn because(status: u16, code: u64, message: &str) -> String {
        let error = serde_json::json!({ "code": code, "message": message });
        let body = serde_json::json!({ "success": false, "errors": [error], "result": null });
        refused(status, &body.to_string())
    }

    #[test]
    fn the_result_is_taken_from_the_envelope() {
        let text = r#"{"errors":[],"messages":[],"success":true,"result":[1]}"#;
        assert_eq!(parse(StatusCode::OK, None, text).unwrap(), serde_json::json!([1]));
        // A proxy's error page, or an envelope that contradicts itself.
        assert!(refused(502, text).contains("502 Bad Gateway"));
        assert!(refused(200, r#"{"success":false}"#).starts_with("200 OK"));
        let page = refused(200, "<html>\u{1b}[2J");
        assert!(page.contains(r"not from Cloudflare's API: <html>\u{1b}[2J"), "{page}");
    }

    #[test]
    fn errors_show_cloudflares_message_and_advice() {
        for (status, code, message, expected) in [
            (403, 10000, "Authentication error", "Logs: Edit"),
            (403, 9109, "Invalid access token", "expired or revoked"),
            (
                403,
                1004,
                "creating a new job is not allowed: exceeded max jobs allowed",
                "4 for a zone",
            ),
            (
                403,
                1004,
                "creating a new job is not allowed: Bot Management fields are not allowed",
                "remove its fields",
            ),
            (
                400,
                1004,
                "bad predicate: failed to decode value: supported kinds: []uint64",
                "take an array",
            ),
            (
                403,
                1004,
                "reading job for product 'gateway_dns' is not allowed",
                "Zero Trust: PII Read",
            ),
            (403, 1, "forbidden", "Logs: Edit"),
            (404, 1, "no such job", "zone or account does not exist"),
            (429, 971, "rate limited", "retry in 7 s"),
            (400, 1002, "invalid destination_conf: config string must match \"^[a-z]+$\"", "%20"),
            (
                400,
                1002,
                "error validating destination: error writing object: error uploading to https: status:401",
                "secret",
            ),
            (503, 7, "unavailable", "www.cloudflarestatus.com"),
        ] {
            let text = because(status, code, message);
            assert!(text.contains(&format!("{code} {message}")), "{text}");
            assert!(text.contains(expected), "{expected:?} not in {text:?}");
        }
        assert!(
            !because(400, 1001, "something new").contains('\n'),
            "no advice for an unknown error"
        );
        let chain = r#"{"success":false,"errors":[{"code":6003,"message":"Invalid request headers","error_chain":[{"code":6111,"message":"Invalid format for Authorization header"}]}]}"#;
        let text = refused(400, chain);
        assert!(text.contains("6003 Invalid request headers: 6111 Invalid format"), "{text}");
        assert!(text.contains("not the global API key"), "{text}");
    }
}
