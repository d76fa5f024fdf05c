//! A connection that batches are sent over, each until it is taken.

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

use super::{Failure, batch::Body, tally::Tally};
use crate::{
    api::{health, mask::Mask},
    destination::Destination,
};

/// Headers that hold no secret.
const PLAIN: [HeaderName; 3] = [CONTENT_ENCODING, CONTENT_TYPE, USER_AGENT];

/// Where logpushd says what it did when the body of its answer is Splunk's.
const RESULT: &str = "x-logpushd-result";

/// Of what a server says this much is quoted.
const QUOTED_CHARS: usize = 500;

/// An answer may take this long, even if there is no time left to try again.
const LEAST_WAIT: Duration = Duration::from_secs(1);

/// What ends a push before its end: asked for, or since somebody was refused.
#[derive(Debug, Default)]
pub(super) struct Stop {
    asked: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    pub(super) fn ask(&self) {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    pub(super) fn is_asked(&self) -> bool {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets some time pass, or less if it is asked for meanwhile.
    fn wait(&self, pause: Duration) {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        // Whether it is asked for is looked at next.
        drop(self.changed.wait_timeout_while(asked, pause, |asked| !*asked));
    }
}

/// Where to send to, and how long to try.
#[derive(Clone)]
pub(super) struct Route {
    destination: Destination,
    headers: HeaderMap,
    /// For what a server says, which may be what it was sent.
    mask: Mask,
    tls: ClientConfig,
    give_up_after: Duration,
}

impl Route {
    /// `more`: headers beside those of the destination.
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
            .with_headers(&headers, &PLAIN)
            .with_destination(&destination.path_and_query);
        Self { destination, headers, mask, tls, give_up_after }
    }

    fn quoted(&self, response: &Response) -> String {
        // Hidden before it is cut: what is left of a secret is not found any more.
        let text = self.mask.hide(&response.text);
        let text: String = text.chars().take(QUOTED_CHARS).collect();
        let text = format!("{} {text}", response.status);
        text.trim_end().to_owned()
    }

    fn refusal(&self, response: &Response) -> String {
        let advice = match response.status {
            StatusCode::PAYLOAD_TOO_LARGE => Some(
                "send smaller batches with --max-bytes and --max-records, or raise the limit that is named",
            ),
            status => health::advice_on_status(status.as_u16()),
        };
        let advice = advice.map(|advice| format!("\n  {advice}")).unwrap_or_default();
        format!("refused: {}{advice}", self.quoted(response))
    }

    /// The names of the headers, in which secrets may stand.
    pub(super) fn header_names(&self) -> String {
        let names: Vec<_> = self.headers.keys().map(HeaderName::as_str).collect();
        names.join(", ")
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.destination.fmt(f)
    }
}

/// A connection.
pub(super) struct Courier {
    route: Route,
    client: BlockingClient,
    tally: Arc<Tally>,
    stop: Arc<Stop>,
}

/// What logpushd says of a batch that it took. Other servers say something else, or nothing.
#[derive(Deserialize)]
struct Taken {
    status: String,
    #[serde(default)]
    quarantined: u64,
}

impl Courier {
    /// Nothing is sent yet.
    pub(super) fn new(route: &Route, tally: &Arc<Tally>, stop: &Arc<Stop>) -> io::Result<Self> {
        let client = BlockingClient::new(Settings::new(route.tls.clone()))?;
        let (tally, stop) = (Arc::clone(tally), Arc::clone(stop));
        Ok(Self { route: route.clone(), client, tally, stop })
    }

    /// Connects once, so that what is wrong with the address or with the certificate is known at once.
    pub(super) fn connect(&self) -> Result<(), Failure> {
        self.client.probe(&self.route.destination.server).map_err(|error| {
            let hint = if error.cause.contains("UnknownIssuer") {
                ": --ca names a file with the authorities to trust"
            } else {
                ""
            };
            Failure::Unreachable(format!("{error}{hint}"))
        })
    }

    /// Sends a batch until it is taken.
    pub(super) fn send(&mut self, body: &Body) -> Result<(), Failure> {
        let request = Request {
            method: Method::POST,
            server: self.route.destination.server.clone(),
            path: self.route.destination.path_and_query.clone(),
            headers: self.route.headers.clone(),
            body: body.gzip.clone(),
        };
        let mut backoff = Backoff::default();
        let since = Instant::now();
        loop {
            if self.stop.is_asked() {
                return Err(Failure::Interrupted);
            }
            let left = self.route.give_up_after.saturating_sub(since.elapsed());
            let (why, demanded) = match self.client.send_within(&request, left.max(LEAST_WAIT)) {
                Ok(response) if response.status.is_success() => {
                    self.note(body, &response);
                    return Ok(());
                }
                Ok(response) if is_passing(response.status) => {
                    (self.route.quoted(&response), retry_after(&response.headers))
                }
                Ok(response) => return Err(Failure::Refused(self.route.refusal(&response))),
                Err(error) => (error.to_string(), None),
            };
            let pause = demanded.unwrap_or_else(|| backoff.next_wait());
            // Not the sum of the two: a server may ask for more than there is of time.
            if pause > self.route.give_up_after.saturating_sub(since.elapsed()) {
                let (tried, pause) = (since.elapsed().as_secs(), pause.as_secs());
                return Err(Failure::Unreachable(format!(
                    "given up after {tried} s, with {pause} s more to wait (--give-up-after): {why}"
                )));
            }
            self.tally.wait_begins(&why);
            self.stop.wait(pause);
            self.tally.wait_ends();
        }
    }

    fn note(&self, body: &Body, response: &Response) {
        self.tally.sent(body);
        // With HEC the body is Splunk's, and the result is in a header.
        let result = response.headers.get(RESULT).and_then(|text| text.to_str().ok());
        let result = result.unwrap_or(&response.text);
        if let Ok(Taken { status, quarantined }) = serde_json::from_str(result) {
            self.tally.told(&status, quarantined);
        }
    }
}

/// Whether it may well be taken if it is sent again.
fn is_passing(status: StatusCode) -> bool {
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
    fn what_may_pass_is_tried_again() {
        for (status, passes) in [
            (408, true),
            (429, true),
            (500, true),
            (503, true),
            (400, false),
            (401, false),
            (413, false),
            (302, false),
        ] {
            assert_eq!(is_passing(StatusCode::from_u16(status).unwrap()), passes, "{status}");
        }
    }

    #[test]
    fn headers_are_those_of_logpush_and_those_that_are_named() {
        let url = "https://h/p?header_Content-Type=application/json&header_X-A=1";
        let destination = Destination::parse(url).unwrap().destination;
        let more = [(USER_AGENT, HeaderValue::from_static("mine"))].into_iter().collect();
        let tls = tls::public(None).unwrap();
        let route = Route::new(destination, more, tls, Duration::ZERO);
        assert_eq!(route.header_names(), "content-type, user-agent, x-a, content-encoding");
        assert_eq!(route.headers["content-type"], "application/json");
        assert_eq!(route.headers["user-agent"], "mine");
        assert_eq!(route.headers["content-encoding"], "gzip");
    }
}
