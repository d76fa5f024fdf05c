//! The `http` sink: delivers to any collector that accepts records over HTTP.
//!
//! The smallest target of an [`Uploader`]: its keys, an encoder, and the generic interpretation of
//! response statuses.

use bytes::Bytes;
use reqwest::{
    Method, Request,
    header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue},
};
use settings::{Context, Table, Value, reference::Takes, setting, settings, words};

use super::{
    Probe, ProbeError, Sink, SinkContext,
    kinds::{Claims, Kind, SecretClaim, TlsClaim},
    network::{
        Headers, HttpAnswer, HttpRequest, HttpSender, NetworkSettings, SecretHeader, SecretHeaders,
        SecretInUrl, SecretUrlTemplate, check_headers,
    },
    probe::{PROBED_DATASET, PROBED_ENDPOINT},
    upload::{Chunk, Target, Uploader, Verdict},
};

/// The maximum length of a positive answer that is interpreted.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

settings! {
    /// Any collector that accepts records over HTTP, at least once. Each batch is a request,
    /// or several if it is large. See docs/sinks/http.md for what the collector has to answer.
    pub struct Settings in "sink.NAME.http", checked by check {
        /// The URL of the collector, `https://` or `http://`. `{dataset}` and `{endpoint}` are
        /// filled in, in the path and the query.
        pub url: SecretUrlTemplate as "https://collector.example.com/ingest/{dataset}",
        /// The file whose first line replaces `{secret}` in `url`, for a collector with a token in
        /// its URL.
        ///
        /// The file is read again when the collector answers 401 or 403, or when a connection
        /// fails.
        pub url_secret_file: Option<SecretInUrl> as "token.txt" else "`url` has no `{secret}`",
        /// The method of the requests.
        pub method: HttpMethod = "POST",
        /// Headers to add to each request. `{dataset}` and `{endpoint}` are filled in. A
        /// `Content-Type` replaces the default one.
        pub headers: Headers as { X-Source = "logpushd" } else "none",
        /// Headers with secret values. Each names a file, whose first line is the value.
        ///
        /// The files are read again when the collector answers 401 or 403, or when a connection
        /// fails.
        pub secret_headers: SecretHeaders as { Authorization = "token.txt" } else "none",
        /// The body: one record per line (`application/x-ndjson`), or all records in a JSON
        /// array (`application/json`).
        pub framing: Framing = "ndjson",
        /// A JSON pointer (RFC 6901) to the number of refused records in a positive answer, for a
        /// collector that answers 200 although it has stored only some of them.
        ///
        /// The records of a request with refused ones are sent again in smaller requests, until
        /// each refused record is alone and goes to quarantine. The collector gets the other
        /// records of the request several times. See docs/sinks/http.md.
        pub refused_count: Option<JsonPointer> as "/failed" else "the status alone counts",
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

setting! {
    /// A JSON pointer to a member of an object.
    pub struct JsonPointer(String): Takes::String("JSON pointer"), read by json_pointer;
}

fn json_pointer(value: &Value<'_>, cx: &mut Context) -> Option<String> {
    let pointer = value.string(cx)?.into_inner();
    if pointer.starts_with('/') {
        return Some(pointer);
    }
    let message = format!("`{}` is not a JSON pointer", value.name());
    cx.push(value.problem(message).hint("write \"/failed\" or \"/status/0/failed\""));
    None
}

impl Kind for Settings {
    fn target(&self) -> String {
        self.url.to_string()
    }

    fn claims(&self) -> Claims<'_> {
        let tls = TlsClaim { files: &self.network.tls, is_used: self.url.is_https() };
        let headers = self.secret_headers.iter().map(SecretHeader::claim);
        let in_url = self.url_secret_file.as_deref();
        let in_url = in_url.map(|file| SecretClaim { key: "url_secret_file", file });
        Claims {
            tls: Some(tls),
            secrets: headers.chain(in_url).collect(),
            descriptors: self.network.in_flight,
            ..Claims::default()
        }
    }

    fn open(&self, context: SinkContext) -> Result<Box<dyn Sink>, String> {
        let collector = Collector { settings: self.clone(), sender: self.sender() };
        let options = self.network.upload_options();
        Ok(Box::new(Uploader::new(collector, &options, context)))
    }

    fn probe(&self, datasets: &[String]) -> Option<Probe<'_>> {
        let dataset = datasets.first().map_or(PROBED_DATASET, String::as_str).to_owned();
        Some(Box::pin(async move { probe(self, &dataset).await }))
    }
}

impl Settings {
    fn sender(&self) -> HttpSender {
        let sender = HttpSender::new(&self.network, &self.secret_headers);
        sender.with_secret_in_url(self.url_secret_file.clone())
    }

    /// Creates a request without a body.
    fn request(&self, method: Method, dataset: &str, endpoint: &str) -> Result<Request, String> {
        let mut request = Request::new(method, self.url.fill(dataset, endpoint)?);
        for (name, value) in &*self.headers {
            let value = filled_in(value, dataset, endpoint)?;
            request.headers_mut().insert(name, value);
        }
        Ok(request)
    }
}

/// Fills in the names of a dataset and an endpoint.
fn filled_in(value: &HeaderValue, dataset: &str, endpoint: &str) -> Result<HeaderValue, String> {
    match value.to_str() {
        Ok(text) if text.contains('{') => {
            let text = crate::origin_text::fill(text, dataset, endpoint);
            HeaderValue::try_from(text).map_err(|error| error.to_string())
        }
        _ => Ok(value.clone()),
    }
}

