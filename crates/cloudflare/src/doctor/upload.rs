//! What is sent: the destination check, the same with a wrong secret, and a batch of one record.

use std::{
    io::ErrorKind,
    sync::Arc,
    time::{Duration, Instant},
};

use command::fatal::Fatal;
use http::{
    HeaderMap, Method, StatusCode,
    header::{
        ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION,
        USER_AGENT,
    },
};
use http_client::{Client, Phase, Request, RequestError, Response, Settings};
use jiff::Timestamp;
use rustls::ClientConfig;
use serde::Deserialize;

use super::{
    network,
    report::{Finding, Report, Step},
    status, words,
};
use crate::{
    api::mask::Mask,
    destination::{Destination, Scheme},
    gzip::gzip,
};

/// How long Cloudflare bears no progress (cloudflare-docs PR 32514).
const WATCHDOG: Duration = Duration::from_secs(10);

/// What Cloudflare sends to see whether a destination works.
const CHECK: &[u8] = br#"{"content":"test"}"#;

/// Of an answer so much is shown.
const SHOWN_CHARS: usize = 200;

/// Headers that hold no secret.
const PLAIN: [HeaderName; 3] = [CONTENT_TYPE, USER_AGENT, ACCEPT];

/// Where logpushd reports that an endpoint takes CSV.
const FORMAT: &str = "x-logpushd-format";

/// In place of a secret.
const WRONG: &str = "logpushd-doctor-wrong-secret";

pub(super) struct Uploader<'a> {
    destination: &'a Destination,
    /// As in the client.
    tls: Arc<ClientConfig>,
    client: Client,
    /// Whether the next request may go over a connection that was in use.
    is_used: bool,
    speaks_h2: bool,
    mask: Mask,
    /// Whether it is an endpoint of logpushd that takes CSV.
    takes_csv: bool,
}

/// What logpushd answers, and what Splunk's collector does.
#[derive(Deserialize)]
struct Known {
    status: Option<String>,
    quarantined: Option<u64>,
    text: Option<String>,
    code: Option<u64>,
}

impl<'a> Uploader<'a> {
    /// `tls`: verifies the certificate, unless the destination says that nobody does.
    pub(super) fn new(
        destination: &'a Destination,
        tls: ClientConfig,
        speaks_h2: bool,
    ) -> Result<Self, Fatal> {
        let settings = Settings { timeout: WATCHDOG, ..Settings::new(tls.clone()) };
        let client = Client::new(settings).map_err(|error| Fatal::Bug(error.to_string()))?;
        let mask = Mask::default()
            .with_headers(&destination.header_map(), &PLAIN)
            .with_destination(&destination.path_and_query);
        let tls = Arc::new(tls);
        Ok(Self { destination, tls, client, is_used: false, speaks_h2, mask, takes_csv: false })
    }

    /// Whether the destination check is taken.
    pub(super) async fn check(&mut self, report: &mut Report) -> Option<()> {
        let (mut outcome, time) = self.send(CHECK, self.destination.header_map()).await;
        if let Err(error) = &mut outcome
            && error.kind != Some(ErrorKind::TimedOut)
            && let Some(alert) = network::alert(&self.destination.server, &self.tls).await
        {
            error.cause = alert;
        }
        let finding = match &outcome {
            Ok(response) => self.judge(Step::Check, response),
            Err(error) => unanswered(Step::Check, error),
        };
        if let Ok(response) = &outcome {
            self.takes_csv = response.headers.get(FORMAT).is_some_and(|format| format == "csv");
        }
        let is_taken = outcome.is_ok_and(|response| response.status.is_success());
        report.add(finding.took(time, WATCHDOG));
        is_taken.then_some(())
    }

    /// Whether somebody without the secret is refused.
    pub(super) async fn secret(&mut self, report: &mut Report) {
        let right = self.destination.header_map();
        let is_secret = |name: &HeaderName| !PLAIN.contains(name);
        if !right.keys().any(is_secret) {
            report.add(Finding::warn(
                Step::Secret,
                "no header carries a secret, so whoever knows the address may post",
                "have the receiver demand one, and add header_X-Logpush-Secret=SECRET; there is no other proof of who \
                 sends",
            ));
            return;
        }
        let mut without = right.clone();
        let mut wrong = right.clone();
        for name in right.keys().filter(|name| is_secret(name)) {
            without.remove(name);
            wrong.insert(name, in_place_of(name, right.get(name)));
        }
        for (headers, what) in [(without, "without the secret"), (wrong, "with a wrong secret")] {
            let (outcome, time) = self.send(CHECK, headers).await;
            let finding = match outcome {
                Ok(response) if response.status.is_success() => Finding::warn(
                    Step::Secret,
                    format!("taken {what}: anybody may post ({})", response.status.as_u16()),
                    "have the receiver demand the header, as endpoint.NAME.secret_file does",
                ),
                Ok(response) => Finding::pass(
                    Step::Secret,
                    format!("refused {what} ({})", response.status.as_u16()),
                ),
                Err(error) => Finding::warn(
                    Step::Secret,
                    format!("no answer {what}: {}", error.cause),
                    "a refusal should be an answer, such as 401: whoever runs the job sees it",
                ),
            };
            // How long a refusal takes is nobody's concern: guessing may be slowed down on purpose.
            report.add(Finding { millis: u64::try_from(time.as_millis()).ok(), ..finding });
        }
    }

