//! The `http` sink: delivers to any collector that accepts records over HTTP.
//!
//! The smallest target of an [`Uploader`]: its keys, an encoder, and the generic interpretation of
//! response statuses.

use std::borrow::Cow;

use reqwest::{
    Method, Request,
    header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue},
};
use settings::{Context, Table, settings, words};

use super::{
    Probe, ProbeError, Sink, SinkContext,
    kinds::{Claims, Kind, TlsClaim},
    network::{
        Headers, HttpRequest, HttpSender, NetworkSettings, SecretHeader, SecretHeaders, UrlTemplate,
    },
    upload::{Chunk, Target, Uploader, Verdict},
};

/// The values of `{dataset}` and `{endpoint}` in the URL of a probe, if the configuration names no
/// dataset.
const PROBED_DATASET: &str = "http_requests";
const PROBED_ENDPOINT: &str = "main";

settings! {
    /// Any collector that accepts records over HTTP, at least once. Each batch is a request,
    /// or several if it is large. See docs/sinks/http.md for what the collector has to answer.
    pub struct Settings in "sink.NAME.http", checked by check {
        /// The URL of the collector, `https://` or `http://`. `{dataset}` and `{endpoint}` are
        /// filled in, in the path and the query.
        pub url: UrlTemplate as "https://collector.example.com/ingest/{dataset}",
        /// The method of the requests.
        pub method: HttpMethod = "POST",
        /// Headers to add to each request. A `Content-Type` replaces the default one.
        pub headers: Headers as { X-Source = "logpushd" } else "none",
        /// Headers with secret values. Each names a file, whose first line is the value.
        ///
        /// The files are read again when the collector answers 401 or 403, or when a connection
        /// fails.
        pub secret_headers: SecretHeaders as { Authorization = "token.txt" } else "none",
        /// The body: one record per line (`application/x-ndjson`), or all records in a JSON
        /// array (`application/json`).
        pub framing: Framing = "ndjson",
        /// The keys of every sink that sends requests.
        pub network "": NetworkSettings,
    }
}

words! {
    /// `method`
    pub enum HttpMethod {
        /// RFC 9110, section 9.3.3.
        Post = "POST",
        /// RFC 9110, section 9.3.4.
        Put = "PUT",
    }
}

words! {
    /// `framing`
    pub enum Framing {
        /// One record per line.
        Ndjson = "ndjson",
        /// A JSON array of the records.
        Array = "array",
    }
}

impl Kind for Settings {
    fn target(&self) -> String {
        self.url.to_string()
    }

    fn claims(&self) -> Claims<'_> {
        let tls = TlsClaim { files: &self.network.tls, is_used: self.url.is_https() };
        Claims {
            tls: Some(tls),
            secrets: self.secret_headers.iter().map(SecretHeader::claim).collect(),
            descriptors: self.network.in_flight,
            ..Claims::default()
        }
    }

    fn open(&self, context: SinkContext) -> Result<Box<dyn Sink>, String> {
        let sender = HttpSender::new(&self.network, &self.secret_headers);
        let collector = Collector { settings: self.clone(), sender };
        let options = self.network.upload_options();
        Ok(Box::new(Uploader::new(collector, &options, context)))
    }

    fn probe(&self, datasets: &[String]) -> Option<Probe<'_>> {
        let dataset = datasets.first().map_or(PROBED_DATASET, String::as_str).to_owned();
        Some(Box::pin(async move { probe(self, &dataset).await }))
    }
}

/// Sends a HEAD request. A collector that stores what it gets would store an empty POST, too.
async fn probe(settings: &Settings, dataset: &str) -> Result<Vec<String>, ProbeError> {
    let sender = HttpSender::new(&settings.network, &settings.secret_headers);
    let request = settings.url.fill(dataset, PROBED_ENDPOINT).map(|url| {
        let mut request = Request::new(Method::HEAD, url);
        request.headers_mut().extend(settings.headers.iter().cloned());
        request
    });
    let answer = sender.send(sender.prepare(request)).await?;
    // Any other status can be the answer to HEAD alone.
    if answer.is_about_credentials() {
        return Err(answer.verdict().await.into());
    }
    Ok(vec![
        format!("HEAD {}", answer.failure("")),
        "whether it accepts records shows with the first batch".to_owned(),
    ])
}

fn check(settings: &Settings, table: &Table<'_>, cx: &mut Context) {
    for header in &settings.secret_headers {
        if settings.headers.iter().any(|(name, _)| *name == header.name) {
            let message = format!("the header `{}` is set twice", header.name);
            let hint = "remove it from `headers` or from `secret_headers`";
            cx.push(table.problem_at("secret_headers", message).hint(hint));
        }
    }
    if table.is_valid("url") {
        let secrets = (!settings.secret_headers.is_empty()).then_some("secret_headers");
        settings.network.check_url(&settings.url, secrets, table, cx);
    }
}

/// The collector of one sink.
struct Collector {
    settings: Settings,
    sender: HttpSender,
}

impl Collector {
    fn request(&self, chunk: &Chunk) -> Result<Request, String> {
        let Settings { url, method, headers, framing, network, .. } = &self.settings;
        let batch = &chunk.batch().header;
        let url = url.fill(&batch.origin.dataset, &batch.origin.endpoint)?;
        let method = match method {
            HttpMethod::Post => Method::POST,
            HttpMethod::Put => Method::PUT,
        };
        let mut request = Request::new(method, url);
        let content_type = match framing {
            Framing::Ndjson => "application/x-ndjson",
            Framing::Array => "application/json",
        };
        let added = request.headers_mut();
        added.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        added.extend(headers.iter().cloned());
        if let Some(encoding) = network.compression.encoding() {
            added.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        for (name, value) in [
            ("idempotency-key", chunk.id().to_string()),
            ("logpushd-batch", format!("{:032x}", batch.digest)),
        ] {
            let value = HeaderValue::try_from(value).map_err(|error| error.to_string())?;
            added.insert(name, value);
        }
        let body = network.compression.compress(body(chunk, *framing));
        *request.body_mut() = Some(body.map_err(|error| error.to_string())?.into());
        Ok(request)
    }
}

impl Target for Collector {
    type Request = HttpRequest;

    fn encode(&self, chunk: &Chunk) -> HttpRequest {
        self.sender.prepare(self.request(chunk))
    }

    async fn send(&self, request: HttpRequest) -> Verdict {
        match self.sender.send(request).await {
            Ok(answer) => answer.verdict().await,
            Err(verdict) => verdict,
        }
    }
}

/// Returns the body of a request, before compression.
fn body(chunk: &Chunk, framing: Framing) -> Cow<'_, [u8]> {
    match framing {
        Framing::Ndjson => Cow::Borrowed(chunk.bytes()),
        Framing::Array => {
            let mut body = Vec::with_capacity(chunk.bytes().len() + 1);
            for (_, record) in chunk.iter() {
                body.push(if body.is_empty() { b'[' } else { b',' });
                body.extend_from_slice(record);
            }
            body.push(b']');
            Cow::Owned(body)
        }
    }
}
