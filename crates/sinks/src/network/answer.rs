//! Interprets the HTTP response of a target that has no rules of its own.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http_client::retry::retry_after;
use jiff::Timestamp;
use reqwest::{
    Response, StatusCode, Version,
    header::{CONNECTION, HeaderMap, LOCATION, RETRY_AFTER},
};
use settings::printable::printable;

use super::{
    http::{PROXY_CREDENTIALS, Session},
    secret::Secrets,
};
use crate::upload::Verdict;

/// How much of the body of a response is read: enough for an error message, and for reuse of the
/// connection after a short body.
const MAX_READ_BYTES: usize = 64 * 1024;

/// How much of the target's message is logged.
const MAX_MESSAGE_BYTES: usize = 300;

/// A response whose status and headers have arrived.
#[derive(Debug)]
pub struct HttpAnswer {
    response: Response,
    session: Arc<Session>,
}

impl HttpAnswer {
    pub(super) fn new(response: Response, session: Arc<Session>) -> Self {
        Self { response, session }
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// Whether the target refuses the credentials of the request.
    pub fn is_about_credentials(&self) -> bool {
        matches!(self.status().as_u16(), 401 | 403 | 407)
    }

    /// The connection on which the response arrived, by its local address. `None` if the server
    /// closes the connection after the response.
    pub fn connection(&self) -> Option<SocketAddr> {
        let closes = self.headers().get(CONNECTION);
        let closes = closes.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"));
        let is_old = self.response.version() == Version::HTTP_10;
        if closes || is_old { None } else { http_client::local_address(&self.response) }
    }

    /// Reads the body, for targets whose answer is in it.
    ///
    /// # Errors
    /// The body is incomplete or longer than `limit` bytes.
    pub async fn body(&mut self, limit: usize) -> Result<Vec<u8>, Verdict> {
        let (body, is_complete) = self.beginning(limit).await?;
        if is_complete {
            return Ok(body);
        }
        let why = self.failure(&format!("the response has more than {limit} bytes"));
        Err(Verdict::Retry { after: None, why })
    }

    /// Reads up to `limit` bytes of the body. Returns them, and whether they are all.
    ///
    /// # Errors
    /// The body is incomplete.
    pub async fn beginning(&mut self, limit: usize) -> Result<(Vec<u8>, bool), Verdict> {
        let mut body = Vec::new();
        loop {
            match self.response.chunk().await {
                Ok(None) => return Ok((body, true)),
                Ok(Some(bytes)) => body.extend_from_slice(&bytes),
                Err(error) => {
                    let why = self.failure(&format!("the response ended early: {error}"));
                    return Err(Verdict::Retry { after: None, why });
                }
            }
            if body.len() > limit {
                body.truncate(limit);
                return Ok((body, false));
            }
        }
    }

    /// Interprets the response by its status, for all records of the request.
    pub async fn verdict(mut self) -> Verdict {
        let mut body = Vec::new();
        // The status decides. An incomplete body is no error.
        while body.len() < MAX_READ_BYTES
            && let Ok(Some(bytes)) = self.response.chunk().await
        {
            body.extend_from_slice(&bytes);
        }
        self.verdict_with(&String::from_utf8_lossy(&body))
    }

    /// Interprets the response by its status, with the message of the target.
    pub fn verdict_with(&self, message: &str) -> Verdict {
        verdict(&self.response, message, &self.session.secrets)
    }

    /// Describes a failure: the target, the status, and the message of the target, shortened and
    /// without secrets.
    pub fn failure(&self, message: &str) -> String {
        failure(&self.response, message, &self.session.secrets)
    }

    /// The delay that the target requests (`Retry-After`).
    pub fn retry_after(&self) -> Option<Duration> {
        delay(self.response.headers())
    }
}

fn verdict(response: &Response, message: &str, secrets: &Secrets) -> Verdict {
    let why = failure(response, message, secrets);
    let alert = |action: String| Verdict::Alert { why: why.clone(), action };
    match response.status().as_u16() {
        200..=299 => Verdict::Delivered,
        408 | 425 | 429 | 500..=599 => Verdict::Retry { after: delay(response.headers()), why },
        413 => Verdict::TooLarge { why },
        400 | 422 => Verdict::Refused { why },
        300..=399 => alert(redirect(response.headers(), secrets)),
        // Only a proxy answers it.
        407 => alert(PROXY_CREDENTIALS.into()),
        401 | 403 => {
            alert("check the sink's credentials and their permissions at the target".into())
        }
        404 | 405 | 410 => alert("check the sink's `url` and `method`".into()),
        415 => alert("set `compression` and the headers to what the target accepts".into()),
        // The cause is not a record, so the records do not go into quarantine.
        _ => alert("check the target and the sink's settings".into()),
    }
}

fn failure(response: &Response, message: &str, secrets: &Secrets) -> String {
    let (url, status) = (response.url(), response.status());
    // Without the query, which may be long and contain secrets.
    let target = format!("{}{}", url.origin().ascii_serialization(), url.path());
    let failure = format!("{} answered {status}", secrets.redact(&target));
    let message = secrets.redact(message).split_whitespace().collect::<Vec<_>>().join(" ");
    match message.as_str() {
        "" => failure,
        message => format!("{failure}: {}", printable(message).up_to(MAX_MESSAGE_BYTES)),
    }
}

fn delay(headers: &HeaderMap) -> Option<Duration> {
    retry_after(headers.get(RETRY_AFTER)?.to_str().ok()?, Timestamp::now())
}

fn redirect(headers: &HeaderMap, secrets: &Secrets) -> String {
    let location = headers.get(LOCATION).and_then(|location| location.to_str().ok());
    // Without query and fragment, which may contain a token.
    let location = location.and_then(|location| location.split(['?', '#']).next());
    match location {
        Some(location) => {
            let location = secrets.redact(location);
            let location = printable(&location).up_to(MAX_MESSAGE_BYTES);
            format!("redirects are not followed: if {location} is right, set `url` to it")
        }
        None => "redirects are not followed: check the sink's `url`".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, headers: &[(&str, &str)], message: &str) -> Verdict {
        let mut response = ::http::Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        let response = response.body(Vec::new()).unwrap();
        verdict(&Response::from(response), message, &Secrets::default())
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
            Verdict::Discarded { .. } => "discarded",
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
    fn the_delay_is_that_of_retry_after() {
        for (value, expected) in
            [("7", Some(7)), ("soon", None), ("Wed, 21 Oct 2015 07:28:00 GMT", Some(0))]
        {
            let verdict = answered(503, &[("retry-after", value)], "");
            let Verdict::Retry { after, .. } = verdict else { panic!("{verdict:?}") };
            assert_eq!(after, expected.map(Duration::from_secs), "{value}");
        }
    }

    #[test]
    fn the_message_is_short_and_escaped() {
        let Verdict::Refused { why } = answered(400, &[], " no\n  such \u{1b}[2J field ") else {
            panic!("another verdict")
        };
        assert!(why.ends_with(" answered 400 Bad Request: no such \\u{1b}[2J field"), "{why}");
        let long = answered(400, &[], &"x".repeat(10_000));
        let Verdict::Refused { why } = long else { panic!("another verdict") };
        assert!(why.len() < 500, "{why}");
    }

    #[test]
    fn a_redirect_is_logged_without_its_query() {
        let moved = [("location", "https://b.example/in?token=hidden")];
        let Verdict::Alert { why, action } = answered(308, &moved, "") else {
            panic!("another verdict")
        };
        assert!(action.contains("https://b.example/in is right"), "{action}");
        assert!(!format!("{why} {action}").contains("hidden"), "{why} {action}");
    }
}
