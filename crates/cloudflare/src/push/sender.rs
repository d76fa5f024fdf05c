//! Sends batches over a connection, and retries each until the server accepts it.

use std::{
    fmt, io,
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

use http::{
    HeaderMap, Method, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT},
};
use http_client::{
    BlockingClient, Request, Response, Settings, USER_AGENT as AGENT,
    retry::{self, Backoff},
};
use jiff::Timestamp;
use rustls::ClientConfig;
use serde::Deserialize;

use super::{PushError, batch::GzippedBatch, progress::Progress};
use crate::{
    api::{health, mask::Mask},
    destination::Destination,
};

/// Headers that contain no secret.
const PLAIN_HEADERS: [HeaderName; 3] = [CONTENT_ENCODING, CONTENT_TYPE, USER_AGENT];

/// The response header with logpushd's result, which is not in the body if the protocol is Splunk HEC.
const RESULT_HEADER: &str = "x-logpushd-result";

/// The most characters quoted from an answer.
const QUOTED_CHARS: usize = 500;

/// The minimum timeout of a request, even at the end of `--give-up-after`.
const LEAST_WAIT: Duration = Duration::from_secs(1);

/// A flag that stops the push early, set by a signal or a refused batch.
#[derive(Debug, Default)]
pub(super) struct StopFlag {
    is_set: Mutex<bool>,
    changed: Condvar,
}

impl StopFlag {
    pub(super) fn set(&self) {
        *self.is_set.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    pub(super) fn is_set(&self) -> bool {
        *self.is_set.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits, but returns early when the flag is set.
    fn wait(&self, pause: Duration) {
        let is_set = self.is_set.lock().unwrap_or_else(PoisonError::into_inner);
        // The caller checks the flag.
        drop(self.changed.wait_timeout_while(is_set, pause, |is_set| !*is_set));
    }
}

/// The destination, the request headers and the retry limit.
#[derive(Clone)]
pub(super) struct UploadTarget {
    destination: Destination,
    headers: HeaderMap,
    /// Masks secrets that the server repeats.
    mask: Mask,
    tls: ClientConfig,
    give_up_after: Duration,
}

impl UploadTarget {
    /// Creates a target. `more` are headers in addition to those of the destination.
    pub(super) fn new(
        destination: Destination,
        more: HeaderMap,
        tls: ClientConfig,
        give_up_after: Duration,
    ) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        headers.extend(destination.header_map());
        headers.extend(more);
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        let mask = Mask::default()
            .with_headers(&headers, &PLAIN_HEADERS)
            .with_destination(&destination.path_and_query);
        Self { destination, headers, mask, tls, give_up_after }
    }

    fn quoted(&self, response: &Response) -> String {
        // Mask before truncating: a truncated secret can no longer be found.
        let text = self.mask.hide(&response.text);
        let text: String = text.chars().take(QUOTED_CHARS).collect();
        let text = format!("{} {text}", response.status);
        text.trim_end().to_owned()
    }

    fn refusal(&self, response: &Response) -> String {
        let advice = match response.status {
            StatusCode::PAYLOAD_TOO_LARGE => Some(
                "send smaller batches with --max-bytes and --max-records, or raise the server's limit",
            ),
            status => health::advice_for_status(status.as_u16()),
        };
        let advice = advice.map(|advice| format!("\n  {advice}")).unwrap_or_default();
        format!("refused: {}{advice}", self.quoted(response))
    }

    /// Lists the names of the headers, without their values, which may be secrets.
    pub(super) fn header_names(&self) -> String {
        let names: Vec<_> = self.headers.keys().map(HeaderName::as_str).collect();
        names.join(", ")
    }
}

impl fmt::Display for UploadTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.destination.fmt(f)
    }
}

/// Sends batches over one connection.
pub(super) struct Sender {
    target: UploadTarget,
    client: BlockingClient,
    progress: Arc<Progress>,
    stop: Arc<StopFlag>,
}

/// The answer of logpushd to an accepted batch. Other servers may answer anything.
#[derive(Deserialize)]
struct BatchAnswer {
    status: String,
    #[serde(default)]
    quarantined: u64,
}