/// Sends a HEAD request. A collector that stores what it gets would store an empty POST, too.
async fn probe(settings: &Settings, dataset: &str) -> Result<Vec<String>, ProbeError> {
    let sender = settings.sender();
    let request = settings.request(Method::HEAD, dataset, PROBED_ENDPOINT);
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
    check_headers(&settings.headers, &settings.secret_headers, table, cx);
    if table.is_valid("url") {
        let has_secret = settings.url.has_secret();
        if has_secret && !table.contains("url_secret_file") {
            let message = "`{secret}` in `url` has no value";
            let hint = "name a file with the value in `url_secret_file`";
            cx.push(table.problem_at("url", message).hint(hint));
        } else if !has_secret && table.contains("url_secret_file") {
            let message = format!("`{}` has no effect", table.full_name("url_secret_file"));
            let hint = "write {secret} in `url` where the value belongs";
            cx.push(table.problem_at("url_secret_file", message).hint(hint));
        }
        let headers = (!settings.secret_headers.is_empty()).then_some("secret_headers");
        let secrets = headers.or(has_secret.then_some("url_secret_file"));
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
        let Settings { method, framing, network, .. } = &self.settings;
        let batch = &chunk.batch().header;
        let method = match method {
            HttpMethod::Post => Method::POST,
            HttpMethod::Put => Method::PUT,
        };
        let origin = &batch.origin;
        let mut request = self.settings.request(method, &origin.dataset, &origin.endpoint)?;
        let content_type = match framing {
            Framing::Ndjson => "application/x-ndjson",
            Framing::Array => "application/json",
        };
        let headers = request.headers_mut();
        headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static(content_type));
        if let Some(encoding) = network.compression.encoding() {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        for (name, value) in [
            ("idempotency-key", chunk.id().to_string()),
            ("logpushd-batch", format!("{:032x}", batch.digest)),
        ] {
            let value = HeaderValue::try_from(value).map_err(|error| error.to_string())?;
            headers.insert(name, value);
        }
        let body = network.compression.compress_shared(body(chunk, *framing));
        *request.body_mut() = Some(body.map_err(|error| error.to_string())?.into());
        Ok(request)
    }

    async fn judge(&self, mut answer: HttpAnswer) -> Verdict {
        let Some(pointer) = self.settings.refused_count.as_deref() else {
            return answer.verdict().await;
        };
        if !answer.status().is_success() {
            return answer.verdict().await;
        }
        let (body, is_complete) = match answer.beginning(MAX_ANSWER_BYTES).await {
            Ok(beginning) => beginning,
            Err(verdict) => return verdict,
        };
        let why = answer.failure(&String::from_utf8_lossy(&body));
        if !is_complete {
            // A list of refused records makes an answer long. Halves have shorter lists.
            return Verdict::Refused { why };
        }
        match refused_count(&body, pointer) {
            Some(0) => Verdict::Delivered,
            Some(_) => Verdict::Refused { why },
            None => {
                let action = format!(
                    "check `url`; if it is right, `refused_count` has to lead to a number: {pointer} does not"
                );
                Verdict::Alert { why, action }
            }
        }
    }
}

/// Returns the number of refused records in a positive answer. `true` counts as 1.
fn refused_count(answer: &[u8], pointer: &str) -> Option<u64> {
    let answer: serde_json::Value = serde_json::from_slice(answer).ok()?;
    let count = answer.pointer(pointer)?;
    count.as_u64().or_else(|| count.as_bool().map(u64::from))
}

impl Target for Collector {
    type Request = HttpRequest;

    fn encode(&self, chunk: &Chunk) -> HttpRequest {
        self.sender.prepare(self.request(chunk))
    }

    async fn send(&self, request: HttpRequest) -> Verdict {
        match self.sender.send(request).await {
            Ok(answer) => self.judge(answer).await,
            Err(verdict) => verdict,
        }
    }
}

/// Returns the body of a request, before compression.
fn body(chunk: &Chunk, framing: Framing) -> Bytes {
    match framing {
        Framing::Ndjson => chunk.shared_bytes(),
        Framing::Array => {
            let mut body = Vec::with_capacity(chunk.bytes().len() + 1);
            for (_, record) in chunk.iter() {
                body.push(if body.is_empty() { b'[' } else { b',' });
                body.extend_from_slice(record);
            }
            body.push(b']');
            body.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_records_are_counted_where_the_pointer_leads() {
        for (answer, pointer, expected) in [
            (r#"{"failed":0}"#, "/failed", Some(0)),
            (r#"{"status":[{"failed":3}]}"#, "/status/0/failed", Some(3)),
            (r#"{"errors":true}"#, "/errors", Some(1)),
            (r#"{"errors":false}"#, "/errors", Some(0)),
            (r#"{"status":[]}"#, "/status/0/failed", None),
            (r#"{"failed":null}"#, "/failed", None),
            (r#"{"failed":-1}"#, "/failed", None),
            (r#"{"failed":"0"}"#, "/failed", None),
            ("<html>", "/failed", None),
            ("", "/failed", None),
        ] {
            assert_eq!(refused_count(answer.as_bytes(), pointer), expected, "{answer}");
        }
    }

    #[test]
    fn headers_are_filled_in() {
        for (value, expected) in [
            ("cloudflare/{dataset}", "cloudflare/dns_logs"),
            (r#"{"e":"{endpoint}"}"#, r#"{"e":"main"}"#),
            ("plain", "plain"),
        ] {
            let value = HeaderValue::from_static(value);
            assert_eq!(filled_in(&value, "dns_logs", "main").unwrap(), expected);
        }
    }
}
