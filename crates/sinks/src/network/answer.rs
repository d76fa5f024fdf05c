//! What the answer of a target means that has no rules of its own.

use std::{sync::Arc, time::Duration};

use http_client::retry::retry_after;
use jiff::Timestamp;
use reqwest::{
    Response, StatusCode, Url,
    header::{HeaderMap, LOCATION, RETRY_AFTER},
};
use settings::printable::printable;

use super::http::Session;
use crate::upload::Verdict;

/// Of an answer's body this much is read: its words fit in, and a small rest lets the connection be used
/// again.
const MAX_READ_BYTES: usize = 64 * 1024;

/// Of the target's words this much is shown.
const MAX_WORDS_BYTES: usize = 300;

/// Shorter parts of a secret occur in words by chance.
const MIN_SECRET_BYTES: usize = 4;

/// An answer, of which the head has arrived.
#[derive(Debug)]
pub struct HttpAnswer {
    response: Response,
    session: Arc<Session>,
}

impl HttpAnswer {
    pub(super) fn new(response: Response, session: Arc<Session>) -> Self {
        Self { response, session }
    }

    /// Interprets the answer by its status. Nothing is known of a single record.
    pub async fn verdict(mut self) -> Verdict {
        let mut body = Vec::new();
        // The status decides. A body that ends early has said enough.
        while body.len() < MAX_READ_BYTES
            && let Ok(Some(bytes)) = self.response.chunk().await
        {
            body.extend_from_slice(&bytes);
        }
        let words = String::from_utf8_lossy(&body);
        verdict(&self.response, &without_secrets(&words, &self.session.secrets))
    }
}

fn verdict(response: &Response, words: &str) -> Verdict {
    let status = response.status();
    let why = failure(response.url(), status, words);
    let alert = |action: String| Verdict::Alert { why: why.clone(), action };
    match status.as_u16() {
        200..=299 => Verdict::Delivered,
        408 | 425 | 429 | 500..=599 => Verdict::Retry { after: delay(response.headers()), why },
        413 => Verdict::TooLarge { why },
        400 | 422 => Verdict::Refused { why },
        300..=399 => alert(redirect(response.headers())),
        401 | 403 | 407 => alert("check the sink's credentials and what the target allows".into()),
        404 | 405 | 410 => alert("check the sink's `url` and `method`".into()),
        415 => alert("set `compression` and the headers to what the target accepts".into()),
        // Not what is wrong with a record. It would not be right in quarantine either.
        _ => alert("check the target and the sink's settings".into()),
    }
}

/// The failure: which target, what it answered, in its words.
fn failure(url: &Url, status: StatusCode, words: &str) -> String {
    // A query may be long, and contain what is not for the log.
    let target = format!("{}{}", url.origin().ascii_serialization(), url.path());
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    let failure = format!("{target} answered {status}");
    match words.as_str() {
        "" => failure,
        words => format!("{failure}: {}", printable(words).up_to(MAX_WORDS_BYTES)),
    }
}

fn delay(headers: &HeaderMap) -> Option<Duration> {
    retry_after(headers.get(RETRY_AFTER)?.to_str().ok()?, Timestamp::now())
}

fn redirect(headers: &HeaderMap) -> String {
    let location = headers.get(LOCATION).and_then(|location| location.to_str().ok());
    // What follows the path may be a token.
    let location = location.and_then(|location| location.split(['?', '#']).next());
    match location {
        Some(location) => {
            let location = printable(location).up_to(MAX_WORDS_BYTES);
            format!("redirects are not followed: if {location} is right, set `url` to it")
        }
        None => "redirects are not followed: check the sink's `url`".to_owned(),
    }
}

/// The words of a target, which may repeat what it was sent.
fn without_secrets(words: &str, secrets: &HeaderMap) -> String {
    let mut words = words.to_owned();
    for secret in secrets.values().filter_map(|value| value.to_str().ok()) {
        words = words.replace(secret, "[secret]");
        // The scheme of `Authorization` is none.
        if let Some((_, token)) = secret.split_once(' ')
            && token.len() >= MIN_SECRET_BYTES
        {
            words = words.replace(token, "[secret]");
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, headers: &[(&str, &str)], words: &str) -> Verdict {
        let mut response = ::http::Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        let response = response.body(Vec::new()).unwrap();
        verdict(&Response::from(response), words)
    }

    #[test]
    fn each_status_has_its_meaning() {
        let named = |status| match answered(status, &[], "") {
            Verdict::Delivered => "delivered",
            Verdict::Retry { .. } => "retry",
            Verdict::Alert { .. } => "alert",
            Verdict::TooLarge { .. } => "too large",
            Verdict::Refused { .. } => "refused",
            Verdict::Partial { .. } => "partial",
        };
        for (statuses, expected) in [
            (&[200, 201, 202, 204][..], "delivered"),
            (&[408, 425, 429, 500, 501, 502, 503, 504, 599], "retry"),
            (
                &[301, 302, 307, 308, 304, 401, 403, 404, 405, 406, 407, 409, 410, 411, 415, 451],
                "alert",
            ),
            (&[413], "too large"),
            (&[400, 422], "refused"),
        ] {
            for status in statuses {
                assert_eq!(named(*status), expected, "{status}");
            }
        }
    }

    #[test]
    fn the_target_sets_the_delay() {
        for (value, expected) in
            [("7", Some(7)), ("soon", None), ("Wed, 21 Oct 2015 07:28:00 GMT", Some(0))]
        {
            let verdict = answered(503, &[("retry-after", value)], "");
            let Verdict::Retry { after, .. } = verdict else { panic!("{verdict:?}") };
            assert_eq!(after, expected.map(Duration::from_secs), "{value}");
        }
    }

    #[test]
    fn words_are_short_and_harmless() {
        let Verdict::Refused { why } = answered(400, &[], " no\n  such \u{1b}[2J field ") else {
            panic!("another verdict")
        };
        assert!(why.ends_with(" answered 400 Bad Request: no such \\u{1b}[2J field"), "{why}");
        let long = answered(400, &[], &"x".repeat(10_000));
        let Verdict::Refused { why } = long else { panic!("another verdict") };
        assert!(why.len() < 500, "{why}");
    }

    #[test]
    fn a_redirect_is_named_without_its_query() {
        let moved = [("location", "https://b.example/in?token=hidden")];
        let Verdict::Alert { why, action } = answered(308, &moved, "") else {
            panic!("another verdict")
        };
        assert!(action.contains("https://b.example/in is right"), "{action}");
        assert!(!format!("{why} {action}").contains("hidden"), "{why} {action}");
    }

    #[test]
    fn secrets_that_are_repeated_are_not_shown() {
        let secrets = [("authorization", "Splunk token-1"), ("x-key", "key-2")];
        let secrets = secrets.map(|(name, value)| {
            (name.parse::<reqwest::header::HeaderName>().unwrap(), value.parse().unwrap())
        });
        let secrets: HeaderMap = secrets.into_iter().collect();
        let words = without_secrets("got Splunk token-1, \"token-1\" and key-2", &secrets);
        assert_eq!(words, "got [secret], \"[secret]\" and [secret]");
    }
}
