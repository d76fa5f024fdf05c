//! One connection to the collector: its requests, its channels and its cookies.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
    time::Duration,
};

use reqwest::header::{COOKIE, HeaderName};
use tokio::{
    sync::{Mutex as AsyncMutex, oneshot::Receiver},
    time::{Instant, timeout_at},
};

use super::{
    Acknowledgements, Collector, HecRequest,
    answer::{HecAnswer, Meaning, meaning},
    channel::Channels,
    cookies::Cookies,
    json,
};
use crate::{
    network::{HttpAnswer, HttpRequest, OwnConnection, unusable_file},
    upload::Verdict,
};

/// The time between two queries for acknowledgments.
const QUERY_INTERVAL: Duration = Duration::from_secs(2);

/// The maximum size of an answer.
pub(super) const MAX_ANSWER_BYTES: usize = 256 * 1024;

pub(super) const CHANNEL: HeaderName = HeaderName::from_static("x-splunk-request-channel");

const ENABLE: &str = "enable indexer acknowledgment for the token in Splunk, or set \
    `acknowledgements` to \"auto\"";

/// A connection with one request at a time.
#[derive(Debug)]
pub(super) struct Connection {
    exchange: AsyncMutex<Exchange>,
    channels: Mutex<Channels>,
}

/// What a request on the connection needs.
#[derive(Debug, Default)]
struct Exchange {
    own: OwnConnection,
    /// The connection of the last answer, unless the server has closed it.
    last: Option<SocketAddr>,
    /// Whether the last answer came over another connection than the previous answer.
    has_changed: bool,
    cookies: Cookies,
    /// Whether the token was found to have indexer acknowledgment.
    is_checked: bool,
    queried_at: Option<Instant>,
    /// Why the last query failed.
    failure: Option<Verdict>,
}

/// The answer to a request.
pub(super) struct Answered {
    pub(super) connection: Arc<Connection>,
    status: u16,
    pub(super) meaning: Meaning,
    /// The acknowledgment that is awaited.
    pub(super) awaited: Option<Awaited>,
    /// The answer as text.
    pub(super) why: String,
    /// The delay that Splunk requests.
    pub(super) after: Option<Duration>,
    /// What the status alone means.
    pub(super) by_status: Verdict,
}

/// An acknowledgment that is awaited.
pub(super) struct Awaited {
    channel: String,
    number: u64,
    since: Instant,
    receiver: Receiver<()>,
}

impl Answered {
    /// The reason to send no other request for now: Splunk is busy, or only the operator can help.
    pub(super) fn reason_to_pause(&self) -> Option<Verdict> {
        let (why, after) = (self.why.clone(), self.after);
        match self.meaning {
            Meaning::Alert(action) => Some(Verdict::Alert { why, action: action.to_owned() }),
            Meaning::Busy(_) => Some(Verdict::Retry { after, why }),
            Meaning::Status => {
                let is_busy = after.is_some() || matches!(self.status, 429 | 503);
                let is_alert = matches!(self.by_status, Verdict::Alert { .. });
                (is_busy || is_alert).then(|| self.by_status.clone())
            }
            Meaning::Accepted | Meaning::Invalid(_) | Meaning::Refused | Meaning::TooLarge => None,
        }
    }
}

impl Connection {
    pub(super) fn new() -> Self {
        Self { exchange: AsyncMutex::default(), channels: Mutex::new(Channels::new()) }
    }

    fn channels(&self) -> MutexGuard<'_, Channels> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the next request should use this connection.
    pub(super) fn is_suspect(&self) -> bool {
        self.channels().is_suspect()
    }