impl Sender {
    /// Creates a sender without connecting.
    pub(super) fn new(
        target: &UploadTarget,
        progress: &Arc<Progress>,
        stop: &Arc<StopFlag>,
    ) -> io::Result<Self> {
        let client = BlockingClient::new(Settings::new(target.tls.clone()))?;
        let (progress, stop) = (Arc::clone(progress), Arc::clone(stop));
        Ok(Self { target: target.clone(), client, progress, stop })
    }

    /// Connects once, so that a wrong address or certificate fails immediately.
    pub(super) fn connect(&self) -> Result<(), PushError> {
        self.client.probe(&self.target.destination.server).map_err(|error| {
            let hint = if error.cause.contains("UnknownIssuer") {
                "; if the authority is private, pass its certificate with --ca"
            } else {
                ""
            };
            PushError::Unreachable(format!("{error}{hint}"))
        })
    }

    /// Sends a batch, and retries until the server accepts it.
    pub(super) fn send(&mut self, body: &GzippedBatch) -> Result<(), PushError> {
        let request = Request {
            method: Method::POST,
            server: self.target.destination.server.clone(),
            path: self.target.destination.path_and_query.clone(),
            headers: self.target.headers.clone(),
            body: body.gzip.clone(),
        };
        let mut backoff = Backoff::default();
        let since = Instant::now();
        loop {
            if self.stop.is_set() {
                return Err(PushError::Interrupted);
            }
            let left = self.target.give_up_after.saturating_sub(since.elapsed());
            let (why, requested_wait) =
                match self.client.send_within(&request, left.max(LEAST_WAIT)) {
                    Ok(response) if response.status.is_success() => {
                        self.note(body, &response);
                        return Ok(());
                    }
                    Ok(response) if is_retryable(response.status) => {
                        (self.target.quoted(&response), retry_after(&response.headers))
                    }
                    Ok(response) => return Err(PushError::Refused(self.target.refusal(&response))),
                    Err(error) => (error.to_string(), None),
                };
            let pause = requested_wait.unwrap_or_else(|| backoff.next_delay());
            // A subtraction, since adding a huge Retry-After would overflow.
            if pause > self.target.give_up_after.saturating_sub(since.elapsed()) {
                let (elapsed, pause) = (since.elapsed().as_secs(), pause.as_secs());
                return Err(PushError::Unreachable(format!(
                    "gave up after {elapsed} s, before the next retry in {pause} s (--give-up-after): {why}"
                )));
            }
            self.progress.begin_wait(&why);
            self.stop.wait(pause);
            self.progress.end_wait();
        }
    }

    fn note(&self, body: &GzippedBatch, response: &Response) {
        self.progress.sent(body);
        // With Splunk HEC, the result is in a header.
        let result = response.headers.get(RESULT_HEADER).and_then(|text| text.to_str().ok());
        let result = result.unwrap_or(&response.text);
        if let Ok(BatchAnswer { status, quarantined }) = serde_json::from_str(result) {
            self.progress.count_answer(&status, quarantined);
        }
    }
}

/// Reports whether a retry may succeed.
fn is_retryable(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    retry::retry_after(headers.get(RETRY_AFTER)?.to_str().ok()?, Timestamp::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporary_failures_are_retried() {
        for (status, is_retried) in [
            (408, true),
            (429, true),
            (500, true),
            (503, true),
            (400, false),
            (401, false),
            (413, false),
            (302, false),
        ] {
            assert_eq!(is_retryable(StatusCode::from_u16(status).unwrap()), is_retried, "{status}");
        }
    }

    #[test]
    fn requests_have_the_headers_of_logpush_and_of_the_options() {
        let url = "https://h/p?header_Content-Type=application/json&header_X-A=1";
        let destination = Destination::parse(url).unwrap().destination;
        let more = [(USER_AGENT, HeaderValue::from_static("mine"))].into_iter().collect();
        let tls = tls::public(None).unwrap();
        let target = UploadTarget::new(destination, more, tls, Duration::ZERO);
        assert_eq!(target.header_names(), "content-type, user-agent, x-a, content-encoding");
        assert_eq!(target.headers["content-type"], "application/json");
        assert_eq!(target.headers["user-agent"], "mine");
        assert_eq!(target.headers["content-encoding"], "gzip");
    }
}
