//! What the API answers: a result, or a refusal with its reasons and our advice.

use std::{fmt, time::Duration};

use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use super::{destination::printable, health};

/// Of an answer that is not the API's this much is quoted.
const QUOTED_CHARS: usize = 200;

/// What surrounds every result.
#[derive(Deserialize)]
struct Envelope {
    success: bool,
    #[serde(default)]
    errors: Vec<Reason>,
    #[serde(default)]
    result: Value,
}

/// Why the API refused.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub struct Reason {
    /// Cloudflare's number for it.
    #[serde(default)]
    pub code: u64,
    /// Cloudflare's words for it.
    #[serde(default)]
    pub message: String,
    /// What is behind it.
    #[serde(default)]
    pub error_chain: Vec<Self>,
}

/// The API did not do what it was asked.
#[derive(Debug)]
pub struct ApiRefusal {
    /// The status of the answer.
    pub status: StatusCode,
    /// Why; may be empty.
    pub reasons: Vec<Reason>,
    /// What came instead of reasons.
    text: String,
    retry_after: Option<Duration>,
}

/// What an answer says.
///
/// # Errors
/// The API refused, or it was not the API that answered.
pub fn read(
    status: StatusCode,
    retry_after: Option<Duration>,
    text: &str,
) -> Result<Value, Box<ApiRefusal>> {
    let envelope = serde_json::from_str::<Envelope>(text).ok();
    let reasons = match envelope {
        Some(envelope) if envelope.success && status.is_success() => return Ok(envelope.result),
        Some(envelope) => Some(envelope.errors),
        None => None,
    };
    Err(Box::new(ApiRefusal {
        status,
        text: if reasons.is_some() { String::new() } else { text.to_owned() },
        reasons: reasons.unwrap_or_default(),
        retry_after,
    }))
}

impl ApiRefusal {
    /// Of what is not the API's only the beginning is quoted, so secrets have to go before: what is
    /// left of one that was cut is not found any more.
    #[must_use]
    pub fn with_text(mut self, hide: impl Fn(&str) -> String) -> Self {
        self.text = hide(&self.text);
        self
    }

    fn has(&self, codes: &[u64]) -> bool {
        let mut reasons =
            self.reasons.iter().flat_map(|r| std::iter::once(r).chain(&r.error_chain));
        reasons.any(|reason| codes.contains(&reason.code))
    }

    fn says(&self, words: &str) -> bool {
        self.reasons.iter().any(|reason| reason.message.contains(words))
    }

    /// What to do, as far as it is known.
    fn advice(&self) -> Option<String> {
        const PERMISSION: &str = "the token needs the permission \"Logs: Edit\" (Logs Write) for this very zone or account, also to read; Access, Gateway and DEX datasets need \"Zero Trust: PII Read\" as well";
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            let wait = self.retry_after.map(|wait| format!("{} s", wait.as_secs()));
            let wait = wait.unwrap_or_else(|| "some minutes".to_owned());
            return Some(format!("too many requests for this token: try again in {wait}"));
        }
        if self.says("exceeded max jobs allowed") {
            return Some("either there are as many jobs as the plan allows (4 for a zone; see `logpushd job list`), or the plan has no Logpush for this dataset: Cloudflare says the same in both cases".into());
        }
        if self.says("Bot Management fields") {
            return Some("the plan has no Bot Management: leave its fields out of --fields".into());
        }
        if self.says("bad predicate") {
            return Some("the filter compares a field with a value of another type; `in` and `!in` take an array".into());
        }
        if self.says("reading job for product") {
            return Some("the token lacks the permission \"Zero Trust: PII Read\"".into());
        }
        if self.says("config string must match") {
            return Some("URL-encode what is not allowed in a destination, a space as %20".into());
        }
        let cause = self.reasons.iter().find_map(|reason| health::advice(&reason.message));
        if let Some(cause) = cause {
            return Some(cause.to_owned());
        }
        if self.has(&[9109, 10001, 6003, 6111, 9106, 9107]) {
            return Some("the token is not one, or not valid any more: name a file with an API token (not the global API key), and nothing else in it".into());
        }
        if self.has(&[10000]) {
            return Some(format!("either the token is wrong, or {PERMISSION}"));
        }
        match self.status {
            StatusCode::UNAUTHORIZED => Some(format!("check the token: {PERMISSION}")),
            StatusCode::FORBIDDEN => Some(PERMISSION.into()),
            StatusCode::NOT_FOUND => Some("there is no such job, zone or account, or not for this token: see `logpushd job list`; jobs of an account are found with --account only, those of a zone with --zone".into()),
            status if status.is_server_error() => {
                Some("this is Cloudflare's own failure: try again later, and see www.cloudflarestatus.com".into())
            }
            _ => None,
        }
    }
}

impl fmt::Display for ApiRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        for reason in &self.reasons {
            write!(f, ": {reason}")?;
        }
        if !self.text.is_empty() {
            let start: String = self.text.chars().take(QUOTED_CHARS).collect();
            write!(f, ", and not as Cloudflare's API answers: {}", printable(&start))?;
        }
        match self.advice() {
            Some(advice) => write!(f, "\n  {advice}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Reason {
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
        read(status, Some(Duration::from_secs(7)), text).unwrap_err().to_string()
    }

    fn because(status: u16, code: u64, message: &str) -> String {
        let reason = serde_json::json!({ "code": code, "message": message });
        let body = serde_json::json!({ "success": false, "errors": [reason], "result": null });
        refused(status, &body.to_string())
    }

    #[test]
    fn a_result_is_what_the_envelope_holds() {
        let text = r#"{"errors":[],"messages":[],"success":true,"result":[1]}"#;
        assert_eq!(read(StatusCode::OK, None, text).unwrap(), serde_json::json!([1]));
        // A proxy's error page, or an envelope that contradicts itself.
        assert!(refused(502, text).contains("502 Bad Gateway"));
        assert!(refused(200, r#"{"success":false}"#).starts_with("200 OK"));
        let page = refused(200, "<html>\u{1b}[2J");
        assert!(page.contains(r"not as Cloudflare's API answers: <html>\u{1b}[2J"), "{page}");
    }

    #[test]
    fn every_refusal_has_its_words_and_our_advice() {
        for (status, code, message, expected) in [
            (403, 10000, "Authentication error", "Logs: Edit"),
            (403, 9109, "Invalid access token", "not valid any more"),
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
                "leave its fields out",
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
            (404, 1, "no such job", "no such job, zone or account"),
            (429, 971, "rate limited", "try again in 7 s"),
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
        assert!(!because(400, 1001, "something new").contains('\n'), "no advice is invented");
        let chain = r#"{"success":false,"errors":[{"code":6003,"message":"Invalid request headers","error_chain":[{"code":6111,"message":"Invalid format for Authorization header"}]}]}"#;
        let text = refused(400, chain);
        assert!(text.contains("6003 Invalid request headers: 6111 Invalid format"), "{text}");
        assert!(text.contains("not the global API key"), "{text}");
    }
}