    /// Sends the events of a chunk.
    ///
    /// # Errors
    /// There is no answer. The verdict contains the reason.
    pub(super) async fn send(
        self: &Arc<Self>,
        collector: &Collector,
        request: HecRequest,
    ) -> Result<Answered, Verdict> {
        let mut exchange = self.exchange.lock().await;
        let HecRequest { mut http, records, bytes } = request;
        if self.channels().awaited().is_empty() {
            exchange.own.close_if_old();
        }
        let mode = collector.settings.acknowledgements;
        let (channel, header) = {
            let channels = self.channels();
            (channels.current().to_owned(), channels.header())
        };
        if mode != Acknowledgements::Off {
            http.set_header(CHANNEL, header);
        }
        if mode == Acknowledgements::On && !exchange.is_checked {
            self.check(collector, &mut exchange, &http, &channel).await?;
        }
        let (answer, body) = match exchange.request(collector, http).await {
            Ok(answered) => answered,
            Err(verdict) => {
                self.channels().answer_lost();
                return Err(verdict);
            }
        };
        let status = answer.status().as_u16();
        let hec = HecAnswer::parse(&body);
        let message = String::from_utf8_lossy(&body);
        let mut answered = Answered {
            connection: Arc::clone(self),
            status,
            meaning: meaning(status, &hec, records, bytes),
            awaited: None,
            why: answer.failure(&message),
            after: answer.retry_after(),
            by_status: answer.verdict_with(&message),
        };
        if mode == Acknowledgements::Off {
            return Ok(answered);
        }
        match hec.ack {
            Some(number) => {
                collector.acknowledges.store(true, Relaxed);
                let (since, receiver) = (Instant::now(), self.channels().await_number(number));
                answered.awaited = Some(Awaited { channel, number, since, receiver });
            }
            // A load balancer answers for an indexer that may have accepted the request.
            None if hec.code.is_none() && matches!(status, 500 | 502 | 504) => {
                self.channels().answer_lost();
            }
            None if mode == Acknowledgements::On && answered.meaning == Meaning::Accepted => {
                exchange.is_checked = false;
                answered.meaning = Meaning::Alert(ENABLE);
            }
            None => {}
        }
        Ok(answered)
    }

    /// Checks that the token has indexer acknowledgment, before a request with records is sent.
    async fn check(
        &self,
        collector: &Collector,
        exchange: &mut Exchange,
        request: &HttpRequest,
        channel: &str,
    ) -> Result<(), Verdict> {
        let query = json(collector.settings.url.acknowledgments(channel), query(&[0]));
        let query = request.beside(query).map_err(unusable_file)?;
        let (answer, body) = exchange.request(collector, query).await?;
        // On a channel that is not new, 0 may be awaited.
        let numbers = acknowledged(&answer, &body)?;
        self.channels().acknowledge(channel, numbers);
        exchange.is_checked = true;
        Ok(())
    }

