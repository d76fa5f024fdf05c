//! The request steps: the destination check, the same check without the right secret, and one record.

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
    cloudflare_messages, network,
    report::{DoctorStep, Finding, Report},
    status,
};
use crate::{
    api::mask::Mask,
    destination::{Destination, Scheme},
    gzip::gzip,
};

/// Cloudflare's timeout for a request without progress (cloudflare-docs PR 32514).
const PROGRESS_TIMEOUT: Duration = Duration::from_secs(10);

/// The body of Cloudflare's destination check.
const CHECK_BODY: &[u8] = br#"{"content":"test"}"#;

/// The most characters shown of an answer.
const SHOWN_CHARS: usize = 200;

/// Headers that contain no secret.
const PLAIN_HEADERS: [HeaderName; 3] = [CONTENT_TYPE, USER_AGENT, ACCEPT];

/// The response header with the format of a logpushd endpoint.
const FORMAT_HEADER: &str = "x-logpushd-format";

/// The value that replaces a secret.
const WRONG_SECRET: &str = "logpushd-doctor-wrong-secret";

/// Sends the requests of the steps and reports on the answers.
pub(super) struct ProbeClient<'a> {
    destination: &'a Destination,
    /// The TLS configuration of `client`.
    tls: Arc<ClientConfig>,
    client: Client,
    /// Whether the next request may reuse a connection.
    is_used: bool,
    speaks_h2: bool,
    mask: Mask,
    /// Whether the receiver is a logpushd endpoint for CSV.
    takes_csv: bool,
}

/// The members of an answer from logpushd or from Splunk's collector.
#[derive(Deserialize)]
struct ReceiverAnswer {
    status: Option<String>,
    quarantined: Option<u64>,
    text: Option<String>,
    code: Option<u64>,
}

impl<'a> ProbeClient<'a> {
    /// Creates a client. `tls` verifies the certificate, unless the destination turns that off.
    pub(super) fn new(
        destination: &'a Destination,
        tls: ClientConfig,
        speaks_h2: bool,
    ) -> Result<Self, Fatal> {
        let settings = Settings { timeout: PROGRESS_TIMEOUT, ..Settings::new(tls.clone()) };
        let client = Client::new(settings).map_err(|error| Fatal::Bug(error.to_string()))?;
        let mask = Mask::default()
            .with_headers(&destination.header_map(), &PLAIN_HEADERS)
            .with_destination(&destination.path_and_query);
        let tls = Arc::new(tls);
        Ok(Self { destination, tls, client, is_used: false, speaks_h2, mask, takes_csv: false })
    }

    /// Sends the destination check. Returns `None` if the receiver refuses it.
    pub(super) async fn check(&mut self, report: &mut Report) -> Option<()> {
        let (mut outcome, time) = self.send(CHECK_BODY, self.destination.header_map()).await;
        if let Err(error) = &mut outcome
            && error.kind != Some(ErrorKind::TimedOut)
            && let Some(alert) = network::alert(&self.destination.server, &self.tls).await
        {
            error.cause = alert;
        }
        let finding = match &outcome {
            Ok(response) => self.evaluate(DoctorStep::Check, response),
            Err(error) => no_answer(DoctorStep::Check, error),
        };
        if let Ok(response) = &outcome {
            self.takes_csv =
                response.headers.get(FORMAT_HEADER).is_some_and(|format| format == "csv");
        }
        let is_accepted = outcome.is_ok_and(|response| response.status.is_success());
        report.add(finding.timed(time, PROGRESS_TIMEOUT));
        is_accepted.then_some(())
    }