    /// Whether a batch is taken.
    pub(super) async fn batch(&mut self, now: Timestamp, report: &mut Report) {
        if self.takes_csv {
            let ours = "no record sent: the endpoint takes CSV, and would put the test record into quarantine";
            report.add(Finding::pass(Step::Batch, ours));
            return;
        }
        // The time makes it another batch each time: else it would be answered as a duplicate.
        let record = format!(
            "{{\"logpushd_doctor\":\"a test of the destination, which may be removed\",\"time\":\"{now}\"}}\n"
        );
        let (outcome, time) = self.send(record.as_bytes(), self.destination.header_map()).await;
        let finding = match &outcome {
            Ok(response) => self.judge(Step::Batch, response),
            Err(error) => unanswered(Step::Batch, error),
        };
        report.add(finding.took(time, WATCHDOG));
    }

    /// Sends a body. A server may close a connection at any time between two requests: then the body is
    /// sent again.
    async fn send(
        &mut self,
        plain: &[u8],
        mut headers: HeaderMap,
    ) -> (Result<Response, RequestError>, Duration) {
        disguise(&mut headers, self.speaks_h2);
        let request = Request {
            method: Method::POST,
            server: self.destination.server.clone(),
            path: self.destination.path_and_query.clone(),
            headers,
            body: gzip(plain),
        };
        let mut begun = Instant::now();
        let mut outcome = self.client.send(&request).await;
        if let Err(error) = &outcome
            && self.is_used
            && error.phase == Phase::Exchange
            && !error.is_late()
        {
            begun = Instant::now();
            outcome = self.client.send(&request).await;
        }
        self.is_used = outcome.is_ok();
        (outcome, begun.elapsed())
    }

    /// What a receiver says, as it may be shown. Some say what they were sent.
    fn shown(&self, text: &str) -> String {
        excerpt(&self.mask.hide(&one_line(text)))
    }

    fn judge(&self, step: Step, response: &Response) -> Finding {
        let status = response.status.as_u16();
        let said = self.shown(&response.text);
        if !response.status.is_success() {
            let location = response.headers.get(LOCATION).and_then(|to| to.to_str().ok());
            let location = location.map(|to| self.shown(&without_query(to)));
            let advice = status::advice(status, location.as_deref(), self.destination.scheme);
            let ours = match (said.is_empty(), &location) {
                (false, _) => format!("{status}: {said}"),
                (true, Some(to)) => format!("{status}, to {to}"),
                (true, None) => format!("{status}, and no word"),
            };
            let finding = Finding::fail(step, ours, advice);
            return match (self.destination.scheme, step) {
                // What it says of a Splunk server was not seen.
                (Scheme::Splunk, _) => finding,
                (_, Step::Batch) => finding.cloudflare(words::of_batch(status, &said)),
                _ => finding.cloudflare(words::of_check(status)),
            };
        }
        let known = serde_json::from_str(&response.text);
        let known =
            known.unwrap_or(Known { status: None, quarantined: None, text: None, code: None });
        match (self.destination.scheme, known) {
            (Scheme::Splunk, Known { code: Some(0), text: Some(text), .. }) => {
                Finding::pass(step, format!("{status}: {}", self.shown(&text)))
            }
            (Scheme::Splunk, _) => Finding::warn(
                step,
                format!("{status}: {said}"),
                r#"this is not how a Splunk collector answers ({"text":"Success","code":0}): compare the path"#,
            ),
            (_, Known { quarantined: Some(1..), .. }) => Finding::warn(
                step,
                format!("{status}, but the record went to quarantine"),
                "records are JSON objects: if the endpoint has another format, that is as it should be",
            ),
            (_, Known { status: Some(word), .. }) => {
                Finding::pass(step, format!("{status}: {}", self.shown(&word).replace('_', " ")))
            }
            _ if response.status == StatusCode::MULTI_STATUS => Finding::warn(
                step,
                format!("{status}: {said}"),
                "answer 200: Cloudflare was seen to refuse 207",
            ),
            _ => Finding::pass(step, format!("{status}: {said}")),
        }
    }
}