    /// Waits until the events of a request are indexed.
    ///
    /// # Errors
    /// They are not known to be indexed. They have to be sent again.
    pub(super) async fn indexed(
        &self,
        collector: &Collector,
        mut awaited: Awaited,
    ) -> Result<(), Verdict> {
        let limit = collector.settings.acknowledgement_timeout;
        let deadline = awaited.since + limit;
        let mut next = awaited.since + QUERY_INTERVAL;
        loop {
            match timeout_at(next.min(deadline), &mut awaited.receiver).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(_)) => return Err(self.lost(collector)),
                Err(_) if Instant::now() < deadline => {
                    next = self.query(collector).await + QUERY_INTERVAL;
                }
                Err(_) => break,
            }
        }
        self.channels().give_up(&awaited.channel, awaited.number);
        let url = collector.settings.url.events();
        let why = format!("{url} has not acknowledged a request within {} s", limit.as_secs());
        Err(match self.exchange.lock().await.failure.clone() {
            Some(Verdict::Alert { why: failure, action }) => {
                Verdict::Alert { why: format!("{why}: {failure}"), action }
            }
            Some(Verdict::Retry { why: failure, .. }) => {
                Verdict::Retry { after: None, why: format!("{why}: {failure}") }
            }
            _ => Verdict::Retry { after: None, why },
        })
    }

    /// The verdict for a request whose acknowledgment cannot be trusted.
    fn lost(&self, collector: &Collector) -> Verdict {
        let url = collector.settings.url.events();
        if self.channels().are_unstable() {
            return Verdict::Alert {
                why: format!("{url}: the requests of one connection reach several indexers"),
                action: "make the load balancer sticky by cookie or by source address, or set \
                    `acknowledgements` to \"off\""
                    .to_owned(),
            };
        }
        let why = format!(
            "{url}: the connection or the indexer has failed before a request was acknowledged"
        );
        Verdict::Retry { after: None, why }
    }

    /// Queries for all acknowledgments that are awaited, unless another request has just done that.
    /// Returns the time of the last query. An unused connection would be closed.
    async fn query(&self, collector: &Collector) -> Instant {
        let mut exchange = self.exchange.lock().await;
        if let Some(at) = exchange.queried_at
            && at.elapsed() < QUERY_INTERVAL
        {
            return at;
        }
        let awaited = self.channels().awaited();
        for (channel, numbers) in awaited {
            let query = json(collector.settings.url.acknowledgments(&channel), query(&numbers));
            let result = match exchange.own.prepare(query) {
                Ok(query) => exchange.request(collector, query).await,
                Err(why) => Err(Verdict::Retry { after: None, why }),
            };
            exchange.failure = match result {
                Ok((answer, body)) => match acknowledged(&answer, &body) {
                    Ok(numbers) => {
                        let mut channels = self.channels();
                        channels.acknowledge(&channel, numbers);
                        if exchange.has_changed {
                            // The old connection was closed while it was idle.
                            channels.connection_failed();
                        }
                        None
                    }
                    Err(verdict) => Some(verdict),
                },
                Err(verdict) => {
                    self.channels().connection_failed();
                    Some(verdict)
                }
            };
        }
        let now = Instant::now();
        exchange.queried_at = Some(now);
        now
    }
}

impl Exchange {
    /// Sends a request with the cookies of the connection, and reads its answer.
    async fn request(
        &mut self,
        collector: &Collector,
        mut request: HttpRequest,
    ) -> Result<(HttpAnswer, Vec<u8>), Verdict> {
        if let Some(cookies) = self.cookies.header() {
            request.set_header(COOKIE, cookies);
        }
        let mut answer = collector.sender.send_over(&mut self.own, request).await?;
        self.cookies.store(answer.headers());
        let connection = answer.connection();
        let is_other = |last| connection.is_some_and(|connection| connection != last);
        self.has_changed = self.last.is_some_and(is_other);
        self.last = connection;
        // Read to its end, so that the connection can be used again.
        let body = answer.body(MAX_ANSWER_BYTES).await?;
        Ok((answer, body))
    }
}

/// The body of a query for acknowledgments.
pub(super) fn query(numbers: &[u64]) -> Vec<u8> {
    serde_json::json!({ "acks": numbers }).to_string().into_bytes()
}

/// The numbers of the requests that are indexed, by the answer to a query.
///
/// # Errors
/// Splunk has not answered the query.
fn acknowledged(
    answer: &HttpAnswer,
    body: &[u8],
) -> Result<impl Iterator<Item = u64> + use<>, Verdict> {
    let hec = HecAnswer::parse(body);
    let message = String::from_utf8_lossy(body);
    if answer.status().is_success()
        && let Some(acks) = hec.acks
    {
        return Ok(acks.into_iter().filter(|(_, indexed)| *indexed).map(|(number, _)| number));
    }
    let why = answer.failure(&message);
    // ACK is disabled.
    if hec.code == Some(14) {
        return Err(Verdict::Alert { why, action: ENABLE.to_owned() });
    }
    Err(match meaning(answer.status().as_u16(), &hec, 0, 0) {
        Meaning::Alert(action) => Verdict::Alert { why, action: action.to_owned() },
        Meaning::Status => answer.verdict_with(&message),
        _ => Verdict::Retry { after: None, why },
    })
}