    /// Checks that the receiver refuses a request without the right secret.
    pub(super) async fn secret(&mut self, report: &mut Report) {
        let right = self.destination.header_map();
        let is_secret = |name: &HeaderName| !PLAIN_HEADERS.contains(name);
        if !right.keys().any(is_secret) {
            report.add(Finding::warn(
                DoctorStep::Secret,
                "no header contains a secret: anyone who knows the URL can post",
                "make the receiver require a secret, and add header_X-Logpush-Secret=SECRET; nothing else \
                 authenticates Cloudflare",
            ));
            return;
        }
        let mut without = right.clone();
        let mut wrong = right.clone();
        for name in right.keys().filter(|name| is_secret(name)) {
            without.remove(name);
            wrong.insert(name, wrong_secret(name, right.get(name)));
        }
        for (headers, what) in [(without, "without the secret"), (wrong, "with a wrong secret")] {
            let (outcome, time) = self.send(CHECK_BODY, headers).await;
            let finding = match outcome {
                Ok(response) if response.status.is_success() => Finding::warn(
                    DoctorStep::Secret,
                    format!("accepted {what}: anyone can post ({})", response.status.as_u16()),
                    "make the receiver require the header; in logpushd, set endpoint.NAME.secret_file",
                ),
                Ok(response) => Finding::pass(
                    DoctorStep::Secret,
                    format!("refused {what} ({})", response.status.as_u16()),
                ),
                Err(error) => Finding::warn(
                    DoctorStep::Secret,
                    format!("no answer {what}: {}", error.cause),
                    "the receiver should refuse with a status such as 401, which Cloudflare shows to the job's owner",
                ),
            };
            // A slow refusal is no problem: the receiver may throttle wrong secrets.
            report.add(Finding { millis: u64::try_from(time.as_millis()).ok(), ..finding });
        }
    }

    /// Sends a batch of one record.
    pub(super) async fn batch(&mut self, now: Timestamp, report: &mut Report) {
        if self.takes_csv {
            let message =
                "skipped: the endpoint expects CSV and would quarantine the JSON test record";
            report.add(Finding::pass(DoctorStep::Batch, message));
            return;
        }
        // The time keeps the receiver from treating the record as a duplicate.
        let record = format!(
            "{{\"logpushd_doctor\":\"a test of the destination, which may be removed\",\"time\":\"{now}\"}}\n"
        );
        let (outcome, time) = self.send(record.as_bytes(), self.destination.header_map()).await;
        let finding = match &outcome {
            Ok(response) => self.evaluate(DoctorStep::Batch, response),
            Err(error) => no_answer(DoctorStep::Batch, error),
        };
        report.add(finding.timed(time, PROGRESS_TIMEOUT));
    }