/// As Go's client sends it, unless the destination says otherwise.
fn disguise(headers: &mut HeaderMap, is_h2: bool) {
    let agent = if is_h2 { "Go-http-client/2.0" } else { "Go-http-client/1.1" };
    let agent = HeaderValue::from_static(agent);
    headers.entry(USER_AGENT).or_insert(agent);
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.entry(CONTENT_TYPE).or_insert(text);
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
}

/// A wrong secret of the right form.
fn in_place_of(name: &HeaderName, right: Option<&HeaderValue>) -> HeaderValue {
    let scheme = right.and_then(|value| value.to_str().ok()?.split_once(' '));
    let wrong = match scheme {
        Some((scheme, _)) if *name == AUTHORIZATION => format!("{scheme} {WRONG}"),
        _ => WRONG.to_owned(),
    };
    HeaderValue::try_from(wrong).unwrap_or(HeaderValue::from_static(WRONG))
}

fn unanswered(step: Step, error: &RequestError) -> Finding {
    let alert = words::alert(&error.cause);
    let advice = if matches!(alert, Some("CertificateRequired")) {
        "the receiver demands a certificate of its clients, and Cloudflare shows none: take out \
         server.tls.client_ca_file, and demand a secret header"
    } else if error.kind == Some(ErrorKind::TimedOut) {
        "the receiver must answer within 10 s: see what it waits for; it must not wait for whom it passes the records \
         on to"
    } else {
        "see the receiver's log, and whether what listens there speaks HTTP"
    };
    words::of_exchange(error, Finding::fail(step, error.to_string(), advice))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The beginning of a line.
fn excerpt(line: &str) -> String {
    match line.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}...", line.get(..end).unwrap_or_default()),
        None => line.to_owned(),
    }
}

/// A query may hold what nobody else should see, such as a login under way.
fn without_query(location: &str) -> String {
    location.split(['?', '#']).next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_shown_as_one_short_line() {
        assert_eq!(excerpt(&one_line(" a\r\n b\t\n")), "a b");
        let long = "\u{e9}".repeat(SHOWN_CHARS + 1);
        assert_eq!(excerpt(&long), format!("{}...", "\u{e9}".repeat(SHOWN_CHARS)));
        assert_eq!(without_query("https://login.example/a?token=b#c"), "https://login.example/a");
    }

    #[test]
    fn nothing_that_was_sent_is_shown() {
        let tls = tls::public(None).unwrap();
        let judge = |url: &str, status: u16, text: &str| {
            let destination = Destination::parse(url).unwrap().destination;
            let uploader = Uploader::new(&destination, tls.clone(), false).unwrap();
            let status = StatusCode::from_u16(status).unwrap();
            let response = Response { status, headers: HeaderMap::new(), text: text.to_owned() };
            uploader.judge(Step::Check, &response).ours
        };
        let url = "https://h/a/aa?key=hunter2&x=y%20z-z&header_X-A=a&header_X-B=Bearer%20hunter3";
        let long = format!(r#"{{"status":"{}"}}"#, "x".repeat(1000));
        for (status, text, want) in [
            (403, "no key hunter2 at /a/aa", "403: no key *** at /a/aa"),
            (403, "GET /a/aa?key=hun", "403: GET /a/aa?key=***"),
            (403, "y\nz-z", "403: ***"),
            (200, r#"{"status":"is_hunter2"}"#, "200: is ***"),
            (200, r#"{"status":"hunter3"}"#, "200: ***"),
            (200, &long, &format!("200: {}...", "x".repeat(SHOWN_CHARS))),
        ] {
            assert_eq!(judge(url, status, text), want);
        }
        let splunk =
            "splunk://h/services/collector/raw?channel=1&header_Authorization=Splunk%20hunter2";
        let text = r#"{"text":"hunter2","code":0}"#;
        assert_eq!(judge(splunk, 200, text), "200: ***");
    }

    #[test]
    fn a_wrong_secret_has_the_form_of_the_right_one() {
        let right = HeaderValue::from_static("Splunk 1234");
        let wrong = in_place_of(&AUTHORIZATION, Some(&right));
        assert_eq!(wrong, "Splunk logpushd-doctor-wrong-secret");
        let name = HeaderName::from_static("x-logpush-secret");
        assert_eq!(in_place_of(&name, Some(&right)), WRONG);
    }
}
