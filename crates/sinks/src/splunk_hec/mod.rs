//! The `splunk_hec` sink: delivers to Splunk's HTTP Event Collector, with indexer acknowledgment.
//!
//! Each request goes over one of `in_flight` connections (`connection`) and then waits for its
//! acknowledgment, while the connection is free for the next request. So the uploader has more
//! chunks in flight (`Settings::window`) than there are connections.

mod answer;
mod channel;
mod connection;
mod cookies;
mod encode;
mod pool;
mod probe;
mod settings;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use reqwest::{
    Method, Request, Url,
    header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue},
};

pub use self::settings::Settings;
use self::{answer::Meaning, connection::Answered, pool::Pool, settings::Acknowledgements};
use super::{
    Probe, Sink, SinkContext,
    kinds::{Claims, Kind, SecretClaim, TlsClaim},
    network::{HttpRequest, HttpSender},
    upload::{Chunk, Target, UploadOptions, Uploader, Verdict},
};

impl Kind for Settings {
    fn target(&self) -> String {
        self.url.events().to_string()
    }

    fn claims(&self) -> Claims<'_> {
        Claims {
            tls: Some(TlsClaim { files: &self.tls, is_used: self.url.is_https() }),
            secrets: vec![SecretClaim { key: "token_file", file: &self.token_file }],
            descriptors: self.in_flight,
            ..Claims::default()
        }
    }

    fn open(&self, context: SinkContext) -> Result<Box<dyn Sink>, String> {
        let window = self.window();
        let limits = self.network().upload_options().limits;
        // Each step has its own timeout. This one also covers the time until a connection is free.
        let turns = u32::try_from(window.div_ceil(self.in_flight)).unwrap_or(u32::MAX);
        let timeout = self
            .timeout
            .saturating_mul(turns.saturating_mul(2).saturating_add(4))
            .saturating_add(self.acknowledgement_timeout);
        let options = UploadOptions { limits, in_flight: window, timeout };
        Ok(Box::new(Uploader::new(Collector::new(self), &options, context)))
    }

    fn probe(&self, _datasets: &[String]) -> Option<Probe<'_>> {
        Some(Box::pin(probe::probe(self)))
    }
}

/// The collector of one sink.
struct Collector {
    settings: Settings,
    sender: HttpSender,
    connections: Pool,
    /// Whether the token has indexer acknowledgment, as far as it is known.
    acknowledges: AtomicBool,
}

/// The request of a chunk.
struct HecRequest {
    http: HttpRequest,
    /// The number of events.
    records: usize,
    /// The size of the body before compression.
    bytes: usize,
}

impl Collector {
    fn new(settings: &Settings) -> Self {
        Self {
            sender: HttpSender::new(&settings.network(), &[settings.token()]),
            connections: Pool::new(settings.in_flight),
            acknowledges: AtomicBool::new(settings.acknowledgements == Acknowledgements::On),
            settings: settings.clone(),
        }
    }

    fn request(&self, events: Vec<u8>) -> Result<Request, String> {
        let compression = self.settings.network().compression;
        let body = compression.compress(events.into()).map_err(|error| error.to_string())?;
        let mut request = json(self.settings.url.events(), body);
        if let Some(encoding) = compression.encoding() {
            request.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        Ok(request)
    }

    /// Waits until the events of an answer are indexed.
    ///
    /// # Errors
    /// They are not known to be indexed. They have to be sent again.
    async fn indexed(&self, answered: &mut Answered) -> Result<(), Verdict> {
        match answered.awaited.take() {
            Some(awaited) => answered.connection.indexed(self, awaited).await,
            None => Ok(()),
        }
    }

    /// The verdict for the records of a request.
    async fn verdict(&self, mut answered: Answered, records: usize) -> Verdict {
        let (accepted, refused) = match answered.meaning {
            Meaning::Accepted => {
                return match self.indexed(&mut answered).await {
                    Ok(()) => Verdict::Delivered,
                    Err(verdict) => verdict,
                };
            }
            Meaning::Invalid(number) => (number, vec![(number, answered.why.clone())]),
            Meaning::Busy(number) => (number, Vec::new()),
            Meaning::Refused => return Verdict::Refused { why: answered.why },
            Meaning::TooLarge => return Verdict::TooLarge { why: answered.why },
            Meaning::Alert(action) => {
                return Verdict::Alert { why: answered.why, action: action.to_owned() };
            }
            Meaning::Status => return answered.by_status,
        };
        // Splunk has accepted a part. It counts as the token counts whole requests.
        let is_confirmed = accepted > 0
            && if answered.awaited.is_some() {
                self.indexed(&mut answered).await.is_ok()
            } else {
                !self.acknowledges.load(Relaxed)
            };
        let first = if is_confirmed { accepted } else { 0 };
        let retry = (first..records).filter(|index| refused.iter().all(|(at, _)| at != index));
        Verdict::Partial {
            retry: retry.collect(),
            refused,
            after: answered.after,
            why: answered.why,
            action: None,
        }
    }
}

impl Target for Collector {
    type Request = HecRequest;

    fn encode(&self, chunk: &Chunk) -> HecRequest {
        let events = encode::events(&self.settings, chunk);
        let (records, bytes) = (chunk.records(), events.len());
        HecRequest { http: self.sender.prepare(self.request(events)), records, bytes }
    }

    async fn send(&self, request: HecRequest) -> Verdict {
        let records = request.records;
        let answered = match self.connections.take().await {
            Ok(turn) => {
                let answered = turn.connection().send(self, request).await;
                turn.end(&answered);
                answered
            }
            Err(verdict) => Err(verdict),
        };
        match answered {
            Ok(answered) => self.verdict(answered, records).await,
            Err(verdict) => verdict,
        }
    }
}

/// A POST request with JSON.
fn json(url: Url, body: Vec<u8>) -> Request {
    let mut request = Request::new(Method::POST, url);
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    *request.body_mut() = Some(body.into());
    request
}