    /// Sends a body. Retries once if the server has closed a reused connection in the meantime.
    async fn send(
        &mut self,
        plain: &[u8],
        mut headers: HeaderMap,
    ) -> (Result<Response, RequestError>, Duration) {
        set_default_headers(&mut headers, self.speaks_h2);
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

    /// Formats text from the receiver on one line, without secrets that it repeats.
    fn sanitize(&self, text: &str) -> String {
        excerpt(&self.mask.hide(&one_line(text)))
    }

    fn evaluate(&self, step: DoctorStep, response: &Response) -> Finding {
        let status = response.status.as_u16();
        let answer = self.sanitize(&response.text);
        if !response.status.is_success() {
            let location = response.headers.get(LOCATION).and_then(|to| to.to_str().ok());
            let location = location.map(|to| self.sanitize(&without_query(to)));
            let advice = status::advice(status, location.as_deref(), self.destination.scheme);
            let message = match (answer.is_empty(), &location) {
                (false, _) => format!("{status}: {answer}"),
                (true, Some(to)) => format!("{status}, to {to}"),
                (true, None) => format!("{status}, without a body"),
            };
            let finding = Finding::fail(step, message, advice);
            return match (self.destination.scheme, step) {
                // Cloudflare's message for Splunk destinations is not known.
                (Scheme::Splunk, _) => finding,
                (_, DoctorStep::Batch) => {
                    finding.cloudflare(cloudflare_messages::for_batch(status, &answer))
                }
                _ => finding.cloudflare(cloudflare_messages::for_check(status)),
            };
        }
        let known = serde_json::from_str(&response.text);
        let known = known.unwrap_or(ReceiverAnswer {
            status: None,
            quarantined: None,
            text: None,
            code: None,
        });
        match (self.destination.scheme, known) {
            (Scheme::Splunk, ReceiverAnswer { code: Some(0), text: Some(text), .. }) => {
                Finding::pass(step, format!("{status}: {}", self.sanitize(&text)))
            }
            (Scheme::Splunk, _) => Finding::warn(
                step,
                format!("{status}: {answer}"),
                r#"a Splunk collector answers {"text":"Success","code":0}: check the path"#,
            ),
            (_, ReceiverAnswer { quarantined: Some(1..), .. }) => Finding::warn(
                step,
                format!("{status}, but the receiver quarantined the record"),
                "the test record is a JSON object: ignore this if the endpoint has another format",
            ),
            (_, ReceiverAnswer { status: Some(result), .. }) => Finding::pass(
                step,
                format!("{status}: {}", self.sanitize(&result).replace('_', " ")),
            ),
            _ if response.status == StatusCode::MULTI_STATUS => Finding::warn(
                step,
                format!("{status}: {answer}"),
                "make the receiver answer 200: Cloudflare has been seen to refuse 207",
            ),
            _ => Finding::pass(step, format!("{status}: {answer}")),
        }
    }
}

/// Adds the headers that Cloudflare's Go client sends, unless the destination sets them.
fn set_default_headers(headers: &mut HeaderMap, is_h2: bool) {
    let agent = if is_h2 { "Go-http-client/2.0" } else { "Go-http-client/1.1" };
    let agent = HeaderValue::from_static(agent);
    headers.entry(USER_AGENT).or_insert(agent);
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.entry(CONTENT_TYPE).or_insert(text);
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
}

/// Returns a wrong secret in the format of the right one.
fn wrong_secret(name: &HeaderName, right: Option<&HeaderValue>) -> HeaderValue {
    let scheme = right.and_then(|value| value.to_str().ok()?.split_once(' '));
    let wrong = match scheme {
        Some((scheme, _)) if *name == AUTHORIZATION => format!("{scheme} {WRONG_SECRET}"),
        _ => WRONG_SECRET.to_owned(),
    };
    HeaderValue::try_from(wrong).unwrap_or(HeaderValue::from_static(WRONG_SECRET))
}

fn no_answer(step: DoctorStep, error: &RequestError) -> Finding {
    let alert = cloudflare_messages::alert(&error.cause);
    let advice = if matches!(alert, Some("CertificateRequired")) {
        "the receiver requires a client certificate, and Cloudflare has none: remove \
         server.tls.client_ca_file, and require a secret header instead"
    } else if error.kind == Some(ErrorKind::TimedOut) {
        "the receiver must answer within 10 s: find out what it waits for; it must not wait for the systems that \
         it forwards to"
    } else {
        "see the receiver's log, and check that the port speaks HTTP"
    };
    cloudflare_messages::for_exchange(error, Finding::fail(step, error.to_string(), advice))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Truncates a line to `SHOWN_CHARS`.
fn excerpt(line: &str) -> String {
    match line.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}...", line.get(..end).unwrap_or_default()),
        None => line.to_owned(),
    }
}

/// Removes the query, which may contain a secret such as a login token.
fn without_query(location: &str) -> String {
    location.split(['?', '#']).next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_shortened_to_one_line() {
        assert_eq!(excerpt(&one_line(" a\r\n b\t\n")), "a b");
        let long = "\u{e9}".repeat(SHOWN_CHARS + 1);
        assert_eq!(excerpt(&long), format!("{}...", "\u{e9}".repeat(SHOWN_CHARS)));
        assert_eq!(without_query("https://login.example/a?token=b#c"), "https://login.example/a");
    }

    #[test]
    fn secrets_in_answers_are_masked() {
        let tls = tls::public(None).unwrap();
        let evaluate = |url: &str, status: u16, text: &str| {
            let destination = Destination::parse(url).unwrap().destination;
            let probe = ProbeClient::new(&destination, tls.clone(), false).unwrap();
            let status = StatusCode::from_u16(status).unwrap();
            let response = Response { status, headers: HeaderMap::new(), text: text.to_owned() };
            probe.evaluate(DoctorStep::Check, &response).message
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
            assert_eq!(evaluate(url, status, text), want);
        }
        let splunk =
            "splunk://h/services/collector/raw?channel=1&header_Authorization=Splunk%20hunter2";
        let text = r#"{"text":"hunter2","code":0}"#;
        assert_eq!(evaluate(splunk, 200, text), "200: ***");
    }

    #[test]
    fn a_wrong_secret_has_the_format_of_the_right_one() {
        let right = HeaderValue::from_static("Splunk 1234");
        let wrong = wrong_secret(&AUTHORIZATION, Some(&right));
        assert_eq!(wrong, "Splunk logpushd-doctor-wrong-secret");
        let name = HeaderName::from_static("x-logpush-secret");
        assert_eq!(wrong_secret(&name, Some(&right)), WRONG_SECRET);
    }
}
